//! Markdown in the making: sections, tables, figures.

use std::fmt::{Display, Write as _};

use super::plots::Plot;

/// What stands for a figure that could not be measured here.
const UNKNOWN: &str = "not measured";

/// A report in the making.
pub(super) struct Text(String);

impl Text {
    pub(super) fn titled(title: impl Display) -> Self {
        Self(format!("# {title}\n"))
    }

    pub(super) fn into_markdown(self) -> String {
        self.0
    }

    pub(super) fn section(&mut self, title: &str) {
        self.line(format_args!("\n## {title}\n"));
    }

    pub(super) fn line(&mut self, line: impl Display) {
        let _ = writeln!(self.0, "{line}"); // Writing to a string does not fail.
    }

    pub(super) fn table<const N: usize>(
        &mut self,
        heads: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) {
        self.line(format_args!("| {} |", heads.join(" | ")));
        self.line(format_args!("|{}", "---|".repeat(N)));
        for row in rows {
            self.line(format_args!("| {} |", row.join(" | ")));
        }
        self.line("");
    }

    /// Where the page has a plot.
    pub(super) fn plot(&mut self, plot: Plot) {
        self.line(format_args!("{}\n", plot.mark()));
    }
}

pub(super) fn known(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), |value| format!("{value:.digits$}"))
}

pub(super) fn ms(value: f64) -> String {
    format!("{value:.2}")
}

pub(super) fn share(part: u64, whole: u64) -> String {
    format!("{:.2} %", 100.0 * part as f64 / whole.max(1) as f64)
}
