//! The report as Markdown, and the summary for the terminal.

use std::fmt::Write as _;

use super::report::Report;
use super::text::{Text, known, share};
use super::{keys, sections, ways};

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
        ("links lead", leading(report)),
        ("keys", rotating(report)),
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

/// Over which ways the links lead.
fn leading(report: &Report) -> String {
    let ends = |relayed| {
        let ways = report.ways.iter().filter(|way| way.relayed == relayed);
        ways.map(|way| way.ends).sum::<usize>()
    };
    let (direct, relayed) = (ends(false), ends(true));
    let all = (direct + relayed) as u64;
    format!(
        "{} of their ends direct, {} over a TURN server",
        share(direct as u64, all),
        share(relayed as u64, all)
    )
}

fn rotating(report: &Report) -> String {
    let Some(rotations) = &report.rotations else {
        return "not rotated".to_owned();
    };
    format!(
        "{} of {} links rotated, p50 {:.1} ms, {} attempts failed",
        rotations.done, rotations.asked, rotations.took_ms.p50, rotations.failed
    )
}

/// The whole report.
pub(super) fn report(report: &Report) -> String {
    let mut text = Text::titled(format_args!("Load test: {} agents", report.agents));
    if report.interrupted {
        text.line("**Interrupted: this is what was measured until then.**\n");
    }
    sections::verdict(&mut text, report);
    sections::configuration(&mut text, report);
    sections::graph(&mut text, report);
    sections::connecting(&mut text, report);
    ways::section(&mut text, report);
    sections::latency(&mut text, report);
    sections::throughput(&mut text, report);
    sections::resources(&mut text, report);
    sections::scaling(&mut text, report);
    sections::agents(&mut text, report);
    sections::trust(&mut text, report);
    keys::section(&mut text, report);
    sections::routing(&mut text, report);
    text.into_markdown()
}
