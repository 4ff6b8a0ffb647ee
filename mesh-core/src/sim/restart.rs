//! Address changes and ICE restarts.
//!
//! Nothing passes over a connection one of whose ends has lost its address, until both ends have
//! gone through a restart; what was sent meanwhile is sent again then, as SCTP does.

use std::time::Duration;

use super::World;
use super::network::ConnectionEnd;
use crate::id::LinkId;
use crate::io::Input;
use crate::media::{TrackKind, Tracks};
use crate::wire::LinkSignal;

/// How a description begins that is of a round for tracks.
const TRACKS: &str = "v=0 tracks";

/// An ICE restart under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IceRestart {
    /// The answer to the latest offer was applied.
    pub(super) answered: bool,
}

impl World {
    /// Every address of an agent is another now: its connections and its WebSocket are of no use,
    /// and its driver notices.
    pub fn change_host(&mut self, agent: usize) {
        let sockets: Vec<_> = self.agents[agent].sockets.keys().copied().collect();
        for &socket in &sockets {
            self.close_socket(agent, socket); // What the agent still says goes nowhere.
        }
        let links: Vec<_> = self.agents[agent].links.clone().into_iter().collect();
        for &(_, (connection, side)) in &links {
            let ends = [side, 1 - side].map(|side| self.connections[connection].end(side));
            if let [Some(here), Some(there)] = ends.map(|end| end.map(|end| end.agent)) {
                self.connections[connection].block(here, there);
                self.connections[connection].block(there, here);
            }
        }
        for (link, _) in links {
            self.reach(agent, Input::LinkStranded { link });
        }
        for socket in sockets {
            let reason = "its address is gone".to_owned();
            self.reach(agent, Input::SignalingClosed { socket, reason });
        }
        self.reach(agent, Input::NetworkChanged);
    }

    /// The driver offers a restart. The old path is given up before there is another.
    pub(super) fn restart_ice(&mut self, agent: usize, link: LinkId) {
        let Some(&(connection, _)) = self.agents[agent].links.get(&link) else {
            return;
        };
        let there = &mut self.connections[connection];
        there.restart = Some(IceRestart { answered: false });
        if there.was_up {
            there.hold_up();
        }
        let sdp = format!("v=0 restart connection {connection}");
        self.restart_signal(agent, link, LinkSignal::Offer { sdp });
    }

    /// The other end's part of a restart.
    pub(super) fn apply_restart(&mut self, agent: usize, link: LinkId, signal: &LinkSignal) {
        let Some(&(connection, _)) = self.agents[agent].links.get(&link) else {
            return;
        };
        match signal {
            LinkSignal::Offer { sdp } => {
                let sdp = sdp.clone();
                self.restart_signal(agent, link, LinkSignal::Answer { sdp });
            }
            LinkSignal::Answer { sdp } if sdp.starts_with(TRACKS) => {}
            LinkSignal::Answer { .. } => {
                self.connections[connection].restart = Some(IceRestart { answered: true });
                let at = self.now + self.config.connect;
                self.queue_at(at, super::Happening::Established { connection });
            }
            LinkSignal::Candidate { .. } => {}
        }
    }

    /// The driver offers a round for tracks: the path stays.
    pub(super) fn offer_tracks(&mut self, agent: usize, link: LinkId, tracks: Tracks) {
        if !self.agents[agent].links.contains_key(&link) {
            return;
        }
        let mut sdp = TRACKS.to_owned();
        for kind in TrackKind::ALL {
            let section = format!("\nm={} 9\na=mid:1\na=recvonly", kind.name());
            sdp.push_str(&section.repeat(tracks.of(kind).into()));
        }
        self.restart_signal(agent, link, LinkSignal::Offer { sdp });
    }

    fn restart_signal(&mut self, agent: usize, link: LinkId, signal: LinkSignal) {
        self.input_later(agent, Input::LinkSignaled { link, signal });
    }

    /// A restart has found a path.
    pub(super) fn restarted(&mut self, connection: usize, ends: [ConnectionEnd; 2]) {
        let there = &mut self.connections[connection];
        if there.restart != Some(IceRestart { answered: true }) {
            return; // Another round has begun since.
        }
        there.restart = None;
        for (at, happening) in there.unblock() {
            self.queue_at(at.max(self.now + Duration::from_millis(1)), happening);
        }
        self.tell_paths(connection, ends);
        for end in ends {
            self.reach(end.agent, Input::LinkReached { link: end.link });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Target;
    use crate::payload::Delivery;
    use crate::stats::RepairStep;

    const SECOND: Duration = Duration::from_secs(1);
    const AGENTS: usize = 20;

    fn count(world: &World, step: RepairStep) -> u64 {
        let stats = world.agents().iter().map(|agent| agent.mesh().stats());
        let counts = stats.map(|stats| stats.repairs.get(&step).copied().unwrap_or_default());
        counts.sum()
    }

    /// Every agent sends the one whose address changes a message, and it every one.
    fn chatter(world: &mut World, agent: usize) -> usize {
        for other in (0..AGENTS).filter(|&other| other != agent) {
            for (from, to) in [(agent, other), (other, agent)] {
                let to = Target::Peer(world.agents()[to].id());
                let sent = world.send(from, to, "on".into(), Delivery::Acknowledged);
                sent.expect("taken");
            }
        }
        2 * (AGENTS - 1)
    }

    #[test]
    fn an_address_change_restarts_the_links_and_loses_nothing() {
        for seed in 0..8 {
            let mut world = World::formed(seed, Some(6), AGENTS);
            world.run_for(SECOND * 10);
            let opened = |world: &World| world.agents()[5].mesh().stats().links.opened;
            let before = world.agents()[5].mesh().open_peers().count();
            let opened_before = opened(&world);
            let sent = chatter(&mut world, 5);
            world.change_host(5);
            let again = |world: &World| world.agents()[5].mesh().open_peers().count() >= before;
            let healed = world.run_until(SECOND, again);
            assert!(healed, "seed {seed}: {}", world.troubles());
            assert!(count(&world, RepairStep::Restart) > 0);
            let revived = count(&world, RepairStep::Revival);
            assert!(revived > 0, "seed {seed}: the same connections");
            assert!(opened(&world) > opened_before);
            world.run_for(SECOND * 20);
            let arrived: usize = world.agents().iter().map(|a| a.received().len()).sum();
            assert_eq!(arrived, sent, "seed {seed}");
            world.run_for(SECOND * 60);
            world.check_settled();
        }
    }

    /// Without the hub, and with every link dead, nothing leads to the others: once it is back the
    /// restarts that waited go on.
    #[test]
    fn restarts_wait_for_the_hub_where_nothing_else_carries_them() {
        let mut world = World::formed(3, Some(6), AGENTS);
        world.run_for(SECOND * 10);
        world.crash_hub();
        world.run_for(SECOND);
        world.change_host(5);
        world.run_for(SECOND * 2);
        assert_eq!(world.agents()[5].mesh().open_peers().count(), 0);
        world.start_hub();
        let back = |world: &World| world.agents()[5].mesh().open_peers().count() >= 6;
        assert!(world.run_until(SECOND * 15, back), "{}", world.troubles());
    }
}
