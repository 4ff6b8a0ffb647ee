//! What Prometheus asks of a process: its agents, its hub, and what it takes of the machine.
//!
//! Counters and gauges are read from the agents and the hub when they are asked for; durations are
//! observed when they happen, for a distribution cannot be read afterwards. All agents of a process
//! are one: no label names an agent, a peer or a room, so that the number of series is fixed. With
//! the feature `hub` it is served apart from everything else (`MetricsServer`), and only where an
//! operator wants it.

mod agents;
mod durations;
mod families;
#[cfg(feature = "hub")]
mod hub;
mod process;
#[cfg(feature = "hub")]
mod server;
#[cfg(all(test, target_os = "linux"))]
mod tests;

#[cfg(feature = "hub")]
pub use server::{MetricsError, MetricsServer};

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use mesh_core::{Event, Mesh, Sample, Stats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text, text};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

#[cfg(feature = "hub")]
use crate::hub::{HubMonitor, HubServer};
use crate::shared::Shared;
use agents::AgentsSnapshot;
use durations::Durations;
#[cfg(feature = "hub")]
use hub::HubSnapshot;

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own text format, 0.0.4.
    Text,
    /// [OpenMetrics](https://prometheus.io/docs/specs/om/open_metrics_spec/) 1.0.
    OpenMetrics,
}

/// The metrics of a process. Clones are handles of the same.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    durations: Durations,
    agents: Mutex<Agents>,
    #[cfg(feature = "hub")]
    hub: Mutex<Option<HubMonitor>>,
}

/// The agents that are watched, and what became of others.
#[derive(Debug, Default)]
struct Agents {
    any: bool,
    present: Vec<Weak<Shared>>,
    /// What agents did that have ended: counters must not fall.
    ended: Stats,
    /// Times that an agent lost the signaling server, or could not reach it.
    signaling_failures: u64,
}

impl Metrics {
    /// Tells of a hub too, from now on.
    #[cfg(feature = "hub")]
    pub fn watch_hub(&self, server: &HubServer) {
        *lock(&self.0.hub) = Some(server.monitor());
    }

    /// Tells of agents from now on, though none has joined yet: counters that are there from the
    /// start, at 0, are what Prometheus can compute rates of.
    pub fn expect_agents(&self) {
        lock(&self.0.agents).any = true;
    }

    /// Tells of an agent too, until it ends.
    pub(crate) fn watch_agent(&self, shared: &Arc<Shared>) {
        let mut agents = lock(&self.0.agents);
        agents.any = true;
        agents.present.push(Arc::downgrade(shared));
    }

    /// An agent that was watched ends: what it did stays counted.
    pub(crate) fn agent_ended(&self, ended: &Arc<Shared>, mesh: &Mesh) {
        let mut agents = lock(&self.0.agents);
        let before = agents.present.len();
        agents
            .present
            .retain(|agent| !std::ptr::eq(agent.as_ptr(), Arc::as_ptr(ended)));
        if agents.present.len() < before {
            agents.ended.add(&mesh.stats());
        }
    }

    /// Takes note of what an agent tells.
    pub(crate) fn note(&self, event: &Event) {
        if matches!(event, Event::SignalingLost { .. }) {
            lock(&self.0.agents).signaling_failures += 1;
        }
        self.0.durations.note(event);
    }

    /// Takes note of how long something took.
    pub(crate) fn observe(&self, sample: Sample) {
        self.0.durations.observe(sample);
    }

    /// All of it, as it is now.
    #[cfg_attr(
        not(feature = "hub"),
        expect(clippy::unused_async, reason = "where there is a hub, it is asked")
    )]
    pub async fn render(&self, format: Format) -> String {
        #[cfg(feature = "hub")]
        let hub = {
            let monitor = lock(&self.0.hub).clone();
            match monitor {
                Some(monitor) => Some(HubSnapshot::take(&monitor).await),
                None => None,
            }
        };
        let agents = AgentsSnapshot::take(&self.0.agents);
        let mut registry = Registry::default();
        registry.register(
            "mesh_build",
            "The version of the mesh that runs",
            Info::new([
                ("version", env!("CARGO_PKG_VERSION").to_owned()),
                (
                    "protocol",
                    mesh_core::signaling::PROTOCOL_VERSION.to_string(),
                ),
            ]),
        );
        if agents.is_some() {
            self.0.durations.register(&mut registry);
        }
        registry.register_collector(Box::new(Snapshot {
            agents,
            #[cfg(feature = "hub")]
            hub,
        }));
        let mut written = String::new();
        match format {
            Format::Text => prometheus_text::encode(&mut written, &registry),
            Format::OpenMetrics => text::encode(&mut written, &registry),
        }
        .expect("strings take what is written");
        written
    }
}

/// What was read for one answer.
#[derive(Debug)]
struct Snapshot {
    agents: Option<AgentsSnapshot>,
    #[cfg(feature = "hub")]
    hub: Option<HubSnapshot>,
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = families::Families(encoder);
        if let Some(agents) = &self.agents {
            agents.encode(&mut families)?;
        }
        #[cfg(feature = "hub")]
        if let Some(hub) = &self.hub {
            hub.encode(&mut families)?;
        }
        process::encode(&mut families)
    }
}

/// Locked for moments only, and never while an agent is.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked has told; numbers are as good as before.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
