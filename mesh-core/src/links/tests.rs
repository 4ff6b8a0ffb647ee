//! Links by themselves: calls in, exact orders and events out.

mod failing;
mod media;
mod path;
mod rounds;

use std::time::Duration;

use super::*;
use crate::context::Context;
use crate::ice::IceConfig;
use crate::id::{MessageId, Target};
use crate::io::Channel;
use crate::media::Tracks;
use crate::payload::Delivery;
use crate::timeout::TimeoutReason;
use crate::trust::Identity;
use crate::wire::{Content, Data, Frame, FrameWriter, LinkSignal, Message, MessageHeader};

const OFFER: &str = "an offer";
const ANSWER: &str = "an answer";

/// Two ids, the lower first: the end that offers, and the end that answers.
fn peers() -> [PeerId; 2] {
    let mut peers = [1, 2].map(|secret| Identity::from_secret([secret; 32]).peer());
    peers.sort_unstable();
    peers
}

fn context(this: PeerId) -> Context {
    Context::in_test(this)
}

fn events(links: &mut Links) -> Vec<String> {
    let events = std::iter::from_fn(|| links.poll_event());
    events.map(|event| format!("{event:?}")).collect()
}

fn orders(cx: &mut Context) -> Vec<Output> {
    cx.outbox.drain(..).collect()
}

/// The message of a peer that a signal came in.
fn message(author: PeerId, target: PeerId, sequence: u64) -> MessageId {
    MessageId {
        author,
        incarnation: 1,
        target: Target::Peer(target),
        sequence,
    }
}

fn answer() -> LinkSignal {
    LinkSignal::Answer { sdp: ANSWER.into() }
}

fn candidate() -> LinkSignal {
    LinkSignal::Candidate {
        candidate: "candidate:1".into(),
        mid: None,
        line: None,
    }
}

/// The attempt of the only link.
fn attempt(links: &mut Links, cx: &Context) -> u64 {
    let id = links.ids()[0];
    let sdp = OFFER.to_owned();
    links.signaled(id, LinkSignal::Offer { sdp }, cx);
    match links.poll_event() {
        Some(LinkEvent::Signal { attempt, .. }) => attempt,
        other => panic!("{other:?}"),
    }
}

/// An open link of the offerer to the answerer, and what it told until then is taken.
fn open() -> (Links, Context, LinkId) {
    let [this, peer] = peers();
    let (mut links, mut cx) = (Links::new([7; 32]), context(this));
    let id = links.dial(peer, false, &mut cx);
    links.opened(id, &mut cx);
    events(&mut links);
    orders(&mut cx);
    (links, cx, id)
}

/// An envelope of this agent's for the peer.
fn envelope(sequence: u64) -> Envelope {
    let [this, peer] = peers();
    let header = MessageHeader {
        incarnation: 1,
        sequence,
        target: Target::Peer(peer),
        sent_at: crate::UnixTime::from_micros(1),
        ttl: 16,
    };
    let content = Content::Data(Data::one("x".into(), Delivery::Reliable));
    let identity = [1, 2].map(|secret| Identity::from_secret([secret; 32]));
    let author = identity.iter().find(|identity| identity.peer() == this);
    let signed = author.expect("one of them");
    Envelope {
        ttl: 16,
        target: header.target,
        signed: signed.sign("room", &Message { header, content }),
    }
}

fn frame(record: &Record) -> bytes::Bytes {
    let mut writer = FrameWriter::default();
    writer.push(&FrameWriter::encode(record));
    writer.finish()
}

/// The records that are sent now.
fn sent(links: &mut Links, cx: &mut Context) -> Vec<Record> {
    let frames = std::iter::from_fn(|| match links.poll_transmit(cx) {
        Some(Output::Transmit { frame, .. }) => Some(frame),
        None => None,
        other => panic!("{other:?}"),
    });
    let records = frames.map(|frame| Frame::decode(&frame).expect("decodes").records);
    records.collect::<Vec<_>>().concat()
}

fn is_usable(links: &Links, id: LinkId) -> bool {
    links.get(id).is_some_and(Link::is_usable)
}

#[test]
fn an_offer_its_answer_and_a_candidate_make_a_link() {
    let [this, peer] = peers();
    let (mut links, mut cx) = (Links::new([7; 32]), context(this));
    let id = links.dial(peer, false, &mut cx);
    let expected = Output::OpenLink {
        link: id,
        peer,
        offer: None,
        fresh_keys: false,
        small_packets: false,
        ice: IceConfig::default(),
        tracks: Tracks::default(),
    };
    assert_eq!(orders(&mut cx), [expected]);
    let attempt = attempt(&mut links, &cx);
    for signal in [answer(), candidate()] {
        links.apply(
            message(peer, this, 1),
            (attempt, 0),
            signal.clone(),
            &mut cx,
        );
        let expected = Output::ApplySignal { link: id, signal };
        assert_eq!(orders(&mut cx), [expected]);
    }
    cx.now = cx.now + Duration::from_millis(80);
    links.reached(id, &mut cx);
    links.opened(id, &mut cx);
    let expected = Event::LinkOpened {
        peer,
        setup_ms: 80.0,
        described_ms: 0.0,
        answered_ms: Some(0.0),
        reached_ms: Some(80.0),
    };
    assert_eq!(orders(&mut cx), [Output::Emit(expected)]);
    let up = format!("{:?}", LinkEvent::Up(id, peer));
    assert_eq!(events(&mut links), [up]);
    assert!(links.takes(peer, Channel::Data, &cx));
}

#[test]
fn a_lost_answer_ends_the_attempt_and_the_next_waits() {
    let [this, peer] = peers();
    let (mut links, mut cx) = (Links::new([7; 32]), context(this));
    let id = links.dial(peer, false, &mut cx);
    attempt(&mut links, &cx);
    let (due, reason) = links.deadline().expect("it is given up one day");
    assert_eq!(reason, TimeoutReason::Negotiation);
    assert_eq!(due, cx.now + cx.config.answer_timeout);
    cx.now = due;
    orders(&mut cx);
    links.attend_next(&mut cx);
    let reason = "it did not open in time".to_owned();
    let failed = Output::Emit(Event::LinkFailed { peer, reason });
    assert_eq!(orders(&mut cx), [Output::CloseLink { link: id }, failed]);
    let down = LinkEvent::Down(Down {
        id,
        peer,
        was: Was::Negotiating,
        unacknowledged: Vec::new(),
    });
    let told = events(&mut links);
    assert_eq!(told.last(), Some(&format!("{down:?}")));
    assert!(!links.may_dial(peer, &cx), "at once would be a hurry");
    cx.now = links.next_dial(&cx).expect("it is tried again");
    assert!(links.may_dial(peer, &cx));
}

#[test]
fn an_answer_counts_once_and_so_many_candidates_do() {
    let [this, peer] = peers();
    let (mut links, mut cx) = (Links::new([7; 32]), context(this));
    links.dial(peer, false, &mut cx);
    let attempt = attempt(&mut links, &cx);
    let id = message(peer, this, 1);
    links.apply(id, (attempt, 0), answer(), &mut cx);
    (0..64).for_each(|_| links.apply(id, (attempt, 0), candidate(), &mut cx));
    orders(&mut cx);
    links.apply(id, (attempt, 0), answer(), &mut cx);
    links.apply(id, (attempt, 0), candidate(), &mut cx);
    links.apply(id, (attempt + 1, 0), candidate(), &mut cx);
    let rejected = |reason| {
        Output::Emit(Event::Rejected {
            via: None,
            author: Some(peer),
            reason,
        })
    };
    let expected = [RejectReason::UnexpectedSignal, RejectReason::Limit].map(rejected);
    assert_eq!(
        orders(&mut cx),
        expected,
        "of another attempt nothing is told"
    );
}

#[test]
fn glare_of_two_attempts_leaves_the_later_offer() {
    let [peer, this] = peers();
    let (mut links, mut cx) = (Links::new([7; 32]), context(this));
    assert!(links.make_way(peer, 7, &mut cx), "there is none yet");
    let first = links.answer(peer, (7, OFFER.to_owned()), true, &mut cx);
    orders(&mut cx);
    assert!(
        !links.make_way(peer, 7, &mut cx),
        "the same over another path"
    );
    assert_eq!((orders(&mut cx), events(&mut links)), (vec![], vec![]));
    assert!(links.make_way(peer, 8, &mut cx));
    assert_eq!(orders(&mut cx)[0], Output::CloseLink { link: first });
    let second = links.answer(peer, (8, OFFER.to_owned()), true, &mut cx);
    assert_ne!(first, second);
    assert_eq!(links.ids(), [second]);
}

#[test]
fn a_peer_that_asks_after_its_answer_has_lost_its_end() {
    let [this, peer] = peers();
    let (mut links, mut cx) = (Links::new([7; 32]), context(this));
    let link = links.dial(peer, false, &mut cx);
    let attempt = attempt(&mut links, &cx);
    let asked = |sequence| message(peer, this, sequence);
    assert_eq!(
        links.lost_by(&asked(1), &cx),
        None,
        "the offer is on its way"
    );
    cx.now = cx.now + Duration::from_secs(4);
    let unseen = Some((link, "the peer has not seen the offer"));
    assert_eq!(links.lost_by(&asked(1), &cx), unseen);
    links.apply(asked(2), (attempt, 0), answer(), &mut cx);
    links.opened(link, &mut cx);
    assert_eq!(
        links.lost_by(&asked(1), &cx),
        None,
        "said before the answer"
    );
    let lost = Some((link, "the peer has lost its end"));
    assert_eq!(links.lost_by(&asked(3), &cx), lost);
}

#[test]
fn a_silent_link_is_down_with_what_it_held_and_up_again_when_it_speaks() {
    let (mut links, mut cx, id) = open();
    let [_, peer] = peers();
    let held = envelope(1);
    let returned = links.queue_envelope(peer, Channel::Data, held.clone(), &cx);
    assert_eq!(returned, None);
    links.disarm(TimeoutReason::Suspect); // Its pings alone tell.
    let mut pings = 0;
    while links.leads_to(peer) {
        let mut records = sent(&mut links, &mut cx).into_iter();
        // One over two channels is one.
        pings += usize::from(records.any(|record| matches!(record, Record::Ping { .. })));
        let (at, reason) = links.deadline().expect("its keepalive");
        assert_eq!(reason, TimeoutReason::Keepalive);
        cx.now = at;
        links.attend(id, &mut cx);
    }
    assert_eq!(pings, cx.config.pings_max as usize);
    let reason = "no sign of life".to_owned();
    let closed = Output::Emit(Event::LinkClosed { peer, reason });
    assert_eq!(orders(&mut cx), [closed], "its connection is kept");
    let down = LinkEvent::Down(Down {
        id,
        peer,
        was: Was::Open,
        unacknowledged: vec![held],
    });
    let told = [down, LinkEvent::RestartDue(id), LinkEvent::Isolated];
    assert_eq!(events(&mut links), told.map(|e| format!("{e:?}")));
    links.revive(id, Duration::ZERO, &mut cx);
    let up = LinkEvent::Up(id, peer);
    assert_eq!(events(&mut links), [format!("{up:?}")]);
    assert!(is_usable(&links, id));
}

#[test]
fn a_drained_link_stays_for_what_is_under_way_and_takes_nothing_new() {
    let (mut links, mut cx, id) = open();
    let [_, peer] = peers();
    links.queue_envelope(peer, Channel::Data, envelope(1), &cx);
    links.drain(id, &cx);
    assert_eq!(events(&mut links), ["Draining"]);
    let records = sent(&mut links, &mut cx);
    assert_eq!(records, [Record::Drain, Record::Envelope(envelope(1))]);
    assert!(!links.takes(peer, Channel::Data, &cx), "nothing new");
    links.acknowledged(id, 1, &mut cx);
    assert_eq!(orders(&mut cx), [], "the other end may have sent datagrams");
    assert_eq!(events(&mut links), ["Writable"]);
    cx.now = cx.now + LINGER;
    links.attend(id, &mut cx);
    assert_eq!(orders(&mut cx)[0], Output::CloseLink { link: id });
    let told = events(&mut links);
    assert!(told[0].starts_with("Down") && told[0].contains("Draining"));
}

#[test]
fn an_end_that_keeps_sending_garbage_is_closed() {
    let (mut links, mut cx, id) = open();
    let ping = frame(&Record::Ping { nonce: 7 });
    let records = links.frame_received(id, &ping, &mut cx);
    assert_eq!(records, Some(vec![Record::Ping { nonce: 7 }]));
    for _ in 0..33 {
        let records = links.frame_received(id, b"garbage", &mut cx);
        assert_eq!(records.unwrap_or_default(), []);
    }
    assert!(!is_usable(&links, id), "enough");
    let closed = orders(&mut cx).contains(&Output::CloseLink { link: id });
    assert!(closed);
}

#[test]
fn an_acknowledgement_of_more_than_was_sent_is_malformed() {
    let (mut links, mut cx, id) = open();
    links.acknowledged(id, 1, &mut cx);
    assert_eq!(cx.stats.rejected[&RejectReason::Malformed], 1);
    assert!(is_usable(&links, id), "one lie ends nothing");
}
