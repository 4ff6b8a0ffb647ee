//! The hub against clients of all kinds.

mod drain;
mod failover;
mod liveness;
mod minting;
mod several_hubs;
mod shards;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::directory::DirectoryOrder;
use super::*;
use crate::config::HubConfig;
use crate::id::{ClientId, PeerId};
use crate::time::Instant;
use crate::topology::Shards;
use crate::trust::{Identity, Signed};
use crate::wire::Admit;

fn identity(n: u8) -> Identity {
    Identity::from_secret([n; 32])
}

struct Clients {
    hub: Hub,
    now: Instant,
    /// What the hub ordered of its directory.
    orders: VecDeque<DirectoryOrder>,
}

impl Clients {
    fn new(config: HubConfig) -> Self {
        Self::of(Hub::new(config, [9; 32]), Instant::default())
    }

    fn of(hub: Hub, now: Instant) -> Self {
        let orders = VecDeque::new();
        Self { hub, now, orders }
    }

    fn connect(&mut self, client: u64) -> Vec<(u64, HubMessage)> {
        self.hub
            .handle_input(HubInput::ClientConnected(ClientId(client)), self.now);
        self.drain()
    }

    fn say(&mut self, client: u64, message: &ClientMessage) -> Vec<(u64, HubMessage)> {
        self.text(client, serde_json::to_string(message).expect("encodes"))
    }

    fn text(&mut self, client: u64, text: String) -> Vec<(u64, HubMessage)> {
        self.hub
            .handle_input(HubInput::TextReceived(ClientId(client), text), self.now);
        self.drain()
    }

    fn wait(&mut self, duration: Duration) -> Vec<(u64, HubMessage)> {
        let until = self.now + duration;
        while let Some(at) = self.hub.poll_timeout().filter(|at| *at <= until) {
            self.now = at.max(self.now);
            self.hub.handle_timeout(self.now);
        }
        self.now = until;
        self.drain()
    }

    fn drain(&mut self) -> Vec<(u64, HubMessage)> {
        let mut sent = Vec::new();
        while let Some(output) = self.hub.poll_output() {
            match output {
                HubOutput::Send(ClientId(client), text)
                | HubOutput::Relay {
                    to: ClientId(client),
                    text,
                    ..
                } => sent.push((client, serde_json::from_str(&text).expect("decodes"))),
                HubOutput::Directory(order) => self.orders.push_back(order),
                HubOutput::Ping(_) | HubOutput::Close(_) => {}
            }
        }
        sent
    }

    fn admit(&mut self, client: u64, identity: &Identity, room: &str) -> Vec<(u64, HubMessage)> {
        self.admit_again(client, identity, room, Shards::WHOLE)
    }

    /// Admits who was here when the room was divided so.
    fn admit_again(
        &mut self,
        client: u64,
        identity: &Identity,
        room: &str,
        shards: Shards,
    ) -> Vec<(u64, HubMessage)> {
        self.connect(client);
        let hello = hello(identity.peer(), room, shards);
        let challenge = self.say(client, &hello);
        let [(_, HubMessage::Challenge { nonce })] = &challenge[..] else {
            panic!("a challenge, not {challenge:?}");
        };
        let proof = prove(identity, room, nonce);
        self.say(client, &ClientMessage::Prove { proof })
    }
}

/// What answers a ping where nothing else is to be told.
fn pong() -> HubMessage {
    HubMessage::Pong {
        time_ms: None,
        ice_servers: None,
    }
}

fn hello(peer: PeerId, room: &str, shards: Shards) -> ClientMessage {
    ClientMessage::Hello {
        version: PROTOCOL_VERSION,
        room: room.into(),
        peer,
        name: "agent".into(),
        shards,
        again: false,
    }
}

fn prove(identity: &Identity, room: &str, nonce: &str) -> Signed {
    let (nonce, name) = (nonce.to_owned(), "agent".to_owned());
    identity.sign(room, &Admit { nonce, name })
}

fn error_code(sent: &[(u64, HubMessage)]) -> Option<ErrorCode> {
    sent.iter().find_map(|(_, message)| match message {
        HubMessage::Error { code, .. } => Some(*code),
        _ => None,
    })
}

#[test]
fn members_of_a_room_hear_of_each_other_and_of_no_one_else() {
    let mut clients = Clients::new(HubConfig::default());
    clients.admit(1, &identity(1), "a");
    clients.wait(Duration::from_secs(1));
    let welcome = clients.admit(2, &identity(2), "a");
    let [(2, HubMessage::Welcome { listing, .. })] = &welcome[..] else {
        panic!("{welcome:?}");
    };
    assert_eq!((listing.members.len(), listing.room_members), (1, 2));
    clients.admit(3, &identity(3), "b");
    let told = clients.wait(Duration::from_secs(1));
    let told_one: Vec<_> = told.iter().filter(|(client, _)| *client == 1).collect();
    let [(_, HubMessage::Members { joined, left, .. })] = &told_one[..] else {
        panic!("{told_one:?}");
    };
    assert_eq!(
        (joined[0].peer, joined.len(), left.len()),
        (identity(2).peer(), 1, 0)
    );
    clients
        .hub
        .handle_input(HubInput::ClientClosed(ClientId(2)), clients.now);
    let told = clients.wait(Duration::from_secs(1));
    assert!(matches!(&told[..], [(1, HubMessage::Members { left, .. })] if left.len() == 1));
}

/// How many newcomers the next one to come is told of, itself among them.
fn newcomers_told(clients: &mut Clients, client: u64, room: &str) -> usize {
    let welcome = clients.admit(client, &identity(client as u8), room);
    let [(_, HubMessage::Welcome { listing, .. })] = &welcome[..] else {
        panic!("{welcome:?}");
    };
    listing.newcomers
}

#[test]
fn who_is_at_the_door_counts_as_a_newcomer_until_it_is_gone() {
    let mut clients = Clients::new(HubConfig::default());
    for client in [2, 3] {
        clients.connect(client);
        let peer = identity(client as u8).peer();
        clients.say(client, &hello(peer, "a", Shards::WHOLE));
    }
    assert_eq!(newcomers_told(&mut clients, 1, "a"), 3);
    assert_eq!(newcomers_told(&mut clients, 4, "b"), 1);
    let closed = HubInput::ClientClosed(ClientId(2));
    clients.hub.handle_input(closed, clients.now);
    clients.text(3, "{".into());
    assert_eq!(newcomers_told(&mut clients, 5, "a"), 2);
}

/// After its hub has died a third of a room comes to another at once: no links wait for it.
#[test]
fn who_comes_back_to_a_room_is_no_newcomer_at_the_door_or_inside() {
    let mut clients = Clients::new(HubConfig::default());
    let back = |client: u64| {
        let mut hello = hello(identity(client as u8).peer(), "a", Shards::WHOLE);
        if let ClientMessage::Hello { again, .. } = &mut hello {
            *again = true;
        }
        hello
    };
    let mut nonces = Vec::new();
    for client in 2..12 {
        clients.connect(client);
        let challenge = clients.say(client, &back(client));
        let [(_, HubMessage::Challenge { nonce })] = &challenge[..] else {
            panic!("a challenge, not {challenge:?}");
        };
        nonces.push((client, nonce.clone()));
    }
    assert_eq!(newcomers_told(&mut clients, 1, "a"), 1);
    for (client, nonce) in nonces {
        let proof = prove(&identity(client as u8), "a", &nonce);
        clients.say(client, &ClientMessage::Prove { proof });
    }
    assert_eq!(clients.hub.stats().members, 11);
    assert_eq!(newcomers_told(&mut clients, 12, "a"), 2);
    clients.connect(13);
    clients.say(13, &back(13));
    for client in 1..14 {
        let closed = HubInput::ClientClosed(ClientId(client));
        clients.hub.handle_input(closed, clients.now);
    }
    clients.wait(Duration::from_secs(1));
    assert_eq!(clients.hub.stats().rooms, 0);
}

#[test]
fn a_room_that_nobody_gets_into_is_forgotten() {
    let mut clients = Clients::new(HubConfig::default());
    clients.connect(1);
    clients.say(1, &hello(identity(1).peer(), "a", Shards::WHOLE));
    clients.say(1, &ClientMessage::Leave);
    assert_eq!(clients.hub.stats().rooms, 0);
}

#[test]
fn who_does_not_hold_the_key_is_refused() {
    let mut clients = Clients::new(HubConfig::default());
    clients.connect(1);
    let challenge = clients.say(1, &hello(identity(1).peer(), "a", Shards::WHOLE));
    let [(_, HubMessage::Challenge { nonce })] = &challenge[..] else {
        panic!("{challenge:?}");
    };
    let proof = prove(&identity(2), "a", nonce);
    let sent = clients.say(1, &ClientMessage::Prove { proof });
    assert_eq!(error_code(&sent), Some(ErrorCode::BadProof));
    assert_eq!(clients.hub.stats().clients, 0);
}

#[test]
fn what_is_no_message_is_answered_with_the_cause() {
    for (text, code) in [
        ("{".to_owned(), ErrorCode::BadRequest),
        (r#"{"type":"dance"}"#.to_owned(), ErrorCode::BadRequest),
        (r#"{"type":"ping"}"#.to_owned(), ErrorCode::BadRequest),
        ("x".repeat(40_000), ErrorCode::TooLarge),
    ] {
        let mut clients = Clients::new(HubConfig::default());
        clients.connect(1);
        assert_eq!(error_code(&clients.text(1, text)), Some(code));
    }
    let mut clients = Clients::new(HubConfig::default());
    clients.connect(1);
    let wrong = r#"{"type":"hello","version":1,"room":"r","name":"n","peer":""#.to_owned()
        + &"00".repeat(32)
        + "\"}";
    assert_eq!(
        error_code(&clients.text(1, wrong)),
        Some(ErrorCode::Version)
    );
}

#[test]
fn limits_hold_at_the_edge() {
    let config = HubConfig {
        clients_max: 3,
        room_members_max: 2,
        burst: 5,
        rate: 1,
        ..HubConfig::default()
    };
    let mut clients = Clients::new(config);
    clients.admit(1, &identity(1), "a");
    clients.admit(2, &identity(2), "a");
    let third = clients.admit(3, &identity(3), "a");
    assert_eq!(error_code(&third), Some(ErrorCode::RoomFull));
    assert_eq!(error_code(&clients.connect(4)), None);
    assert_eq!(error_code(&clients.connect(5)), Some(ErrorCode::HubFull));
    let pings: Vec<_> = (0..4)
        .map(|_| clients.say(1, &ClientMessage::Ping))
        .collect();
    assert!(
        pings[..3].iter().all(|sent| sent.contains(&(1, pong()))),
        "{pings:?}"
    );
    assert_eq!(
        error_code(&pings[3]),
        Some(ErrorCode::RateLimited),
        "hello, prove, 3 pings"
    );
}

#[test]
fn a_second_connection_with_the_same_key_takes_the_place_of_the_first() {
    let mut clients = Clients::new(HubConfig::default());
    clients.admit(1, &identity(1), "a");
    let sent = clients.admit(2, &identity(1), "a");
    assert!(sent.iter().any(|(client, message)| {
        let replaced = ErrorCode::Replaced;
        *client == 1 && matches!(message, HubMessage::Error { code, .. } if *code == replaced)
    }));
    let stats = clients.hub.stats();
    assert_eq!((stats.members, stats.clients), (1, 1));
}
