//! Golden traces: what a set of worlds comes to, to the last byte, as `mesh-core/traces.txt` says.
//!
//! A change that is to keep the behaviour keeps the file. One that changes it writes the file anew
//! with `UPDATE_TRACES=1 cargo test -p mesh-core golden -- --test-threads 1`, and its commit says
//! why, and which figures moved. Large rooms take minutes in a release build:
//! `cargo test --release -p mesh-core golden -- --ignored`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::{Report, Scenario, Simulation, WorldConfig};
use crate::metric::Metric;

/// Scenarios by seed.
const SCENARIOS: u64 = 64;

/// Rough scenarios by seed.
const ROUGH_SCENARIOS: u64 = 32;

/// The lines of one part of the file: each has a name, the trace, and figures.
fn compare(part: &str, lines: &[String]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces.txt");
    let text = fs::read_to_string(&path).expect("traces.txt is there");
    let heading = format!("# {part}\n");
    let start = text.find(&heading).expect("the part is there") + heading.len();
    let end = text[start..]
        .find("\n#")
        .map_or(text.len(), |at| start + at + 1);
    let expected = text[start..end].trim_end();
    let found = lines.join("\n");
    if found == expected {
        return;
    }
    if std::env::var_os("UPDATE_TRACES").is_some() {
        let gap = if end < text.len() { "\n\n" } else { "\n" };
        let updated = format!("{}{found}{gap}{}", &text[..start], &text[end..]);
        fs::write(&path, updated).expect("traces.txt can be written");
        return;
    }
    let pairs = expected.lines().zip(found.lines());
    let changed: Vec<_> = pairs.filter(|(old, new)| old != new).collect();
    let mut shown = String::new();
    for (old, new) in changed.iter().take(8) {
        let _ = writeln!(shown, "- {old}\n+ {new}");
    }
    panic!(
        "{part}: {} of {} traces changed\n{shown}",
        changed.len(),
        lines.len()
    );
}

fn line(name: &str, report: &Report) -> String {
    format!(
        "{name}: {:016x} open {:.3} s, joining {:.0} B, rest {:.1} B/s, join touches {}, leave {}, \
         missed {}, copies {:.3}, healed {:.3} s",
        report.trace,
        report.links_open_s,
        report.joining.bytes,
        report.at_rest.bytes_per_second,
        report.touched_by_join,
        report.touched_by_leave,
        report.broadcasts.missed,
        report.broadcasts.transmissions_per_delivery,
        report.healed_s,
    )
}

fn simulate(agents: usize, config: WorldConfig, churn: f64) -> Report {
    let simulation = Simulation {
        config,
        agents,
        messages: 200,
        broadcasts: 20,
        churn,
        killed: 0.3,
    };
    let report = simulation.run(|_| {});
    report.unwrap_or_else(|error| panic!("{agents} agents: {error}"))
}

fn scenarios(part: &str, seeds: u64, draw: fn(u64) -> Scenario) {
    let lines = (0..seeds).map(|seed| {
        let (outcome, trace) = draw(seed).run_traced();
        format!(
            "{seed}: {trace:016x} healed {:.3} s, {:.1} B/s, copies {:.3}",
            outcome.healed_s,
            outcome.bytes_per_second,
            outcome.redundancy.unwrap_or_default(),
        )
    });
    compare(part, &lines.collect::<Vec<_>>());
}

#[test]
fn scenarios_come_to_what_they_did() {
    scenarios("scenarios", SCENARIOS, Scenario::draw);
}

#[test]
fn rough_scenarios_come_to_what_they_did() {
    scenarios("rough scenarios", ROUGH_SCENARIOS, Scenario::draw_rough);
}

#[test]
fn rooms_of_a_hundred_come_to_what_they_did() {
    let by_hops = WorldConfig {
        k: Some(20),
        ..WorldConfig::new(1)
    };
    let by_latency = WorldConfig {
        metric: Metric::Latency,
        ..by_hops.clone()
    };
    let lines = [
        line("hops", &simulate(100, by_hops.clone(), 0.0)),
        line("latency", &simulate(100, by_latency, 0.0)),
        line("churn", &simulate(100, by_hops, 0.01)),
    ];
    compare("rooms of 100", &lines);
}

#[test]
#[ignore = "minutes, in a release build"]
fn large_rooms_come_to_what_they_did() {
    let lines = [500, 1_000].map(|agents| {
        let report = simulate(agents, WorldConfig::new(1), 0.0);
        line(&agents.to_string(), &report)
    });
    compare("large rooms", &lines);
}
