//! Networks that fall into two halves, and become one again.

use std::time::Duration;

use super::World;
use crate::io::Event;
use crate::stats::{RepairStep, Stats};

const SECOND: Duration = Duration::from_secs(1);
const AGENTS: usize = 16;

/// Cuts the network between the first half of the agents and the others.
fn part(world: &mut World) {
    for a in 0..AGENTS / 2 {
        for b in AGENTS / 2..AGENTS {
            world.block(a, b);
            world.block(b, a);
        }
    }
}

/// Whether every agent reaches as many others.
fn reach(world: &World, others: usize) -> bool {
    let mut agents = world.agents().iter();
    agents.all(|agent| agent.mesh().routes().len() == others)
}

fn revivals(stats: &Stats) -> u64 {
    let revivals = stats.repairs.get(&RepairStep::Revival);
    revivals.copied().unwrap_or_default()
}

fn revived(world: &World) -> u64 {
    let stats = world.agents().iter().map(|agent| agent.mesh().stats());
    stats.map(|stats| revivals(&stats)).sum()
}

#[test]
fn a_partition_that_heals_while_the_hub_is_dead_merges() {
    for parted_for in [10, 30, 100] {
        for seed in 0..4 {
            let mut world = World::formed(seed, Some(8), AGENTS);
            world.run_for(SECOND * 10);
            world.crash_hub();
            part(&mut world);
            let parted = |world: &World| reach(world, AGENTS / 2 - 1);
            assert!(world.run_until(SECOND * 30, parted), "seed {seed}");
            world.run_for(SECOND * parted_for);
            world.unblock_all();
            let whole = |world: &World| reach(world, AGENTS - 1);
            let merged = world.run_until(SECOND * 3, whole);
            assert!(merged, "seed {seed}: {}", world.troubles());
            assert!(revived(&world) > 0);
            // Links that came back are more than are wanted, and are given up one after the other.
            let converged = world.run_until(SECOND * 150, World::is_converged);
            assert!(converged, "seed {seed}: {}", world.troubles());
            // Until all links are measured anew.
            world.run_for(SECOND * 60);
            assert!(world.run_until(SECOND * 5, World::is_idle));
            world.check_settled();
        }
    }
}

/// The half that still had the hub has dialled the other in vain.
#[test]
fn a_partition_that_heals_after_the_hub_died_in_one_half_merges() {
    for seed in 0..4 {
        let mut world = World::formed(seed, Some(8), AGENTS);
        world.run_for(SECOND * 10);
        part(&mut world);
        for agent in AGENTS / 2..AGENTS {
            world.cut_off_hub(agent);
        }
        world.run_for(SECOND * 40);
        world.crash_hub();
        world.run_for(SECOND * 5);
        assert!(reach(&world, AGENTS / 2 - 1), "seed {seed}");
        world.unblock_all();
        let whole = |world: &World| reach(world, AGENTS - 1);
        let merged = world.run_until(SECOND * 3, whole);
        assert!(merged, "seed {seed}: {}", world.troubles());
    }
}

/// Nothing of a silent link is left once there is another, or for long.
#[test]
fn a_silent_connection_is_closed_when_it_is_of_no_more_use() {
    let mut world = World::formed(3, Some(4), AGENTS);
    world.run_for(SECOND * 10);
    world.crash(0);
    let kept = |world: &World| -> usize {
        let living = world.living().into_iter();
        let meshes = living.map(|agent| world.agents()[agent].mesh());
        meshes.map(|mesh| mesh.silent_peers().len()).sum()
    };
    assert!(world.run_until(SECOND * 20, |world| kept(world) > 0));
    world.run_for(SECOND * 125);
    assert_eq!(kept(&world), 0);
    // A restarted agent is linked anew.
    world.crash(1);
    assert!(world.run_until(SECOND * 20, |world| kept(world) > 0));
    world.restart(1, Duration::ZERO);
    world.run_for(SECOND * 20);
    let linked: Vec<_> = world.agents()[1].mesh().open_peers().collect();
    for agent in world.living() {
        let mesh = world.agents()[agent].mesh();
        let silent = mesh.silent_peers();
        assert!(silent.iter().all(|peer| !linked.contains(peer)));
        let to_restarted = silent.contains(&world.agents()[1].id());
        assert!(!(to_restarted && linked.contains(&world.agents()[agent].id())));
    }
}

/// A link that was lost for silence and works again is told as a link that closes and opens.
#[test]
fn the_application_is_told_of_a_link_that_works_again() {
    let mut world = World::formed(1, None, 2);
    world.run_for(SECOND * 10);
    world.crash_hub();
    world.block(0, 1);
    world.block(1, 0);
    world.run_for(SECOND * 30);
    assert!(reach(&world, 0));
    world.unblock_all();
    world.run_for(SECOND);
    let of_links =
        |event: &&Event| matches!(event, Event::LinkOpened { .. } | Event::LinkClosed { .. });
    for agent in world.agents() {
        let told: Vec<_> = agent.events().iter().filter(of_links).collect();
        let [.., Event::LinkClosed { .. }, Event::LinkOpened { .. }] = told[..] else {
            panic!("{told:?}");
        };
        assert_eq!(revivals(&agent.mesh().stats()), 1);
    }
}
