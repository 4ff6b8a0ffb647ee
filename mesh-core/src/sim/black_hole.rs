//! Paths that drop large packets and tell no end.
//!
//! SCTP sends what is lost again and again, and all else waits behind it: from the first large
//! frame on nothing more arrives in that direction, unless its packets are small.

use super::World;
use super::relay::pair;
use crate::id::LinkId;

/// The largest frame that fits a packet which passes.
const PASSES_BYTES: usize = 800;

/// How large the packets are that one end of a connection sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum PacketSize {
    /// As large as is usual.
    #[default]
    Full,
    /// Small.
    Small,
    /// As large as is usual, and one got lost that is sent again and again.
    Stuck,
}

impl World {
    /// Between two agents large packets get lost from now on.
    pub fn drop_large_packets(&mut self, a: usize, b: usize) {
        self.drops_large.insert(pair([a, b]));
    }

    /// A driver chooses the size of a connection's packets.
    pub(super) fn size_packets(&mut self, agent: usize, link: LinkId, small: bool) {
        if let Some(&(connection, side)) = self.agents[agent].links.get(&link)
            && small
        {
            self.connections[connection].sizes[side] = PacketSize::Small;
        }
    }

    /// Whether so many bytes get lost, for they or others before them were too large.
    pub(super) fn is_stuck(&mut self, connection: usize, side: usize, bytes: usize) -> bool {
        let there = &mut self.connections[connection];
        let [Some(one), Some(other)] = [0, 1].map(|side| there.end(side)) else {
            return false;
        };
        let drops_large = self.drops_large.contains(&pair([one.agent, other.agent]));
        let size = &mut there.sizes[side];
        if drops_large && bytes > PASSES_BYTES && *size == PacketSize::Full {
            *size = PacketSize::Stuck;
        }
        *size == PacketSize::Stuck
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::id::Target;
    use crate::io::Event;
    use crate::payload::{Delivery, Payload};
    use crate::sim::WorldConfig;

    const SECOND: Duration = Duration::from_secs(1);
    const AGENTS: usize = 4;

    fn lost_links(world: &World) -> usize {
        let events = world.agents().iter().flat_map(|agent| agent.events());
        let closed = events.filter(|event| matches!(event, Event::LinkClosed { .. }));
        closed.count()
    }

    /// Every agent sends every other a message of several packets. Returns how many.
    fn large_chatter(world: &mut World) -> usize {
        for from in 0..AGENTS {
            for to in (0..AGENTS).filter(|&to| to != from) {
                let to = Target::Peer(world.agents()[to].id());
                let payload = Payload::from("x".repeat(5_000));
                let sent = world.send(from, to, payload, Delivery::Acknowledged);
                sent.expect("taken");
            }
        }
        AGENTS * (AGENTS - 1)
    }

    fn world(seed: u64) -> World {
        let mut world = World::new(WorldConfig {
            rotate_interval: SECOND * 120,
            ..WorldConfig::new(seed)
        });
        world.start_agents(AGENTS);
        let formed = world.run_until(SECOND * 20, World::is_converged);
        assert!(formed, "seed {seed}: {}", world.troubles());
        world
    }

    #[test]
    fn links_over_narrow_paths_carry_large_messages_and_stay() {
        for seed in 0..4 {
            let mut world = world(seed);
            for (a, b) in [(0, 1), (0, 2), (0, 3)] {
                world.drop_large_packets(a, b);
            }
            let mut sent = large_chatter(&mut world);
            world.run_for(SECOND * 20);
            let lost = lost_links(&world);
            assert!(lost > 0, "seed {seed}: no link stood still");
            for _ in 0..50 {
                sent += large_chatter(&mut world);
                world.run_for(SECOND);
            }
            assert_eq!(lost_links(&world), lost, "seed {seed}: links stay");
            // The next keys come with large packets again, once.
            for _ in 0..500 {
                sent += large_chatter(&mut world);
                world.run_for(SECOND);
            }
            let tried = lost_links(&world) - lost;
            // Each of both ends of three links may find so by itself.
            assert!((1..=12).contains(&tried), "seed {seed}: {tried} lost again");
            world.run_for(SECOND * 20);
            let arrived: usize = world.agents().iter().map(|a| a.received().len()).sum();
            assert_eq!(arrived, sent, "seed {seed}");
        }
    }
}
