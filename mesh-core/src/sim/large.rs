//! Large messages: whole or told, in the way of no other.

use std::time::Duration;

use super::*;
use crate::error::LossReason;
use crate::id::PeerId;
use crate::io::Event;

const SECOND: Duration = Duration::from_secs(1);
const MIB: usize = 1 << 20;

fn bytes(len: usize) -> Payload {
    Payload::Bytes((0..len).map(|n| (n * n / 7) as u8).collect())
}

/// A ring of ten, and the agent three hops from the first.
fn ring(seed: u64) -> (World, usize, PeerId) {
    let mut world = World::formed(seed, Some(2), 10);
    world.run_for(SECOND * 3);
    let routes = world.agents()[0].mesh().routes();
    let far = routes.iter().find(|route| route.hops == 3).expect("a ring");
    let mut agents = world.agents().iter();
    let place = agents.position(|agent| agent.id() == far.destination);
    (world, place.expect("known"), far.destination)
}

/// Nothing is under way any more.
fn assert_idle(world: &mut World) {
    let idle = world.run_until(SECOND * 10, World::is_idle);
    assert!(idle, "{}", world.troubles());
}

fn has(world: &World, agent: usize, wanted: impl Fn(&Event) -> bool) -> bool {
    world.agents()[agent].events().iter().any(wanted)
}

fn send(world: &mut World, to: PeerId, payload: Payload) -> MessageId {
    let sent = world.send(0, Target::Peer(to), payload, Delivery::Reliable);
    sent.expect("it is taken")
}

fn failure(world: &World, agent: usize, id: MessageId) -> Option<LossReason> {
    let mut events = world.agents()[agent].events().iter();
    events.find_map(|event| match event {
        Event::DeliveryFailed {
            id: failed, reason, ..
        } if *failed == id => Some(*reason),
        _ => None,
    })
}

#[test]
fn sixteen_mib_over_three_hops_arrive_whole_and_small_messages_pass_them() {
    let (mut world, far, to) = ring(1);
    let id = send(&mut world, to, bytes(16 * MIB));
    let mut small = Vec::new();
    let whole = |world: &World| world.agents()[far].has_received(&id);
    while !whole(&world) {
        small.push(send(&mut world, to, "small".into()));
        world.run_for(Duration::from_millis(100));
        assert!(small.len() < 600, "a minute");
    }
    world.run_for(SECOND);
    let latency = |id| {
        let received = world.agents()[far].received_as(id).expect("it arrives");
        received.latency_ms
    };
    let worst = small.iter().map(latency).fold(0.0, f64::max);
    assert!(worst < 150.0, "{worst} ms over three hops of 5 to 40 ms");
    assert!(has(
        &world,
        0,
        |event| matches!(event, Event::Delivered { id: it, .. } if *it == id)
    ));
    for (agent, sent) in [(0, true), (far, false)] {
        let mut told: Vec<u64> = Vec::new();
        for event in world.agents()[agent].events() {
            match event {
                Event::Sending { bytes, .. } if sent => told.push(*bytes),
                Event::Receiving { bytes, .. } if !sent => told.push(*bytes),
                _ => {}
            }
        }
        assert!((8..=33).contains(&told.len()), "{told:?}");
        assert!(told.is_sorted() && told.last() == Some(&(16 * MIB as u64)));
    }
    world.run_for(SECOND * 5);
    assert_idle(&mut world);
}

#[test]
fn what_is_larger_than_the_target_takes_is_refused_with_the_reason() {
    let (mut world, far, to) = ring(2);
    let id = send(&mut world, to, bytes(16 * MIB + 1));
    world.run_for(SECOND * 2);
    assert_eq!(failure(&world, 0, id), Some(LossReason::TooLarge));
    let ids: Vec<_> = (0..3)
        .map(|n| send(&mut world, to, bytes(MIB + n)))
        .collect();
    world.run_for(SECOND * 5);
    let failed = ids.iter().filter_map(|id| failure(&world, 0, *id));
    assert!(
        failed.eq([LossReason::Refused]),
        "two of one author at once"
    );
    let arrived = ids.iter().filter(|id| world.agents()[far].has_received(id));
    assert_eq!(arrived.count(), 2);
}

#[test]
fn what_is_cancelled_stops_and_leaves_nothing_behind() {
    let (mut world, far, to) = ring(3);
    let id = send(&mut world, to, bytes(8 * MIB));
    world.run_for(Duration::from_millis(300));
    assert!(world.command(0, |mesh, now| mesh.cancel(&id, now)));
    assert!(!world.command(0, |mesh, now| mesh.cancel(&id, now)), "once");
    world.run_for(SECOND);
    assert_eq!(failure(&world, 0, id), Some(LossReason::Cancelled));
    assert!(!world.agents()[far].has_received(&id));
    assert_idle(&mut world);
}

#[test]
fn large_messages_survive_links_that_die() {
    for seed in 0..3 {
        let mut world = World::formed(20 + seed, Some(4), 14);
        world.run_for(SECOND * 3);
        let routes = world.agents()[0].mesh().routes();
        let far = routes
            .iter()
            .max_by_key(|route| route.hops)
            .expect("some")
            .clone();
        let id = send(&mut world, far.destination, bytes(4 * MIB));
        let index = |id: PeerId| move |agent: &SimAgent| agent.id() == id;
        for hop in far.path.windows(2) {
            world.run_for(Duration::from_millis(100));
            let [a, b] = [hop[0], hop[1]].map(|id| world.agents().iter().position(index(id)));
            world.cut(a.expect("known"), b.expect("known"));
        }
        world.run_for(SECOND * 30);
        let to = world
            .agents()
            .iter()
            .position(index(far.destination))
            .expect("known");
        assert!(world.agents()[to].has_received(&id), "seed {seed}");
        assert_eq!(failure(&world, 0, id), None);
    }
}

#[test]
fn what_goes_to_an_agent_that_dies_fails_at_its_deadline() {
    let (mut world, far, to) = ring(4);
    let id = send(&mut world, to, bytes(8 * MIB));
    world.run_for(Duration::from_millis(300));
    world.crash(far);
    world.run_for(SECOND * 8);
    assert_eq!(failure(&world, 0, id), Some(LossReason::Deadline));
    assert_eq!(
        world.agents()[0].mesh().stats().lost[&LossReason::Deadline],
        1
    );
}

#[test]
fn requests_and_replies_may_be_large() {
    let (mut world, far, to) = ring(5);
    let question = bytes(2 * MIB);
    let copy = question.clone();
    let asked = world.command(0, |mesh, now| mesh.request(to, copy, None, now));
    let asked = asked.expect("it is taken");
    world.note_sent(asked, question, Delivery::Acknowledged);
    assert!(world.run_until(SECOND * 20, |world| {
        world.agents()[far].has_received(&asked)
    }));
    let answer = Payload::Text("x".repeat(3 * MIB));
    let reply = answer.clone();
    let replied = world.command(far, |mesh, now| mesh.reply(asked, reply, now));
    replied.expect("it is known");
    let again = world.command(far, |mesh, now| mesh.reply(asked, "twice".into(), now));
    assert_eq!(again, Err(crate::SendError::UnknownRequest));
    let is_reply = |event: &Event| match event {
        Event::Replied { id, payload, .. } => *id == asked && *payload == answer,
        _ => false,
    };
    assert!(world.run_until(SECOND * 20, |world| has(world, 0, is_reply)));
    world.run_for(SECOND * 10);
    assert_idle(&mut world);
}

#[test]
fn a_datagram_or_a_broadcast_is_never_large() {
    let (mut world, _, to) = ring(6);
    for (target, delivery) in [
        (Target::Peer(to), Delivery::Datagram),
        (Target::Room, Delivery::Reliable),
    ] {
        let bytes_max = crate::PAYLOAD_BYTES_MAX;
        let sent = world.send(0, target, bytes(bytes_max + 1), delivery);
        let bytes = bytes_max + 1;
        assert_eq!(sent, Err(crate::SendError::TooLarge { bytes, bytes_max }));
    }
}
