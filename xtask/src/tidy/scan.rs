//! Rust source with everything blanked out that is not code: comments, strings, characters.

/// Replaces the contents of comments and literals by spaces, keeping every line break.
///
/// A whole parser would cost more build time than all of xtask; for finding functions and their
/// braces this is enough.
pub(super) fn code_only(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut code = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = skip(&chars, at);
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            let blank = |c: &char| if *c == '\n' { '\n' } else { ' ' };
            code.extend(chars[at..end].iter().map(blank));
            at = end;
        }
    }
    code
}

/// The end of the comment or literal that starts at `at`; `at` itself when none does.
fn skip(chars: &[char], at: usize) -> usize {
    let next = |n: usize| chars.get(at + n).copied().unwrap_or('\0');
    match (next(0), next(1)) {
        ('/', '/') => find(chars, at, |c| c == '\n'),
        ('/', '*') => block_comment(chars, at),
        ('"', _) => string(chars, at + 1),
        ('r', '"' | '#') if !in_word(chars, at) => raw_string(chars, at + 1).unwrap_or(at),
        ('\'', _) => character(chars, at).unwrap_or(at),
        _ => at,
    }
}

fn find(chars: &[char], from: usize, wanted: impl Fn(char) -> bool) -> usize {
    let rest = chars.get(from..).unwrap_or_default();
    let found = rest.iter().position(|c| wanted(*c));
    found.map_or(chars.len(), |offset| from + offset)
}

fn block_comment(chars: &[char], from: usize) -> usize {
    let mut depth = 0;
    let mut at = from;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    chars.len()
}

/// `from` is behind the opening quote.
fn string(chars: &[char], from: usize) -> usize {
    let mut at = from;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// `from` is behind the `r`; `None` when this is a raw identifier such as `r#type`.
fn raw_string(chars: &[char], from: usize) -> Option<usize> {
    let open = find(chars, from, |c| c != '#');
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let hashes = open - from;
    let mut at = open + 1;
    loop {
        at = find(chars, at, |c| c == '"') + 1;
        if at > chars.len() {
            return Some(chars.len());
        }
        if find(chars, at, |c| c != '#') - at >= hashes {
            return Some(at + hashes);
        }
    }
}

/// A character literal; `None` when the quote starts a lifetime.
fn character(chars: &[char], at: usize) -> Option<usize> {
    if chars.get(at + 1) == Some(&'\\') {
        // Past the escaped character, which may itself be a quote.
        return Some((find(chars, at + 3, |c| c == '\'') + 1).min(chars.len()));
    }
    (chars.get(at + 2) == Some(&'\'')).then_some(at + 3)
}

/// Whether `at` continues a word, so that an `r` there starts no raw string. A byte or C string
/// (`br"…"`, `cr"…"`) does start one.
fn in_word(chars: &[char], at: usize) -> bool {
    let word = |c: &char| c.is_alphanumeric() || *c == '_';
    let before: Vec<char> = chars[..at].iter().rev().copied().take_while(word).collect();
    !matches!(before.as_slice(), [] | ['b' | 'c'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn squeezed(source: &str) -> String {
        code_only(source)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn comments_and_literals_are_blanked() {
        assert_eq!(squeezed("a // {\nb /* { /* } */ { */ c"), "a b c");
        assert_eq!(
            squeezed(r#"a "{ \" {" b '{' c '\'' d '\u{7b}' e"#),
            "a b c d e"
        );
        assert_eq!(squeezed("a r#\"{ \" {\"# b br\"{\" c"), "a b b c");
    }

    #[test]
    fn lifetimes_and_raw_identifiers_are_code() {
        let code = "fn f<'a>(x: &'a str, r#type: u8) -> &'static str { x }";
        assert_eq!(code_only(code), code);
    }

    #[test]
    fn line_breaks_stay() {
        let source = "/* 1\n2 */ \"3\n4\" // 5\n6";
        assert_eq!(code_only(source).lines().count(), source.lines().count());
    }
}
