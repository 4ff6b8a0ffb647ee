//! Hostile neighbours and a hostile hub: whatever they send is rejected, counted and reported, and
//! the mesh goes on.

use std::time::Duration;

use super::Mesh;
use bytes::Bytes;
use proptest::prelude::*;

use crate::error::{LossReason, RejectReason};
use crate::id::Target;
use crate::io::{Channel, Event, Input};
use crate::payload::{Delivery, Payload};
use crate::sim::{World, WorldConfig};
use crate::time::UnixTime;
use crate::trust::{Identity, Signed};
use crate::wire::{
    Content, Data, Envelope, FRAME_BYTES_MAX, FrameWriter, ITEMS_MAX, LinkEntry, LinkState,
    Message, MessageHeader, Record, Reply, WIRE_VERSION,
};

const SECOND: Duration = Duration::from_secs(1);
const VICTIM: usize = 0;
const HOSTILE: usize = 1;

fn world(agents: usize) -> World {
    let mut world = World::new(WorldConfig::new(11));
    world.start_agents(agents);
    assert!(world.run_until(SECOND * 20, World::is_converged));
    world
}

fn frame(record: &Record) -> Bytes {
    let mut writer = FrameWriter::default();
    writer.push(&FrameWriter::encode(record));
    writer.finish()
}

/// Hands the victim a frame as if the hostile neighbour had sent it.
fn attack(world: &mut World, channel: Channel, frame: Bytes) {
    let hostile = world.agents()[HOSTILE].id();
    let link = world.agents()[VICTIM].link_to(hostile).expect("linked");
    world.inject(
        VICTIM,
        Input::FrameReceived {
            link,
            channel,
            frame,
        },
    );
}

/// Asserts one rejection for this reason, counted and reported, and that the mesh still works.
fn assert_rejected(world: &mut World, reason: RejectReason, author: Option<usize>) {
    world.run_for(Duration::from_millis(10)); // Link-state records wait a moment.
    let hostile = world.agents()[HOSTILE].id();
    let author = author.map(|i| world.agents()[i].id());
    let victim = &world.agents()[VICTIM];
    assert_eq!(victim.mesh().stats().rejected.get(&reason), Some(&1));
    let expected = Event::Rejected {
        via: Some(hostile),
        author,
        reason,
    };
    assert!(victim.events().contains(&expected), "no {expected:?}");
    let before = victim.received().len();
    let to = Target::Peer(victim.id());
    world
        .send(2, to, "still there?".into(), Delivery::Reliable)
        .expect("sent");
    world.run_for(SECOND);
    assert_eq!(world.agents()[VICTIM].received().len(), before + 1);
}

/// The header of a message of an agent that has just started.
fn header(world: &World, sequence: u64, target: Target) -> MessageHeader {
    MessageHeader {
        incarnation: u64::MAX / 2,
        sequence,
        target,
        sent_at: unix(world),
        ttl: 16,
    }
}

/// A message of some agent to the victim, signed by whoever.
fn message(world: &World, author: &Identity, sequence: u64, target: usize) -> Signed {
    let header = header(world, sequence, Target::Peer(world.agents()[target].id()));
    let data = Data::one(Payload::Text("forged".into()), Delivery::Reliable);
    let content = Content::Data(data);
    author.sign("sim", &Message { header, content })
}

fn unix(world: &World) -> UnixTime {
    UnixTime::from_micros(1_800_000_000_000_000) + world.now().since(Default::default())
}

fn envelope(world: &World, signed: Signed) -> Record {
    Record::Envelope(Envelope {
        ttl: 15,
        target: Target::Peer(world.agents()[VICTIM].id()),
        signed,
    })
}

#[test]
fn a_flipped_bit_is_an_invalid_signature() {
    let mut world = world(4);
    let author = world.agents()[2].identity().clone();
    let record = envelope(&world, message(&world, &author, 1, VICTIM));
    let mut bytes = frame(&record).to_vec();
    let last = bytes.len() - 4; // inside the signed payload
    bytes[last] ^= 1;
    attack(&mut world, Channel::Data, bytes.into());
    assert_rejected(&mut world, RejectReason::InvalidSignature, Some(2));
}

#[test]
fn a_message_signed_by_another_key_is_an_invalid_signature() {
    let mut world = world(4);
    let impostor = Identity::from_secret([99; 32]);
    let signed = message(&world, &impostor, 1, VICTIM);
    // The impostor claims to be agent 2: its key in the author's place, its signature kept.
    let mut json = serde_json::to_value(&signed).expect("encodes");
    json["author"] = world.agents()[2].id().to_string().into();
    let record = envelope(&world, serde_json::from_value(json).expect("decodes"));
    attack(&mut world, Channel::Data, frame(&record));
    assert_rejected(&mut world, RejectReason::InvalidSignature, Some(2));
}

#[test]
fn a_signature_over_no_message_or_over_too_many_is_malformed() {
    for count in [0, ITEMS_MAX + 1] {
        let one = Data::one("x".into(), Delivery::Reliable);
        let items = vec![one.items[0].clone(); count];
        let data = Content::Data(Data { items, ..one });
        let reply = Reply {
            request: (1, 1),
            payload: "x".into(),
        };
        let replies = Content::Replies(vec![reply; count]);
        for (to_all, content) in [(false, data.clone()), (true, data), (false, replies)] {
            let mut world = world(4);
            let author = world.agents()[2].identity().clone();
            let target = match to_all {
                false => Target::Peer(world.agents()[VICTIM].id()),
                true => Target::Room,
            };
            let header = header(&world, 1, target);
            let record = Record::Envelope(Envelope {
                ttl: 15,
                target,
                signed: author.sign("sim", &Message { header, content }),
            });
            attack(&mut world, Channel::Data, frame(&record));
            assert_rejected(&mut world, RejectReason::Malformed, Some(2));
        }
    }
}

#[test]
fn a_replayed_message_is_rejected_and_not_delivered_twice() {
    let mut world = world(4);
    let victim = Target::Peer(world.agents()[VICTIM].id());
    world
        .send(2, victim, "once".into(), Delivery::Reliable)
        .expect("sent");
    world.run_for(SECOND);
    let seen = world.agents()[VICTIM]
        .received()
        .last()
        .expect("received")
        .id;
    let author = world.agents()[2].identity().clone();
    let header = MessageHeader {
        incarnation: seen.incarnation,
        sequence: seen.sequence,
        target: victim,
        sent_at: unix(&world),
        ttl: 16,
    };
    let content = Content::Receipt {
        message: (0, 0),
        count: 1,
    };
    let replay = author.sign("sim", &Message { header, content });
    let record = envelope(&world, replay);
    attack(&mut world, Channel::Data, frame(&record));
    assert_rejected(&mut world, RejectReason::Replayed, Some(2));
}

#[test]
fn of_messages_that_are_replayed_together_each_counts() {
    let mut world = world(4);
    let author = world.agents()[2].identity().clone();
    let header = header(&world, 1, Target::Peer(world.agents()[VICTIM].id()));
    let one = Data::one("again".into(), Delivery::Reliable);
    let items = vec![one.items[0].clone(); 3];
    let content = Content::Data(Data { items, ..one });
    let record = envelope(&world, author.sign("sim", &Message { header, content }));
    for number in 0..3 {
        world.sent_elsewhere(header.after(number).id(author.peer()), "again");
    }
    attack(&mut world, Channel::Data, frame(&record));
    attack(&mut world, Channel::Data, frame(&record));
    let victim = &world.agents()[VICTIM];
    assert_eq!(victim.received().len(), 3);
    let rejected = &victim.mesh().stats().rejected;
    assert_eq!(rejected.get(&RejectReason::Replayed), Some(&3));
}

#[test]
fn an_old_message_has_expired() {
    let mut world = world(4);
    let author = world.agents()[2].identity().clone();
    let signed = message(&world, &author, 1, VICTIM);
    world.run_for(SECOND * 121);
    let record = envelope(&world, signed);
    attack(&mut world, Channel::Data, frame(&record));
    assert_rejected(&mut world, RejectReason::Expired, Some(2));
}

#[test]
fn a_message_for_another_target_is_misrouted() {
    let mut world = world(4);
    let author = world.agents()[2].identity().clone();
    let record = envelope(&world, message(&world, &author, 1, 3));
    attack(&mut world, Channel::Data, frame(&record));
    assert_rejected(&mut world, RejectReason::Misrouted, Some(2));
}

#[test]
fn random_bytes_are_malformed() {
    let mut world = world(4);
    attack(
        &mut world,
        Channel::Control,
        Bytes::from_static(&[WIRE_VERSION, 250, 3, 9, 9, 9]),
    );
    assert_rejected(&mut world, RejectReason::Malformed, None);
}

#[test]
fn an_oversized_frame_is_refused() {
    let mut world = world(4);
    attack(
        &mut world,
        Channel::Data,
        vec![WIRE_VERSION; FRAME_BYTES_MAX + 1].into(),
    );
    assert_rejected(&mut world, RejectReason::Oversized, None);
}

#[test]
fn a_frame_of_another_version_is_refused() {
    let mut world = world(4);
    attack(&mut world, Channel::Data, Bytes::from_static(&[1, 0, 0]));
    assert_rejected(&mut world, RejectReason::Version, None);
}

#[test]
fn a_forged_link_state_record_changes_no_route() {
    let mut world = world(4);
    let forged = LinkState {
        version: u64::MAX,
        name: "agent-002".into(),
        departed: true,
        lacks: 0,
        links: Vec::new(),
    };
    let impostor = Identity::from_secret([99; 32]).sign("sim", &forged);
    let mut json = serde_json::to_value(&impostor).expect("encodes");
    json["author"] = world.agents()[2].id().to_string().into();
    let signed = serde_json::from_value(json).expect("decodes");
    attack(
        &mut world,
        Channel::Control,
        frame(&Record::LinkState(signed)),
    );
    assert_rejected(&mut world, RejectReason::InvalidSignature, Some(2));
    assert!(world.is_converged());
}

#[test]
fn a_record_with_too_many_links_is_over_the_limit() {
    let mut world = world(4);
    let entry = LinkEntry::unmeasured(world.agents()[3].id());
    let state = LinkState {
        version: u64::MAX,
        name: "agent-002".into(),
        departed: false,
        lacks: 0,
        links: vec![entry; 257],
    };
    let signed = world.agents()[2].identity().sign("sim", &state);
    attack(
        &mut world,
        Channel::Control,
        frame(&Record::LinkState(signed)),
    );
    assert_rejected(&mut world, RejectReason::Limit, Some(2));
}

#[test]
fn a_neighbour_that_only_sends_rubbish_is_cut_off_and_dialled_again_later() {
    let mut world = world(4);
    let hostile = world.agents()[HOSTILE].id();
    let link = world.agents()[VICTIM].link_to(hostile).expect("linked");
    for _ in 0..40 {
        let input = Input::FrameReceived {
            link,
            channel: Channel::Data,
            frame: Bytes::from_static(b"rubbish"),
        };
        world.inject(VICTIM, input);
    }
    assert_ne!(world.agents()[VICTIM].link_to(hostile), Some(link));
    assert!(world.run_until(SECOND * 20, World::is_converged));
}

#[test]
fn a_hub_that_swaps_the_fingerprint_in_offers_is_found_out() {
    let mut world = World::new(WorldConfig::new(12));
    world.start_agents(6);
    assert!(world.run_until(SECOND * 20, World::is_converged));
    // From now on the hub changes one byte in the body of every signal, as it would have to in
    // order to put another fingerprint into an offer.
    world.tamper_with_signals(Some(|text| {
        if text.contains("\"type\":\"signal\"") {
            let at = text.find("\"body\":\"").expect("a body") + 60;
            let old = text.as_bytes()[at];
            let new = if old == b'A' { "B" } else { "A" };
            text.replace_range(at..=at, new);
        }
    }));
    let newcomer = world.start_agents(1)[0];
    world.run_for(SECOND * 5);
    let rejected = |i: usize| {
        let stats = world.agents()[i].mesh().stats();
        stats
            .rejected
            .get(&RejectReason::InvalidSignature)
            .copied()
            .unwrap_or_default()
    };
    assert!((0..=newcomer).map(rejected).sum::<u64>() > 0);
    let reported = |event: &Event| {
        let reason = RejectReason::InvalidSignature;
        matches!(event, Event::Rejected { via: None, reason: r, .. } if *r == reason)
    };
    let report = world
        .agents()
        .iter()
        .any(|agent| agent.events().iter().any(reported));
    assert!(report, "reported as coming from the hub");
    assert_eq!(world.agents()[newcomer].mesh().stats().links.opened, 0);
    // The mesh goes on, and lets the newcomer in once the hub is honest.
    world.tamper_with_signals(None);
    assert!(world.run_until(SECOND * 60, World::is_converged));
}

#[test]
fn the_same_broadcast_kept_twice_is_counted_once_and_forgotten_in_time() {
    let mut world = world(4);
    let author = world.agents()[2].identity().clone();
    let envelope = Envelope {
        ttl: 5,
        target: Target::Room,
        signed: message(&world, &author, 1, VICTIM),
    };
    let now = world.now();
    let mesh = world.mesh_mut(VICTIM);
    mesh.enter(now);
    let kept = |mesh: &Mesh| mesh.messages.broadcasts_kept();
    mesh.with_net(|messages, net| messages.pass_on(envelope.clone(), None, net));
    let once = kept(mesh);
    mesh.with_net(|messages, net| messages.pass_on(envelope, None, net));
    assert_eq!(kept(mesh), once);
    mesh.cx.now = now + SECOND * 60;
    mesh.messages.forget_broadcasts(&mesh.cx);
    assert_eq!(kept(mesh), (0, 0));
}

#[test]
fn a_broadcast_that_one_neighbour_offers_and_withholds_comes_from_another() {
    let mut world = World::formed(13, Some(4), 8);
    world.run_for(SECOND * 5);
    let source = 2;
    let [source_id, victim] = [source, VICTIM].map(|i| world.agents()[i].id());
    let parent = (1..8).find(|&i| {
        let children = world.mesh_mut(i).children(source_id);
        children.is_some_and(|children| children.contains(&victim))
    });
    let parent = parent.expect("everybody has a parent");
    let liar = (1..8).find(|&i| i != parent && world.agents()[i].link_to(victim).is_some());
    world.block(parent, VICTIM);
    let id = world
        .send(source, Target::Room, "to all".into(), Delivery::Reliable)
        .expect("sent");
    let name = world
        .mesh_mut(source)
        .messages
        .newest_broadcast()
        .expect("kept");
    let offer = frame(&Record::Have { names: vec![name] });
    world.send_raw(liar.expect("four links"), VICTIM, Channel::Control, offer);
    world.run_for(Duration::from_millis(1_500));
    assert!(world.agents()[VICTIM].has_received(&id));
}

#[test]
fn a_broadcast_whose_ttl_was_cut_down_on_the_way_still_goes_on() {
    let mut world = world(4);
    let author = world.agents()[2].identity().clone();
    let header = header(&world, 1, Target::Room);
    let content = Content::Data(Data::one(Payload::Text("all".into()), Delivery::Reliable));
    world.sent_elsewhere(header.id(author.peer()), "all");
    let record = Record::Envelope(Envelope {
        ttl: 1,
        target: Target::Room,
        signed: author.sign("sim", &Message { header, content }),
    });
    attack(&mut world, Channel::Data, frame(&record));
    world.run_for(SECOND * 2);
    for agent in [VICTIM, 3] {
        assert!(world.agents()[agent].has_received(&header.id(author.peer())));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// No bytes on any channel make an agent panic or lose its mesh.
    #[test]
    fn arbitrary_frames_never_panic(frames in prop::collection::vec(
        (0u16..3, prop::collection::vec(any::<u8>(), 0..200)), 1..20,
    )) {
        let mut world = world(3);
        for (channel, mut bytes) in frames {
            let channel = Channel::from_id(channel).expect("three channels");
            if let Some(first) = bytes.first_mut() {
                *first = 1; // Past the version check, where it gets interesting.
            }
            attack(&mut world, channel, bytes.into());
        }
        prop_assert!(world.run_until(SECOND * 20, World::is_converged));
    }
}

/// What the victim is told of one of its messages.
fn outcomes(world: &World, id: crate::id::MessageId) -> Vec<&Event> {
    let events = world.agents()[VICTIM].events().iter();
    let ours = events.filter(|event| match event {
        Event::Delivered { id: told, .. } | Event::DeliveryFailed { id: told, .. } => *told == id,
        _ => false,
    });
    ours.collect()
}

#[test]
fn a_message_has_one_outcome_however_many_notices_come() {
    for delivery in [Delivery::Acknowledged, Delivery::Reliable] {
        let mut world = world(4);
        let to = Target::Peer(world.agents()[2].id());
        let id = world.send(VICTIM, to, "x".into(), delivery).expect("sent");
        world.run_for(SECOND);
        let before = outcomes(&world, id).len();
        assert_eq!(before, usize::from(delivery == Delivery::Acknowledged));
        let author = world.agents()[3].identity().clone();
        for sequence in 1..4 {
            let header = header(&world, sequence, Target::Peer(world.agents()[VICTIM].id()));
            let content = Content::Undelivered {
                message: (id.incarnation, id.target, id.sequence),
                count: 1,
                reason: LossReason::QueueFull,
            };
            let record = envelope(&world, author.sign("sim", &Message { header, content }));
            attack(&mut world, Channel::Control, frame(&record));
        }
        // A reliable message is repeated, and its target says that it has arrived.
        world.run_for(SECOND * 10);
        assert_eq!(outcomes(&world, id).len(), before, "{delivery:?}");
        let received = world.agents()[2].received().iter();
        assert_eq!(received.filter(|message| message.id == id).count(), 1);
        assert!(world.agents()[VICTIM].mesh().is_idle());
    }
}

#[test]
fn what_no_honest_author_sends_is_malformed() {
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    let json = |text: &str| Data::one(Payload::Json(text.to_owned()), Delivery::Reliable);
    let mut long_topic = json("1");
    long_topic.items[0].topic = "t".repeat(15_000);
    let cases = [
        (json("{bad"), 15, false),
        (json(&deep), 15, false),
        (long_topic.clone(), 15, true),
        (long_topic, 15, false),
        (json("1"), 17, false),
        (json("1"), 17, true),
    ];
    for (data, ttl, to_all) in cases {
        let mut world = world(4);
        let target = match to_all {
            true => Target::Room,
            false => Target::Peer(world.agents()[VICTIM].id()),
        };
        let header = header(&world, 1, target);
        let author = world.agents()[2].identity().clone();
        let content = Content::Data(data);
        let record = Record::Envelope(Envelope {
            ttl,
            target,
            signed: author.sign("sim", &Message { header, content }),
        });
        attack(&mut world, Channel::Data, frame(&record));
        assert_rejected(&mut world, RejectReason::Malformed, Some(2));
    }
}
