//! What one member more or less costs the others.

use std::time::Duration;

use super::World;
use super::report::links_touched;
use crate::topology::Analysis;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_join_or_leave_touches_at_most_twice_k_links_and_the_mesh_stays_a_good_one() {
    for seed in 0..3 {
        let mut world = World::formed(seed, Some(20), 100);
        world.run_for(SECOND * 30);
        for change in 0..6 {
            let victim = world.living()[change * 13];
            let left = links_touched(&mut world, |world| world.leave(victim));
            let joined = links_touched(&mut world, |world| {
                world.start_agents(1);
            });
            assert!(left <= 40 && joined <= 40, "seed {seed}: {left}, {joined}");
        }
        // Round trips of the last links are announced within a minute.
        world.run_for(SECOND * 40);
        world.run_until(SECOND * 20, World::is_idle);
        world.check_settled();
        let analysis = Analysis::of(&world.true_graph().1);
        assert!((1_000..=1_010).contains(&analysis.edges), "{analysis:?}");
        assert!(analysis.share_with_degree(20) >= 0.85, "{analysis:?}");
        assert!(analysis.average_path_length < 1.85, "{analysis:?}");
        assert!(analysis.edge_connectivity >= 18, "{analysis:?}");
    }
}

/// Agents that lost links find others, until all have k again and few one or two more.
#[test]
fn when_a_third_dies_the_others_have_k_links_again() {
    let mut world = World::formed(5, Some(10), 60);
    world.run_for(SECOND * 30);
    for agent in 0..20 {
        world.crash(3 * agent);
    }
    world.run_for(SECOND * 60);
    world.check_settled();
    let analysis = Analysis::of(&world.true_graph().1);
    assert!(analysis.share_with_degree(10) >= 0.85, "{analysis:?}");
    let degrees = analysis.degree_distribution.keys();
    assert!(
        degrees.clone().all(|d| (10..=12).contains(d)),
        "{analysis:?}"
    );
}

/// k is 20 in a room of 100, and 25 in one of 101: nobody follows every step to and fro.
#[test]
fn a_room_whose_size_wavers_about_a_step_of_k_keeps_its_links() {
    let mut world = World::formed(6, None, 100);
    world.run_for(SECOND * 30);
    for _ in 0..2 {
        let joined = links_touched(&mut world, |world| {
            world.start_agents(1);
        });
        let newcomer = world.agents().len() - 1;
        let left = links_touched(&mut world, |world| world.leave(newcomer));
        assert!(joined <= 50 && left <= 50, "{joined}, {left}");
    }
}

/// Two that lack a link each and are linked with each other cannot link up: one of them takes the
/// place of somebody else's link, whose other end the second one takes.
#[test]
fn after_a_death_all_have_k_links_again_even_who_are_linked_with_each_other() {
    for seed in 0..12 {
        let mut world = World::formed(seed, Some(6), 20);
        world.run_for(SECOND * 30);
        world.crash(usize::try_from(seed).expect("small"));
        let complete = |world: &World| {
            let mut living = world.living().into_iter();
            living.all(|agent| world.agents()[agent].mesh().open_peers().count() >= 6)
        };
        world.run_for(SECOND * 5);
        assert!(
            world.run_until(SECOND * 25, complete),
            "seed {seed}: {:?}",
            world
                .link_counts()
                .iter()
                .map(|counts| counts.open)
                .collect::<Vec<_>>()
        );
    }
}

/// Where few agents have one link more than they want, the lacks of the others need not pair up.
#[test]
fn in_a_small_room_all_have_k_links_again_after_each_of_many_deaths() {
    const K: usize = 4;
    const AGENTS: usize = 2 * K;
    let is_complete = |world: &World| world.has_links(K);
    for seed in 0..40 {
        let mut world = World::formed(seed, Some(K), AGENTS);
        for death in 0..6 {
            world.run_for(SECOND * 5);
            let living = world.living();
            world.crash(living[(seed as usize + 3 * death) % living.len()]);
            world.run_for(SECOND);
            let complete = world.run_until(SECOND * 9, is_complete);
            assert!(complete, "seed {seed}, death {death}: {}", world.troubles());
            world.start_agents(1);
            world.run_for(SECOND);
            let complete = world.run_until(SECOND * 9, is_complete);
            assert!(complete, "seed {seed}, death {death}: {}", world.troubles());
        }
    }
}
