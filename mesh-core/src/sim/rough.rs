//! Rough worlds: candidates trickle, signals get lost, connections open late or carry little.

use std::collections::VecDeque;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use super::network::ConnectionEnd;
use super::trace::Fault;
use super::{Happening, World};
use crate::id::LinkId;
use crate::io::{Channel, Input};
use crate::rng::unit;
use crate::time::Instant;
use crate::wire::LinkSignal;

/// Bytes that wait in one direction of a connection above which it is congested. Real drivers say
/// so at 256 KiB; bandwidths and messages here are as much smaller.
pub(super) const HIGH_WATER: usize = 4 * 1024;

/// Bytes below which a congested direction has drained.
const LOW_WATER: usize = 1024;

/// Bytes that wait in one direction at which a driver gives the connection up: far more than is
/// sent in one turn. Nobody takes a message that is two minutes old; what is narrow here carries as
/// much in less.
const FULL: usize = 384 * 1024;

/// Candidates that one end finds at most.
const CANDIDATES: u32 = 4;

/// From the moment a driver notices congestion, or its end, until the agent is told.
const TELLING: Duration = Duration::from_millis(1);

/// How rough a world is.
#[derive(Clone, Debug, PartialEq)]
pub struct Rough {
    /// How long after its description an end may find a candidate; `None` if descriptions name all.
    pub trickle: Option<Duration>,
    /// From the moment a path is found until all channels are open at an end, at most.
    pub opening: Duration,
    /// Bytes a second that a new connection carries in each direction; `None` for any number.
    pub bandwidth: Option<u32>,
    /// The share of signals that get lost.
    pub loss: f64,
    /// The share of frames that get lost on the channel that sends nothing again.
    pub stream_loss: f64,
    /// How much longer every second connection takes to be established.
    pub connecting: Duration,
    /// How much longer an answer takes.
    pub answering: Duration,
}

impl Rough {
    /// Draws how rough a world is.
    pub(super) fn draw(rng: &mut ChaCha8Rng) -> Self {
        let mut below = |bound: u32| rng.next_u32() % bound;
        let trickle_ms = [None, Some(50), Some(300), Some(3_000)][below(4) as usize];
        Self {
            trickle: trickle_ms.map(Duration::from_millis),
            opening: Duration::from_millis(u64::from(below(300))),
            bandwidth: [None, None, None, Some(32_000)][below(4) as usize],
            loss: [0.0, 0.05][below(2) as usize],
            stream_loss: 0.0,
            connecting: Duration::ZERO,
            answering: Duration::ZERO,
        }
    }
}

/// What the ends of a connection have told each other of themselves.
#[derive(Debug, Default)]
pub(super) struct Acquaintance {
    /// Descriptions leave candidates to be told later.
    trickles: bool,
    answered: bool,
    /// Each end has a candidate of the other.
    reachable: [bool; 2],
    /// A path is being found.
    connecting: bool,
}

impl Acquaintance {
    pub(super) fn new(trickles: bool) -> Self {
        Self {
            trickles,
            ..Self::default()
        }
    }

    /// An end has got a signal of the other. Returns whether a path can be found now.
    fn learn(&mut self, side: usize, signal: &LinkSignal) -> bool {
        match signal {
            LinkSignal::Answer { .. } => self.answered |= side == 0,
            LinkSignal::Candidate { .. } => self.reachable[side] = true,
            LinkSignal::Offer { .. } => {}
        }
        let reachable = !self.trickles || self.reachable == [true; 2];
        let ready = self.answered && reachable && !self.connecting;
        self.connecting |= ready;
        ready
    }
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// What has not left yet, the next first.
    waiting: VecDeque<Waiting>,
    /// The bytes of that.
    bytes: usize,
    /// The first is leaving.
    leaving: bool,
    congested: bool,
}

impl Flow {
    /// The process that sends is no more.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.bytes = 0;
    }
}

/// Something that waits to leave.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) bytes: usize,
    /// What it takes then to arrive.
    pub(super) latency: Duration,
    pub(super) happening: Happening,
}

impl World {
    /// Makes all that is rough smooth, but for what a mesh must be able to live with for ever.
    pub(super) fn calm_down(&mut self) {
        self.catch_up();
        if let Some(rough) = &mut self.config.rough {
            rough.loss = 0.0;
            rough.connecting = Duration::ZERO;
            rough.answering = Duration::ZERO;
            let bandwidth = rough.bandwidth;
            for connection in &mut self.connections {
                connection.bandwidth = bandwidth;
            }
        }
    }

    /// Changes how rough a rough world is.
    pub fn roughen(&mut self, change: impl FnOnce(&mut Rough)) {
        self.record(Fault::Rough, 0);
        self.config.rough.as_mut().map(change);
    }

    /// The direct connection of two agents carries so many bytes a second each way.
    pub fn narrow(&mut self, a: usize, b: usize, bandwidth: Option<u32>) {
        self.record(Fault::Narrow, a);
        for connection in &mut self.connections {
            if connection.joins(a, b) {
                connection.bandwidth = bandwidth;
            }
        }
    }

    /// Whether a signal gets lost, here and now.
    pub(super) fn is_lost(&mut self) -> bool {
        self.is_among(|rough| rough.loss)
    }

    /// Whether a frame gets lost, here and now.
    pub(super) fn is_frame_lost(&mut self, channel: Channel) -> bool {
        channel == Channel::Stream && self.is_among(|rough| rough.stream_loss)
    }

    fn is_among(&mut self, share: fn(&Rough) -> f64) -> bool {
        let share = self.config.rough.as_ref().map_or(0.0, share);
        share > 0.0 && unit(&mut self.rng) < share
    }

    /// An end of a connection describes itself, and finds candidates.
    pub(super) fn describe(&mut self, end: ConnectionEnd, side: usize, signal: LinkSignal) {
        let ConnectionEnd { agent, link } = end;
        let Some(rough) = self.config.rough.clone() else {
            return self.input_later(agent, Input::LinkSignaled { link, signal });
        };
        let soon = self.in_order(agent);
        let late = if side == 1 {
            rough.answering.mul_f64(0.95 + unit(&mut self.rng) / 10.0)
        } else {
            Duration::ZERO
        };
        self.signal_at(soon + late, end, signal);
        let Some(within) = rough.trickle else {
            return;
        };
        // An answerer's candidates may be there before its answer; an offer comes first.
        let least = u32::from(rough.loss == 0.0);
        let count = least + self.rng.next_u32() % (CANDIDATES + 1 - least);
        let connection = self.agents[agent].links.get(&link).map_or(0, |at| at.0);
        for number in 0..count {
            let found = soon + within.mul_f64(unit(&mut self.rng));
            let candidate = LinkSignal::Candidate {
                candidate: format!("candidate:{number} connection {connection}"),
                mid: Some("0".to_owned()),
                line: Some(0),
            };
            self.signal_at(found, end, candidate);
        }
    }

    fn signal_at(&mut self, at: Instant, end: ConnectionEnd, signal: LinkSignal) {
        if !self.is_lost() {
            let link = end.link;
            self.input_at(at, end.agent, Input::LinkSignaled { link, signal });
        }
    }

    /// An end of a connection hears of the other.
    pub(super) fn apply(&mut self, agent: usize, link: LinkId, signal: &LinkSignal) {
        let Some(&(connection, side)) = self.agents[agent].links.get(&link) else {
            return;
        };
        if let LinkSignal::Candidate { candidate, .. } = signal {
            let ours = candidate.ends_with(&format!(" connection {connection}"));
            let whoami = self.whoami(agent);
            assert!(ours, "{whoami}: {candidate} of another attempt");
        }
        if self.connections[connection].restart.is_some() {
            return self.apply_restart(agent, link, signal);
        }
        let acquaintance = &mut self.connections[connection].acquaintance;
        if !acquaintance.learn(side, signal) {
            return;
        }
        let mut takes = self.config.connect.mul_f64(0.5 + unit(&mut self.rng));
        let more = self.config.rough.as_ref().map(|rough| rough.connecting);
        if let Some(more) = more.filter(|more| !more.is_zero()) {
            let slowly = self.rng.next_u32().is_multiple_of(2);
            let more = more.mul_f64(0.95 + unit(&mut self.rng) / 10.0);
            takes += if slowly { more } else { Duration::ZERO };
        }
        self.queue_at(self.now + takes, Happening::Established { connection });
    }

    /// A path is found: each end opens its channels in its own time.
    pub(super) fn open_ends(&mut self, connection: usize, ends: [ConnectionEnd; 2]) {
        let rough = self.config.rough.as_ref();
        let within = rough.map_or(Duration::ZERO, |rough| rough.opening);
        let opens = ends.map(|_| self.now + within.mul_f64(unit(&mut self.rng)));
        for (end, at) in ends.into_iter().zip(opens) {
            let link = end.link;
            self.input_at(at, end.agent, Input::LinkOpened { link });
        }
        // Nothing reaches an end that is not open.
        self.connections[connection].arrival = [opens[1], opens[0]];
        for end in ends {
            self.reach(end.agent, Input::LinkReached { link: end.link });
        }
    }

    /// Something is to leave in one direction of a rough world's connection, after all before it.
    pub(super) fn enqueue(&mut self, connection: usize, side: usize, waiting: Waiting) {
        let there = &mut self.connections[connection];
        let free = there.flows[side].waiting.is_empty() && there.sends(side);
        if free && there.bandwidth.is_none() {
            return self.arrive(connection, side, waiting.latency, waiting.happening);
        }
        let flow = &mut there.flows[side];
        flow.bytes += waiting.bytes;
        flow.waiting.push_back(waiting);
        if flow.bytes > FULL {
            self.give_up(connection, side);
        } else {
            self.send_next(connection, side);
            self.tell_congestion(connection, side);
        }
    }

    /// Too much waits on a connection: the driver closes it, and the other end may find out.
    fn give_up(&mut self, connection: usize, side: usize) {
        if let Some(ConnectionEnd { agent, link }) = self.connections[connection].end(side) {
            self.agents[agent].links.remove(&link);
            self.connections[connection].lose_end(agent);
            let reason = "too much waits to be sent".to_owned();
            self.input_at(
                self.now + TELLING,
                agent,
                Input::LinkClosed { link, reason },
            );
        }
    }

    /// Has what waits in a direction leave, if it can.
    pub(super) fn send_next(&mut self, connection: usize, side: usize) {
        let there = &mut self.connections[connection];
        let can_send = there.sends(side);
        let (flow, bandwidth) = (&mut there.flows[side], there.bandwidth);
        let Some(next) = flow.waiting.front().filter(|_| can_send && !flow.leaving) else {
            return;
        };
        let takes = bandwidth.map_or(0.0, |per_s| next.bytes as f64 / f64::from(per_s));
        flow.leaving = true;
        let at = self.now + Duration::from_secs_f64(takes);
        self.queue_at(at, Happening::Left { connection, side });
    }

    /// The first that waited has left, unless the direction is broken by now.
    pub(super) fn left(&mut self, connection: usize, side: usize) {
        let now = self.now;
        let there = &mut self.connections[connection];
        there.flows[side].leaving = false;
        if there.closes_by.is_some_and(|at| at < now) {
            return there.flows[side].clear();
        }
        if !there.sends(side) {
            return;
        }
        let flow = &mut there.flows[side];
        if let Some(waiting) = flow.waiting.pop_front() {
            flow.bytes -= waiting.bytes;
            self.arrive(connection, side, waiting.latency, waiting.happening);
        }
        self.send_next(connection, side);
        self.tell_congestion(connection, side);
    }

    /// What was blocked leaves.
    pub(super) fn unstick(&mut self, connection: usize) {
        (0..2).for_each(|side| self.send_next(connection, side));
    }

    fn tell_congestion(&mut self, connection: usize, side: usize) {
        let there = &mut self.connections[connection];
        let flow = &mut there.flows[side];
        let congested = if flow.congested {
            flow.bytes >= LOW_WATER
        } else {
            flow.bytes > HIGH_WATER
        };
        if std::mem::replace(&mut flow.congested, congested) == congested {
            return;
        }
        if let Some(ConnectionEnd { agent, link }) = there.end(side) {
            let input = if congested {
                Input::LinkCongested { link }
            } else {
                Input::LinkDrained { link }
            };
            self.input_at(self.now + TELLING, agent, input);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::WorldConfig;
    use super::*;
    use crate::id::Target;
    use crate::payload::{Delivery, Payload};

    const SECOND: Duration = Duration::from_secs(1);

    fn rough(trickle: Option<Duration>) -> Rough {
        Rough {
            trickle,
            opening: Duration::from_millis(100),
            bandwidth: None,
            loss: 0.0,
            stream_loss: 0.0,
            connecting: Duration::ZERO,
            answering: Duration::ZERO,
        }
    }

    fn world(agents: usize, rough: Rough) -> World {
        let mut world = World::new(WorldConfig {
            rough: Some(rough),
            ..WorldConfig::new(1)
        });
        world.start_agents(agents);
        world
    }

    #[test]
    fn a_narrow_link_says_that_it_is_congested_and_that_it_has_drained() {
        let mut world = world(2, rough(None));
        assert!(world.run_until(SECOND * 20, World::is_converged));
        world.run_for(SECOND * 5);
        world.narrow(0, 1, Some(2_000));
        let to = Target::Peer(world.agents[1].id());
        let payload = || Payload::from("x".repeat(1_000));
        for _ in 0..20 {
            let sent = world.send(0, to, payload(), Delivery::Reliable);
            sent.expect("there is room");
        }
        let congested = |world: &World| world.agents[0].mesh.gauges().links_congested == 1;
        assert!(world.run_until(SECOND, congested));
        assert!(world.run_until(SECOND * 20, |world| !congested(world)));
        assert!(world.run_until(SECOND * 20, World::is_idle));
        let took = world.now().since(Instant::default());
        assert_eq!(world.agents[1].received().len(), 20);
        assert!(took > SECOND * 10, "20 KB at 2 KB/s: {took:?}");
    }

    #[test]
    fn a_path_needs_the_answer_and_a_candidate_at_each_end() {
        let answer = LinkSignal::Answer { sdp: String::new() };
        let candidate = LinkSignal::Candidate {
            candidate: String::new(),
            mid: None,
            line: None,
        };
        let mut trickling = Acquaintance::new(true);
        assert!(!trickling.learn(1, &candidate));
        assert!(!trickling.learn(0, &answer));
        assert!(trickling.learn(0, &candidate));
        assert!(!trickling.learn(0, &candidate), "once");
        assert!(Acquaintance::new(false).learn(0, &answer));
    }

    #[test]
    fn where_all_signals_get_lost_no_link_opens_and_where_none_do_all_open() {
        let lost = Rough {
            loss: 1.0,
            ..rough(Some(SECOND))
        };
        let mut world = world(3, lost);
        world.run_for(SECOND * 30);
        let opened = |world: &World| -> u64 {
            let counts = world.link_counts().into_iter();
            counts.map(|links| links.opened).sum()
        };
        assert_eq!(opened(&world), 0);
        world.calm_down();
        assert!(world.run_until(SECOND * 90, World::is_converged));
        assert_eq!(opened(&world), 6);
    }

    #[test]
    fn what_a_path_loses_is_told_and_costs_no_link() {
        for (stream_loss, told) in [(0.0, 0.0..=0.0), (0.2, 0.1..=0.5)] {
            let lossy = Rough {
                stream_loss,
                ..rough(None)
            };
            let mut world = world(3, lossy);
            world.run_for(SECOND * 600);
            for agent in &world.agents {
                let peers = agent.mesh.peers();
                let mut losses = peers.iter().filter_map(|peer| peer.loss);
                assert!(losses.all(|loss| told.contains(&loss)), "{peers:?}");
                assert!(peers.iter().all(|peer| peer.loss.is_some()), "{peers:?}");
                let stats = agent.mesh.stats();
                assert_eq!(stats.links.lost, 0);
                assert_eq!(stats.pings.lost > 0, stream_loss > 0.0, "{stats:?}");
            }
        }
    }

    #[test]
    fn a_path_is_found_before_the_channels_open() {
        let mut world = world(2, rough(None));
        assert!(world.run_until(SECOND * 20, World::is_converged));
        let events = world.agents[0].events().iter();
        let opened = events.filter_map(|event| match event {
            crate::Event::LinkOpened {
                setup_ms,
                reached_ms,
                ..
            } => Some((*setup_ms, *reached_ms)),
            _ => None,
        });
        let opened: Vec<_> = opened.collect();
        assert!(
            matches!(opened[..], [(setup, Some(reached))] if reached < setup),
            "{opened:?}"
        );
    }
}
