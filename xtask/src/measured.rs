//! docs/measured.md, made of what `cargo xtask bench` has run: reports of `mesh load-test`,
//! criterion's estimates, what the browsers' tests print, the size of the module for pages.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::workspace::read;

/// Where the document is, from the root.
pub(crate) const DOCUMENT: &str = "docs/measured.md";

/// The arguments of the load test that is run in rounds.
pub(crate) const LOAD: &str = "--agents 100 --k 20 --rate 16.56";

/// The arguments of those that are run once: up to what two cores can do, and a large room.
pub(crate) const LIMITS: [&str; 5] = [
    "--agents 100 --k 20 --rate 60",
    "--agents 100 --k 20 --rate 75",
    "--agents 100 --k 20 --rate 90",
    "--agents 100 --k 20 --rate 100",
    "--agents 1000 --k 8 --rate 1",
];

/// Parts of the core by their names in the document and in criterion's folder.
const PARTS: [(&str, &str); 10] = [
    (
        "build the mesh of 100 agents, k = 20",
        "build a topology, by links/1000",
    ),
    (
        "build the mesh of 1,000 agents, k = 30",
        "build a topology, by links/15000",
    ),
    (
        "build the mesh of 10,000 agents, k = 30",
        "build a topology, by links/150000",
    ),
    (
        "analyse a mesh of 1,000: distances, clustering, connectivity",
        "analyse a mesh of 1,000",
    ),
    (
        "compute all paths in a mesh of 100 with 1,000 links",
        "routing/all paths/100",
    ),
    (
        "forward a message of 256 bytes: decode, find the next hop, encode",
        "forward a message of 256 bytes",
    ),
    (
        "encode a message of 256 bytes",
        "encode a message of 256 bytes",
    ),
    (
        "decode a message of 256 bytes",
        "decode a message of 256 bytes",
    ),
    ("sign a message of 256 bytes", "sign 256 bytes"),
    ("verify a message of 256 bytes", "verify 256 bytes"),
];

/// A row of the load test's table: its name, the figure in the report, its decimals and unit.
type Row = (&'static str, &'static str, usize, &'static str);

const ROWS: [Row; 10] = [
    ("1,000 links open after", "/links/setup_s", 2, "s"),
    ("all 9,900 routes known after", "/links/tables_s", 2, "s"),
    ("latency, median", "/latency_ms/p50", 2, "ms"),
    ("latency, 95 %", "/latency_ms/p95", 2, "ms"),
    ("latency, 99 %", "/latency_ms/p99", 2, "ms"),
    ("latency, longest", "/latency_ms/max", 1, "ms"),
    ("delivered", "/delivered_percent", 2, "%"),
    ("memory an agent", "/memory_mb_per_agent", 1, "MB"),
    (
        "CPU an agent under this load",
        "/cpu_percent_per_agent",
        2,
        "% of a core",
    ),
    ("CPU of all at rest", "/cpu_percent/idle", 0, "% of a core"),
];

/// Columns of the table of load tests that are run once.
const COLUMNS: [Row; 7] = [
    ("messages a second", "/throughput_msg_s/offered", 0, ""),
    ("delivered", "/delivered_percent", 2, "%"),
    ("latency, median", "/latency_ms/p50", 2, "ms"),
    ("95 %", "/latency_ms/p95", 2, "ms"),
    ("99 %", "/latency_ms/p99", 2, "ms"),
    ("links open after", "/links/setup_s", 2, "s"),
    ("memory an agent", "/memory_mb_per_agent", 1, "MB"),
];

/// All that the document tells.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Of the machine: cores, system, instructions for signatures.
    pub(crate) machine: String,
    /// Reports of rounds of [`LOAD`].
    pub(crate) load: Vec<Value>,
    /// One report for each of [`LIMITS`].
    pub(crate) limits: Vec<Value>,
    /// Medians of [`PARTS`], in nanoseconds.
    pub(crate) parts: Vec<f64>,
    /// Browsers with the µs that they take to sign and to verify.
    pub(crate) browsers: Vec<(String, f64, f64)>,
    /// How large the module for pages is, plain and compressed.
    pub(crate) module: String,
}

/// The machine that this runs on.
pub(crate) fn machine() -> String {
    use std::env::consts::{ARCH, OS};
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let with = if has_ifma() { "with" } else { "without" };
    format!("{cores} cores ({OS}, {ARCH}, {with} AVX-512 IFMA)")
}

/// Whether the processor has the instructions that halve the time of a verification.
fn has_ifma() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        std::arch::is_x86_feature_detected!("avx512ifma")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// The medians of the core's parts, in nanoseconds, from criterion's folder.
pub(crate) fn estimates(criterion: &Path) -> Result<Vec<f64>> {
    let median = |(_, folder): &(&str, &str)| {
        let file = criterion.join(folder).join("new/estimates.json");
        let estimates: Value = serde_json::from_str(&read(&file)?)
            .with_context(|| format!("{} is not valid JSON", file.display()))?;
        let median = estimates.pointer("/median/point_estimate");
        let median = median.and_then(Value::as_f64);
        median.with_context(|| format!("{} has no median", file.display()))
    };
    PARTS.iter().map(median).collect()
}

/// The µs to sign and to verify, from what mesh-wasm's test `speed` prints.
pub(crate) fn signatures(said: &str) -> Result<(f64, f64)> {
    let found = said.lines().find_map(|line| {
        let (_, times) = line.split_once("a message of 256 bytes: ")?;
        let (sign, verify) = times.split_once(" us to sign, ")?;
        let (verify, _) = verify.split_once(" us to verify")?;
        Some((sign.parse().ok()?, verify.parse().ok()?))
    });
    found.context("the browser's test `speed` printed no times: see mesh-wasm/tests/speed.rs")
}

impl Measured {
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!(
            "# Measured\n\nWritten by `cargo xtask bench` on a machine of {}. Links are real \
             WebRTC, over\nloopback; agents and hub run in one process, on the same cores.\n",
            self.machine
        );
        self.tell_load(&mut text);
        self.tell_limits(&mut text);
        self.tell_parts(&mut text);
        self.tell_browsers(&mut text);
        text
    }

    fn tell_load(&self, text: &mut String) {
        let rounds = match self.load.len() {
            1 => "One round.".to_owned(),
            many => {
                format!("Medians of {many} rounds, with the\nleast and the most where they differ.")
            }
        };
        let _ = write!(
            text,
            "\n## A mesh under load\n\n`mesh load-test {LOAD}`: 1,656 messages of 256 bytes a \
             second in all,\nfor a minute. {rounds}\n\n| of 100 agents | figure |\n|---|---:|\n"
        );
        for row in ROWS {
            let _ = writeln!(text, "| {} | {} |", row.0, spread(&self.load, row));
        }
    }

    fn tell_limits(&self, text: &mut String) {
        text.push_str("\n## At its limits\n\nEach is one run, for a minute.\n\n");
        let names = COLUMNS.map(|column| column.0).join(" | ");
        let _ = writeln!(text, "| `mesh load-test` | {names} | targets missed |");
        let _ = writeln!(text, "|---|{}---|", "---:|".repeat(COLUMNS.len()));
        for (arguments, report) in LIMITS.iter().zip(&self.limits) {
            let report = std::slice::from_ref(report);
            let cells = COLUMNS.map(|column| spread(report, column)).join(" | ");
            let missed = missed(&report[0]);
            let _ = writeln!(text, "| `{arguments}` | {cells} | {missed} |");
        }
    }

    fn tell_parts(&self, text: &mut String) {
        text.push_str(
            "\n## Parts of the core\n\nMedians of `cargo bench -p mesh-core --features sim`, on \
             one core. [The plot](topology-cost.svg) has\nmore sizes of the mesh.\n\n\
             | part | time |\n|---|---:|\n",
        );
        for ((name, _), ns) in PARTS.iter().zip(&self.parts) {
            let _ = writeln!(text, "| {name} | {} |", time(*ns));
        }
    }

    fn tell_browsers(&self, text: &mut String) {
        text.push_str(
            "\n## In a page\n\n| a message of 256 bytes | to sign | to verify |\n|---|---:|---:|\n",
        );
        for (browser, sign, verify) in &self.browsers {
            let _ = writeln!(text, "| {browser} | {sign:.0} µs | {verify:.0} µs |");
        }
        let _ = writeln!(text, "\nThe module for pages has {}.", self.module);
    }
}

/// A figure of reports: its median, with the least and the most where they differ.
fn spread(reports: &[Value], (_, pointer, decimals, unit): Row) -> String {
    let value = |report: &Value| report.pointer(pointer)?.as_f64();
    let mut values: Vec<f64> = reports.iter().filter_map(value).collect();
    values.sort_by(f64::total_cmp);
    let shown = |value: &f64| grouped(&format!("{value:.decimals$}"));
    let (Some(least), Some(most)) = (values.first().map(shown), values.last().map(shown)) else {
        return "–".to_owned(); // Null where the system does not tell.
    };
    let median = shown(&values[values.len() / 2]);
    let figure = format!("{median} {unit}");
    if least == most {
        figure.trim_end().to_owned()
    } else {
        format!("{} ({least} to {most})", figure.trim_end())
    }
}

/// The targets of a load test that it missed.
fn missed(report: &Value) -> String {
    let targets = report["targets"].as_array().map_or(&[][..], Vec::as_slice);
    let missed = targets.iter().filter(|target| target["pass"] != true);
    let names: Vec<_> = missed
        .filter_map(|target| target["name"].as_str())
        .collect();
    if names.is_empty() {
        return "none".to_owned();
    }
    names.join(", ")
}

/// A time in the unit that suits it, with about three digits.
fn time(ns: f64) -> String {
    let (value, unit) = match ns {
        ..1e3 => (ns, "ns"),
        1e3..1e6 => (ns / 1e3, "µs"),
        _ => (ns / 1e6, "ms"),
    };
    match value {
        ..10.0 => format!("{value:.2} {unit}"),
        10.0..100.0 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// A number with a comma between thousands.
fn grouped(number: &str) -> String {
    let (whole, rest) = number.split_at(number.find('.').unwrap_or(number.len()));
    let mut text = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    fn report(setup_s: f64, p95: f64, memory: Option<f64>) -> Value {
        json!({
            "links": { "setup_s": setup_s, "tables_s": 2.4 },
            "latency_ms": { "p50": 0.4, "p95": p95, "p99": 1.7, "max": 8.0 },
            "throughput_msg_s": { "offered": 5999.6 },
            "delivered_percent": 100.0,
            "memory_mb_per_agent": memory,
            "cpu_percent_per_agent": 0.65,
            "cpu_percent": { "idle": 8.0 },
            "targets": [
                { "name": "link setup", "pass": true },
                { "name": "latency p95", "pass": p95 < 150.0 },
            ],
        })
    }

    fn sample() -> Measured {
        Measured {
            machine: "2 cores (linux, x86_64, with AVX-512 IFMA)".to_owned(),
            load: vec![
                report(1.6, 0.9, Some(5.6)),
                report(0.9, 0.9, Some(5.6)),
                report(1.0, 0.9, None),
            ],
            limits: vec![report(1.0, 151.0, None); LIMITS.len()],
            parts: (0..PARTS.len())
                .map(|part| 38.4 * 10f64.powi(part as i32))
                .collect(),
            browsers: vec![("Chrome".to_owned(), 31.0, 80.0)],
            module: "1,100.0 kB".to_owned(),
        }
    }

    /// Headings, and the first cell of each row.
    fn shape(text: &str) -> Vec<&str> {
        let told = text.lines().filter(|line| line.starts_with(['#', '|']));
        told.map(|line| {
            line.trim_start_matches('|')
                .split('|')
                .next()
                .unwrap_or_default()
        })
        .collect()
    }

    #[test]
    fn the_document_tells_medians_spreads_and_missed_targets() {
        let text = sample().markdown();
        for line in [
            "Written by `cargo xtask bench` on a machine of 2 cores (linux, x86_64, with AVX-512 \
             IFMA). Links are real WebRTC, over",
            "| 1,000 links open after | 1.00 s (0.90 to 1.60) |",
            "| latency, 95 % | 0.90 ms |",
            "| memory an agent | 5.6 MB |",
            "| `--agents 100 --k 20 --rate 60` | 6,000 | 100.00 % | 0.40 ms | 151.00 ms | 1.70 ms \
             | 1.00 s | – | latency p95 |",
            "| build the mesh of 100 agents, k = 20 | 38.4 ns |",
            "| build the mesh of 10,000 agents, k = 30 | 3.84 µs |",
            "| compute all paths in a mesh of 100 with 1,000 links | 384 µs |",
            "| Chrome | 31 µs | 80 µs |",
            "The module for pages has 1,100.0 kB.",
        ] {
            assert!(
                text.lines().any(|told| told == line),
                "{line}\nis not in\n{text}"
            );
        }
    }

    #[test]
    fn the_document_in_docs_has_the_rows_that_the_command_writes() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(DOCUMENT);
        let written = read(&path).expect("it is checked in");
        let mut sample = sample();
        sample.browsers.push(("Firefox".to_owned(), 31.0, 80.0));
        assert_eq!(shape(&written), shape(&sample.markdown()));
    }

    #[test]
    fn estimates_are_the_medians_that_criterion_left() {
        let folder = std::env::temp_dir().join(format!("mesh-measured-{}", std::process::id()));
        let error = estimates(&folder).expect_err("there are none");
        assert!(format!("{error:#}").contains("estimates.json"), "{error:#}");
        for (index, (_, part)) in PARTS.iter().enumerate() {
            let new = folder.join(part).join("new");
            fs::create_dir_all(&new).expect("a folder");
            let estimates = json!({ "mean": { "point_estimate": 0.5 }, "median": {
                "confidence_interval": { "lower_bound": 0.1 }, "point_estimate": index as f64,
            } });
            fs::write(new.join("estimates.json"), estimates.to_string()).expect("a file");
        }
        let found = estimates(&folder).expect("all are there");
        let expected: Vec<f64> = (0..PARTS.len()).map(|index| index as f64).collect();
        assert_eq!(found, expected);
        fs::remove_dir_all(folder).expect("it was made above");
    }

    #[test]
    fn the_times_of_a_browser_are_read_from_its_tests_output() {
        let said = "running 1 test\n    a message of 256 bytes: 31 us to sign, 80 us to verify\n";
        assert_eq!(signatures(said).expect("both are there"), (31.0, 80.0));
        assert!(signatures("test result: ok. 1 passed").is_err());
    }
}
