//! What the application can ask.

use std::time::Duration;

use super::Mesh;
use crate::config::Config;
use crate::doctor::{Finding, PairEnd, diagnose_pair};
use crate::error::MeshError;
use crate::id::{LinkId, PeerId};
use crate::link_report::LinkReport;
#[cfg(any(test, feature = "sim"))]
use crate::routing::SharedRecords;
use crate::stats::{Gauges, LinkCounts, Stats};
use crate::time::Instant;
use crate::topology::Shards;
use crate::view::{LinkView, NodeView, PeerView, RouteView, TimeoutView, TopologyView};
#[cfg(any(test, feature = "sim"))]
use crate::wire::Envelope;

impl Mesh {
    /// This agent's identity.
    pub fn id(&self) -> PeerId {
        self.cx.this
    }

    /// The link to a peer, open or being negotiated.
    pub fn link_to(&self, peer: PeerId) -> Option<LinkId> {
        self.links.id_of(peer)
    }

    /// How this agent behaves.
    pub fn config(&self) -> &Config {
        &self.cx.config
    }

    /// Every other member of the room; of one that is divided, of this agent's shard. Messages can
    /// be sent to members of other shards too, by their ids.
    pub fn peers(&self) -> Vec<PeerView> {
        self.overlay
            .members()
            .map(|id| {
                let link = self.links.open_to(id);
                let route = self.routing.routes().get(id);
                PeerView {
                    id,
                    name: self.overlay.name_of(id, &self.routing),
                    direct: link.is_some(),
                    hops: route.map(|route| route.hops),
                    next_hop: route.and_then(|route| route.next_hops.first().copied()),
                    rtt_ms: link.and_then(|link| link.keepalive.srtt()).map(millis),
                    loss: link.and_then(|link| link.keepalive.loss()),
                    path: link.and_then(|link| link.path),
                    bytes_in: link.map(|link| link.carried.bytes_in),
                    bytes_out: link.map(|link| link.carried.bytes_out),
                    in_hub: self.overlay.lists(id),
                }
            })
            .collect()
    }

    /// The routing table.
    pub fn routes(&self) -> Vec<RouteView> {
        self.routing
            .routes()
            .iter()
            .map(|(destination, route)| {
                let path = self.routing.routes().path(self.cx.this, destination);
                RouteView {
                    destination,
                    name: self.overlay.name_of(destination, &self.routing),
                    next_hop: path.get(1).copied().unwrap_or(destination),
                    hops: route.hops,
                    path,
                }
            })
            .collect()
    }

    /// The mesh as this agent knows it: every link that both ends announce.
    pub fn topology(&self) -> TopologyView {
        let ids = std::iter::once(self.cx.this).chain(self.overlay.members());
        let mut nodes: Vec<_> = ids
            .map(|id| NodeView {
                id,
                name: self.label_of(id),
            })
            .collect();
        nodes.sort_unstable_by_key(|node| node.id);
        TopologyView {
            this: self.cx.this,
            room_members: self.overlay.room_members(),
            shards: self.overlay.shards().count(),
            nodes,
            links: self.link_views(),
        }
    }

    fn link_views(&self) -> Vec<LinkView> {
        let mut links = Vec::new();
        for (source, state) in self.routing.database().states() {
            for ours in &state.links {
                let other = self.routing.database().by_prefix(ours.peer_prefix);
                let Some((target, state)) = other.filter(|(target, _)| source < *target) else {
                    continue;
                };
                let Some(theirs) = state.link_to(source) else {
                    continue;
                };
                let measured = [ours.rtt_us, theirs.rtt_us].into_iter();
                let measured = measured.filter(|rtt_us| *rtt_us > 0).min();
                links.push(LinkView {
                    source,
                    target,
                    rtt_ms: measured.map(|us| f64::from(us) / 1e3),
                });
            }
        }
        links
    }

    /// How this agent sees its link to another member, or why it has none, as of the last call. See
    /// [`Mesh::explain_link`] to ask others.
    pub fn link_report(&self, peer: PeerId) -> LinkReport {
        let (links, routing) = (&self.links, &self.routing);
        self.overlay.report(peer, links, routing, &self.cx)
    }

    /// What keeps two members from being linked, if anything does, as their ends have told
    /// ([`Mesh::explain_link`]): an end that gave no answer has its error.
    pub fn diagnose_pair(
        &self,
        ends: [(PeerId, Result<LinkReport, MeshError>); 2],
    ) -> Vec<Finding> {
        let ends = ends.map(|(id, report)| {
            let route = self.routing.routes().get(id);
            let hops = route.map(|route| route.hops);
            PairEnd {
                id,
                name: self.label_of(id),
                hops: hops.or((id == self.cx.this).then_some(0)),
                report,
            }
        });
        diagnose_pair(&ends, |id| self.label_of(id))
    }

    fn label_of(&self, id: PeerId) -> String {
        if id == self.cx.this {
            self.cx.config.name.clone()
        } else {
            self.overlay.name_of(id, &self.routing)
        }
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        let count = |pick: fn(&crate::links::Link) -> bool| {
            self.links.iter().filter(|link| pick(link)).count()
        };
        Stats {
            links: LinkCounts {
                open: count(crate::links::Link::is_open),
                negotiating: count(crate::links::Link::is_negotiating),
                wanted: self.overlay.wanted().len(),
                ..self.cx.stats.links
            },
            ..self.cx.stats.clone()
        }
    }

    /// When this agent acts by itself next, and why.
    pub fn next_timeout(&self, now: Instant) -> Option<TimeoutView> {
        let (at, reason) = self.poll_timeout()?;
        let in_ms = millis(at.since(now));
        Some(TimeoutView { in_ms, reason })
    }

    /// How it stands.
    pub fn gauges(&self) -> Gauges {
        let mut gauges = Gauges {
            links_wanted: self.overlay.wanted().len(),
            settled: self.is_settled(),
            signaling: self.signaling.is_admitted(),
            room_members: self.overlay.room_members(),
            pending: self.messages.pending_len(),
            waiting: self.messages.waiting_len(),
            ..Gauges::default()
        };
        let members = self.overlay.members();
        gauges.unreachable = members
            .filter(|&peer| !self.routing.routes().contains(peer))
            .count();
        for link in self.links.connections() {
            gauges.links_open += usize::from(link.is_open());
            gauges.links_negotiating += usize::from(link.is_negotiating());
            gauges.links_draining += usize::from(link.is_draining());
            let relayed = link.is_open() && link.path.is_some_and(|path| path.relayed);
            gauges.links_relayed += usize::from(relayed);
            gauges.links_congested += usize::from(link.queue.is_congested());
            gauges.records_queued += link.queue.queued();
            gauges.bytes_unacknowledged += link.queue.unacknowledged_bytes();
            gauges.fullest = gauges.fullest.max(link.queue.fill(&self.cx.config));
        }
        gauges
    }

    /// How the room is divided.
    pub fn shards(&self) -> Shards {
        self.overlay.shards()
    }

    /// How many are in the room, this agent among them.
    pub fn room_members(&self) -> usize {
        self.overlay.room_members()
    }

    /// How many others this agent knows: in a divided room, of its shard.
    pub fn members(&self) -> usize {
        self.overlay.members_len()
    }

    /// Whether every wanted link is open and every member can be reached: the mesh has converged,
    /// as far as this agent can tell.
    pub fn is_settled(&self) -> bool {
        let mut members = self.overlay.members();
        let routed = members.all(|peer| self.routing.routes().contains(peer));
        routed && self.is_linked()
    }

    /// Whether every wanted link is open, and no change of the room is yet to be followed.
    pub(crate) fn is_linked(&self) -> bool {
        self.overlay.is_linked(&self.links)
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// What the simulator looks at.
#[cfg(any(test, feature = "sim"))]
impl Mesh {
    /// Holds link-state records once together with the other agents of a world.
    pub(crate) fn share_records(&mut self, records: SharedRecords) {
        self.routing.share_records(records);
    }

    /// Computes all paths again, whether anything has happened or not.
    pub fn recompute_routes(&mut self) {
        self.routing.recompute(&self.links, &self.cx);
    }

    /// Whether the room is divided so, and its shard consists of the members that this agent knows.
    pub(crate) fn knows(&self, shards: Shards, divided: &[Vec<PeerId>]) -> bool {
        let shard = &divided[shards.of(self.cx.this)];
        let others = shard.iter().copied().filter(|&peer| peer != self.cx.this);
        let as_many = shard.len() == self.overlay.members_len() + 1;
        shards == self.overlay.shards() && as_many && self.overlay.members().eq(others)
    }

    pub(crate) fn is_star(&self) -> bool {
        self.overlay.is_star_centre()
    }

    /// Whether its driver has been late of late.
    pub(crate) fn seems_late(&self) -> bool {
        self.cx.lag() > Duration::ZERO
    }

    pub(crate) fn link_count(&self) -> usize {
        self.links.len()
    }

    /// The most records that wait on one link.
    pub(crate) fn queued_max(&self) -> usize {
        let queues = self.links.connections().map(|link| link.queue.queued());
        queues.max().unwrap_or_default()
    }

    /// Envelopes that it is responsible for: no next hop has acknowledged them.
    pub(crate) fn envelopes_held(&self) -> impl Iterator<Item = &Envelope> {
        let links = self.links.connections();
        links.flat_map(|link| link.queue.unacknowledged())
    }

    /// The messages in them.
    pub(crate) fn messages_held(&self) -> u64 {
        let held = self.envelopes_held();
        held.map(|envelope| envelope.messages() as u64).sum()
    }

    /// Whether nothing waits to be sent, acknowledged, answered or gossiped.
    pub(crate) fn is_idle(&self) -> bool {
        let mut links = self.links.connections();
        links.all(|link| link.queue.is_settled())
            && self.messages.is_idle()
            && self.routing.is_idle()
    }

    pub(crate) fn open_peers(&self) -> impl Iterator<Item = PeerId> {
        let open = self.links.iter().filter(|link| link.is_open());
        open.map(|link| link.peer)
    }
}

#[cfg(test)]
impl Mesh {
    /// Whether an agent has said goodbye to this one.
    pub(crate) fn has_departed(&self, peer: PeerId) -> bool {
        self.routing.has_departed(peer)
    }

    /// The link to a peer, if messages may be routed over it.
    pub(crate) fn open_link_to(&self, peer: PeerId) -> Option<&crate::links::Link> {
        self.links.open_to(peer)
    }

    /// The neighbours that a source's broadcasts are passed on to.
    pub(crate) fn children(&self, source: PeerId) -> Option<Vec<PeerId>> {
        self.routing.children(source, &self.cx)
    }

    /// The peers of connections that are kept though they are silent.
    pub(crate) fn silent_peers(&self) -> Vec<PeerId> {
        self.links.silent_peers().collect()
    }

    pub(crate) fn incarnation(&self) -> u64 {
        self.trust.incarnation()
    }

    /// Link-state records held.
    pub(crate) fn records(&self) -> usize {
        self.routing.database().len()
    }

    pub(crate) fn last_broadcast(&self) -> crate::id::MessageId {
        let target = crate::id::Target::Room;
        crate::id::MessageId {
            author: self.cx.this,
            incarnation: self.trust.incarnation(),
            target,
            sequence: self.messages.last_sequence(target),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Target;
    use crate::payload::Delivery;
    use crate::samples::Sample;
    use crate::sim::World;
    use crate::stats::RepairStep;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_links_carry_is_told_of_each_and_goes_on_with_fresh_keys() {
        let mut world = World::formed(3, Some(2), 3);
        world.run_for(SECOND * 3);
        world.command(0, |mesh, now| mesh.rotate_keys(now));
        world.run_for(SECOND * 3);
        for agent in world.agents() {
            let (stats, peers) = (agent.mesh().stats(), agent.mesh().peers());
            assert!(stats.links.rotated > 0);
            let sum = |bytes: fn(&PeerView) -> Option<u64>| peers.iter().filter_map(bytes).sum();
            let [bytes_in, bytes_out]: [u64; 2] = [sum(|it| it.bytes_in), sum(|it| it.bytes_out)];
            // What was said over the former connections after they were replaced is not the link's.
            assert!(bytes_in * 10 > stats.bytes_in * 9 && bytes_in <= stats.bytes_in);
            assert!(bytes_out * 10 > stats.bytes_out * 9 && bytes_out <= stats.bytes_out);
        }
    }

    #[test]
    fn gauges_follow_the_mesh_and_repairs_are_counted_by_step() {
        let mut world = World::formed(3, Some(2), 3);
        world.run_for(SECOND * 3);
        let formed = world.agents()[0].mesh().gauges();
        let expected = Gauges {
            links_open: 2,
            links_wanted: 2,
            settled: true,
            signaling: true,
            room_members: 3,
            ..Gauges::default()
        };
        assert_eq!(formed, expected);
        assert!(world.agents()[0].mesh().stats().route_changes > 0);

        world.freeze(1);
        let to = Target::Peer(world.agents()[1].id());
        let payloads = vec!["unheard".into(); 4];
        world.send_together(0, to, payloads, Delivery::Acknowledged);
        world.run_for(SECOND);
        let stalled = world.agents()[0].mesh().gauges();
        assert!(stalled.bytes_unacknowledged > 0 && stalled.fullest > 0.0);
        assert_eq!(stalled.pending, 4);
        // The hub lists it, so it is missed; without the hub it is not known any more.
        let apart = |world: &World| world.agents()[0].mesh().gauges().unreachable == 1;
        assert!(world.run_until(SECOND * 60, apart));
        world.crash_hub();
        world.run_for(SECOND);
        let alone = world.agents()[0].mesh().gauges();
        assert_eq!((alone.unreachable, alone.signaling), (0, false));
        world.thaw(1);
        world.start_hub();
        let healed = |world: &World| {
            let mut agents = world.agents().iter();
            agents.all(|agent| agent.mesh().gauges().settled)
        };
        assert!(world.run_until(SECOND * 120, healed));
        let repairs = world.agents()[0].mesh().stats().repairs;
        assert!(repairs.contains_key(&RepairStep::Restart), "{repairs:?}");
    }

    #[test]
    fn a_link_to_an_agent_that_leaves_is_closed_and_not_lost() {
        let mut world = World::formed(1, None, 3);
        world.leave(1);
        world.run_for(SECOND * 5);
        let left = world.agents()[0].mesh().stats().links;
        assert_eq!((left.closed, left.lost), (1, 0));
        world.crash(2);
        world.run_for(SECOND * 60);
        let crashed = world.agents()[0].mesh().stats().links;
        assert_eq!((crashed.closed, crashed.lost), (2, 1));
    }

    #[test]
    fn samples_are_taken_for_whoever_asks() {
        let mut world = World::formed(1, None, 3);
        assert_eq!(world.mesh_mut(0).poll_sample(), None, "nobody has asked");
        world.mesh_mut(0).take_samples(|| Duration::ZERO);
        let to = Target::Peer(world.agents()[1].id());
        world.send_together(0, to, vec!["signed".into()], Delivery::Acknowledged);
        world.run_for(SECOND * 20);
        let mesh = world.mesh_mut(0);
        let samples: Vec<_> = std::iter::from_fn(|| mesh.poll_sample()).collect();
        let has = |wanted: fn(&Sample) -> bool| samples.iter().any(wanted);
        assert!(has(|it| matches!(it, Sample::Signed(_))), "{samples:?}");
        assert!(has(|it| matches!(it, Sample::Verified(_))), "{samples:?}");
        assert!(has(
            |it| matches!(it, Sample::RoundTrip(took) if !took.is_zero())
        ));
    }
}
