//! The hub of this process.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use mesh_core::HubStats;
use mesh_core::signaling::ErrorCode;
use mesh_core::signaling::directory::DirectoryState;
use prometheus_client::registry::Unit;
use tokio::time::timeout;

use super::families::{Families, by_kind};
use crate::hub::{DoorCounts, HubMonitor};

/// How long the hub's loop may take to answer. Prometheus waits for 10 s unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the hub did, and how it stands.
#[derive(Debug)]
pub(super) struct HubSnapshot {
    /// Nothing if its loop does not answer.
    stats: Option<HubStats>,
    answered_in: Duration,
    door: DoorCounts,
    queued_bytes: usize,
}

impl HubSnapshot {
    pub(super) async fn take(hub: &HubMonitor) -> Self {
        let asked = Instant::now();
        let stats = timeout(PATIENCE, hub.stats()).await;
        Self {
            stats: stats.ok().flatten(),
            answered_in: asked.elapsed(),
            door: hub.door(),
            queued_bytes: hub.queued_bytes(),
        }
    }

    pub(super) fn encode(&self, families: &mut Families<'_>) -> fmt::Result {
        families.gauge(
            "mesh_hub_responsive",
            "Whether the hub's loop answered within 2 s. If not, what it counts is missing here.",
            self.stats.is_some().into(),
        )?;
        families.gauge_of(
            ("mesh_hub_answer", Unit::Seconds),
            "How long the hub's loop took to answer this time.",
            self.answered_in.as_secs_f64(),
        )?;
        if let Some(stats) = &self.stats {
            encode_stats(stats, families)?;
        }
        families.gauge(
            "mesh_hub_connections",
            "TCP connections to the hub, WebSockets among them.",
            self.door.connections,
        )?;
        families.gauge(
            "mesh_hub_connections_limit",
            "TCP connections that the hub takes at most.",
            self.door.limit,
        )?;
        families.counters(
            "mesh_hub_connections_refused",
            "Connections refused, by the limit that was reached: of all, or of one address.",
            "limit",
            [
                ("all", self.door.refused_all),
                ("address", self.door.refused_address),
            ],
        )?;
        families.gauge_of(
            ("mesh_hub_queued", Unit::Bytes),
            "Bytes that wait to be sent to clients.",
            self.queued_bytes as f64,
        )
    }
}

fn encode_stats(stats: &HubStats, families: &mut Families<'_>) -> fmt::Result {
    families.gauge(
        "mesh_hub_clients",
        "WebSockets of clients, admitted or not.",
        stats.clients,
    )?;
    families.gauge("mesh_hub_members", "Members of all rooms.", stats.members)?;
    families.gauge("mesh_hub_rooms", "Rooms.", stats.rooms)?;
    families.counter("mesh_hub_admissions", "Members admitted.", stats.admitted)?;
    families.counter(
        "mesh_hub_signals",
        "Signals between members that were passed on, or were to be.",
        stats.signals,
    )?;
    families.counter(
        "mesh_hub_signals_dropped",
        "Those of them that were dropped, because their targets were too slow to take them.",
        stats.signals_dropped,
    )?;
    families.counters(
        "mesh_hub_errors",
        "Errors sent to clients, by code.",
        "code",
        by_kind(&ErrorCode::ALL, &stats.errors),
    )?;
    encode_directory(stats, families)
}

fn encode_directory(stats: &HubStats, families: &mut Families<'_>) -> fmt::Result {
    let now = BTreeMap::from([(stats.directory, 1)]);
    families.gauges(
        "mesh_hub_directory",
        "How the hub stands with the Redis that hubs share: 1 for the state that it is in.",
        "state",
        by_kind(&DirectoryState::ALL, &now).map(|(state, is)| (state, usize::from(is == 1))),
    )?;
    families.counter(
        "mesh_hub_directory_losses",
        "Times that the shared Redis was lost.",
        stats.directory_lost,
    )?;
    families.counters(
        "mesh_hub_directory_connections",
        "Times that the shared Redis was there, by what the hub had to read of it: the changes \
         since it was lost, or everything.",
        "read",
        [
            ("changes", stats.directory_resumed),
            ("everything", stats.directory_read),
        ],
    )?;
    families.gauge(
        "mesh_hub_directory_behind",
        "Members of which the shared Redis does not say yet what it should.",
        stats.directory_behind,
    )
}
