//! Tracks between two agents of this process, over real connections.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mesh_core::{HubConfig, Identity, MeshError, TRACKS_MAX};
use tokio::time::{interval, timeout};

use super::*;
use crate::hub::HubServer;
use crate::{Agent, Events, JoinOptions, random_seed};

/// Only a failure takes so long, on the slowest machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// The time between two packets of a source.
const PACE: Duration = Duration::from_millis(5);

/// Two agents that are linked, the one with the lower id first, and what they are told.
struct Two {
    agents: [Agent; 2],
    events: [Events; 2],
}

impl Two {
    async fn linked() -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let hub = HubServer::bind(any, HubConfig::default()).expect("binds");
        let url = format!("ws://{}/signal", hub.local_addr().expect("bound"));
        tokio::spawn(hub.serve(std::future::pending()));
        let mut identities = [(); 2].map(|()| Identity::from_secret(random_seed()));
        identities.sort_by_key(Identity::peer);
        let [lower, higher] = identities;
        let (mut two, mut events) = (Vec::new(), Vec::new());
        for identity in [lower, higher] {
            let identity = Some(identity);
            let options = JoinOptions {
                identity,
                ..JoinOptions::new(&url, "room", "agent")
            };
            let (agent, told) = Agent::join_with_events(options).await.expect("joins");
            two.push(agent);
            events.push(told);
        }
        let agents = two.try_into().expect("two");
        let mut two = Self {
            agents,
            events: events.try_into().expect("two"),
        };
        for end in [0, 1] {
            two.told(end, |event| matches!(event, Event::LinkOpened { .. }))
                .await;
        }
        two
    }

    fn send(&self, from: usize, kind: TrackKind) -> Result<LocalTrack, MeshError> {
        self.agents[from].send_track(self.agents[1 - from].id(), kind)
    }

    /// The first event that is wanted.
    async fn told(&mut self, end: usize, wanted: impl Fn(&Event) -> bool) -> Event {
        let mut others = Vec::new();
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            match tokio::time::timeout_at(deadline, self.events[end].next()).await {
                Ok(Some(event)) if wanted(&event) => return event,
                Ok(Some(event)) => others.push(event),
                other => panic!("{other:?} and these came: {others:?}"),
            }
        }
    }

    /// The track that an end is told of next.
    async fn track(&mut self, end: usize) -> RemoteTrack {
        let event = self
            .told(end, |event| matches!(event, Event::Track { .. }))
            .await;
        let Event::Track { peer, id, .. } = event else {
            unreachable!("as wanted");
        };
        assert_eq!(peer, self.agents[1 - end].id());
        self.agents[end]
            .remote_track(peer, &id)
            .expect("it goes on")
    }

    /// A track that an end sends, and the other end of it.
    async fn open(&mut self, from: usize, kind: TrackKind) -> (LocalTrack, RemoteTrack) {
        let local = self.send(from, kind).expect("linked");
        let remote = self.track(1 - from).await;
        assert_eq!((remote.id(), remote.kind()), (local.id(), kind));
        timeout(DEADLINE, local.ready())
            .await
            .expect("soon")
            .expect("it goes on");
        (local, remote)
    }
}

fn packet(number: u16) -> rtp::Packet {
    rtp::Packet {
        header: rtp::Header {
            version: 2,
            sequence_number: number,
            timestamp: u32::from(number) * 450,
            marker: true,
            ..rtp::Header::default()
        },
        payload: Bytes::copy_from_slice(&number.to_be_bytes()),
    }
}

/// The number that a packet was sent with.
fn number(packet: &rtp::Packet) -> u16 {
    u16::from_be_bytes(packet.payload[..].try_into().expect("two bytes"))
}

/// Writes numbered packets until the track ends.
fn stream(local: Arc<LocalTrack>, first: u16) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut pace = interval(PACE);
        for number in first.. {
            pace.tick().await;
            if local.write_rtp(packet(number)).await.is_err() {
                return;
            }
        }
    })
}

async fn read(remote: &RemoteTrack) -> rtp::Packet {
    let packet = timeout(DEADLINE, remote.read_rtp()).await;
    packet
        .expect("a packet before the deadline")
        .expect("the track goes on")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_track_of_either_end_reaches_the_other_and_ends() {
    let mut two = Two::linked().await;
    for from in [0, 1] {
        for kind in TrackKind::ALL {
            let (local, remote) = two.open(from, kind).await;
            let local = Arc::new(local);
            let writer = stream(Arc::clone(&local), 1);
            let first = number(&read(&remote).await);
            for expected in first + 1..first + 100 {
                let packet = read(&remote).await;
                assert_eq!(number(&packet), expected, "from {from}, {kind:?}");
                assert_eq!(packet.header.sequence_number, expected);
            }
            writer.abort();
            let _ = writer.await;
            Arc::into_inner(local).expect("the only one").end();
            let id = remote.id().to_owned();
            let is_end = |event: &Event| match event {
                Event::TrackEnded { id: ended, .. } => *ended == id,
                _ => false,
            };
            two.told(1 - from, is_end).await;
            while remote.read_rtp().await.is_some() {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tracks_of_both_ends_begin_at_once() {
    let mut two = Two::linked().await;
    let locals = [0, 1, 0, 1].map(|from| two.send(from, TrackKind::Audio).expect("linked"));
    for end in [0, 1] {
        let mut ids =
            [two.track(end).await, two.track(end).await].map(|track| track.id().to_owned());
        ids.sort();
        let mut sent = [&locals[1 - end], &locals[3 - end]].map(|local| local.id().to_owned());
        sent.sort();
        assert_eq!(ids, sent);
    }
    for local in &locals {
        timeout(DEADLINE, local.ready())
            .await
            .expect("soon")
            .expect("it goes on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_track_goes_on_while_keys_are_rotated() {
    let mut two = Two::linked().await;
    let (down, at_higher) = two.open(0, TrackKind::Video).await;
    let (up, at_lower) = two.open(1, TrackKind::Audio).await;
    let writers = [down, up].map(|local| stream(Arc::new(local), 1));
    tokio::time::sleep(Duration::from_secs(1)).await; // Keys are not rotated before.
    let mut gap = Duration::ZERO;
    for rotation in 0..2 {
        let started = Instant::now();
        two.agents[rotation].rotate_keys().expect("open");
        let [lower, higher] = &mut two.events;
        let is_rotated = |event: &Event| matches!(event, Event::LinkRotated { .. });
        let rotated = async {
            for events in [lower, higher] {
                while !is_rotated(&events.next().await.expect("open")) {}
            }
        };
        let reading = async {
            for remote in [&at_higher, &at_lower] {
                while remote.dropped() == 0 && started.elapsed() < Duration::from_secs(3) {
                    let before = Instant::now();
                    let _ = read(remote).await;
                    gap = gap.max(before.elapsed());
                }
            }
        };
        timeout(DEADLINE, async { tokio::join!(rotated, reading) })
            .await
            .expect("rotated");
    }
    assert!(
        gap <= Duration::from_millis(200),
        "{gap:?} without a packet"
    );
    let sequence = [read(&at_higher).await, read(&at_higher).await];
    let [first, second] = sequence.map(|packet| packet.header.sequence_number);
    assert_eq!(second, first.wrapping_add(1), "one stream of numbers");
    for end in [0, 1] {
        let media = two.agents[end].remote_track(two.agents[1 - end].id(), at_higher.id());
        assert_eq!(media.is_some(), end == 1, "the same track");
    }
    writers.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_muted_track_is_silent_and_leaves_no_gap_in_its_numbers() {
    let mut two = Two::linked().await;
    let (local, remote) = two.open(0, TrackKind::Audio).await;
    for sent in 1..=30 {
        local.mute((11..=20).contains(&sent));
        local.write_rtp(packet(sent)).await.expect("it goes on");
    }
    let mut came = Vec::new();
    while came.last().is_none_or(|(number, _)| *number < 30) {
        let packet = read(&remote).await;
        came.push((number(&packet), packet.header.sequence_number));
    }
    let expected: Vec<_> = (1..=10)
        .map(|n| (n, n))
        .chain((21..=30).map(|n| (n, n - 10)))
        .collect();
    assert_eq!(came, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_source_goes_on_with_the_numbers_of_the_one_before() {
    let mut two = Two::linked().await;
    let (local, remote) = two.open(1, TrackKind::Video).await;
    for sent in [1, 2, 3] {
        local.write_rtp(packet(sent)).await.expect("it goes on");
    }
    local.replace();
    for sent in [40_000, 40_001] {
        local.write_rtp(packet(sent)).await.expect("it goes on");
    }
    let mut came = Vec::new();
    for _ in 0..5 {
        let packet = read(&remote).await;
        came.push((number(&packet), packet.header.sequence_number));
    }
    assert_eq!(came, [(1, 1), (2, 2), (3, 3), (40_000, 4), (40_001, 5)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_neighbour_that_needs_a_keyframe_is_heard() {
    let mut two = Two::linked().await;
    let (local, remote) = two.open(0, TrackKind::Video).await;
    local.write_rtp(packet(1)).await.expect("it goes on");
    read(&remote).await;
    remote.request_keyframe().await;
    let wanted = two
        .told(0, |event| matches!(event, Event::KeyframeWanted { .. }))
        .await;
    let (peer, id) = (two.agents[1].id(), local.id().to_owned());
    assert_eq!(wanted, Event::KeyframeWanted { peer, id });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_section_is_used_again_for_the_next_track() {
    let mut two = Two::linked().await;
    for turn in 0..3 * usize::from(TRACKS_MAX) {
        let (local, remote) = two.open(turn % 2, TrackKind::Video).await;
        local.write_rtp(packet(7)).await.expect("it goes on");
        assert_eq!(number(&read(&remote).await), 7, "turn {turn}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tracks_go_to_neighbours_and_only_so_many() {
    let mut two = Two::linked().await;
    let stranger = PeerId::from_bytes([1; 32]);
    let refused = two.agents[0].send_track(stranger, TrackKind::Audio);
    let error = refused.expect_err("not linked");
    assert_eq!(error, MeshError::Track(TrackError::NotLinked(stranger)));
    assert_eq!(error.code(), "not-linked");
    let tracks: Vec<_> = (0..TRACKS_MAX)
        .map(|_| two.send(0, TrackKind::Audio))
        .collect();
    assert!(tracks.iter().all(Result::is_ok));
    let refused = two.send(0, TrackKind::Video).expect_err("too many");
    assert_eq!(refused, MeshError::Track(TrackError::TooMany(TRACKS_MAX)));
    two.agents[1].close().await;
    two.told(0, |event| matches!(event, Event::LinkClosed { .. }))
        .await;
    let local = tracks.into_iter().next().expect("one").expect("sent");
    let written = local.write_rtp(packet(1)).await;
    assert_eq!(
        written,
        Err(MeshError::Track(TrackError::Ended)),
        "with its link"
    );
}
