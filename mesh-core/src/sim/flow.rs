//! Streams of messages: bursts over several hops, links that die or are slow, slow targets.

use std::time::Duration;

use super::*;
use crate::io::Event;

const SECOND: Duration = Duration::from_secs(1);

/// How often a sender that was told to wait asks again.
const TURN: Duration = Duration::from_millis(1);

/// The agent so many hops from the first, on the way that its messages take.
fn so_far_away(world: &World, hops: u8) -> usize {
    let routes = world.agents()[0].mesh().routes();
    let route = routes.iter().find(|route| route.hops == hops);
    let to = route.expect("one is so far away").destination;
    let mut agents = world.agents().iter();
    agents.position(|agent| agent.id() == to).expect("known")
}

/// Sends so many messages, each as soon as it is taken, and lets `meanwhile` happen between them.
/// Returns the ids and how long it took until all were taken.
fn burst(
    world: &mut World,
    (from, to): (usize, usize),
    count: usize,
    mut meanwhile: impl FnMut(&mut World, usize),
) -> (Vec<MessageId>, Duration) {
    let (began, target) = (world.now(), Target::Peer(world.agents()[to].id()));
    let mut ids = Vec::new();
    while ids.len() < count {
        let left = vec!["one of many".into(); (count - ids.len()).min(100)];
        let before = ids.len();
        let sent = world.send_together(from, target, left, Delivery::Reliable);
        ids.extend(sent.into_iter().flatten());
        if before / 500 != ids.len() / 500 {
            meanwhile(world, ids.len());
        }
        world.run_for(TURN);
        assert!(
            world.now().since(began) < SECOND * 600,
            "{} sent",
            ids.len()
        );
    }
    (ids, world.now().since(began))
}

/// Those of them that have arrived.
fn arrived(world: &World, to: usize, ids: &[MessageId]) -> usize {
    ids.iter()
        .filter(|id| world.agents()[to].has_received(id))
        .count()
}

fn failed(world: &World, from: usize) -> usize {
    let events = world.agents()[from].events().iter();
    events
        .filter(|event| matches!(event, Event::DeliveryFailed { .. }))
        .count()
}

/// All have arrived, in order as the world asserts, and none was told to have failed.
fn assert_arrived(world: &mut World, (from, to): (usize, usize), ids: &[MessageId]) {
    let all = |world: &World| arrived(world, to, ids) == ids.len();
    let in_time = world.run_until(SECOND * 120, all);
    assert!(in_time, "{} of {}", arrived(world, to, ids), ids.len());
    assert_eq!(failed(world, from), 0);
}

#[test]
fn bursts_over_one_to_four_hops_arrive_whole_and_in_order() {
    for hops in 1..=4 {
        let mut world = World::formed(1, Some(2), 10);
        world.run_for(SECOND * 3);
        let to = so_far_away(&world, hops);
        let (ids, took) = burst(&mut world, (0, to), 3_000, |_, _| {});
        assert_arrived(&mut world, (0, to), &ids);
        let rate = 3_000.0 / took.as_secs_f64();
        assert!(rate > 1_000.0, "{rate} messages/s over {hops} hops");
        world.run_for(SECOND * 10);
        assert!(world.is_idle(), "{}", world.troubles());
    }
}

#[test]
fn a_burst_survives_links_that_die_on_its_way() {
    for seed in 0..5 {
        let mut world = World::formed(10 + seed, Some(4), 14);
        world.run_for(SECOND * 3);
        let to = so_far_away(&world, 3);
        let target = world.agents()[to].id();
        let (ids, _) = burst(&mut world, (0, to), 3_000, |world, sent| {
            let routes = world.agents()[0].mesh().routes();
            let Some(route) = routes.iter().find(|route| route.destination == target) else {
                return;
            };
            let place = sent / 500 % (route.path.len() - 1);
            let ends = [route.path[place], route.path[place + 1]];
            let index = |id| world.agents().iter().position(|agent| agent.id() == id);
            let [a, b] = ends.map(|id| index(id).expect("known"));
            world.cut(a, b);
        });
        assert_arrived(&mut world, (0, to), &ids);
    }
}

/// A world in which links may be made narrow.
fn rough(seed: u64, k: Option<usize>) -> World {
    World::new(WorldConfig {
        k,
        rough: Some(SMOOTH),
        ..WorldConfig::new(seed)
    })
}

const SMOOTH: Rough = Rough {
    trickle: None,
    opening: Duration::ZERO,
    bandwidth: None,
    loss: 0.0,
    stream_loss: 0.0,
    connecting: Duration::ZERO,
    answering: Duration::ZERO,
};

fn narrow(world: &mut World, agent: usize, bandwidth: u32) {
    for other in (0..world.agents().len()).filter(|&other| other != agent) {
        world.narrow(agent, other, Some(bandwidth));
    }
}

#[test]
fn a_burst_over_a_slow_link_waits_at_its_author_and_arrives() {
    for hops in 1..=4 {
        let mut world = rough(3, Some(2));
        world.start_agents(10);
        assert!(world.run_until(SECOND * 20, World::is_converged));
        world.run_for(SECOND * 3);
        let to = so_far_away(&world, hops);
        narrow(&mut world, to, 8_000);
        let (ids, took) = burst(&mut world, (0, to), 3_000, |world, _| {
            let held = world
                .agents()
                .iter()
                .map(|agent| agent.mesh().envelopes_held().count());
            let most = held.max().unwrap_or_default();
            assert!(most <= 1_024, "{most} envelopes at one agent");
        });
        assert_arrived(&mut world, (0, to), &ids);
        assert!(
            took > SECOND * 2,
            "the author was held up, for {took:?} only"
        );
    }
}

/// The link stands still for a second now and then, as it does while its connection repeats what
/// got lost.
#[test]
fn on_a_path_that_carries_little_no_message_waits_for_long_or_leaves_twice() {
    let mut world = rough(3, None);
    world.start_agents(2);
    assert!(world.run_until(SECOND * 20, World::is_converged));
    let to = Target::Peer(world.agents()[1].id());
    for _ in 0..50 {
        let sent = world.send(0, to, "little".into(), Delivery::Reliable);
        sent.expect("there is room");
        world.run_for(SECOND / 5);
    }
    narrow(&mut world, 1, 100_000);
    let mut ids = Vec::new();
    for turn in 0..60_000 {
        let sent = world.send(0, to, "x".repeat(15_000).into(), Delivery::Reliable);
        ids.extend(sent.ok());
        match turn % 4_000 {
            0 => world.block(0, 1),
            1_000 => world.unblock_all(),
            _ => {}
        }
        world.run_for(TURN);
    }
    assert_arrived(&mut world, (0, 1), &ids);
    // The first ones find out what the path carries.
    let latencies = ids[50..].iter().map(|id| {
        let received = world.agents()[1].received_as(id);
        received.expect("it arrives").latency_ms
    });
    let worst = latencies.fold(0.0, f64::max);
    let retried = world.agents()[0].mesh().stats().retried;
    assert!(ids.len() > 270, "{} of 300 were taken", ids.len());
    assert!(retried <= 5, "{retried} left again");
    assert!(worst < 3_500.0, "{worst} ms");
}

/// A star of five around the first agent, with paths between all.
fn star(seed: u64) -> World {
    let mut world = rough(seed, None);
    world.start_agents(1);
    world.connect_only_through(Some(0));
    world.start_agents(5);
    let middle = world.agents()[0].id();
    let linked = |world: &World| {
        let mut meshes = world.agents()[1..].iter().map(SimAgent::mesh);
        meshes.all(|mesh| mesh.routes().len() == 5 && mesh.link_to(middle).is_some())
    };
    assert!(
        world.run_until(SECOND * 120, linked),
        "{}",
        world.troubles()
    );
    world.run_for(SECOND * 5);
    world
}

#[test]
fn who_sends_little_over_a_link_does_not_wait_for_who_sends_much() {
    let mut world = star(5);
    narrow(&mut world, 2, 500_000);
    let to = Target::Peer(world.agents()[2].id());
    let mut little = Vec::new();
    for turn in 0..5_000 {
        for from in [1, 4, 5] {
            let much = vec!["x".repeat(1_000).into(); 20];
            let _ = world.send_together(from, to, much, Delivery::Reliable);
        }
        if turn % 100 == 99 {
            let sent = world.send(3, to, "little".into(), Delivery::Reliable);
            little.extend(sent.ok());
        }
        world.run_for(TURN);
    }
    world.run_for(SECOND * 10);
    let latencies = little.iter().map(|id| {
        let received = world.agents()[2].received_as(id);
        received.expect("it arrives").latency_ms
    });
    let worst = latencies.fold(0.0, f64::max);
    assert!(little.len() > 45, "{} were taken", little.len());
    // A burst of 128 KiB takes a quarter of a second; three windows of 1 MiB would take six.
    assert!(worst < 700.0, "{worst} ms");
}

/// How long a burst of one agent to another takes in a star, while others send to slow ones or not.
fn beside_slow(slow: bool) -> Duration {
    let mut world = star(4);
    narrow(&mut world, 5, 8_000);
    let lazy = Target::Peer(world.agents()[5].id());
    let (ids, began) = (burst(&mut world, (1, 2), 1, |_, _| {}).0, world.now());
    assert_arrived(&mut world, (1, 2), &ids);
    let mut ids = Vec::new();
    let target = Target::Peer(world.agents()[2].id());
    while arrived(&world, 2, &ids) < 2_000 {
        for from in [1, 3].into_iter().filter(|_| slow) {
            let much = vec!["x".repeat(500).into(); 20];
            let _ = world.send_together(from, lazy, much, Delivery::Reliable);
        }
        let left = vec!["one of many".into(); (2_000 - ids.len()).min(100)];
        let sent = world.send_together(1, target, left, Delivery::Reliable);
        ids.extend(sent.into_iter().flatten());
        world.run_for(TURN);
        assert!(world.now().since(began) < SECOND * 60);
    }
    world.now().since(began)
}

#[test]
fn a_slow_target_holds_up_no_other() {
    let (alone, beside) = (beside_slow(false), beside_slow(true));
    assert!(beside < alone * 3 / 2, "{beside:?} instead of {alone:?}");
}

/// Four agents, and the one that passes on what the first sends to the third: nothing gets from it
/// to the third any more.
fn with_a_forwarder_that_is_stuck(seed: u64) -> (World, usize) {
    let mut world = World::new(WorldConfig::new(seed));
    world.part(0, 2);
    world.start_agents(4);
    let reached = |world: &World| world.agents()[0].mesh().routes().len() == 3;
    assert!(world.run_until(SECOND * 20, reached), "seed {seed}");
    world.run_for(SECOND * 10);
    let to = world.agents()[2].id();
    let routes = world.agents()[0].mesh().routes();
    let route = routes.iter().find(|route| route.destination == to);
    let hop = route.expect("a route").next_hop;
    let mut agents = world.agents().iter();
    let forwarder = agents.position(|agent| agent.id() == hop);
    let forwarder = forwarder.expect("known");
    world.block(forwarder, 2);
    (world, forwarder)
}

/// A stream of one message asks for no news of it. When the agent that was to pass it on is out of
/// reach it does.
#[test]
fn a_single_message_that_died_with_its_forwarder_is_repeated() {
    let mut held = 0;
    for seed in 0..8 {
        let (mut world, forwarder) = with_a_forwarder_that_is_stuck(seed);
        let to = Target::Peer(world.agents()[2].id());
        let id = world.send(0, to, "held".into(), Delivery::Reliable);
        let id = id.expect("taken");
        world.run_for(SECOND / 2);
        let has_come = |world: &World| world.agents()[2].has_received(&id);
        if has_come(&world) {
            continue; // It took another way of the same length.
        }
        world.crash(forwarder);
        assert!(world.run_until(SECOND * 5, has_come), "seed {seed}");
        assert_eq!(failed(&world, 0), 0, "seed {seed}");
        held += 1;
    }
    assert!(held > 0, "no world was as meant");
}

/// The neighbour has acknowledged them, and another way leads to the target.
#[test]
fn many_messages_that_their_forwarder_is_stuck_with_are_soon_repeated_each_alone() {
    let mut held = 0;
    for seed in 0..8 {
        let (mut world, _) = with_a_forwarder_that_is_stuck(seed);
        let to = Target::Peer(world.agents()[2].id());
        let sent = vec!["held".into(); 200];
        let sent = world.send_together(0, to, sent, Delivery::Acknowledged);
        let ids: Vec<_> = sent.into_iter().flatten().collect();
        world.run_for(SECOND / 4);
        if arrived(&world, 2, &ids) > 0 {
            continue; // They took another way of the same length.
        }
        let all = |world: &World| arrived(world, 2, &ids) == ids.len();
        assert!(world.run_until(SECOND, all), "seed {seed}");
        world.run_for(SECOND * 10);
        assert_eq!(failed(&world, 0), 0, "seed {seed}");
        assert_eq!(world.agents()[2].received().len(), ids.len(), "seed {seed}");
        held += 1;
    }
    assert!(held > 0, "no world was as meant");
}

/// What a packet that got lost holds up is late together, and none of it is lost: copies over the
/// same link would only come after it.
#[test]
fn a_path_that_stands_still_for_a_moment_is_given_no_message_twice() {
    let mut world = World::formed(3, None, 2);
    world.run_for(SECOND * 5);
    let to = Target::Peer(world.agents()[1].id());
    let mut ids = Vec::new();
    for turn in 0..150 {
        match turn {
            50 => world.block(0, 1),
            110 => world.unblock_all(),
            _ => {}
        }
        let sent = world.send(0, to, "one of many".into(), Delivery::Acknowledged);
        ids.push(sent.expect("there is room"));
        world.run_for(SECOND / 50);
    }
    assert_arrived(&mut world, (0, 1), &ids);
    let retried = world.agents()[0].mesh().stats().retried;
    assert_eq!(retried, 0, "of 60 that were held up");
}

/// What became of 500 requests of 100 bytes, 20 ms apart, over a path of 150 ms that carries so
/// many bytes a second: their round trips in milliseconds, sorted, and the frames that left.
fn asked_over(bandwidth: u32) -> (Vec<f64>, u64) {
    let latency = Duration::from_millis(150);
    let mut world = World::new(WorldConfig {
        latency_min: latency,
        latency_max: latency + SECOND / 100,
        rough: Some(SMOOTH),
        ..WorldConfig::new(3)
    });
    world.start_agents(2);
    assert!(world.run_until(SECOND * 20, World::is_converged));
    world.run_for(SECOND * 3);
    world.narrow(0, 1, Some(bandwidth));
    let (to, text) = (world.agents()[1].id(), "x".repeat(100));
    let before = world.agents()[0].mesh().stats().frames_out;
    let mut answered = 0;
    for turn in 0..12_000 {
        if turn < 10_000 && turn % 20 == 0 {
            let request = |mesh: &mut crate::Mesh, now| mesh.request(to, (*text).into(), None, now);
            let asked = world.command(0, request).expect("there is room");
            world.sent_elsewhere(asked, &text);
        }
        world.run_for(TURN);
        let asked = world.agents()[1].received()[answered..].iter();
        let asked: Vec<_> = asked.map(|request| request.id).collect();
        answered += asked.len();
        world.command(1, |mesh, now| {
            for request in asked {
                mesh.reply(request, (*text).into(), now).expect("it waits");
            }
        });
    }
    let frames = world.agents()[0].mesh().stats().frames_out - before;
    let events = world.agents()[0].events().iter();
    let round_trips = events.filter_map(|event| match event {
        Event::Replied { round_trip_ms, .. } => Some(*round_trip_ms),
        _ => None,
    });
    let mut round_trips: Vec<_> = round_trips.collect();
    round_trips.sort_by(f64::total_cmp);
    (round_trips, frames)
}

#[test]
fn on_a_path_that_carries_little_requests_share_signatures_and_on_others_leave_at_once() {
    let (little, frames) = asked_over(10_000);
    assert_eq!(little.len(), 500);
    assert!(little[250] < 800.0, "{} ms", little[250]);
    assert!(little[499] < 1_300.0, "{} ms", little[499]);
    assert!(frames < 300, "{frames} frames");
    let (much, frames) = asked_over(1_000_000);
    assert!(much[499] < 350.0, "{} ms", much[499]);
    assert!(frames >= 500, "{frames} frames");
}
