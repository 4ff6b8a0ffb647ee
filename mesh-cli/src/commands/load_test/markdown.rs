//! The report as Markdown, and the summary for the terminal.

use std::fmt::Display;
use std::fmt::Write as _;

use super::plots::Plot;
use super::report::Report;
use super::sections;

/// What stands for a figure that could not be measured here.
const UNKNOWN: &str = "not measured";

/// A report in the making.
pub(super) struct Text(String);

impl Text {
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

/// What the terminal shows.
pub(super) fn summary(report: &Report) -> String {
    let latency = &report.latency_ms;
    let rows = [
        (
            "links",
            format!(
                "{} of {} open after {:.2} s, {} attempts failed",
                report.links.open, report.links.planned, report.links.setup_s, report.links.failed
            ),
        ),
        (
            "messages",
            format!(
                "{} of {} delivered ({:.3} %), {:.0} a second",
                report.delivered,
                report.offered,
                report.delivered_percent,
                report.throughput_msg_s.mean
            ),
        ),
        (
            "latency",
            format!(
                "p50 {:.2} ms, p95 {:.2} ms, p99 {:.2} ms, at most {:.2} ms",
                latency.p50, latency.p95, latency.p99, latency.max
            ),
        ),
        (
            "an agent takes",
            format!(
                "{} MB, {} % of a core under load",
                known(report.memory_mb_per_agent, 1),
                known(report.cpu_percent_per_agent, 2)
            ),
        ),
        (
            "at rest",
            format!("{} % of a core for all", known(report.cpu_percent.idle, 1)),
        ),
        (
            "a signature takes",
            format!(
                "{:.0} µs, checking it {:.0} µs",
                report.sign_us, report.verify_us
            ),
        ),
    ];
    let mut text = String::new();
    for (what, value) in rows {
        let _ = writeln!(text, "{what:<18} {value}");
    }
    for (reason, count) in &report.lost {
        let _ = writeln!(text, "{:<18} {count}: {reason}", "lost");
    }
    for target in &report.targets {
        let verdict = if target.pass { "PASS" } else { "FAIL" };
        let _ = writeln!(
            text,
            "{verdict:<18} {}: {} {} (target {})",
            target.name,
            known(target.actual, 2),
            target.unit,
            target.target
        );
    }
    text
}

/// The whole report.
pub(super) fn report(report: &Report) -> String {
    let mut text = Text(format!("# Load test: {} agents\n", report.agents));
    if report.interrupted {
        text.line("**Interrupted: this is what was measured until then.**\n");
    }
    sections::verdict(&mut text, report);
    sections::configuration(&mut text, report);
    sections::graph(&mut text, report);
    sections::connecting(&mut text, report);
    sections::latency(&mut text, report);
    sections::throughput(&mut text, report);
    sections::resources(&mut text, report);
    sections::scaling(&mut text, report);
    sections::agents(&mut text, report);
    sections::trust(&mut text, report);
    sections::routing(&mut text, report);
    text.0
}
