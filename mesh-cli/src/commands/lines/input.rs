//! Lines of stdin, each with its number, none longer than a bound.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// Bytes of the longest line that is taken: a payload of the largest size takes 95 kB where each
/// byte is escaped, and a subscription to a thousand topics 130 kB.
pub(super) const LINE_BYTES_MAX: usize = 256 << 10;

/// What a line of stdin is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Text, without its newline.
    Text(String),
    /// None, and why.
    Bad(String),
}

/// Reads lines one by one. What was read is kept when a wait is given up.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: R,
    number: u64,
    line: Vec<u8>,
    /// The present line was too long, was told so, and is passed over.
    skipping: bool,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            number: 1,
            line: Vec::new(),
            skipping: false,
        }
    }

    /// The next line and its number, from 1; nothing at the end.
    pub(super) async fn next(&mut self) -> io::Result<Option<(u64, Line)>> {
        loop {
            let read = self.reader.fill_buf().await?;
            let end = read.iter().position(|&byte| byte == b'\n');
            let part = end.map_or(read, |end| &read[..end]);
            let (bytes, is_last) = (part.len(), read.is_empty());
            let too_long = self.line.len() + bytes > LINE_BYTES_MAX;
            if !self.skipping && !too_long {
                self.line.extend_from_slice(part);
            }
            self.reader.consume(end.map_or(bytes, |end| end + 1));
            let was_skipping = self.skipping;
            self.skipping = (was_skipping || too_long) && end.is_none() && !is_last;
            let number = self.number;
            if end.is_some() {
                self.number += 1;
            }
            if too_long && !was_skipping {
                self.line = Vec::new();
                let bad = format!("a line has at most {LINE_BYTES_MAX} bytes: it is left out");
                return Ok(Some((number, Line::Bad(bad))));
            }
            if (end.is_some() || is_last) && !was_skipping {
                let line = std::mem::take(&mut self.line);
                if !line.is_empty() || !is_last {
                    return Ok(Some((number, parse(line))));
                }
            }
            if is_last {
                return Ok(None);
            }
        }
    }
}

fn parse(line: Vec<u8>) -> Line {
    match String::from_utf8(line) {
        Ok(text) => Line::Text(text),
        Err(error) => {
            let at = error.utf8_error().valid_up_to() + 1;
            Line::Bad(format!("it is no UTF-8 text: see its byte {at}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::BufReader;

    use super::*;

    async fn all(input: &[u8]) -> Vec<(u64, Line)> {
        // A small buffer, so that lines come in parts.
        let mut lines = Lines::new(BufReader::with_capacity(7, input));
        let mut all = Vec::new();
        while let Some(line) = lines.next().await.expect("memory can be read") {
            all.push(line);
        }
        all
    }

    #[tokio::test]
    async fn lines_are_numbered_and_the_last_needs_no_end() {
        let text = |text: &str| Line::Text(text.to_owned());
        let expected = [(1, text("one")), (2, text("")), (3, text("three, longer"))];
        assert_eq!(all(b"one\n\nthree, longer").await, expected);
        assert_eq!(all(b"one\n\nthree, longer\n").await, expected);
        assert_eq!(all(b"").await, []);
    }

    #[tokio::test]
    async fn a_line_that_is_no_text_is_bad_alone() {
        let lines = all(b"a\nb\xff\nc\n").await;
        assert_eq!(lines.len(), 3);
        assert!(matches!(&lines[1], (2, Line::Bad(why)) if why.contains("byte 2")));
        assert_eq!(lines[2], (3, Line::Text("c".to_owned())));
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_told_once_and_passed_over() {
        let fits = "x".repeat(LINE_BYTES_MAX);
        for excess in [1, 2, 3 * LINE_BYTES_MAX] {
            let long = "x".repeat(LINE_BYTES_MAX + excess);
            for end in ["\n", ""] {
                let lines = all(format!("{fits}\n{long}\nshort\n{long}{end}").as_bytes()).await;
                assert_eq!(lines.len(), 4, "{excess}");
                assert_eq!(lines[0], (1, Line::Text(fits.clone())));
                let limit = LINE_BYTES_MAX.to_string();
                assert!(matches!(&lines[1], (2, Line::Bad(why)) if why.contains(&limit)));
                assert_eq!(lines[2], (3, Line::Text("short".to_owned())));
                assert!(matches!(&lines[3], (4, Line::Bad(_))));
            }
        }
    }
}
