//! Paths that are direct, or lead over a TURN server.

use super::World;
use super::restart::IceRestart;
use crate::ice::{IceConfig, IceServer};
use crate::id::LinkId;

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
        let pair = (one.min(other), one.max(other));
        if blocked {
            self.blocked.insert(pair);
        } else {
            self.blocked.remove(&pair);
        }
    }

    /// Relays that the TURN server was asked for so far.
    pub fn relays_asked_for(&self) -> usize {
        let ends = self.connections.iter().flat_map(|there| there.relays);
        ends.filter(|relays| *relays).count()
    }

    /// The driver gathers candidates with this.
    pub(super) fn configure(&mut self, agent: usize, link: LinkId, ice: &IceConfig) {
        if let Some(&(connection, side)) = self.agents[agent].links.get(&link) {
            let relays = ice.servers.iter().any(IceServer::is_turn);
            self.connections[connection].relays[side] |= relays;
        }
    }

    /// Whether any path leads from one end of a connection to the other.
    pub(super) fn has_path(&self, connection: usize, agents: [usize; 2]) -> bool {
        let pair = (agents[0].min(agents[1]), agents[0].max(agents[1]));
        let relays = self.connections[connection].relays;
        !self.blocked.contains(&pair) || relays.contains(&true)
    }

    /// A connection opens, perhaps in a further round of its negotiation.
    pub(super) fn opened_after(&mut self, connection: usize) {
        let restart = &mut self.connections[connection].restart;
        restart.take_if(|restart| *restart == IceRestart { answered: true });
    }
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
            let mut world = world(seed);
            world.block_direct(1, 4, true);
            assert!(
                world.run_until(SECOND * 20, World::is_converged),
                "seed {seed}"
            );
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
