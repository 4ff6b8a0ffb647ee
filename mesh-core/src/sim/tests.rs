//! Many agents: joining, dying, healing, delivering.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::config::Adaptive;
use crate::error::{LossReason, SendError};
use crate::id::PeerId;
use crate::io::Event;
use crate::metric::Metric;
use crate::topology::Topology;

const SECOND: Duration = Duration::from_secs(1);

fn open_links(world: &World) -> usize {
    let ends: usize = world
        .living()
        .iter()
        .map(|&i| world.agents()[i].mesh().stats().links.open)
        .sum();
    ends / 2
}

/// Every living agent sends to every other; returns how many messages did not arrive in time.
fn all_pairs(world: &mut World) -> usize {
    let living = world.living();
    let mut awaited = Vec::new();
    for &from in &living {
        for &to in living.iter().filter(|&&to| to != from) {
            let peer = world.agents()[to].id();
            let id = world
                .send(from, Target::Peer(peer), "hello".into(), Delivery::Reliable)
                .unwrap_or_else(|error| panic!("{from} to {to}: {error}"));
            awaited.push((to, id));
        }
    }
    world.run_for(SECOND);
    let arrived = |(to, id): &(usize, MessageId)| {
        world.agents()[*to]
            .received()
            .iter()
            .any(|message| message.id == *id)
    };
    awaited.iter().filter(|pair| !arrived(pair)).count()
}

#[test]
fn a_hundred_agents_joining_at_once_become_one_mesh() {
    let mut world = World::formed(1, Some(20), 100);
    world.run_for(SECOND * 5);
    assert!(world.is_converged());
    assert_eq!(
        open_links(&world),
        1_000,
        "surplus links of the join are gone"
    );
    assert_eq!(all_pairs(&mut world), 0);
}

#[test]
fn by_latency_traffic_leaves_a_slow_link_and_does_not_flap() {
    let mut world = World::new(WorldConfig {
        k: Some(4),
        metric: Metric::Latency,
        latency_max: Duration::from_millis(8),
        ..WorldConfig::new(6)
    });
    world.start_agents(12);
    assert!(world.run_until(SECOND * 20, World::is_converged));
    world.run_for(SECOND * 10);
    let neighbour = (1..12)
        .find(|&i| world.agents()[0].link_to(world.agents()[i].id()).is_some())
        .expect("it has links");
    let to = world.agents()[neighbour].id();
    let hops = |world: &World| {
        let routes = world.agents()[0].mesh().routes();
        let route = routes.iter().find(|route| route.destination == to);
        route.map_or(0, |route| route.hops)
    };
    assert_eq!(hops(&world), 1);
    world.slow_down(0, neighbour, Duration::from_millis(150));
    assert!(
        world.run_until(SECOND * 15, |world| hops(world) > 1),
        "within seconds of the first slow ping"
    );
    let mut changes = 0;
    for _ in 0..60 {
        world.run_for(SECOND);
        changes += usize::from(hops(&world) == 1);
    }
    assert_eq!(changes, 0, "it stays where it is fast");
    world
        .send(0, Target::Peer(to), "quick".into(), Delivery::Reliable)
        .expect("sent");
    world.run_for(Duration::from_millis(100));
    let received = world.agents()[neighbour].received();
    assert!(received.last().is_some_and(|message| message.hops > 1));
    world.slow_down(0, neighbour, Duration::ZERO);
    assert!(
        world.run_until(SECOND * 240, |world| hops(world) == 1),
        "and comes back, when the smoothed round trip has come down"
    );
}

#[test]
fn who_is_avoided_forwards_nothing() {
    let mut world = World::formed(9, Some(4), 14);
    let target = world.agents()[13].id();
    let path = |world: &World| {
        let routes = world.agents()[0].mesh().routes();
        let route = routes.into_iter().find(|r| r.destination == target);
        route.expect("a route").path
    };
    // Whom the path leads through, until a direct link would be needed.
    let through = path(&world);
    assert!(through.len() > 2, "the target is no neighbour");
    let avoided = BTreeSet::from([through[1]]);
    world.command(0, |mesh, now| mesh.avoid(avoided.clone(), now));
    world.run_for(SECOND);
    assert!(path(&world).iter().all(|peer| !avoided.contains(peer)));
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let run = |seed| {
        let mut world = World::formed(seed, Some(4), 20);
        world.crash(3);
        world.run_for(SECOND * 10);
        world.trace()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn a_broadcast_reaches_everybody_once() {
    let mut world = World::formed(2, Some(4), 14);
    for from in 0..14 {
        let payload = format!("from {from}").into();
        let id = world
            .send(from, Target::Room, payload, Delivery::Reliable)
            .expect("sent");
        world.run_for(SECOND);
        for to in (0..14).filter(|&to| to != from) {
            let received = world.agents()[to].received();
            assert_eq!(
                received.iter().filter(|m| m.id == id).count(),
                1,
                "{from} to {to}"
            );
        }
    }
}

#[test]
fn the_mesh_heals_without_the_hub() {
    for seed in 0..10 {
        let mut world = World::formed(seed, Some(4), 14);
        world.crash_hub();
        world.run_for(SECOND);
        assert_eq!(
            all_pairs(&mut world),
            0,
            "seed {seed}: messages go on without the hub"
        );
        world.crash(5);
        world.crash(9);
        assert!(
            world.run_until(SECOND * 30, World::is_converged),
            "seed {seed}: no healing without the hub"
        );
        assert_eq!(all_pairs(&mut world), 0, "seed {seed}");
        world.start_hub();
        let newcomer = world.start_agents(1)[0];
        assert!(
            world.run_until(SECOND * 30, World::is_converged),
            "seed {seed}: the newcomer {newcomer} is not in"
        );
        assert_eq!(all_pairs(&mut world), 0, "seed {seed}");
    }
}

#[test]
fn links_that_die_come_back() {
    for seed in 0..10 {
        let mut world = World::formed(100 + seed, Some(4), 12);
        for (a, b) in [(0, 1), (2, 3), (4, 5), (6, 7), (0, 2), (1, 3)] {
            world.cut(a, b);
        }
        world.run_for(SECOND * 10);
        assert!(
            world.run_until(SECOND * 30, World::is_converged),
            "seed {seed}"
        );
        assert_eq!(all_pairs(&mut world), 0, "seed {seed}");
    }
}

#[test]
fn thirty_percent_dying_at_once_leaves_one_mesh() {
    let mut world = World::formed(3, Some(8), 60);
    world.crash_hub();
    for agent in (0..60).step_by(3).take(18) {
        world.crash(agent);
    }
    assert!(
        world.run_until(SECOND * 60, World::is_converged),
        "no healing"
    );
    assert_eq!(all_pairs(&mut world), 0);
}

#[test]
fn an_agent_that_leaves_is_forgotten_at_once() {
    let mut world = World::formed(4, Some(4), 12);
    let id = world.agents()[5].id();
    world.command(5, |mesh, now| mesh.leave(now));
    world.agents[5].alive = false;
    world.run_for(Duration::from_millis(500));
    for i in world.living() {
        let peers = world.agents()[i].mesh().peers();
        assert!(peers.iter().all(|peer| peer.id != id), "{i} still knows it");
    }
    assert!(world.run_until(SECOND * 20, World::is_converged));
}

#[test]
fn acknowledged_messages_survive_the_death_of_forwarders() {
    for seed in 0..10 {
        let mut world = World::formed(200 + seed, Some(4), 16);
        world.run_for(SECOND * 2); // Until links are measured, a death takes long to be noticed.
        let mut awaited = Vec::new();
        let target = world.agents()[15].id();
        for from in 0..8 {
            let payload = Payload::from("important");
            let to = Target::Peer(target);
            let id = world
                .send(from, to, payload, Delivery::Acknowledged)
                .expect("sent");
            awaited.push((from, id));
        }
        world.crash(10);
        world.crash(12);
        world.run_for(SECOND * 8);
        for (from, id) in awaited {
            let events = world.agents()[from].events();
            let delivered = events
                .iter()
                .any(|e| matches!(e, Event::Delivered { id: d, .. } if *d == id));
            assert!(delivered, "seed {seed}: {from} got no receipt");
            let received = world.agents()[15].received();
            assert_eq!(received.iter().filter(|m| m.id == id).count(), 1);
        }
    }
}

#[test]
fn an_unanswered_message_fails_at_its_deadline() {
    let mut world = World::formed(5, Some(4), 8);
    let target = world.agents()[7].id();
    world.crash(7);
    let to = Target::Peer(target);
    let id = world
        .send(0, to, "anyone?".into(), Delivery::Acknowledged)
        .expect("sent");
    world.run_for(SECOND * 6);
    let failed = |event: &Event| {
        let reason = LossReason::Deadline;
        matches!(event, Event::DeliveryFailed { id: i, reason: r, .. } if (*i, *r) == (id, reason))
    };
    assert!(world.agents()[0].events().iter().any(failed));
}

#[test]
fn worlds_drawn_from_seeds_hold_every_check() {
    for seed in 0..25 {
        Scenario::draw(seed).run();
    }
}

#[test]
fn rough_worlds_drawn_from_seeds_hold_every_check() {
    for seed in 0..25 {
        Scenario::draw_rough(seed).run();
    }
}

#[test]
fn worlds_with_relays_drawn_from_seeds_hold_every_check() {
    for seed in 0..25 {
        Scenario::draw_relayed(seed).run();
    }
}

#[test]
fn a_simulation_is_measured_and_accounts_for_everything() {
    let simulation = Simulation {
        config: WorldConfig::new(3),
        agents: 30,
        messages: 100,
        broadcasts: 4,
        churn: 0.0,
        killed: 0.3,
    };
    let report = simulation.run(|_| {}).expect("it forms and heals");
    assert_eq!(report.killed, 9);
    assert_eq!(report.messages.delivered, report.messages.sent);
    assert_eq!(report.messages.on_shortest_path, report.messages.delivered);
    assert_eq!(report.after.delivered, report.after.sent);
    assert_eq!(report.broadcasts.missed, 0);
    assert_eq!(report, simulation.run(|_| {}).expect("the same again"));
}

#[test]
fn messages_between_shards_go_to_the_gateway_that_is_linked_with_their_destination() {
    let mut config = WorldConfig::new(5);
    config.shard_members = 40;
    config.k = Some(12);
    let simulation = Simulation {
        config,
        agents: 120,
        messages: 500,
        broadcasts: 0,
        churn: 0.0,
        killed: 0.0,
    };
    let messages = simulation.run(|_| {}).expect("it forms").messages;
    let detours = messages.delivered - messages.on_shortest_path;
    assert_eq!(messages.delivered, messages.sent);
    assert!(detours * 20 <= messages.sent, "{detours} detours");
}

#[test]
fn broadcasts_miss_nobody_while_agents_come_and_go() {
    for seed in 0..2 {
        let mut world = World::formed(300 + seed, Some(8), 60);
        world.run_for(SECOND * 5);
        let mut sent = Vec::new();
        for second in 0..15 {
            // More than one in a hundred each second: one dies, one is new.
            world.crash(10 + second);
            world.start_agents(1);
            for from in 0..5 {
                let payload = Payload::from("to all");
                let id = world.send(from, Target::Room, payload, Delivery::Reliable);
                sent.push((from, id.expect("it has links")));
                world.run_for(Duration::from_millis(200));
            }
        }
        world.run_for(SECOND * 15);
        for &(from, id) in &sent {
            // Those who were there all the time.
            for to in (0..10).chain(25..60).filter(|&to| to != from) {
                let received = world.agents()[to].has_received(&id);
                assert!(received, "seed {seed}: {to} has missed {id}");
            }
        }
    }
}

/// The mean number of open links.
fn mean_degree(world: &World) -> f64 {
    2.0 * open_links(world) as f64 / world.living().len() as f64
}

#[test]
fn k_rises_where_messages_are_slow_and_falls_where_they_are_quick_and_never_swings() {
    for (latency_ms, expected) in [(150, 30.0), (20, 10.0)] {
        let mut world = World::new(WorldConfig {
            adaptive: Some(Adaptive::default()),
            latency_min: Duration::from_millis(latency_ms),
            latency_max: Duration::from_millis(latency_ms + 10),
            k: Some(16),
            ..WorldConfig::new(8)
        });
        world.start_agents(40);
        assert!(world.run_until(SECOND * 60, World::is_converged));
        world.run_for(SECOND * 420);
        let degree = mean_degree(&world);
        assert!(
            (degree - expected).abs() < 1.5,
            "{latency_ms} ms: {degree} links"
        );
        let changed = |world: &World| {
            let events = world.agents().iter().map(|agent| agent.events());
            let opened = |event: &&Event| matches!(event, Event::LinkOpened { .. });
            events
                .map(|events| events.iter().filter(opened).count())
                .sum::<usize>()
        };
        let before = changed(&world);
        world.run_for(SECOND * 300);
        assert_eq!(changed(&world), before, "{latency_ms} ms: links at rest");
    }
}

#[test]
fn where_no_mesh_can_form_the_star_is_the_last_resort_and_the_mesh_comes_back() {
    let mut world = World::new(WorldConfig {
        k: Some(4),
        ..WorldConfig::new(10)
    });
    let ids: BTreeSet<PeerId> = {
        world.connect_only_through(Some(usize::MAX));
        world.start_agents(12);
        world.run_for(SECOND * 2);
        world.agents().iter().map(SimAgent::id).collect()
    };
    assert_eq!(open_links(&world), 0);
    let hub = Topology::partial_mesh(&ids, 4).star_hub();
    let hub = world
        .agents()
        .iter()
        .position(|agent| Some(agent.id()) == hub);
    world.connect_only_through(hub);
    let routed = |world: &World| {
        let complete = |agent: &SimAgent| {
            let peers = agent.mesh().peers();
            peers.len() == 11 && peers.iter().all(|peer| peer.hops.is_some())
        };
        world.agents().iter().all(complete)
    };
    assert!(world.run_until(SECOND * 90, routed), "{}", world.troubles());
    assert_eq!(open_links(&world), 11, "a star");
    assert_eq!(all_pairs(&mut world), 0);
    world.connect_only_through(None);
    assert!(world.run_until(SECOND * 120, World::is_converged));
    world.run_for(SECOND * 60);
    assert!(
        (24..=26).contains(&open_links(&world)),
        "{} links",
        open_links(&world)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever happens, and however it shrinks.
    #[test]
    fn worlds_of_any_operations_hold_every_check(
        seed in 0u64..1_000,
        operations in prop::collection::vec(any::<[u8; 4]>(), 0..40),
    ) {
        let operations: Vec<_> = operations.into_iter().map(Operation::from_bytes).collect();
        Scenario { operations: operations.clone(), ..Scenario::draw(seed) }.run();
        Scenario { operations, ..Scenario::draw_rough(seed) }.run();
    }
}

#[test]
fn who_subscribes_hears_those_topics_alone_and_carries_all() {
    let mut world = World::formed(8, Some(4), 12);
    let only = |topic: &str| Some([topic.to_owned()].into());
    for agent in 1..11 {
        let subscribed = world.command(agent, |mesh, _| mesh.subscribe(only("weather")));
        assert_eq!(subscribed, Ok(()));
    }
    // The world's broadcasts have the topic "topic".
    let longest = "t".repeat(crate::TOPIC_BYTES_MAX);
    let topics = BTreeSet::from(["topic".to_owned(), longest]);
    let subscribed = world.command(11, |mesh, _| mesh.subscribe(Some(topics)));
    assert_eq!(subscribed, Ok(()));
    // A topic that no broadcast can have is told, and changes nothing.
    let bytes_max = crate::TOPIC_BYTES_MAX;
    let bytes = bytes_max + 1;
    let refused = world.command(11, |mesh, _| mesh.subscribe(only(&"t".repeat(bytes))));
    assert_eq!(refused, Err(SendError::TopicTooLong { bytes, bytes_max }));
    let sent = world.send(0, Target::Room, "hello".into(), Delivery::Reliable);
    let id = sent.expect("sent");
    world.run_for(SECOND * 3);
    let heard: Vec<_> = (0..12)
        .filter(|&i| world.agents()[i].has_received(&id))
        .collect();
    assert_eq!(heard, [11]);
    assert_eq!(world.agents()[1].mesh().stats().unsubscribed, 1);
    let subscribed = world.command(1, |mesh, _| mesh.subscribe(None));
    assert_eq!(subscribed, Ok(()));
    let sent = world.send(0, Target::Room, "again".into(), Delivery::Reliable);
    let id = sent.expect("sent");
    world.run_for(SECOND * 3);
    assert!(world.agents()[1].has_received(&id));
}
