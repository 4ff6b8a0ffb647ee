//! The hub of this process.

use std::fmt;
use std::time::{Duration, Instant};

use mesh_core::HubStats;
use mesh_core::signaling::ErrorCode;
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
    )
}
