//! Durations and sizes as people write them: `500ms`, `15s`, `4MiB`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(Duration);

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = humantime::format_duration(self.0).to_string();
        f.write_str(&text.replace(' ', "")) // "1s500ms": one word, for a command line.
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let duration = humantime::parse_duration(text);
        duration.map(Self).map_err(|_| {
            "a duration has a unit: 500ms, 15s, 2m, 1h, or several as in 1m30s".to_owned()
        })
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(usize);

/// The units, largest first.
const UNITS: [(&str, usize); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("", 1),
];

impl From<usize> for Size {
    fn from(bytes: usize) -> Self {
        Self(bytes)
    }
}

impl From<Size> for usize {
    fn from(size: Size) -> Self {
        size.0
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |unit: &&(&str, usize)| self.0.is_multiple_of(unit.1) && self.0 > 0;
        let (name, bytes) = UNITS.iter().find(fits).unwrap_or(&("", 1));
        write!(f, "{}{name}", self.0 / bytes)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let digits = text
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(text.len());
            let (number, unit) = text.split_at(digits);
            let (_, bytes) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
            number.parse::<usize>().ok()?.checked_mul(*bytes).map(Self)
        };
        read().ok_or_else(|| "a size is a number of bytes, or of KiB, MiB, GiB: 64KiB".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_they_are_told() {
        for (text, ms) in [
            ("500ms", 500),
            ("15s", 15_000),
            ("1s500ms", 1_500),
            ("1m", 60_000),
        ] {
            let span: Span = text.parse().expect(text);
            assert_eq!(Duration::from(span), Duration::from_millis(ms));
            assert_eq!(span.to_string(), text);
        }
        for bad in ["15", "s", "-1s", "", "1 fortnight"] {
            let error = bad.parse::<Span>().expect_err(bad);
            assert!(error.contains("15s"), "{bad}: {error}");
        }
    }

    #[test]
    fn sizes_are_read_as_they_are_told() {
        for (text, bytes) in [("4MiB", 4 << 20), ("1KiB", 1024), ("1025", 1025), ("0", 0)] {
            let size: Size = text.parse().expect(text);
            assert_eq!(usize::from(size), bytes);
            assert_eq!(size.to_string(), text);
        }
        for bad in ["MiB", "1.5MiB", "4MB", "-1", "99999999999999999999GiB"] {
            let error = bad.parse::<Size>().expect_err(bad);
            assert!(error.contains("64KiB"), "{bad}: {error}");
        }
    }
}
