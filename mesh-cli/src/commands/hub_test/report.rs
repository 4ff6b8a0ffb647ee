//! What a test came to, as Markdown and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;

use serde::Serialize;

use super::recorder::{Failure, Read, Times};
use crate::commands::usage::{Memory, Usage};

/// The state at a moment.
#[derive(Debug)]
pub(super) struct Mark {
    at: Instant,
    hub: Option<Usage>,
    generator: Usage,
    read: Read,
}

/// What some time came to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Phase {
    seconds: f64,
    /// Of the hub's process, if that is known.
    hub: Option<Cost>,
    /// Of this process.
    generator: Cost,
    /// Texts of the hub that members read, and their bytes.
    read: Read,
    /// How long the hub took to answer pings.
    pings: Times,
}

/// What a process took.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cost {
    cpu_s: f64,
    /// At the end, in MB; and the most since the process began.
    memory_mb: f64,
    peak_mb: f64,
}

/// Resident memory before there were members, in MB.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MemoryBefore {
    hub_mb: Option<f64>,
    generator_mb: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) members: u32,
    pub(super) rooms: usize,
    pub(super) rate: u32,
    pub(super) admitted: u64,
    /// Members that were not admitted, or did not stay, by the cause.
    pub(super) failures: BTreeMap<Failure, u64>,
    pub(super) joins_a_second: f64,
    pub(super) join_times: Times,
    pub(super) memory_before: MemoryBefore,
    pub(super) joining: Phase,
    pub(super) idle: Phase,
    /// Hostile clients, and what their time came to.
    pub(super) flood: u32,
    pub(super) flooded: Option<Phase>,
}

impl Mark {
    pub(super) fn now(hub: Option<&String>, read: Read) -> Self {
        Self {
            at: Instant::now(),
            hub: hub.map(|process| Usage::of(std::slice::from_ref(process))),
            generator: Usage::now(),
            read,
        }
    }

    pub(super) fn seconds_until(&self, later: Instant) -> f64 {
        later.saturating_duration_since(self.at).as_secs_f64()
    }

    pub(super) fn memory(&self) -> MemoryBefore {
        let resident = |usage: Usage| usage.memory.map(|memory| memory.resident);
        MemoryBefore {
            hub_mb: self.hub.and_then(resident),
            generator_mb: resident(self.generator).unwrap_or_default(),
        }
    }
}

impl Phase {
    pub(super) fn between(before: &Mark, after: &Mark, pings: Times) -> Self {
        let hub = before.hub.zip(after.hub);
        Self {
            seconds: before.seconds_until(after.at),
            hub: hub.and_then(|(before, after)| Cost::between(&before, &after)),
            generator: Cost::between(&before.generator, &after.generator).unwrap_or(Cost {
                cpu_s: 0.0,
                memory_mb: 0.0,
                peak_mb: 0.0,
            }),
            read: Read {
                texts: after.read.texts - before.read.texts,
                bytes: after.read.bytes - before.read.bytes,
            },
            pings,
        }
    }

    /// Per cent of one core.
    fn percent(&self, cost: Cost) -> f64 {
        100.0 * cost.cpu_s / self.seconds.max(1e-3)
    }
}

impl Cost {
    /// Nothing if a process has ended, or there is no /proc.
    fn between(before: &Usage, after: &Usage) -> Option<Self> {
        let Memory { resident, peak, .. } = after.memory?;
        Some(Self {
            cpu_s: after.since(before).cpu_s?,
            memory_mb: resident,
            peak_mb: peak,
        })
    }
}

impl Report {
    /// Why the test has failed, if it has.
    pub(super) fn failed(&self) -> Option<String> {
        let failures = self.failures.iter();
        let failures: Vec<_> = failures
            .map(|(cause, count)| format!("{count} members: {cause}"))
            .collect();
        (!failures.is_empty()).then(|| failures.join("; "))
    }

    pub(super) fn markdown(&self) -> String {
        let mut text = table(
            "members | rooms | joins a second | join, ms | ping at rest, ms | texts read a join | \
             hub: KB a member | CPU ms a join | CPU at rest | generator: KB a member | \
             CPU ms a join | CPU at rest",
            &self.row(),
        );
        if let Some(flooded) = &self.flooded {
            let hub = flooded.hub;
            let _ = write!(
                text,
                "\n{}",
                table(
                    "hostile clients | for | members lost | ping of members, ms | \
                     hub: MB at most | CPU | generator: CPU",
                    &[
                        self.flood.to_string(),
                        format!("{:.0} s", flooded.seconds),
                        self.failures.values().sum::<u64>().to_string(),
                        flooded.pings.to_string(),
                        known(hub.map(|hub| hub.peak_mb), 0),
                        percent(hub.map(|hub| flooded.percent(hub))),
                        percent(Some(flooded.percent(flooded.generator))),
                    ],
                )
            );
        }
        text + "\nTimes: p50 / p95 / p99 / max. CPU at rest: of one core.\n"
    }

    fn row(&self) -> [String; 12] {
        let Self { joining, idle, .. } = self;
        let a_member = |now: f64, before: f64| 1e3 * (now - before) / self.admitted as f64;
        let a_join = |cost: Cost| 1e3 * cost.cpu_s / self.admitted as f64;
        let hub_memory = idle.hub.zip(self.memory_before.hub_mb);
        let hub_memory = hub_memory.map(|(hub, before)| a_member(hub.memory_mb, before));
        let memory = a_member(idle.generator.memory_mb, self.memory_before.generator_mb);
        [
            self.admitted.to_string(),
            self.rooms.to_string(),
            format!("{:.1}", self.joins_a_second),
            self.join_times.to_string(),
            idle.pings.to_string(),
            format!("{:.0}", joining.read.texts as f64 / self.admitted as f64),
            known(hub_memory, 1),
            known(joining.hub.map(a_join), 2),
            percent(idle.hub.map(|hub| idle.percent(hub))),
            known(Some(memory), 1),
            known(Some(a_join(joining.generator)), 2),
            percent(Some(idle.percent(idle.generator))),
        ]
    }
}

/// A table of one row.
fn table(heads: &str, row: &[String]) -> String {
    let rule = "---|".repeat(row.len());
    format!("| {heads} |\n|{rule}\n| {} |\n", row.join(" | "))
}

fn known(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| format!("{value:.digits$}"))
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| format!("{value:.0} %"))
}
