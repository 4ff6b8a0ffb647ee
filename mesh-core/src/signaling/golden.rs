//! The texts between agents and the hub, as PROTOCOL.md shows them.

use super::minting::tests::mint;
use super::*;
use crate::document::{assert_golden, table};
use crate::ice::IceServer;
use crate::id::Target;
use crate::time::UnixTime;
use crate::topology::Shards;
use crate::trust::{Identity, Signed};
use crate::wire::{Admit, Content, Message, MessageHeader, PeerSignal};

fn identity(n: u8) -> Identity {
    Identity::from_secret([n; 32])
}

fn admit() -> Admit {
    Admit {
        nonce: "00".repeat(32),
        name: "agent-001".into(),
    }
}

/// Agent 01 asks agent 02, whose id is lower, for an offer.
fn solicit() -> Signed {
    let header = MessageHeader {
        incarnation: 1_800_000_000_000_000,
        sequence: 1,
        target: Target::Peer(identity(2).peer()),
        sent_at: UnixTime::from_micros(1_800_000_000_500_000),
        ttl: 16,
    };
    let content = Content::Signal {
        attempt: 0,
        signal: PeerSignal::Solicit,
    };
    identity(1).sign("demo", &Message { header, content })
}

/// Answers a sign of life, perhaps with new credentials.
fn pong(ice_servers: Option<Vec<IceServer>>) -> HubMessage {
    HubMessage::Pong {
        time_ms: Some(1_795_848_138_456),
        ice_servers,
    }
}

/// The texts of PROTOCOL.md, in the order of a conversation.
fn texts() -> [String; 15] {
    let member = Member {
        peer: identity(2).peer(),
        name: "agent-002".into(),
    };
    let listing = Listing {
        members: vec![member.clone()],
        room_members: 2,
        newcomers: 2,
        shards: Shards::WHOLE,
    };
    let (one, two) = (identity(1), identity(2).peer());
    let minted = vec![mint().mint("8a88e3dd7409f195", 1_795_848_138)];
    let proof = one.sign("demo", &admit());
    let stun = IceServer {
        urls: vec!["stun:stun.example.org:3478".into()],
        ..IceServer::default()
    };
    let client = |message: ClientMessage| serde_json::to_string(&message).expect("encodes");
    let hub = |message: HubMessage| serde_json::to_string(&message).expect("encodes");
    [
        client(ClientMessage::Hello {
            version: PROTOCOL_VERSION,
            room: "demo".into(),
            peer: one.peer(),
            name: "agent-001".into(),
            shards: Shards::WHOLE,
            again: false,
        }),
        hub(HubMessage::Challenge {
            nonce: "00".repeat(32),
        }),
        client(ClientMessage::Prove { proof }),
        hub(HubMessage::Welcome {
            listing: listing.clone(),
            ice_servers: vec![stun],
            time_ms: Some(1_795_848_123_456),
        }),
        hub(HubMessage::Members {
            joined: vec![member],
            left: vec![identity(3).peer()],
            room_members: 2,
            newcomers: 1,
        }),
        hub(HubMessage::Divided { listing }),
        client(ClientMessage::Signal {
            to: two,
            message: solicit(),
        }),
        hub(HubMessage::Signal {
            from: one.peer(),
            message: solicit(),
        }),
        client(ClientMessage::Ping),
        hub(pong(None)),
        hub(pong(Some(minted))),
        client(ClientMessage::Leave),
        hub(HubMessage::Move { within_ms: 4_000 }),
        hub(HubMessage::Error {
            code: ErrorCode::RoomFull,
            message: "the room has 1000 members already".into(),
            peer: None,
        }),
        hub(HubMessage::Error {
            code: ErrorCode::OutOfReach,
            message: "the hub of agent-002 is out of reach: link with others meanwhile".into(),
            peer: Some(two),
        }),
    ]
}

#[test]
fn texts_are_as_protocol_md_shows_them() {
    assert_golden("texts", &texts().join("\n"));
}

#[test]
fn an_admission_is_signed_as_protocol_md_shows_it() {
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    let signed = identity(1).sign("demo", &admit());
    let body = postcard::to_stdvec(&admit()).expect("encodes");
    let before = b"mesh/2 admission\x04demo";
    let shown = format!(
        "body {}\ncovered before it {}\nsignature {}",
        hex(&body),
        hex(before),
        hex(&signed.signature())
    );
    assert_golden("admit", &shown);
}

#[test]
fn error_codes_are_those_of_protocol_md() {
    let mut told = Vec::new();
    for row in table("errors") {
        let [codes, _, connection] = &row[..] else {
            panic!("{row:?}");
        };
        for code in codes.split(", ") {
            let parsed: ErrorCode =
                serde_json::from_value(code.into()).expect("any text is a code");
            assert_eq!(parsed.as_str(), code);
            assert_eq!(parsed.is_final(), connection.contains("final"), "{code}");
            let stays = connection.contains("stays");
            assert_eq!(parsed.is_about_a_signal(), stays, "{code}");
            told.push(parsed);
        }
    }
    told.sort();
    // All but `other`, the last, which no hub sends.
    let count = ErrorCode::Other as usize;
    let places: Vec<_> = told.iter().map(|&code| code as usize).collect();
    assert_eq!(places, (0..count).collect::<Vec<_>>(), "each once");
}
