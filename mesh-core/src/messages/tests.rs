//! The data plane by itself: commands and envelopes in, exact events and envelopes out.

use std::time::Duration;

use super::*;
use crate::error::{LossReason, RejectReason, SendError};
use crate::io::{Channel, Event, Output};
use crate::payload::Delivery;
use crate::signaling::Member;
use crate::sim::{World, WorldConfig};
use crate::trust::Identity;
use crate::wire::{
    Content, Data, Envelope, Frame, Message, MessageHeader, Place, Progress, Record,
};

mod streams;

const SECOND: Duration = Duration::from_secs(1);

/// Agent 1 of a room with agents 2 and 3.
struct Rig {
    messages: Messages,
    links: Links,
    routing: Routing,
    overlay: Overlay,
    trust: Trust,
    cx: Context,
}

/// Agents that are admitted and have no link yet.
pub(super) fn just_joined(agents: usize) -> World {
    let mut world = World::new(WorldConfig::new(5));
    world.start_agents(agents);
    let listed = |world: &World| {
        let mut agents = world.agents().iter();
        agents.all(|agent| agent.mesh().members() == world.agents().len() - 1)
    };
    assert!(world.run_until(SECOND, listed));
    let linked = |world: &World| world.agents()[0].mesh().open_peers().count();
    assert_eq!(linked(&world), 0);
    world
}

fn identity(secret: u8) -> Identity {
    Identity::from_secret([secret; 32])
}

fn peer(secret: u8) -> PeerId {
    identity(secret).peer()
}

impl Rig {
    fn new() -> Self {
        let cx = Context::in_test(peer(1));
        let mut rig = Self {
            messages: Messages::default(),
            links: Links::new([7; 32]),
            routing: Routing::new(cx.config.metric, [7; 32]),
            overlay: Overlay::new(cx.this, cx.now),
            trust: Trust::new(identity(1), cx.unix()),
            cx,
        };
        for n in [2, 3] {
            let name = format!("agent-{n}");
            let member = Member {
                peer: peer(n),
                name,
            };
            rig.overlay.list(member, &mut rig.links, &mut rig.cx);
        }
        let (links, routing) = (&mut rig.links, &rig.routing);
        rig.overlay.members_changed(links, routing, &mut rig.cx);
        rig.cx.outbox.clear();
        rig
    }

    /// With an open link to agent 2.
    fn linked() -> Self {
        let mut rig = Self::new();
        rig.open(2);
        rig
    }

    fn open(&mut self, n: u8) {
        let link = self.links.dial(peer(n), false, &mut self.cx);
        self.links.opened(link, &mut self.cx);
        while self.links.poll_event().is_some() {}
        self.routing.changed(&self.cx);
        self.cx.outbox.clear();
    }

    fn run<T>(&mut self, act: impl FnOnce(&mut Messages, &mut Net<'_>) -> T) -> T {
        let mut net = Net {
            links: &mut self.links,
            routing: &mut self.routing,
            overlay: &self.overlay,
            trust: &mut self.trust,
            cx: &mut self.cx,
        };
        act(&mut self.messages, &mut net)
    }

    fn send(&mut self, to: u8, delivery: Delivery) -> Result<MessageId, SendError> {
        self.run(|messages, net| messages.send(peer(to), "hi".into(), delivery.into(), net))
    }

    /// An envelope of another agent's for this one comes over the link to agent 2.
    fn receive(&mut self, author: u8, sequence: u64, content: Content) {
        self.pass_by((author, sequence), Target::Peer(peer(1)), content);
    }

    /// An envelope of another agent's that may be for another comes over the link to agent 2.
    fn pass_by(&mut self, (author, sequence): (u8, u64), target: Target, content: Content) {
        let header = MessageHeader {
            incarnation: 1,
            sequence,
            target,
            sent_at: self.cx.unix(),
            ttl: 16,
        };
        let signed = identity(author).sign("room", &Message { header, content });
        let envelope = Envelope {
            ttl: 15,
            target,
            signed,
        };
        self.run(|messages, net| {
            messages.envelope_received(peer(2), Channel::Data, envelope, net);
        });
    }

    /// Agent 2 has acknowledged so many envelopes in all.
    fn acknowledged(&mut self, envelopes: u64) {
        let link = self.links.open_to(peer(2)).expect("it is linked").id;
        self.links.acknowledged(link, envelopes, &mut self.cx);
    }

    fn told(&mut self) -> Vec<Event> {
        let orders = self.cx.outbox.drain(..);
        let events = orders.filter_map(|order| match order {
            Output::Emit(event) => Some(event),
            _ => None,
        });
        events.collect()
    }

    /// The envelopes that leave now.
    fn sent(&mut self) -> Vec<(Target, Content)> {
        self.run(Messages::sign_due);
        let mut sent = Vec::new();
        while let Some(Output::Transmit { frame, .. }) = self.links.poll_transmit(&mut self.cx) {
            for record in Frame::decode(&frame).expect("decodes").records {
                if let Record::Envelope(envelope) = record {
                    let message = envelope.signed.peek::<Message>().expect("decodes");
                    sent.push((envelope.target, message.content));
                }
            }
        }
        sent
    }
}

fn data(delivery: Delivery) -> Content {
    Content::Data(Data::one("hi".into(), delivery))
}

/// The first message of a stream.
fn first(delivery: Delivery) -> Content {
    placed(delivery, 0, 0)
}

fn placed(delivery: Delivery, number: u64, awaited: u64) -> Content {
    Content::Data(Data {
        place: Some(Place {
            stream: 1,
            number,
            awaited,
            ordered: true,
            asks: false,
        }),
        ..Data::one("hi".into(), delivery)
    })
}

#[test]
fn a_message_waits_for_a_way_and_leaves_when_there_is_one() {
    let mut rig = Rig::new();
    rig.send(2, Delivery::Reliable).expect("it waits");
    assert_eq!(rig.sent(), []);
    assert_eq!(rig.messages.waiting_len(), 1);
    rig.open(2);
    rig.run(Messages::flush_waiting);
    let expected = (Target::Peer(peer(2)), first(Delivery::Reliable));
    assert_eq!(rig.sent(), [expected]);
    assert_eq!(rig.told(), []);
}

#[test]
fn a_message_that_finds_no_way_fails_at_its_deadline() {
    let mut rig = Rig::new();
    let id = rig.send(2, Delivery::Reliable).expect("it waits");
    rig.sent();
    rig.cx.now = rig.cx.now + rig.cx.config.deadline;
    rig.run(Messages::expire_waiting);
    let failed = Event::DeliveryFailed {
        id,
        to: Some(peer(2)),
        reason: LossReason::NoRoute,
        at: peer(1),
    };
    assert_eq!(rig.told(), [failed]);
    assert_eq!(rig.cx.stats.lost[&LossReason::NoRoute], 1);
}

#[test]
fn a_message_without_a_way_fails_at_once_where_the_driver_comes_around_after_its_deadline() {
    let mut rig = Rig::new();
    let id = rig.send(2, Delivery::Reliable).expect("it waits");
    rig.cx.now = rig.cx.now + rig.cx.config.deadline;
    assert_eq!(rig.sent(), []);
    assert_eq!(rig.messages.waiting_len(), 0);
    let told = rig.told();
    let failed = |event: &Event| matches!(event, Event::DeliveryFailed { id: of, .. } if *of == id);
    assert!(told.len() == 1 && failed(&told[0]), "{told:?}");
}

#[test]
fn an_acknowledged_message_is_repeated_until_its_receipt_comes() {
    let mut rig = Rig::linked();
    let id = rig.send(2, Delivery::Acknowledged).expect("sent");
    assert_eq!(rig.sent().len(), 1);
    rig.acknowledged(1);
    rig.cx.now = rig.cx.now + rig.cx.config.retry_min;
    rig.run(Messages::retry_pending);
    let repeated = (Target::Peer(peer(2)), first(Delivery::Acknowledged));
    assert_eq!(rig.sent(), [repeated]);
    let message = (id.incarnation, id.sequence);
    rig.receive(2, 1, Content::Receipt { message, count: 1 });
    let delivered = Event::Delivered {
        id,
        to: peer(2),
        round_trip_ms: rig.cx.config.retry_min.as_secs_f64() * 1e3,
    };
    assert_eq!(rig.told(), [delivered]);
    rig.cx.now = rig.cx.now + SECOND * 10;
    rig.run(Messages::retry_pending);
    assert_eq!((rig.sent(), rig.told()), (vec![], vec![]));
}

/// Answers were late, and one is awaited: the next two messages have so long to share a signature.
fn gathering() -> (Rig, Duration) {
    let mut rig = Rig::linked();
    for (number, ms) in [(1, 320), (2, 5_000)] {
        let id = rig.send(2, Delivery::Acknowledged).expect("sent");
        assert_eq!(rig.sent().len(), 1);
        rig.cx.now = rig.cx.now + Duration::from_millis(ms);
        let message = (id.incarnation, id.sequence);
        rig.receive(2, number, Content::Receipt { message, count: 1 });
    }
    rig.acknowledged(2);
    rig.send(2, Delivery::Acknowledged).expect("sent");
    assert_eq!(rig.sent().len(), 1, "none before it is awaited");
    let now = rig.cx.now;
    for _ in 0..2 {
        rig.send(2, Delivery::Acknowledged).expect("sent");
        assert_eq!(rig.sent(), []);
    }
    rig.messages.disarm(TimeoutReason::Retry);
    let (at, reason) = rig.messages.deadline().expect("it waits");
    assert_eq!(reason, TimeoutReason::Gather);
    (rig, at.since(now))
}

#[test]
fn messages_whose_answers_are_late_wait_for_each_other_and_no_longer() {
    let (mut rig, wait) = gathering();
    assert!(wait > SECOND / 100 && wait <= SECOND / 5, "{wait:?}");
    rig.cx.now = rig.cx.now + wait;
    let items = rig.sent().into_iter().map(|(_, content)| match content {
        Content::Data(data) => data.items.len(),
        _ => 0,
    });
    assert!(items.eq([2]));
    let message = (rig.trust.incarnation(), 4);
    rig.told();
    rig.receive(2, 3, Content::Receipt { message, count: 2 });
    assert_eq!(rig.told().len(), 2, "both are delivered");
}

#[test]
fn no_copy_leaves_before_its_message() {
    let (mut rig, _) = gathering();
    rig.cx.now = rig.cx.now + SECOND; // The driver was late.
    rig.run(Messages::retry_pending);
    assert_eq!(rig.cx.stats.retried, 0);
    assert_eq!(rig.sent().len(), 1);
    // The wait for their receipts begins now, and takes half of the time that is left.
    let (now, left) = (rig.cx.now, rig.cx.config.deadline - SECOND);
    let pending = rig.messages.pending.values();
    let leaving = pending.filter(|pending| pending.left_at == now);
    let waits: Vec<_> = leaving.map(|it| it.retry_at.since(now)).collect();
    assert_eq!(waits, [left / 2; 2]);
}

#[test]
fn the_next_messages_that_wait_for_each_other_leave_in_time_too() {
    let (mut rig, wait) = gathering();
    rig.cx.now = rig.cx.now + wait;
    assert_eq!(
        rig.sent().len(),
        1,
        "as outputs are asked for, before the timer fires"
    );
    rig.send(2, Delivery::Acknowledged).expect("sent");
    rig.messages.disarm(TimeoutReason::Gather);
    rig.run(Messages::sign_due);
    assert_eq!(rig.sent(), []);
    rig.messages.disarm(TimeoutReason::Retry);
    let (at, reason) = rig.messages.deadline().expect("it waits");
    assert_eq!(
        (at.since(rig.cx.now), reason),
        (wait, TimeoutReason::Gather)
    );
}

#[test]
fn an_agent_that_leaves_sends_what_waits_for_others() {
    let (mut rig, _) = gathering();
    rig.told();
    rig.run(Messages::leave);
    assert_eq!(rig.messages.deadline(), None);
    let left = |order: &Output| matches!(order, Output::Transmit { .. });
    assert_eq!(rig.cx.outbox.iter().filter(|order| left(order)).count(), 1);
}

#[test]
fn no_copy_leaves_behind_one_that_the_neighbour_has_not_acknowledged() {
    for delivery in [Delivery::Reliable, Delivery::Acknowledged] {
        let mut rig = Rig::linked();
        let id = rig.send(2, delivery).expect("sent");
        rig.sent();
        let content = Content::Undelivered {
            message: (id.incarnation, id.target, id.sequence),
            count: 1,
            reason: LossReason::NoRoute,
        };
        rig.receive(3, 1, content);
        let later = |rig: &mut Rig| {
            rig.cx.now = rig.cx.now + SECOND;
            rig.run(Messages::retry_pending);
            rig.run(Messages::tend_streams);
            rig.sent().len()
        };
        assert_eq!(later(&mut rig), 0, "{delivery:?}");
        rig.acknowledged(1);
        assert_eq!(later(&mut rig), 1, "{delivery:?}");
    }
}

#[test]
fn on_a_long_path_receipts_are_waited_for_as_long_as_they_take() {
    let (mut copies, mut handed) = (Vec::new(), 0);
    let mut rig = Rig::linked();
    for turn in 0..6 {
        let sent_at = rig.cx.now;
        let id = rig.send(2, Delivery::Acknowledged).expect("sent");
        let first = rig.sent().len();
        rig.acknowledged(handed + first as u64);
        // Longer than a link is expected to take that was not measured yet.
        let receipt_at = sent_at + Duration::from_millis(1_200);
        while rig.cx.now < receipt_at {
            rig.run(Messages::retry_pending);
            rig.cx.now = rig.cx.now + SECOND / 100;
        }
        let all = first + rig.sent().len();
        copies.push(all);
        handed += all as u64;
        let message = (id.incarnation, id.sequence);
        rig.receive(2, turn, Content::Receipt { message, count: 1 });
        rig.told();
    }
    assert_eq!(copies, [2, 1, 1, 1, 1, 1]);
}

#[test]
fn what_comes_is_delivered_once_and_acknowledged_each_time() {
    let mut rig = Rig::linked();
    for _ in 0..2 {
        rig.receive(3, 7, data(Delivery::Acknowledged));
    }
    let [Event::Message(received)] = &rig.told()[..] else {
        panic!("one message");
    };
    assert_eq!((received.from, received.hops), (peer(3), 2));
    assert_eq!(received.name, "agent-3");
    let message = (1, 7);
    let receipt = (
        Target::Peer(peer(3)),
        Content::Receipt { message, count: 1 },
    );
    assert_eq!(rig.sent(), [receipt.clone(), receipt]);
    assert_eq!(rig.cx.stats.duplicates, 1);
}

#[test]
fn a_forwarder_that_is_stuck_tells_the_author() {
    let mut rig = Rig::linked();
    let target = Target::Peer(peer(9)); // No path leads there.
    rig.pass_by((2, 5), target, data(Delivery::Reliable));
    let notice = Content::Undelivered {
        message: (1, target, 5),
        count: 1,
        reason: LossReason::NoRoute,
    };
    assert_eq!(rig.sent(), [(Target::Peer(peer(2)), notice)]);
    assert_eq!(rig.told(), [], "it is not this agent's");
}

#[test]
fn a_notice_that_is_stuck_holds_up_nothing_and_is_tried_again() {
    let mut rig = Rig::linked();
    let target = Target::Peer(peer(2));
    let notice = Content::Undelivered {
        message: (1, target, 5),
        count: 1,
        reason: LossReason::NoRoute,
    };
    // The neighbour that it is for has brought it: to go back would be a loop.
    rig.pass_by((3, 5), target, notice.clone());
    assert_eq!(rig.sent(), []);
    rig.send(2, Delivery::Datagram).expect("sent");
    assert_eq!(rig.sent(), [(target, data(Delivery::Datagram))]);
    let (at, _) = rig.messages.deadline().expect("it is tried again");
    rig.cx.now = at;
    rig.run(Messages::expire_waiting);
    assert_eq!(rig.sent(), [(target, notice)]);
}

#[test]
fn a_message_that_got_stuck_is_repeated_until_its_deadline_and_fails_once() {
    let mut rig = Rig::linked();
    let id = rig.send(2, Delivery::Reliable).expect("sent");
    rig.sent();
    let content = Content::Undelivered {
        message: (id.incarnation, id.target, id.sequence),
        count: 1,
        reason: LossReason::TtlExpired,
    };
    let started = rig.cx.now;
    for sequence in 1..=3 {
        rig.acknowledged(sequence);
        rig.receive(3, sequence, content.clone());
        assert_eq!((rig.sent(), rig.told()), (vec![], vec![]), "not at once");
        rig.cx.now = rig.cx.now + SECOND;
        rig.run(Messages::tend_streams);
        let repeated = (Target::Peer(peer(2)), first(Delivery::Reliable));
        assert_eq!(rig.sent(), [repeated]);
    }
    rig.receive(3, 4, content);
    rig.cx.now = started + rig.cx.config.deadline;
    rig.run(Messages::tend_streams);
    let failed = Event::DeliveryFailed {
        id,
        to: Some(peer(2)),
        reason: LossReason::TtlExpired,
        at: peer(3),
    };
    assert_eq!((rig.sent(), rig.told()), (vec![], vec![failed]));
    rig.run(Messages::tend_streams);
    assert_eq!((rig.sent(), rig.told()), (vec![], vec![]));
}

#[test]
fn what_the_target_has_is_not_repeated_whoever_says_that_it_is_lost() {
    let mut rig = Rig::linked();
    let id = rig.send(2, Delivery::Reliable).expect("sent");
    rig.sent();
    let progress = |next| {
        Content::Progress(Progress {
            incarnation: id.incarnation,
            stream: 1,
            next,
            seen: next,
            missing: vec![],
            repeated: false,
        })
    };
    rig.receive(2, 1, progress(2));
    let [Event::Rejected { reason, .. }] = rig.told()[..] else {
        panic!("more than was sent");
    };
    assert_eq!(reason, RejectReason::Malformed);
    rig.receive(3, 1, progress(1));
    assert_eq!(rig.told(), [], "that is no stream to agent 3");
    rig.receive(2, 2, progress(1));
    let content = Content::Undelivered {
        message: (id.incarnation, id.target, id.sequence),
        count: 1,
        reason: LossReason::NoRoute,
    };
    rig.receive(3, 2, content);
    rig.cx.now = rig.cx.now + SECOND * 10;
    rig.run(Messages::tend_streams);
    assert_eq!((rig.sent(), rig.told()), (vec![], vec![]));
}

#[test]
fn a_signal_goes_to_the_links_and_not_to_the_application() {
    let mut rig = Rig::linked();
    let signal = crate::wire::PeerSignal::Solicit;
    rig.receive(3, 1, Content::Signal { attempt: 4, signal });
    let signal = rig.messages.poll_signal().expect("it is handed over");
    assert_eq!((signal.message.author, signal.attempt), (peer(3), 4));
    assert_eq!(signal.via, Some(peer(2)));
    assert!(rig.messages.poll_signal().is_none() && rig.told().is_empty());
}

#[test]
fn who_leaves_is_told_of_what_was_under_way() {
    let mut rig = Rig::linked();
    let id = rig.send(2, Delivery::Acknowledged).expect("sent");
    rig.run(Messages::leave);
    let failed = Event::DeliveryFailed {
        id,
        to: Some(peer(2)),
        reason: LossReason::Left,
        at: peer(1),
    };
    assert_eq!(rig.told(), [failed]);
}
