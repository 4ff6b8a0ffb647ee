//! The wire format, as PROTOCOL.md shows it.

use super::tests::frame_of;
use super::*;
use crate::document::{assert_golden, table};
use crate::error::LossReason;
use crate::ice::{CandidateType, LinkPath};
use crate::id::{PeerId, Target};
use crate::link_report::{FailedAttempts, LinkCondition, LinkReport, LinkStep};
use crate::media::Tracks;
use crate::payload::{Delivery, Payload};
use crate::time::UnixTime;
use crate::trust::Identity;

fn identity() -> Identity {
    Identity::from_secret([1; 32])
}

fn other() -> PeerId {
    Identity::from_secret([2; 32]).peer()
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

pub(super) fn header(target: Target) -> MessageHeader {
    MessageHeader {
        incarnation: 1_800_000_000_000_000,
        sequence: 1,
        target,
        sent_at: UnixTime::from_micros(1_800_000_000_500_000),
        ttl: 16,
    }
}

fn data(payload: Payload, delivery: Delivery) -> Content {
    let place = (delivery != Delivery::Datagram).then_some(PLACE);
    Content::Data(Data {
        place,
        ..Data::one(payload, delivery)
    })
}

/// The fourth message of the stream that began with the header's.
const PLACE: Place = Place {
    stream: 1,
    number: 3,
    awaited: 2,
    ordered: true,
    asks: false,
};

/// What an agent asks to send.
const TRACKS: Tracks = Tracks { audio: 1, video: 2 };

fn broadcast() -> Content {
    let mut data = Data::one("hello".into(), Delivery::Reliable);
    data.items[0].topic = "greetings".into();
    Content::Data(data)
}

fn envelope(target: Target, content: Content) -> Record {
    let message = Message {
        header: header(target),
        content,
    };
    Record::Envelope(Envelope {
        ttl: 16,
        target,
        signed: identity().sign("demo", &message),
    })
}

fn link_state() -> Record {
    let state = LinkState {
        version: 1_800_000_000_000_000,
        name: "agent-001".into(),
        departed: false,
        lacks: 0,
        links: vec![LinkEntry {
            peer_prefix: PeerId::from_bytes([2; 32]).prefix(),
            rtt_us: 850,
            kbps: 0,
        }],
    };
    Record::LinkState(identity().sign("demo", &state))
}

/// The golden frames that are short.
fn short_frames() -> Vec<(&'static str, Vec<Record>)> {
    let digest = Record::Digest {
        low: 0,
        high: u64::MAX,
        entries: vec![DigestEntry {
            author_prefix: 0x0202_0202_0202_0202,
            version: 7,
        }],
        reply: true,
    };
    let have = Record::Have {
        names: vec![1, 300],
    };
    let (ping, ack) = (Record::Ping { nonce: 300 }, Record::Ack { received: 5 });
    let fingerprint = 0xdead_beef;
    vec![
        ("ping and ack", vec![ping, ack]),
        ("pong", vec![Record::Pong { nonce: 300 }]),
        ("drain", vec![Record::Drain]),
        ("summary", vec![Record::Summary { fingerprint }]),
        ("digest", vec![digest]),
        (
            "have and want",
            vec![have, Record::Want { names: vec![300] }],
        ),
    ]
}

/// The others: the name, and the records.
fn frames() -> Vec<(&'static str, Vec<Record>)> {
    let to_other = Target::Peer(other());
    vec![
        ("frame-link-state", vec![link_state()]),
        ("frame-broadcast", vec![envelope(Target::Room, broadcast())]),
        (
            "frame-unicast",
            vec![envelope(
                to_other,
                data("hi".into(), Delivery::Acknowledged),
            )],
        ),
    ]
}

fn signal(attempt: u64, signal: PeerSignal) -> Content {
    Content::Signal { attempt, signal }
}

fn succeed(predecessor: u64, sdp: String) -> PeerSignal {
    PeerSignal::Succeed { predecessor, sdp }
}

/// Every content that PROTOCOL.md shows.
fn contents() -> Vec<(&'static str, Content)> {
    let request = Content::Data(Data {
        wants_reply: true,
        place: Some(PLACE),
        ..Data::one("how?".into(), Delivery::Acknowledged)
    });
    let two = Content::Data(Data {
        items: ["a", "b"]
            .map(|text| Item {
                topic: String::new(),
                payload: text.into(),
            })
            .into(),
        place: Some(Place {
            ordered: false,
            asks: true,
            ..PLACE
        }),
        ..Data::one("".into(), Delivery::Reliable)
    });
    let json = Payload::Json("[1]".to_owned());
    let message = (1_800_000_000_000_000, 7);
    vec![
        ("text", data("hi".into(), Delivery::Reliable)),
        ("json", data(json, Delivery::Reliable)),
        ("bytes", data(vec![1, 2, 255].into(), Delivery::Datagram)),
        ("two", two),
        ("broadcast", broadcast()),
        ("request", request),
        (
            "reply",
            Content::Replies(vec![Reply {
                request: message,
                payload: "so".into(),
            }]),
        ),
        ("receipt", Content::Receipt { message, count: 3 }),
        (
            "undelivered",
            Content::Undelivered {
                message: (message.0, Target::Peer(other()), message.1),
                count: 3,
                reason: LossReason::QueueFull,
            },
        ),
    ]
}

/// Every signal that PROTOCOL.md shows.
fn signals() -> Vec<(&'static str, Content)> {
    let round = |round, signal| PeerSignal::Link { round, signal };
    let link = |part| signal(300, round(0, part));
    let sdp = || "v=0".to_owned();
    let candidate = |mid: Option<&str>, line| LinkSignal::Candidate {
        candidate: "candidate:1".to_owned(),
        mid: mid.map(str::to_owned),
        line,
    };
    vec![
        ("offer", link(LinkSignal::Offer { sdp: sdp() })),
        ("answer", link(LinkSignal::Answer { sdp: sdp() })),
        ("candidate", link(candidate(Some("0"), Some(0)))),
        ("bare-candidate", link(candidate(None, None))),
        (
            "restart",
            signal(300, round(1, LinkSignal::Offer { sdp: sdp() })),
        ),
        ("solicit", signal(0, PeerSignal::Solicit)),
        ("decline", signal(300, PeerSignal::Decline)),
        ("succeed", signal(301, succeed(300, sdp()))),
        ("ask-restart", signal(300, PeerSignal::Ask(Step::Restart))),
        ("ask-succeed", signal(300, PeerSignal::Ask(Step::Succeed))),
        ("ask-rebind", signal(300, PeerSignal::Ask(Step::Rebind))),
        ("ask-direct", signal(300, PeerSignal::Ask(Step::Direct))),
        (
            "ask-media",
            signal(300, PeerSignal::Ask(Step::Media(TRACKS))),
        ),
        ("failed", signal(300, PeerSignal::Failed)),
        (
            "progress",
            Content::Progress(Progress {
                incarnation: 1_800_000_000_000_000,
                stream: 1,
                next: 4,
                seen: 300,
                missing: vec![(4, 2), (8, 200)],
                repeated: false,
            }),
        ),
    ]
}

/// Those that are about streams and large messages.
fn more_contents() -> Vec<(&'static str, Content)> {
    let message = (1_800_000_000_000_000, 7);
    let purpose = Purpose::Message {
        delivery: Delivery::Reliable,
        wants_reply: false,
    };
    let head = Head {
        bytes: 2,
        hash: [9; 32],
        form: Form::Bytes,
        purpose,
    };
    let chunk = |number, head| Chunk {
        message: 7,
        number,
        asks: true,
        head,
        part: vec![1, 2],
    };
    let request = Purpose::Reply { request: message };
    let reply = Head {
        form: Form::Text,
        purpose: request,
        ..head
    };
    let stop = Stop {
        message,
        is_own: true,
        reason: LossReason::Cancelled,
    };
    vec![
        ("chunk", Content::Chunk(chunk(0, Some(head)))),
        ("chunk-of-reply", Content::Chunk(chunk(0, Some(reply)))),
        ("later-chunk", Content::Chunk(chunk(300, None))),
        ("stop", Content::Stop(stop)),
    ]
}

/// What an author has given up.
fn skip() -> (&'static str, Content) {
    let (stream, next) = (1, 300);
    ("skip", Content::Skip { stream, next })
}

/// A member's question about a link, and answers to it.
fn questions() -> Vec<(&'static str, Content)> {
    let (number, about) = (7, PeerId::from_bytes([3; 32]));
    let path = LinkPath::new(CandidateType::Host, CandidateType::Srflx);
    let report = |condition, failed| {
        let report = Box::new(LinkReport {
            condition,
            wanted: true,
            remote: false,
            k: 4,
            links: 5,
            links_max: 8,
            knows_relays: false,
            hops: Some(2),
            next_hop: Some(other()),
            failed,
        });
        Content::LinkReport {
            number,
            about,
            report,
        }
    };
    let linked = LinkCondition::Linked {
        for_ms: 300,
        rtt_us: Some(850),
        path: Some(path),
    };
    let opening = LinkCondition::Opening {
        for_ms: 300,
        offers: true,
        via_hub: false,
        awaits: LinkStep::Answer,
    };
    let failed = FailedAttempts {
        count: 3,
        at: LinkStep::Path,
        relays: false,
        reason: "no path".to_owned(),
        ago_ms: 1,
        retry_in_ms: 2,
        left_out: true,
    };
    vec![
        ("link-query", Content::LinkQuery { number, about }),
        ("linked", report(linked, None)),
        ("opening", report(opening, None)),
        ("failed", report(LinkCondition::Absent, Some(failed))),
        ("silent", report(LinkCondition::Silent { for_ms: 5 }, None)),
    ]
}

#[test]
fn frames_are_as_protocol_md_shows_them() {
    let mut short = String::new();
    for (name, records) in short_frames() {
        let frame = frame_of(&records);
        short += &format!("{name} {}\n", hex(&frame));
        assert_eq!(Frame::decode(&frame).expect("decodes").records, records);
    }
    assert_golden("short-frames", &short);
    for (name, records) in frames() {
        let frame = frame_of(&records);
        assert_golden(name, &hex(&frame));
        assert_eq!(Frame::decode(&frame).expect("decodes").records, records);
    }
}

#[test]
fn messages_are_as_protocol_md_shows_them() {
    let header = header(Target::Peer(other()));
    let header_bytes = postcard::to_stdvec(&header).expect("encodes");
    let mut shown = format!("header {}\n", hex(&header_bytes));
    let all = contents().into_iter().chain(signals());
    let all = all
        .chain(more_contents())
        .chain(questions())
        .chain([skip()]);
    for (name, content) in all {
        let message = Message { header, content };
        let whole = postcard::to_stdvec(&message).expect("encodes");
        let rest = whole.strip_prefix(&header_bytes[..]);
        shown += &format!("{name} {}\n", hex(rest.expect("the header is first")));
        let decoded = postcard::from_bytes::<Message>(&whole);
        assert_eq!(decoded, Ok(message));
    }
    assert_golden("messages", &shown);
}

#[test]
fn a_message_that_is_another_than_its_clear_header_says_does_not_decode() {
    let header = header(Target::Peer(other()));
    let place = postcard::to_stdvec(&header).expect("encodes").len();
    let content = data("hi".into(), Delivery::Reliable);
    let message = Message { header, content };
    let honest = postcard::to_stdvec(&message).expect("encodes");
    assert_eq!(honest[place..place + 3], [0, 1, 1], "data, reliable, one");
    let lies = [(place, 4), (place + 1, 3), (place + 2, 0), (place + 2, 2)];
    for (place, lie) in lies {
        let mut bytes = honest.clone();
        bytes[place] = lie;
        assert!(postcard::from_bytes::<Message>(&bytes).is_err(), "{lie}");
    }
}

#[test]
fn what_protocol_md_calls_malformed_is_rejected_as_a_whole() {
    for row in table("malformed") {
        let [bytes, _, why] = &row[..] else {
            panic!("{row:?}");
        };
        let bytes: String = bytes.split_whitespace().collect();
        let bytes = data_encoding::HEXLOWER
            .decode(bytes.as_bytes())
            .expect("hexadecimal");
        assert!(Frame::decode(&bytes).is_err(), "{why}");
    }
}

#[test]
fn reasons_have_the_numbers_that_protocol_md_gives_them() {
    let rows = table("reasons");
    for row in &rows {
        let [number, reason, _] = &row[..] else {
            panic!("{row:?}");
        };
        let reason: LossReason = serde_json::from_value(reason.as_str().into()).expect("known");
        let encoded = postcard::to_stdvec(&reason).expect("encodes");
        assert_eq!(encoded, [number.parse::<u8>().expect("a number")]);
    }
    let next = [u8::try_from(rows.len()).expect("a few")];
    assert!(
        postcard::from_bytes::<LossReason>(&next).is_err(),
        "all are told"
    );
}

#[test]
fn bytes_after_the_fields_of_a_statement_are_left_to_later_versions() {
    let mut bytes = postcard::to_stdvec(&header(Target::Room)).expect("encodes");
    bytes.extend([1, 2, 3]);
    let read = postcard::from_bytes::<MessageHeader>(&bytes);
    assert_eq!(read.expect("decodes"), header(Target::Room));
}
