//! The agents of this process, added up.

use std::fmt;
use std::sync::{Arc, Mutex, Weak};

use mesh_core::{Gauges, LossReason, RejectReason, RepairStep, Stats};
use prometheus_client::registry::Unit;

use super::families::{Families, by_kind};
use super::{Agents, lock};
use crate::shared::Shared;

/// What all agents did, and how those stand that have not ended.
#[derive(Debug)]
pub(super) struct AgentsSnapshot {
    stats: Stats,
    gauges: Vec<Gauges>,
    signaling_failures: u64,
}

impl AgentsSnapshot {
    /// Nothing if there never was an agent, and none is expected.
    pub(super) fn take(agents: &Mutex<Agents>) -> Option<Self> {
        let (present, mut snapshot): (Vec<Arc<Shared>>, _) = {
            let agents = lock(agents);
            // Whoever ends from now on is still read from its own counters, and only from them.
            let present = agents.present.iter().filter_map(Weak::upgrade).collect();
            let snapshot = Self {
                stats: agents.ended.clone(),
                gauges: Vec::new(),
                signaling_failures: agents.signaling_failures,
            };
            agents.any.then_some((present, snapshot))?
        };
        for agent in present {
            let state = agent.lock();
            let mesh = state.agent.mesh();
            snapshot.stats.add(&mesh.stats());
            if state.agent.is_open() {
                snapshot.gauges.push(mesh.gauges());
            }
        }
        Some(snapshot)
    }

    fn sum(&self, of: fn(&Gauges) -> usize) -> usize {
        self.gauges.iter().map(of).sum()
    }

    fn most(&self, of: fn(&Gauges) -> usize) -> usize {
        self.gauges.iter().map(of).max().unwrap_or_default()
    }

    pub(super) fn encode(&self, families: &mut Families<'_>) -> fmt::Result {
        self.encode_members(families)?;
        self.encode_links(families)?;
        self.encode_queues(families)?;
        self.encode_messages(families)?;
        self.encode_rest(families)
    }

    fn encode_members(&self, families: &mut Families<'_>) -> fmt::Result {
        let settled = self.sum(|agent| agent.settled.into());
        families.gauges(
            "mesh_agents",
            "Agents of this process, by whether they have every link that they want and a path to \
             every member.",
            "state",
            [
                ("settled", settled),
                ("unsettled", self.gauges.len() - settled),
            ],
        )?;
        families.gauge(
            "mesh_agents_signaling",
            "Agents that the hub has admitted and that are connected to it.",
            self.sum(|agent| agent.signaling.into()),
        )?;
        families.counter(
            "mesh_signaling_failures",
            "Times that an agent lost the hub, or could not reach it.",
            self.signaling_failures,
        )?;
        families.gauge(
            "mesh_room_members",
            "Members of the room as an agent knows it, of the largest room.",
            self.most(|agent| agent.room_members),
        )?;
        families.gauge(
            "mesh_members_unreachable",
            "Members that an agent knows and has no path to, of the agent with the most.",
            self.most(|agent| agent.unreachable),
        )
    }

    fn encode_links(&self, families: &mut Families<'_>) -> fmt::Result {
        families.gauges(
            "mesh_links",
            "Ends of links at agents of this process, by state.",
            "state",
            [
                ("negotiating", self.sum(|agent| agent.links_negotiating)),
                ("open", self.sum(|agent| agent.links_open)),
                ("draining", self.sum(|agent| agent.links_draining)),
            ],
        )?;
        families.gauge(
            "mesh_links_wanted",
            "Ends of links that the topology wants at agents of this process.",
            self.sum(|agent| agent.links_wanted),
        )?;
        families.gauge(
            "mesh_links_relayed",
            "Links that lead over a TURN server, as far as the agents of this process know: at \
             least one end of each does.",
            self.sum(|agent| agent.links_relayed),
        )?;
        families.gauge(
            "mesh_links_congested",
            "Links whose data channels buffer more than is good, and which get nothing until they \
             have drained.",
            self.sum(|agent| agent.links_congested),
        )?;
        let links = &self.stats.links;
        families.counters(
            "mesh_link_attempts",
            "Attempts to link, by outcome. A peer that has as many links as it allows declines.",
            "outcome",
            [
                ("opened", links.opened),
                ("declined", links.declined),
                ("failed", links.failed.saturating_sub(links.declined)),
            ],
        )?;
        families.counters(
            "mesh_links_closed",
            "Links that closed, by what they were then: in use, or given up before.",
            "state",
            [
                ("open", links.lost),
                ("draining", links.closed.saturating_sub(links.lost)),
            ],
        )?;
        families.counters(
            "mesh_link_rotations",
            "Attempts to give a link fresh keys, by outcome: one that failed left it with those it \
             had.",
            "outcome",
            [
                ("rotated", links.rotated),
                ("failed", links.rotations_failed),
            ],
        )?;
        families.counters(
            "mesh_repairs",
            "What was done for links that were lost or did not open, by step: silent ones that \
             work again, a restart of ICE, another offer, the peer asked for one, another \
             partner on the ring, a star as the last resort.",
            "step",
            by_kind(&RepairStep::ALL, &self.stats.repairs),
        )
    }

    fn encode_queues(&self, families: &mut Families<'_>) -> fmt::Result {
        families.gauge(
            "mesh_link_queue_records",
            "Records that wait to be handed to links.",
            self.sum(|agent| agent.records_queued),
        )?;
        families.gauge_of(
            ("mesh_link_buffered", Unit::Bytes),
            "Bytes of messages that the next hop has not acknowledged: in queues, in data channels \
             and on the way.",
            self.sum(|agent| agent.bytes_unacknowledged) as f64,
        )?;
        let fullest = self.gauges.iter().map(|agent| agent.fullest);
        families.gauge_of(
            ("mesh_link_queue_fill", Unit::Other("ratio".to_owned())),
            "How full the fullest queue of a link is, by its limits of messages and bytes; at 1 \
             senders are held up.",
            fullest.fold(0.0, f64::max),
        )?;
        families.gauge(
            "mesh_messages_waiting",
            "Messages that wait for a path to their target.",
            self.sum(|agent| agent.waiting),
        )?;
        families.gauge(
            "mesh_messages_pending",
            "Acknowledged messages and requests whose outcome is awaited.",
            self.sum(|agent| agent.pending),
        )
    }

    fn encode_messages(&self, families: &mut Families<'_>) -> fmt::Result {
        let stats = &self.stats;
        families.counters(
            "mesh_messages_sent",
            "Messages of agents of this process, to single members and to all.",
            "kind",
            [("direct", stats.sent), ("broadcast", stats.broadcasts)],
        )?;
        families.counter(
            "mesh_messages_delivered",
            "Messages and broadcasts handed to the application.",
            stats.delivered,
        )?;
        families.counter(
            "mesh_messages_forwarded",
            "Envelopes passed on for others, copies of broadcasts among them.",
            stats.forwarded,
        )?;
        families.counter(
            "mesh_messages_acknowledged",
            "Receipts and replies that came back.",
            stats.acknowledged,
        )?;
        families.counter(
            "mesh_messages_duplicate",
            "Copies of messages that had been delivered already, and were dropped.",
            stats.duplicates,
        )?;
        families.counter(
            "mesh_messages_unsubscribed",
            "Broadcasts not handed to the application, which has not subscribed to their topics.",
            stats.unsubscribed,
        )?;
        families.counter(
            "mesh_broadcast_copies",
            "Copies of broadcasts sent to neighbours.",
            stats.broadcast_copies,
        )?;
        families.counters(
            "mesh_messages_lost",
            "Messages lost at agents of this process, by reason. Each counts where it was lost.",
            "reason",
            by_kind(&LossReason::ALL, &stats.lost),
        )?;
        families.counters(
            "mesh_messages_repaired",
            "Messages sent again, by step: those that are not known to have arrived, those of a \
             link that died over another path, broadcasts that the tree missed to a neighbour.",
            "step",
            [
                ("retry", stats.retried),
                ("reroute", stats.rerouted),
                ("mend", stats.broadcasts_mended),
            ],
        )
    }

    fn encode_rest(&self, families: &mut Families<'_>) -> fmt::Result {
        let stats = &self.stats;
        families.counters(
            "mesh_rejected",
            "What came in and was not to be trusted, by reason.",
            "reason",
            by_kind(&RejectReason::ALL, &stats.rejected),
        )?;
        families.counter(
            "mesh_route_changes",
            "Times that an agent found other paths than before.",
            stats.route_changes,
        )?;
        families.counter(
            "mesh_link_states",
            "Link-state records of others taken over.",
            stats.link_states,
        )?;
        families.counters(
            "mesh_frames",
            "Frames over links, by direction.",
            "direction",
            [("in", stats.frames_in), ("out", stats.frames_out)],
        )?;
        families.counters_of(
            ("mesh_frame", Unit::Bytes),
            "Bytes of frames over links, by direction.",
            "direction",
            [("in", stats.bytes_in), ("out", stats.bytes_out)],
        )?;
        families.counters(
            "mesh_pings",
            "Pings that are not sent again if they get lost, by fate.",
            "fate",
            [
                ("answered", stats.pings.answered),
                ("lost", stats.pings.lost),
            ],
        )
    }
}
