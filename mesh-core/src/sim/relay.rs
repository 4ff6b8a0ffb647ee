//! Paths that are direct, or lead over a TURN server.

use super::World;
use super::network::{Connection, ConnectionEnd};
use super::restart::IceRestart;
use crate::ice::{CandidateType, IceConfig, IceServer, LinkPath};
use crate::id::LinkId;
use crate::io::Input;

/// The TURN server that the hub of a world may name.
pub(super) fn turn_server() -> IceServer {
    IceServer {
        urls: vec!["turn:turn.example.org:3478".to_owned()],
        username: Some("sim".to_owned()),
        credential: Some("sim".to_owned()),
    }
}

impl World {
    /// No direct path leads from one agent to another any more, or one does again. Connections that
    /// are open go on.
    pub fn block_direct(&mut self, one: usize, other: usize, blocked: bool) {
        let pair = pair([one, other]);
        if blocked {
            self.blocked.insert(pair);
        } else {
            self.blocked.remove(&pair);
        }
    }

    /// The TURN server dies, and all relays with it, or is there again: connections over relays
    /// need a restart then.
    pub fn set_turn_away(&mut self, away: bool) {
        self.turn_is_away = away;
        let relayed = self.connections.iter_mut();
        let relayed = relayed.filter(|there| away && there.is_relayed && there.up);
        relayed.for_each(Connection::hold_up);
    }

    /// Relays that the TURN server was asked for so far.
    pub fn relays_asked_for(&self) -> usize {
        let ends = self.connections.iter().flat_map(|there| there.relays);
        ends.filter(|relays| *relays).count()
    }

    /// The driver gathers candidates with this.
    pub(super) fn configure(&mut self, agent: usize, link: LinkId, ice: &IceConfig) {
        if let Some(&(connection, side)) = self.agents[agent].links.get(&link) {
            let relays = ice.servers.iter().any(IceServer::is_turn) && !self.turn_is_away;
            self.connections[connection].relays[side] |= relays;
        }
    }

    /// Whether any path leads from one end of a connection to the other.
    pub(super) fn has_path(&self, connection: usize, agents: [usize; 2]) -> bool {
        let relays = self.connections[connection].relays;
        let is_let = self.only_through.is_none_or(|only| agents.contains(&only));
        let is_cut = self.parted.contains(&pair(agents));
        let relays = relays.contains(&true) && !self.turn_is_away;
        is_let && !is_cut && (!self.is_blocked(agents) || relays)
    }

    /// A connection finds its path: a direct one, if there is any.
    pub(super) fn choose_path(&mut self, connection: usize, agents: [usize; 2]) {
        self.connections[connection].is_relayed = self.is_blocked(agents);
    }

    /// The drivers of both ends tell the way of a connection, in a world that has several.
    pub(super) fn tell_paths(&mut self, connection: usize, ends: [ConnectionEnd; 2]) {
        if !self.config.turn {
            return;
        }
        let (is_relayed, relays) = {
            let there = &self.connections[connection];
            (there.is_relayed, there.relays)
        };
        // One relay is enough, and the offerer's is there first. Its peer takes the address for one
        // that it has found out itself.
        let side = usize::from(!relays[0]);
        let (here, there) = match is_relayed {
            true => (CandidateType::Relay, CandidateType::Prflx),
            false => (CandidateType::Host, CandidateType::Host),
        };
        let paths = [
            LinkPath::new(here, CandidateType::Host),
            LinkPath::new(CandidateType::Host, there),
        ];
        for (end, path) in [ends[side], ends[1 - side]].into_iter().zip(paths) {
            let link = end.link;
            self.reach(end.agent, Input::LinkPath { link, path });
        }
    }

    fn is_blocked(&self, agents: [usize; 2]) -> bool {
        self.blocked.contains(&pair(agents))
    }

    /// A connection opens, perhaps in a further round of its negotiation.
    pub(super) fn opened_after(&mut self, connection: usize) {
        let restart = &mut self.connections[connection].restart;
        restart.take_if(|restart| *restart == IceRestart { answered: true });
    }
}

/// Two agents, the lower first.
pub(super) fn pair([one, other]: [usize; 2]) -> (usize, usize) {
    (one.min(other), one.max(other))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::WorldConfig;
    use super::*;
    use crate::config::Config;
    use crate::io::Event;

    const SECOND: Duration = Duration::from_secs(1);
    const AGENTS: usize = 6;

    fn world(seed: u64) -> World {
        let mut world = World::new(WorldConfig {
            turn: true,
            ..WorldConfig::new(seed)
        });
        world.start_agents(AGENTS);
        world
    }

    /// One in which no direct path leads from one agent to another, converged.
    fn world_with_blocked_pair(seed: u64) -> World {
        let mut world = world(seed);
        world.block_direct(1, 4, true);
        assert!(
            world.run_until(SECOND * 20, World::is_converged),
            "seed {seed}"
        );
        world
    }

    /// How long the link of an agent to another took to open.
    fn setup(world: &World, one: usize, other: usize) -> Option<Duration> {
        let peer = world.agents()[other].id();
        let events = world.agents()[one].events().iter();
        let mut opened = events.filter_map(|event| match event {
            Event::LinkOpened {
                peer: to, setup_ms, ..
            } if *to == peer => Some(Duration::from_secs_f64(setup_ms / 1e3)),
            _ => None,
        });
        opened.next()
    }

    #[test]
    fn no_relay_is_asked_for_where_all_links_open_directly() {
        for seed in 0..8 {
            let mut world = world(seed);
            assert!(world.run_until(SECOND * 20, World::is_converged));
            world.run_for(SECOND * 60);
            assert_eq!(world.relays_asked_for(), 0, "seed {seed}");
        }
    }

    #[test]
    fn a_pair_without_a_direct_path_is_relayed_within_a_second_after_the_wait() {
        let wait = Config::new("r", "n").expect("valid").turn_fallback_timeout;
        for seed in 0..16 {
            let mut world = world_with_blocked_pair(seed);
            let linked =
                |world: &World| setup(world, 1, 4).is_some() && setup(world, 4, 1).is_some();
            assert!(world.run_until(SECOND * 10, linked), "seed {seed}");
            for (one, other) in [(1, 4), (4, 1)] {
                let took = setup(&world, one, other).expect("open");
                assert!(took > wait && took < wait + SECOND, "seed {seed}: {took:?}");
            }
            assert_eq!(world.relays_asked_for(), 2, "seed {seed}: one an end");
            let failed = world
                .agents()
                .iter()
                .map(|agent| agent.mesh().stats().links.failed);
            assert_eq!(
                failed.sum::<u64>(),
                0,
                "seed {seed}: on the same connection"
            );
        }
    }

    /// Whether an agent's link to another is relayed, as it knows.
    fn path(world: &World, one: usize, other: usize) -> Option<LinkPath> {
        let peer = world.agents()[other].id();
        let peers = world.agents()[one].mesh().peers();
        peers
            .iter()
            .find(|view| view.id == peer)
            .and_then(|view| view.path)
    }

    /// Whether both ends of a link know that it is direct.
    fn is_direct(world: &World, one: usize, other: usize) -> bool {
        let paths = [path(world, one, other), path(world, other, one)];
        let direct = |path: &Option<LinkPath>| path.is_some_and(|path| !path.relayed);
        paths.iter().all(direct)
    }

    #[test]
    fn a_relayed_link_is_direct_within_a_minute_after_it_can_be_and_nothing_is_lost() {
        for seed in 0..16 {
            let mut world = world_with_blocked_pair(seed);
            world.run_for(SECOND * 10);
            let knows = |world: &World| {
                let paths = [path(world, 1, 4), path(world, 4, 1)];
                paths.iter().flatten().any(|path| path.relayed)
            };
            assert!(knows(&world), "seed {seed}");
            let relayed = |world: &World| {
                let gauges = world.agents().iter().map(|agent| agent.mesh().gauges());
                gauges.map(|gauges| gauges.links_relayed).sum::<usize>()
            };
            assert_eq!(
                relayed(&world),
                1,
                "seed {seed}: the end that has the relay knows"
            );
            // It looks for a direct path now and then, in vain, and goes on.
            world.run_for(SECOND * 300);
            let failed = |event: &Event| {
                matches!(event, Event::LinkClosed { .. } | Event::LinkFailed { .. })
            };
            let tries = world.connections.len();
            assert!(
                (20..28).contains(&tries),
                "seed {seed}: {tries} connections"
            );
            world.block_direct(1, 4, false);
            let is_direct = |world: &World| is_direct(world, 1, 4) && !knows(world);
            assert!(
                world.run_until(SECOND * 60, is_direct),
                "seed {seed}: {}",
                world.troubles()
            );
            assert_eq!(relayed(&world), 0, "seed {seed}");
            let told = world
                .agents()
                .iter()
                .any(|agent| agent.events().iter().any(failed));
            assert!(!told, "seed {seed}: it was never away");
            let made = world.connections.len();
            world.run_for(SECOND * 300);
            assert_eq!(world.connections.len(), made, "seed {seed}: it is content");
            world.check_settled();
        }
    }

    #[test]
    fn relayed_links_are_back_when_their_turn_server_is() {
        for seed in 0..16 {
            let mut world = world_with_blocked_pair(seed);
            let linked = |world: &World| world.agents()[1].mesh().stats().links.open == AGENTS - 1;
            world.run_for(SECOND * 10);
            assert!(linked(&world), "seed {seed}");
            world.set_turn_away(true);
            let noticed = world.run_until(SECOND * 20, |world| !linked(world));
            assert!(noticed, "seed {seed}: its relay is gone");
            world.run_for(SECOND * 30);
            assert!(!linked(&world), "seed {seed}: there is no other");
            world.set_turn_away(false);
            let back = world.run_until(SECOND * 90, linked);
            assert!(back, "seed {seed}: {}", world.troubles());
        }
    }

    #[test]
    fn another_network_is_tried_at_once() {
        for seed in 0..8 {
            let mut world = world_with_blocked_pair(seed);
            world.run_for(SECOND * 100);
            world.block_direct(1, 4, false);
            world.inject(1, Input::NetworkChanged);
            let soon = world.run_until(SECOND * 4, |world| is_direct(world, 1, 4));
            let events = world.agents()[4].events().iter();
            let rotated = events.filter(|event| matches!(event, Event::LinkRotated { .. }));
            assert!(soon && rotated.count() > 0, "seed {seed}");
        }
    }

    #[test]
    fn without_a_turn_server_a_pair_without_a_direct_path_talks_over_others() {
        let mut world = World::new(WorldConfig::new(5));
        world.start_agents(AGENTS);
        world.block_direct(1, 4, true);
        let over_another = |world: &World| {
            let peers = world.agents()[1].mesh().peers();
            let other = world.agents()[4].id();
            let mut peers = peers.iter();
            peers.any(|peer| peer.id == other && peer.hops == Some(2))
        };
        assert!(world.run_until(SECOND * 20, over_another));
        world.run_for(SECOND * 20);
        assert_eq!((setup(&world, 1, 4), world.relays_asked_for()), (None, 0));
    }
}
