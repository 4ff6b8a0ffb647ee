//! Processes that are stopped and go on, clocks that are off, addresses that change.

use std::time::Duration;

use super::{World, WorldConfig};
use crate::id::Target;
use crate::io::{Event, Input, WarningCode};
use crate::payload::Delivery;

const SECOND: Duration = Duration::from_secs(1);

fn closed(world: &World) -> usize {
    let events = world.agents().iter().flat_map(|agent| agent.events());
    let closed = events.filter(|event| matches!(event, Event::LinkClosed { .. }));
    closed.count()
}

/// Every agent sends every other a message of each kind.
fn chatter(world: &mut World) {
    for from in 0..world.agents().len() {
        for to in 0..world.agents().len() {
            let to = Target::Peer(world.agents()[to].id());
            for delivery in [Delivery::Reliable, Delivery::Acknowledged] {
                let _ = world.send(from, to, "under way".into(), delivery); // Not to itself.
            }
        }
    }
}

/// Every agent hears every other, and rejects nothing.
fn assert_heard(world: &mut World) {
    chatter(world);
    world.run_for(SECOND * 5);
    let others = world.agents().len() - 1;
    for agent in world.agents() {
        assert_eq!(agent.received().len(), 2 * others);
        let rejected = &agent.mesh().stats().rejected;
        assert!(rejected.is_empty(), "{rejected:?}");
    }
}

#[test]
fn a_mesh_that_was_stopped_as_a_whole_keeps_its_links() {
    for stopped_for in [3, 6, 30, 40] {
        let mut world = World::formed(7, Some(6), 20);
        world.run_for(SECOND * 10);
        chatter(&mut world);
        let everybody = world.living();
        everybody.iter().for_each(|&agent| world.freeze(agent));
        world.run_for(SECOND * stopped_for);
        for &agent in &everybody {
            world.thaw(agent);
            world.run_for(Duration::from_millis(3)); // One after the other, in no time.
        }
        world.run_for(SECOND * 2);
        assert_eq!(closed(&world), 0, "stopped for {stopped_for} s");
        assert!(world.is_converged(), "{}", world.troubles());
        world.run_for(SECOND * 20);
        assert_eq!(closed(&world), 0, "stopped for {stopped_for} s");
        world.check_settled();
    }
}

#[test]
fn an_agent_that_was_stopped_alone_finds_out_and_comes_back_at_once() {
    let mut world = World::formed(8, Some(4), 12);
    world.run_for(SECOND * 10);
    world.freeze(3);
    world.run_for(SECOND * 30);
    assert!(closed(&world) > 0, "its neighbours have given it up");
    world.thaw(3);
    assert!(
        world.run_until(SECOND * 6, World::is_converged),
        "{}",
        world.troubles()
    );
}

#[test]
fn a_member_whose_clock_is_minutes_off_is_linked_heard_and_told_so() {
    for ahead in [true, false] {
        let mut world = World::new(WorldConfig::new(9));
        world.start_agents(3);
        world.set_clock(1, ahead, SECOND * 125);
        assert!(world.run_until(SECOND * 20, World::is_converged));
        assert_heard(&mut world);
        let told = |agent: usize| {
            let events = world.agents()[agent].events().iter();
            let warnings = events.filter_map(|event| match event {
                Event::Warning {
                    code: WarningCode::ClockOff,
                    message,
                } => Some(message.clone()),
                _ => None,
            });
            warnings.collect::<Vec<_>>()
        };
        assert!(told(0).is_empty());
        let direction = if ahead { "125 s ahead" } else { "125 s behind" };
        assert!(
            told(1)[0].contains(direction) || told(1)[0].contains("124 s"),
            "{:?}",
            told(1)
        );
    }
}

#[test]
fn a_clock_that_is_set_back_while_the_hub_is_away_changes_nothing() {
    let mut world = World::formed(10, Some(4), 6);
    world.crash_hub();
    world.set_clock(2, false, SECOND * 600);
    world.run_for(SECOND);
    assert_heard(&mut world);
}

/// The links of an agent whose address has changed are dead at once, as is its WebSocket, which
/// nobody closes.
#[test]
fn an_agent_whose_address_has_changed_asks_the_hub_at_once() {
    for told in [true, false] {
        let mut world = World::formed(11, Some(4), 12);
        world.run_for(SECOND * 10);
        world.change_address(5);
        if told {
            world.inject(5, Input::NetworkChanged);
        }
        let back = |world: &World| world.agents()[5].mesh().open_peers().count() == 4;
        let patience = if told { 8 } else { 16 };
        world.run_for(SECOND);
        let fresh = |world: &World| back(world) && world.is_converged();
        assert!(
            world.run_until(SECOND * patience, fresh),
            "told {told}: {}",
            world.troubles()
        );
    }
}

/// The next hop is dead and not known to be: the repetition goes another way, long before the links
/// to the dead are given up.
#[test]
fn an_acknowledged_message_is_repeated_over_another_neighbour() {
    for seed in 0..6 {
        let mut world = World::formed(seed, Some(4), 16);
        world.run_for(SECOND * 30);
        let far = |world: &World| {
            let routes = world.agents()[0].mesh().routes();
            let far = routes.into_iter().find(|route| route.hops == 2);
            far.expect("two hops")
        };
        let route = far(&world);
        let next = (1..16).find(|&i| world.agents()[i].id() == route.next_hop);
        let next = next.expect("an agent");
        // It does nothing any more, and its sockets stay open.
        world.freeze(next);
        let to = Target::Peer(route.destination);
        let id = world
            .send(0, to, "x".into(), Delivery::Acknowledged)
            .expect("sent");
        let delivered = |world: &World| {
            let mut events = world.agents()[0].events().iter();
            events.any(|event| matches!(event, Event::Delivered { id: told, .. } if *told == id))
        };
        assert!(
            world.run_until(Duration::from_millis(1_400), delivered),
            "seed {seed}: not after two repetitions"
        );
        assert_eq!(closed(&world), 0, "nobody was given up for that");
    }
}

#[test]
fn a_clock_that_is_set_back_and_right_again_without_the_hub_cuts_nobody_off() {
    let mut world = World::formed(12, Some(4), 6);
    world.crash_hub();
    for (ahead, by) in [(false, 300), (true, 0), (false, 125), (true, 0)] {
        world.set_clock(2, ahead, SECOND * by);
        world.run_for(SECOND);
    }
    assert_heard(&mut world);
}

/// A forwarder that was stopped wakes up with a message and without links. The author has sent it
/// again over another way, or hears of it when there is a way again.
#[test]
fn a_message_of_a_forwarder_that_has_lost_its_links_does_not_vanish() {
    for seed in 0..8 {
        let mut world = World::formed(seed, Some(4), 14);
        world.run_for(SECOND * 10);
        let route = world.agents()[0].mesh().routes().into_iter();
        let route = route.max_by_key(|route| route.hops).expect("routes");
        let next = (1..14).find(|&i| world.agents()[i].id() == route.next_hop);
        let next = next.expect("an agent");
        let to = Target::Peer(route.destination);
        let id = world
            .send(0, to, "x".into(), Delivery::Reliable)
            .expect("sent");
        // It has taken the message over and not passed it on: its own links are silent.
        for other in (1..14).filter(|&other| other != next) {
            world.block(next, other);
        }
        world.run_for(Duration::from_millis(60));
        world.freeze(next);
        world.run_for(SECOND * 12);
        world.unblock_all();
        world.thaw(next);
        world.run_for(SECOND * 30);
        let failed = world.agents()[0].events().iter().any(
            |event| matches!(event, Event::DeliveryFailed { id: failed, .. } if *failed == id),
        );
        let target = (1..14).find(|&i| world.agents()[i].id() == route.destination);
        let arrived = world.agents()[target.expect("an agent")].has_received(&id);
        assert!(failed || arrived, "seed {seed}: it vanished");
    }
}
