//! Fresh keys for links, when all messages have been sent: how many get them, and how soon.
//!
//! An agent rotates keys every hour, and no shorter test sees it. So some agents are asked to.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::fleet::Fleet;
use super::recorder::Recorder;
use super::report::{Latency, Report};
use super::sections::latencies;
use super::text::Text;

/// Links that get fresh keys at least, unless there are fewer: enough for a median, and a few
/// seconds' work.
const LINKS: usize = 40;

/// How long they have, all together.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often it is looked whether all have them.
const LOOK: Duration = Duration::from_millis(50);

/// Rotations of some agents' links.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Rotations {
    /// Links that were to get fresh keys.
    pub(super) asked: usize,
    /// Those that did.
    pub(super) done: u64,
    /// Attempts that failed; the links went on with the keys they had.
    pub(super) failed: u64,
    /// From the decision until the link goes on over the connection with the fresh keys.
    pub(super) took_ms: Latency,
}

/// Asks the first agents to rotate the keys of their links, and waits for it.
pub(super) async fn rotate(fleet: &Fleet, recorder: &Recorder) -> Rotations {
    let before = fleet.stats().await;
    let mut asked = 0;
    let mut agents = Vec::new();
    for (agent, stats) in fleet.agents.iter().zip(&before) {
        if asked >= LINKS {
            break;
        }
        asked += stats.links.open;
        agents.push(agent);
    }
    let ids: BTreeSet<_> = agents.iter().map(|agent| agent.id()).collect();
    recorder.watch_rotations(ids);
    for agent in agents {
        if let Err(error) = agent.rotate_keys().await {
            tracing::warn!("{} does not rotate its keys: {error:#}", agent.name());
        }
    }
    let deadline = Instant::now() + PATIENCE;
    while recorder.seen().links.rotated.len() < asked as u64 && Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
    }
    let failed = |stats: &[mesh_core::Stats]| -> u64 {
        stats.iter().map(|stats| stats.links.rotations_failed).sum()
    };
    let after = fleet.stats().await;
    let seen = recorder.seen();
    let rotated = &seen.links.rotated;
    Rotations {
        asked,
        done: rotated.len(),
        failed: failed(&after).saturating_sub(failed(&before)),
        took_ms: Latency::of(rotated),
    }
}

/// The section of the report.
pub(super) fn section(text: &mut Text, report: &Report) {
    text.section("Key rotation");
    let Some(rotations) = &report.rotations else {
        return text.line("None: the test was ended before.");
    };
    let rows = [
        ("links that were to get fresh keys", rotations.asked as u64),
        ("links that got them", rotations.done),
        ("attempts that failed", rotations.failed),
    ];
    text.table(
        ["After the last message", ""],
        rows.map(|(what, count)| [what.to_owned(), count.to_string()]),
    );
    text.line(
        "From the decision until the link goes on over its new connection, in milliseconds.\n",
    );
    latencies(text, "", [("a rotation".to_owned(), &rotations.took_ms)]);
}
