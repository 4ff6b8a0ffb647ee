//! Two reports side by side: what has become better, and what worse.

use std::fmt::Write as _;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::Value;

/// What is compared: its name, where it stands in a report, its unit, and whether less is better.
const ROWS: [(&str, &str, &str, bool); 20] = [
    ("links open after", "/links/setup_s", "s", true),
    ("tables complete after", "/links/tables_s", "s", true),
    ("links that failed", "/links/failed", "", true),
    ("delivered", "/delivered_percent", "%", false),
    ("latency, median", "/latency_ms/p50", "ms", true),
    ("latency, 95 %", "/latency_ms/p95", "ms", true),
    ("latency, 99 %", "/latency_ms/p99", "ms", true),
    ("latency, mean", "/latency_ms/mean", "ms", true),
    ("latency, longest", "/latency_ms/max", "ms", true),
    ("throughput, mean", "/throughput_msg_s/mean", "msg/s", false),
    ("throughput, peak", "/throughput_msg_s/peak", "msg/s", false),
    ("memory an agent", "/memory_mb_per_agent", "MB", true),
    ("CPU an agent", "/cpu_percent_per_agent", "%", true),
    ("CPU forming", "/cpu_percent/forming", "%", true),
    ("CPU at rest", "/cpu_percent/idle", "%", true),
    ("CPU under load", "/cpu_percent/loaded", "%", true),
    (
        "sent at rest",
        "/bandwidth_kb_s_per_agent/idle",
        "KB/s",
        true,
    ),
    (
        "sent under load",
        "/bandwidth_kb_s_per_agent/loaded",
        "KB/s",
        true,
    ),
    ("to sign", "/sign_us", "µs", true),
    ("to verify", "/verify_us", "µs", true),
];

/// What two tests must share for their figures to be comparable.
const SHARED: [&str; 8] = [
    "/agents",
    "/k",
    "/duration_s",
    "/rate_per_agent",
    "/payload_bytes",
    "/delivery",
    "/metric",
    "/machine",
];

/// By how much two durations may differ that were meant to be the same.
const ROUNDING: f64 = 0.01;

/// Changes of less than this part are what two runs of the same test differ by.
const NOISE: f64 = 0.1;

/// The comparison of two files that `mesh load-test` wrote.
pub(super) fn compare(before: &Path, after: &Path) -> anyhow::Result<String> {
    let reports = [read(before)?, read(after)?];
    let mut text = String::new();
    for pointer in SHARED {
        let [a, b] = [&reports[0], &reports[1]].map(|report| report.pointer(pointer));
        if !alike(a, b) {
            let shown = |value: Option<&Value>| value.map_or("-".to_owned(), Value::to_string);
            let name = pointer.trim_start_matches('/');
            writeln!(
                text,
                "not the same test: {name} is {} and {}",
                shown(a),
                shown(b)
            )?;
        }
    }
    writeln!(
        text,
        "{:<24} {:>12} {:>12}        change",
        "", "before", "after"
    )?;
    for (name, pointer, unit, less_is_better) in ROWS {
        let [a, b] = [&reports[0], &reports[1]].map(|report| number(report, pointer));
        let shown =
            |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        let verdict = a
            .zip(b)
            .map_or(String::new(), |(a, b)| judge(a, b, less_is_better));
        let line = format!(
            "{name:<24} {:>12} {:>12} {unit:<6} {verdict}",
            shown(a),
            shown(b)
        );
        writeln!(text, "{}", line.trim_end())?;
    }
    Ok(text)
}

/// The same, but for what the clock adds to a duration.
fn alike(a: Option<&Value>, b: Option<&Value>) -> bool {
    let numbers = a.and_then(Value::as_f64).zip(b.and_then(Value::as_f64));
    numbers.map_or(a == b, |(a, b)| (a - b).abs() <= ROUNDING * a.abs())
}

fn read(path: &Path) -> anyhow::Result<Value> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("{name} cannot be read"))?;
    let report: Value = serde_json::from_reader(BufReader::new(file))
        .with_context(|| format!("{name} is no JSON: compare two report.json of --out"))?;
    if number(&report, "/latency_ms/p50").is_none() {
        bail!("{name} is no report of a load test: compare two report.json of --out");
    }
    Ok(report)
}

fn number(report: &Value, pointer: &str) -> Option<f64> {
    report.pointer(pointer)?.as_f64()
}

fn judge(before: f64, after: f64, less_is_better: bool) -> String {
    if before == after {
        return "same".to_owned();
    }
    if before <= 0.0 {
        let better = (after < before) == less_is_better;
        return if better { "better" } else { "worse" }.to_owned();
    }
    let change = after / before - 1.0;
    let word = if change.abs() < NOISE {
        "about the same"
    } else if (change < 0.0) == less_is_better {
        "better"
    } else {
        "worse"
    };
    format!("{:+.0} %, {word}", change * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_better_worse_or_noise() {
        assert_eq!(judge(2.0, 1.0, true), "-50 %, better");
        assert_eq!(judge(2.0, 1.0, false), "-50 %, worse");
        assert_eq!(judge(100.0, 105.0, true), "+5 %, about the same");
        assert_eq!(judge(0.0, 3.0, true), "worse");
        assert_eq!(judge(3.0, 3.0, true), "same");
    }

    #[test]
    fn what_the_clock_adds_is_no_other_test() {
        let seconds = |seconds: f64| Some(Value::from(seconds));
        assert!(alike(seconds(60.002).as_ref(), seconds(60.01).as_ref()));
        assert!(!alike(seconds(60.0).as_ref(), seconds(30.0).as_ref()));
        assert!(!alike(Some(&Value::from("hops")), None));
    }

    #[test]
    fn what_is_no_report_is_refused_with_the_remedy() {
        let folder = std::env::temp_dir().join(format!("compare-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("created");
        let (none, text, other) = (
            folder.join("none.json"),
            folder.join("text.json"),
            folder.join("other.json"),
        );
        std::fs::write(&text, "hello").expect("written");
        std::fs::write(&other, "{}").expect("written");
        for (path, says) in [
            (&none, "cannot be read"),
            (&text, "no JSON"),
            (&other, "no report"),
        ] {
            let error = compare(path, path).expect_err("refused");
            assert!(format!("{error:#}").contains(says), "{error:#}");
        }
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
