//! Hubs that share their rooms: whatever happens to them and to the directory, they come to list
//! the same.

mod world;

use proptest::prelude::*;

use self::world::World;
use super::*;

/// Time in which whatever went wrong must be over: signs of life run out, hubs are forgotten.
const QUIET: Duration = Duration::from_secs(12);

fn world(hubs: usize) -> World {
    World::new(hubs, HubConfig::default(), 1)
}

/// Every hub lists all that are clients of any, divides the room alike, and has told its clients.
fn check(world: &World) {
    let present = world.present();
    let peers: BTreeSet<_> = present.keys().copied().collect();
    let clients: usize = world
        .nodes
        .iter()
        .flatten()
        .map(|node| node.here.len())
        .sum();
    assert_eq!(clients, peers.len(), "each once");
    let mut divisions = BTreeSet::new();
    for (index, node) in world.nodes.iter().enumerate() {
        let Some(node) = node else { continue };
        assert_eq!(world.listed(index), peers, "hub {index}");
        if !peers.is_empty() {
            divisions.insert(node.clients.hub.division(world::ROOM));
        }
        let here = node.here.iter();
        let here: BTreeMap<_, _> = here.map(|(client, who)| (*client, who.peer())).collect();
        if !here.is_empty() {
            node.told.check_all(&here, &peers);
        }
    }
    assert!(divisions.len() <= 1, "{divisions:?}");
}

#[test]
fn members_at_different_hubs_hear_of_each_other_and_of_who_leaves() {
    let mut world = world(3);
    let clients: Vec<_> = (0..9)
        .map(|n| world.join(n % 3, identity(n as u8)))
        .collect();
    world.wait(Duration::from_secs(1));
    check(&world);
    assert_eq!(world.listed(0).len(), 9);
    world.leave(1, clients[1]);
    world.wait(Duration::from_secs(1));
    check(&world);
    assert_eq!(world.listed(0).len(), 8);
}

#[test]
fn a_signal_reaches_a_member_at_another_hub_and_what_becomes_of_it_its_sender() {
    let mut world = world(2);
    let (one, two) = (identity(1), identity(2));
    let from = world.join(0, one.clone());
    let to = world.join(1, two.clone());
    world.wait(Duration::from_secs(1));
    let signal = |world: &mut World| {
        let proof = prove(&one, world::ROOM, "any statement");
        let message = ClientMessage::Signal {
            to: two.peer(),
            message: proof,
        };
        let sent = world.node(0).clients.say(from, &message);
        assert_eq!(error_code(&sent), None);
    };
    signal(&mut world);
    world.wait(Duration::from_secs(1));
    let signals = &world.node(1).told.signals;
    assert_eq!(signals[..], [(to, one.peer())]);

    let dropped = HubInput::SignalDropped {
        from: world.node(0).clients.hub.session(ClientId(from)),
        to: ClientId(to),
    };
    let now = world.now;
    world.node(1).clients.hub.handle_input(dropped, now);
    world.wait(Duration::from_secs(1));
    assert_eq!(world.node(0).turned_away, [(from, ErrorCode::Busy)]);

    signal(&mut world);
    world.leave(1, to);
    world.wait(Duration::from_secs(1));
    let told = &world.node(0).turned_away;
    assert_eq!(told.last(), Some(&(from, ErrorCode::UnknownPeer)));
}

#[test]
fn a_signal_to_a_hub_that_is_out_of_reach_is_refused() {
    let mut world = world(2);
    let from = world.join(0, identity(1));
    world.join(1, identity(2));
    world.wait(Duration::from_secs(1));
    let message = ClientMessage::Signal {
        to: identity(2).peer(),
        message: prove(&identity(1), world::ROOM, "any statement"),
    };
    world.cut(0, true);
    let sent = world.node(0).clients.say(from, &message);
    assert_eq!(error_code(&sent), Some(ErrorCode::OutOfReach));
    world.cut(0, false);
    world.wait(Duration::from_secs(1));
    world.kill(1);
    assert_eq!(error_code(&world.node(0).clients.say(from, &message)), None);
    world.wait(Duration::from_secs(1));
    assert_eq!(world.node(0).turned_away, [(from, ErrorCode::OutOfReach)]);
}

#[test]
fn an_identity_that_proves_itself_at_another_hub_takes_the_place_of_the_first() {
    let mut world = world(2);
    let first = world.join(0, identity(1));
    world.wait(Duration::from_secs(1));
    world.join(1, identity(1));
    world.wait(Duration::from_secs(1));
    assert_eq!(world.node(0).turned_away, [(first, ErrorCode::Replaced)]);
    assert_eq!(world.node(1).turned_away, []);
    check(&world);
}

#[test]
fn one_of_two_that_prove_the_same_identity_at_once_stays() {
    for seed in 0..50 {
        let mut world = World::new(2, HubConfig::default(), seed);
        world.join(0, identity(1));
        world.join(1, identity(1));
        world.wait(Duration::from_secs(1));
        let turned_away = world.node(0).turned_away.len() + world.node(1).turned_away.len();
        assert_eq!(turned_away, 1, "seed {seed}");
        check(&world);
    }
}

#[test]
fn the_members_of_a_dead_hub_are_removed_once_it_is_dead_for_certain() {
    let mut world = world(3);
    for n in 0..6 {
        world.join(n % 3, identity(n as u8));
    }
    world.wait(Duration::from_secs(2));
    world.kill(2);
    world.wait(Duration::from_secs(4));
    assert_eq!(world.listed(0).len(), 6, "it may be but slow");
    world.wait(Duration::from_secs(4));
    check(&world);
    assert_eq!(world.listed(0).len(), 4);
}

#[test]
fn members_of_a_dead_hub_that_come_back_at_another_never_leave() {
    let mut world = world(3);
    for n in 0..6 {
        world.join(n % 3, identity(n as u8));
    }
    world.wait(Duration::from_secs(2));
    world.kill(2);
    world.join(0, identity(2));
    world.join(1, identity(5));
    world.wait(QUIET);
    check(&world);
    for index in [0, 1] {
        assert_eq!(world.node(index).told.left, BTreeSet::new(), "hub {index}");
    }
}

#[test]
fn a_room_lives_on_while_the_directory_is_away_and_is_whole_when_it_is_back() {
    let mut world = world(2);
    world.join(0, identity(0));
    world.join(1, identity(1));
    world.wait(Duration::from_secs(1));
    world.cut(0, true);
    world.cut(1, true);
    world.join(0, identity(2));
    world.wait(Duration::from_secs(20));
    assert_eq!((world.listed(0).len(), world.listed(1).len()), (3, 2));
    world.cut(0, false);
    world.cut(1, false);
    world.wait(Duration::from_secs(1));
    check(&world);
    assert_eq!(world.node(0).told.left, BTreeSet::new());
}

#[test]
fn whoever_moved_while_the_directory_was_away_is_where_it_came_last() {
    let mut world = world(2);
    let old = world.join(0, identity(1));
    world.wait(Duration::from_secs(1));
    world.cut(0, true);
    world.cut(1, true);
    world.join(1, identity(1));
    world.wait(Duration::from_secs(5));
    world.cut(0, false);
    world.wait(Duration::from_secs(5));
    world.cut(1, false);
    world.wait(Duration::from_secs(1));
    assert_eq!(world.node(0).turned_away, [(old, ErrorCode::Replaced)]);
    check(&world);
}

#[test]
fn whoever_moved_before_its_hub_could_say_that_it_came_is_where_it_came_last() {
    for seed in 0..20 {
        let mut world = World::new(2, HubConfig::default(), seed);
        world.wait(Duration::from_secs(1));
        let old = world.join(0, identity(1));
        world.cut(0, true);
        world.wait(Duration::from_secs(1));
        world.join(1, identity(1));
        world.wait(Duration::from_secs(1));
        world.cut(0, false);
        world.wait(Duration::from_secs(1));
        let turned_away = &world.node(0).turned_away;
        assert_eq!(turned_away[..], [(old, ErrorCode::Replaced)], "seed {seed}");
        check(&world);
    }
}

#[test]
fn hubs_enter_all_again_when_the_directory_has_lost_everything() {
    let mut world = world(3);
    for n in 0..9 {
        world.join(n % 3, identity(n as u8));
    }
    world.wait(Duration::from_secs(2));
    world.store.flush();
    world.wait(QUIET);
    check(&world);
    assert_eq!(world.listed(0).len(), 9);
    for index in 0..3 {
        assert_eq!(world.node(index).told.left, BTreeSet::new(), "hub {index}");
    }
}

#[test]
fn whoever_was_at_a_hub_that_died_with_the_directory_is_forgotten() {
    let mut world = world(2);
    world.join(0, identity(0));
    world.join(1, identity(1));
    world.wait(Duration::from_secs(2));
    world.kill(1);
    world.store.flush();
    world.wait(QUIET);
    check(&world);
    assert_eq!(world.listed(0).len(), 1);
}

/// No client was told that a member had left.
fn no_one_left(world: &World, what: &str) {
    for (index, node) in world.nodes.iter().enumerate() {
        let left = node.iter().flat_map(|node| &node.told.left);
        assert_eq!(left.count(), 0, "{what}, hub {index}");
    }
}

#[test]
fn a_replica_that_lags_takes_over_and_whoever_came_or_moved_lately_never_leaves() {
    for seed in 0..40 {
        let mut world = World::new(3, HubConfig::default(), seed);
        for n in 0..6 {
            world.join(n % 3, identity(n as u8));
        }
        world.wait(Duration::from_secs(2));
        world.join(1, identity(0)); // It was at hub 0.
        world.wait(Duration::from_secs(1));
        world.join(2, identity(6));
        world.wait(Duration::from_secs(1));
        world.fail_over(2);
        world.wait(QUIET);
        check(&world);
        assert_eq!(world.listed(0).len(), 7);
        no_one_left(&world, &format!("seed {seed}"));
    }
}

#[test]
fn whoever_moved_to_a_hub_that_died_with_the_master_of_a_replica_that_lags_is_forgotten() {
    let mut world = world(3);
    for n in 0..3 {
        world.join(n, identity(n as u8));
    }
    world.wait(Duration::from_secs(2));
    world.join(1, identity(0));
    world.wait(Duration::from_secs(1));
    world.kill(1);
    world.fail_over(1);
    world.wait(QUIET * 2);
    check(&world);
    assert_eq!(world.listed(2).len(), 1);
}

#[test]
fn a_room_stays_divided_when_a_replica_that_lags_takes_over() {
    let config = HubConfig {
        shard_members: 20,
        ..HubConfig::default()
    };
    let mut world = World::new(3, config, 1);
    for n in 0..30 {
        world.join(n % 3, one_of_many(n));
    }
    world.wait(Duration::from_secs(2));
    let whole = world.store.len();
    for n in 30..90 {
        world.join(n % 3, one_of_many(n));
    }
    world.wait(Duration::from_secs(5));
    check(&world);
    let division = world.node(0).clients.hub.division(world::ROOM);
    assert!(division > Some(Shards::WHOLE), "{division:?}");
    for node in world.nodes.iter_mut().flatten() {
        node.told.divided = 0;
        node.told.left.clear();
    }
    world.fail_over(world.store.len() - whole);
    world.wait(QUIET);
    check(&world);
    for node in world.nodes.iter().flatten() {
        assert_eq!(node.clients.hub.division(world::ROOM), division);
        assert_eq!(node.told.divided, 0, "it was divided all the time");
    }
    no_one_left(&world, "divided");
}

#[test]
fn a_room_is_full_at_every_hub_when_all_together_have_so_many() {
    let config = HubConfig {
        room_members_max: 3,
        ..HubConfig::default()
    };
    let mut world = World::new(2, config, 1);
    for n in 0..3 {
        world.join(n % 2, identity(n as u8));
    }
    world.wait(Duration::from_secs(1));
    let fourth = world.join(0, identity(3));
    assert_eq!(world.node(0).turned_away, [(fourth, ErrorCode::RoomFull)]);
    world.join(0, identity(1));
    world.wait(Duration::from_secs(1));
    check(&world);
    assert_eq!(world.listed(1).len(), 3, "who is in it may come again");
}

/// An identity of its own for each of many.
fn one_of_many(n: usize) -> Identity {
    let mut secret = [7; 32];
    secret[..8].copy_from_slice(&n.to_le_bytes());
    Identity::from_secret(secret)
}

#[test]
fn a_room_is_divided_alike_at_every_hub_and_stays_so_when_the_directory_is_lost() {
    let config = HubConfig {
        shard_members: 20,
        ..HubConfig::default()
    };
    let mut world = World::new(3, config, 1);
    let mut clients = Vec::new();
    for n in 0..90 {
        clients.push((n % 3, world.join(n % 3, one_of_many(n))));
        world.wait(Duration::from_millis(20));
    }
    world.wait(Duration::from_secs(2));
    check(&world);
    let division = world.node(0).clients.hub.division(world::ROOM);
    assert!(division > Some(Shards::WHOLE), "{division:?}");
    for node in world.nodes.iter_mut().flatten() {
        node.told.divided = 0;
    }
    world.store.flush();
    world.wait(QUIET);
    check(&world);
    for node in world.nodes.iter().flatten() {
        assert_eq!(node.clients.hub.division(world::ROOM), division);
        assert_eq!(node.told.divided, 0, "nobody notices");
    }
    world.kill(2);
    clients.retain(|(hub, _)| *hub < 2);
    for (hub, client) in clients.drain(10..) {
        world.leave(hub, client);
    }
    world.wait(Duration::from_secs(40));
    check(&world);
    let division = world.node(0).clients.hub.division(world::ROOM);
    assert_eq!(division, Some(Shards::WHOLE));
}

#[test]
fn a_room_without_members_is_forgotten_by_every_hub() {
    let mut world = world(2);
    world.wait(QUIET);
    let client = world.join(0, identity(1));
    world.wait(Duration::from_secs(1));
    assert_eq!(world.node(1).clients.hub.stats().rooms, 1);
    world.leave(0, client);
    world.wait(QUIET);
    for index in [0, 1] {
        assert_eq!(world.node(index).clients.hub.stats().rooms, 0);
    }
}

/// What may happen.
#[derive(Clone, Debug)]
enum Happening {
    Join(usize, u8),
    Leave(usize),
    Kill(usize),
    Start(usize),
    Cut(usize),
    Mend(usize),
    Flush,
    FailOver(usize),
    Steps(usize),
    Wait(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    let hub = 0..3usize;
    prop_oneof![
        8 => (hub.clone(), 0..12u8).prop_map(|(hub, who)| Happening::Join(hub, who)),
        4 => (0..12usize).prop_map(Happening::Leave),
        1 => hub.clone().prop_map(Happening::Kill),
        2 => hub.clone().prop_map(Happening::Start),
        2 => hub.clone().prop_map(Happening::Cut),
        3 => hub.prop_map(Happening::Mend),
        1 => Just(Happening::Flush),
        1 => (1..6usize).prop_map(Happening::FailOver),
        8 => (1..40usize).prop_map(Happening::Steps),
        2 => (100..6_000u64).prop_map(Happening::Wait),
    ]
}

fn happens(world: &mut World, happening: Happening) {
    match happening {
        Happening::Join(hub, who) => _ = world.join(hub, identity(who)),
        Happening::Leave(which) => {
            if let Some((_, (hub, client))) = world.present().into_iter().nth(which) {
                world.leave(hub, client);
            }
        }
        Happening::Kill(hub) => world.kill(hub),
        Happening::Start(hub) => {
            if world.nodes[hub].is_none() {
                world.start(hub);
            }
        }
        Happening::Cut(hub) => world.cut(hub, true),
        Happening::Mend(hub) => world.cut(hub, false),
        Happening::Flush => world.store.flush(),
        Happening::FailOver(lost) => world.fail_over(lost),
        Happening::Steps(count) => (0..count).for_each(|_| world.step()),
        Happening::Wait(ms) => world.wait(Duration::from_millis(ms)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None, // What it finds becomes a test.
        ..ProptestConfig::with_cases(150)
    })]

    #[test]
    fn hubs_agree_after_whatever_happened(
        seed in any::<u64>(),
        happenings in prop::collection::vec(happening(), 1..60),
    ) {
        let config = HubConfig { shard_members: 4, ..HubConfig::default() };
        let mut world = World::new(3, config, seed);
        for happening in happenings {
            happens(&mut world, happening);
        }
        for hub in 0..3 {
            world.cut(hub, false);
        }
        world.wait(QUIET + Duration::from_secs(20));
        check(&world);
    }
}
