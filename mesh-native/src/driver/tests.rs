//! A hostile neighbour over real WebRTC: it joins as anybody does, and then sends what it likes.
//!
//! The test drives the neighbour's [`Driver`] turn by turn and reaches past its mesh to the data
//! channels. Whatever it sends must be rejected, counted and reported, and the mesh go on.

use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use mesh_core::wire::{
    Content, Data, Envelope, FRAME_BYTES_MAX, FrameWriter, ITEMS_MAX, Message, MessageHeader,
    Record, WIRE_VERSION,
};
use mesh_core::{
    Channel, Config, Delivery, EVENTS_MAX, Event, HubConfig, Identity, Mesh, Payload, PeerId,
    RejectReason, Signed, Target,
};

use super::*;
use crate::hub::HubServer;
use crate::link::LinkSettings;
use crate::process::Process;
use crate::signaling::Endpoint;
use crate::{Agent, Events, JoinOptions, SendOptions, random_seed};

const ROOM: &str = "hostile";

/// Only a failure takes so long, on the slowest machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// A mesh of honest agents and one neighbour that is not.
struct Arena {
    victim: Agent,
    events: Events,
    bystander: Agent,
    hostile: Driver,
    identity: Identity,
    /// Keeps the loop of the hostile neighbour going.
    _running: watch::Receiver<()>,
}

impl Arena {
    /// Everybody linked with everybody.
    async fn form() -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let hub = HubServer::bind(any, HubConfig::default()).expect("binds");
        let url = format!("ws://{}/signal", hub.local_addr().expect("bound"));
        tokio::spawn(hub.serve(pending()));
        let joined = Agent::join_with_events(JoinOptions::new(&url, ROOM, "victim")).await;
        let (victim, events) = joined.expect("joins");
        let joined = Agent::join(JoinOptions::new(&url, ROOM, "bystander")).await;
        let bystander = joined.expect("joins");
        let identity = Identity::from_secret(random_seed());
        let (loops, running) = watch::channel(());
        let clock = Clock::start();
        let config = Config::new(ROOM, "hostile").expect("valid");
        let mesh = Mesh::new(
            config,
            identity.clone(),
            random_seed(),
            clock.now(),
            Clock::unix_now(),
        );
        let factory = Process::new()
            .link_factory(LinkSettings {
                loopback: true,
                ..LinkSettings::default()
            })
            .expect("a factory");
        let endpoints = vec![Endpoint::new(&url, None).expect("the hub's")];
        let shared = Shared::new(mesh, &[url], clock, None);
        let hostile = Driver::new(Arc::new(shared), endpoints, factory, loops);
        let mut arena = Self {
            victim,
            events,
            bystander,
            hostile,
            identity,
            _running: running,
        };
        arena.hostile.start();
        let peer = arena.hostile_id();
        arena
            .event(|event| matches!(event, Event::LinkOpened { peer: p, .. } if *p == peer))
            .await;
        let is_settled = |arena: &Self| {
            let shared = &arena.hostile.shared;
            let state = shared.lock();
            let mesh = state.agent.mesh();
            mesh.is_settled() && mesh.peers().len() == 2
        };
        while !is_settled(&arena) {
            arena.hostile.turn().await;
        }
        arena
    }

    fn hostile_id(&self) -> PeerId {
        self.hostile.shared.lock().agent.mesh().id()
    }

    /// The next event of the victim that is `wanted`; the hostile neighbour lives on meanwhile.
    async fn event(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        let Self {
            events, hostile, ..
        } = self;
        let next = async {
            loop {
                tokio::select! {
                    _ = hostile.turn() => {}
                    event = events.next() => {
                        let event = event.expect("the victim lives");
                        if wanted(&event) {
                            return event;
                        }
                    }
                }
            }
        };
        tokio::time::timeout(DEADLINE, next)
            .await
            .expect("the event comes before the deadline")
    }

    fn transmit(&self, channel: Channel, frame: Bytes) {
        let id = self
            .hostile
            .shared
            .lock()
            .agent
            .mesh()
            .link_to(self.victim.id());
        let id = id.expect("linked");
        self.hostile.links[&id].transmit(channel, frame);
    }

    /// A well-formed message for the victim, signed by the neighbour itself.
    fn message(&self, sequence: u64) -> Signed {
        self.sign(
            sequence,
            Data::one(Payload::from("forged"), Delivery::Reliable),
        )
    }

    /// Messages for the victim from this number on, signed by the neighbour itself.
    fn sign(&self, sequence: u64, data: Data) -> Signed {
        let header = MessageHeader {
            incarnation: u64::MAX / 2,
            sequence,
            target: Target::Peer(self.victim.id()),
            sent_at: Clock::unix_now(),
            ttl: 16,
        };
        let content = Content::Data(data);
        self.identity.sign(ROOM, &Message { header, content })
    }

    fn envelope(&self, signed: Signed) -> Vec<u8> {
        let record = Record::Envelope(Envelope {
            ttl: 15,
            target: Target::Peer(self.victim.id()),
            signed,
        });
        let mut writer = FrameWriter::default();
        writer.push(&FrameWriter::encode(&record));
        writer.finish().to_vec()
    }

    /// Sends a frame and sees it rejected, counted and reported; then the mesh still works.
    async fn assert_rejected(
        &mut self,
        frame: impl Into<Bytes>,
        author: Option<PeerId>,
        reason: RejectReason,
    ) {
        let expected = Event::Rejected {
            via: Some(self.hostile_id()),
            author,
            reason,
        };
        self.transmit(Channel::Data, frame.into());
        self.event(|event| *event == expected).await;
        let stats = self.victim.stats().expect("lives");
        assert_eq!(stats.rejected.get(&reason), Some(&1), "{reason}");
        self.assert_works().await;
    }

    async fn assert_works(&mut self) {
        let options = SendOptions::from(Delivery::Acknowledged);
        let (to, from) = (self.victim.id(), self.bystander.id());
        self.bystander
            .send(to, "still there?", options)
            .await
            .expect("sent");
        self.event(|event| matches!(event, Event::Message(message) if message.from == from))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hostile_neighbour_sends_over_a_real_channel_is_rejected() {
    let mut arena = Arena::form().await;
    let hostile = arena.hostile_id();

    let mut flipped = arena.envelope(arena.message(1));
    let inside_payload = flipped.len() - 4;
    flipped[inside_payload] ^= 1;
    arena
        .assert_rejected(flipped, Some(hostile), RejectReason::InvalidSignature)
        .await;

    let once = arena.envelope(arena.message(2));
    arena.transmit(Channel::Data, once.clone().into());
    arena
        .event(|event| matches!(event, Event::Message(message) if message.from == hostile))
        .await;
    arena
        .assert_rejected(once, Some(hostile), RejectReason::Replayed)
        .await;

    let noise = random_seed().map(|byte| byte | 0x80); // No such version, whatever the rest says.
    arena
        .assert_rejected(noise.to_vec(), None, RejectReason::Version)
        .await;
    let nonsense = vec![WIRE_VERSION, 250, 3, 9, 9, 9];
    arena
        .assert_rejected(nonsense, None, RejectReason::Malformed)
        .await;
    let oversized = vec![WIRE_VERSION; FRAME_BYTES_MAX + 1];
    arena
        .assert_rejected(oversized, None, RejectReason::Oversized)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_signed_by_another_key_is_rejected_over_a_real_channel() {
    let mut arena = Arena::form().await;
    let claimed = arena.bystander.id();
    let mut json = serde_json::to_value(arena.message(1)).expect("encodes");
    json["author"] = claimed.to_string().into();
    let forged: Signed = serde_json::from_value(json).expect("decodes");
    let frame = arena.envelope(forged);
    arena
        .assert_rejected(frame, Some(claimed), RejectReason::InvalidSignature)
        .await;
}

/// A frame of many signatures over 255 empty messages each is small, and the events that it causes
/// are not: they must not gather, and a reader that is behind is told how many it missed.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_empty_messages_is_bounded_and_each_that_is_missed_is_counted() {
    const FRAMES: u64 = 60;
    const ENVELOPES: u64 = 10;
    let mut arena = Arena::form().await;
    let before = arena.victim.stats().expect("lives").delivered;
    let mut idle = arena.victim.events();
    let one = Data::one(Payload::from(""), Delivery::Reliable);
    let items = vec![one.items[0].clone(); ITEMS_MAX];
    let many = Data { items, ..one };
    let per_envelope = ITEMS_MAX as u64;
    for frame in 0..FRAMES {
        let mut writer = FrameWriter::default();
        for envelope in 0..ENVELOPES {
            let sequence = 1 + (frame * ENVELOPES + envelope) * per_envelope;
            let record = Record::Envelope(Envelope {
                ttl: 15,
                target: Target::Peer(arena.victim.id()),
                signed: arena.sign(sequence, many.clone()),
            });
            writer.push(&FrameWriter::encode(&record));
        }
        arena.transmit(Channel::Data, writer.finish());
    }
    let total = FRAMES * ENVELOPES * per_envelope;
    let arrived = async {
        while arena.victim.stats().expect("lives").delivered - before < total {
            arena.hostile.turn().await;
        }
    };
    let arrived = tokio::time::timeout(DEADLINE, arrived).await;
    arrived.expect("all of it arrives");
    arena.victim.close().await;
    let (mut read, mut missed) = (0, 0);
    while let Some(event) = idle.next().await {
        match event {
            Event::Message(_) => read += 1,
            Event::Lagged { missed: more } => missed += more,
            _ => {}
        }
    }
    assert!(read <= EVENTS_MAX as u64, "{read} events were kept");
    // What is told of links in between may be among those missed.
    assert!(
        (total..total + 20).contains(&(read + missed)),
        "{read} and {missed} of {total}"
    );
}
