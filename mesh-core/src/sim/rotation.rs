//! Keys are rotated under traffic: nothing is lost, nothing comes twice, no link is ever missing.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::rough::Rough;
use super::{World, WorldConfig};
use crate::id::Target;
use crate::io::Event;
use crate::payload::Delivery;

const SECOND: Duration = Duration::from_secs(1);
const AGENTS: usize = 12;

fn rotate(world: &mut World, agent: usize) {
    world.command(agent, |mesh, now| mesh.rotate_keys(now));
}

/// Events of links, of all agents.
fn told(world: &World, is: fn(&Event) -> bool) -> usize {
    let events = world.agents().iter().flat_map(|agent| agent.events());
    events.filter(|event| is(event)).count()
}

fn closed(world: &World) -> usize {
    told(world, |event| matches!(event, Event::LinkClosed { .. }))
}

/// Every agent sends every other one message of each kind. Returns how many.
fn chatter(world: &mut World) -> usize {
    let mut sent = 0;
    for from in 0..AGENTS {
        for to in (0..AGENTS).filter(|&to| to != from) {
            let to = Target::Peer(world.agents()[to].id());
            for delivery in [Delivery::Reliable, Delivery::Acknowledged] {
                world.send(from, to, "on".into(), delivery).expect("taken");
                sent += 1;
            }
        }
    }
    sent
}

#[test]
fn keys_are_rotated_under_traffic_and_nobody_notices() {
    for seed in 0..6 {
        let mut world = World::formed(seed, Some(6), AGENTS);
        world.run_for(SECOND * 10);
        let links: usize = world
            .agents()
            .iter()
            .map(|a| a.mesh().open_peers().count())
            .sum();
        let (closed_before, mut sent) = (closed(&world), 0);
        for round in 1..=5 {
            for agent in 0..AGENTS {
                rotate(&mut world, agent);
                sent += chatter(&mut world);
                world.run_for(Duration::from_millis(10));
                let open: usize = world
                    .agents()
                    .iter()
                    .map(|a| a.mesh().open_peers().count())
                    .sum();
                assert_eq!(open, links, "seed {seed}: a link is missing");
            }
            world.run_for(SECOND * 3);
            let rotated = told(&world, |event| matches!(event, Event::LinkRotated { .. }));
            assert!(
                rotated >= round * links,
                "seed {seed}: {rotated} of {links} links"
            );
        }
        world.run_for(SECOND * 5);
        assert_eq!(closed(&world), closed_before, "seed {seed}");
        let arrived: usize = world.agents().iter().map(|a| a.received().len()).sum();
        assert_eq!(arrived, sent, "seed {seed}");
        for agent in world.agents() {
            let stats = agent.mesh().stats();
            assert!(stats.rejected.is_empty(), "{:?}", stats.rejected);
            assert_eq!(stats.links.rotations_failed, 0);
        }
        world.run_for(SECOND * 60);
        world.check_settled();
    }
}

#[test]
fn keys_are_rotated_by_themselves() {
    let mut world = World::new(WorldConfig {
        rotate_interval: SECOND * 20,
        ..WorldConfig::new(1)
    });
    world.start_agents(4);
    world.run_for(SECOND * 60);
    for agent in world.agents() {
        assert!(
            agent.mesh().stats().links.rotated >= 3 * 2,
            "{:?}",
            agent.mesh().stats().links
        );
    }
    assert_eq!(closed(&world), 0);
}

/// Signals and frames are lost, agents are late, paths are slow.
#[test]
fn rotations_in_a_rough_world_lose_and_double_nothing() {
    for seed in 0..20 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut world = World::new(WorldConfig {
            k: Some(5),
            rough: Some(Rough::draw(&mut rng)),
            ..WorldConfig::new(seed)
        });
        world.start_agents(AGENTS);
        world.run_for(SECOND * 30);
        for agent in 0..AGENTS {
            rotate(&mut world, agent);
            world.run_for(SECOND);
        }
        world.run_for(SECOND * 60);
        let rotated = told(&world, |event| matches!(event, Event::LinkRotated { .. }));
        assert!(rotated > 0, "seed {seed}");
        assert!(
            world.run_until(SECOND * 300, World::is_converged),
            "seed {seed}: {}",
            world.troubles()
        );
    }
}
