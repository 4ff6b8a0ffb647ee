//! A track that a neighbour sends to this agent.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use mesh_core::{PeerId, TrackKind};
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp;
use tokio::sync::Notify;
use webrtc::media_stream::track_remote::TrackRemote;

use super::numbering::Numbering;
use crate::link::codecs;

/// Packets of a track that wait to be read: half a second of video at 10 Mbit/s. Beyond, the oldest
/// are dropped: who reads late wants what is new.
const WAITING_MAX: usize = 512;

/// A track of audio or video that a neighbour sends, as [`Event::Track`](mesh_core::Event::Track)
/// has told. Clones read the same queue: each packet goes to one.
#[derive(Clone, Debug)]
pub struct RemoteTrack {
    peer: PeerId,
    remote: Arc<Remote>,
}

/// It, as connections know it.
#[derive(Debug)]
pub(crate) struct Remote {
    id: String,
    kind: TrackKind,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    packets: VecDeque<rtp::Packet>,
    dropped: u64,
    has_ended: bool,
    /// The newest connection that has brought a packet, and its stream.
    source: Option<(u64, Source)>,
    numbering: Numbering,
}

/// The stream of a connection.
#[derive(Clone)]
pub(crate) struct Source(pub(crate) Arc<dyn TrackRemote>);

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

impl RemoteTrack {
    pub(super) fn new(peer: PeerId, remote: Arc<Remote>) -> Self {
        Self { peer, remote }
    }

    /// The neighbour that sends it.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// Its name, the same at the other end.
    pub fn id(&self) -> &str {
        &self.remote.id
    }

    /// What it carries: Opus, or VP8.
    pub fn kind(&self) -> TrackKind {
        self.remote.kind
    }

    /// The next packet; none once the track has ended. Packets may overtake each other, and be
    /// lost; their numbers tell. When the link gets fresh keys the numbers go on.
    pub async fn read_rtp(&self) -> Option<rtp::Packet> {
        loop {
            let changed = self.remote.changed.notified();
            {
                let mut state = self.remote.lock();
                if let Some(packet) = state.packets.pop_front() {
                    return Some(packet);
                }
                if state.has_ended {
                    return None;
                }
            }
            changed.await;
        }
    }

    /// Packets that were dropped because they were not read in time.
    pub fn dropped(&self) -> u64 {
        self.remote.lock().dropped
    }

    /// Asks the neighbour for a keyframe: a video that was missed in part begins anew.
    pub async fn request_keyframe(&self) {
        let source = self.remote.lock().source.clone();
        let Some((_, Source(track))) = source else {
            return; // It begins with one.
        };
        let Some(&media_ssrc) = track.ssrcs().await.first() else {
            return;
        };
        let request = PictureLossIndication {
            sender_ssrc: 0,
            media_ssrc,
        };
        if let Err(error) = track.write_rtcp(vec![Box::new(request)]).await {
            tracing::debug!(%error, "keyframe not asked for: the connection is closing");
        }
    }
}

impl Remote {
    pub(super) fn new(id: String, kind: TrackKind) -> Self {
        let state = State {
            packets: VecDeque::new(),
            dropped: 0,
            has_ended: false,
            source: None,
            numbering: Numbering::new(codecs::clock_rate(kind)),
        };
        Self {
            id,
            kind,
            state: Mutex::new(state),
            changed: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A packet has come over a connection. Once a newer brings some, those of the older are late.
    pub(super) fn push(&self, link: u64, source: &Source, mut packet: rtp::Packet) {
        let mut state = self.lock();
        let before = state.source.as_ref().map(|(link, _)| *link);
        if before.is_some_and(|before| link < before) || state.has_ended {
            return;
        }
        if before != Some(link) {
            state.numbering.reroute();
            state.source = Some((link, source.clone()));
        }
        state.numbering.pass(&mut packet.header, Instant::now());
        if state.packets.len() == WAITING_MAX {
            state.packets.pop_front();
            state.dropped += 1;
        }
        state.packets.push_back(packet);
        drop(state);
        self.changed.notify_one();
    }

    pub(super) fn end(&self) {
        self.lock().has_ended = true;
        // One that is about to wait is told, too.
        self.changed.notify_one();
        self.changed.notify_waiters();
    }
}
