//! A track that this agent sends to a neighbour.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mesh_core::{Event, MeshError, PeerId, TrackError, TrackKind};
use rtc::rtp;
use rtc::rtp::codec::vp8::Vp8Packet;
use rtc::rtp::packetizer::{Depacketizer, Packetizer, new_packetizer};
use rtc::rtp::sequence::new_random_sequencer;
use tokio::sync::Notify;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::rtp_transceiver::RtpSender;

use super::numbering::Numbering;
use crate::link::{Pace, codecs};
use crate::random_seed;
use crate::shared::Shared;

/// The largest packet that is made, in bytes: it fits a path of 1,280 bytes, the least of IPv6,
/// with the headers of IP, UDP, SRTP and a relay.
const PACKET_BYTES_MAX: usize = 1_150;

/// How long a video waits for a keyframe before it changes to a newer connection. That before it
/// lives on for as long at least, or the track changes at once.
const KEYFRAME_PATIENCE: Duration = Duration::from_secs(1);

/// Keyframes that a neighbour is told to want are this far apart at least: its decoder asks again
/// until one has come.
const KEYFRAMES_APART: Duration = Duration::from_millis(250);

/// A track of audio or video that this agent sends to one neighbour, until it is ended, dropped, or
/// the link closes. Key rotation carries it over.
///
/// What is written before the neighbour knows of the track is left out: see
/// [`LocalTrack::ready`].
#[derive(Debug)]
pub struct LocalTrack {
    peer: PeerId,
    local: Arc<Local>,
    agent: Weak<Shared>,
}

/// It, as connections know it.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) id: String,
    pub(crate) kind: TrackKind,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    /// The sections that it has, one a connection; the newest last.
    slots: Vec<Arc<Slot>>,
    is_muted: bool,
    has_ended: bool,
    numbering: Numbering,
    packetizer: Box<dyn Packetizer>,
    keyframe_wanted_at: Option<Instant>,
    is_keyframe_wanted: bool,
    /// The connection that carries it.
    used: Option<u64>,
    /// Since when it is to change to a newer.
    changes_since: Option<Instant>,
}

/// A section of a connection in which this agent sends one track, or may.
pub(crate) struct Slot {
    pub(crate) link: u64,
    pub(crate) kind: TrackKind,
    pub(crate) ssrc: u32,
    pub(crate) sender: Arc<dyn RtpSender>,
    pub(crate) track: Arc<TrackLocalStaticRTP>,
    pace: Arc<Pace>,
    /// How its packets are numbered, whatever tracks they are of.
    numbering: Mutex<Numbering>,
    /// What the codec is called in the connection; 0 until the other end has agreed.
    payload_type: AtomicU8,
}

/// A section that takes packets, and what their codec is called there.
type Ready = (Arc<Slot>, u8);

impl Slot {
    /// A section of a connection.
    pub(crate) fn new(
        (link, pace): (u64, Arc<Pace>),
        (kind, ssrc): (TrackKind, u32),
        track: Arc<TrackLocalStaticRTP>,
        sender: Arc<dyn RtpSender>,
    ) -> Self {
        Self {
            link,
            kind,
            ssrc,
            sender,
            track,
            pace,
            numbering: Mutex::new(Numbering::new(codecs::clock_rate(kind))),
            payload_type: AtomicU8::new(0),
        }
    }

    /// What comes next is of another track.
    pub(crate) fn renew(&self) {
        self.number().renew();
    }

    /// The other end has agreed, and calls the codec so; 0 where it has not.
    pub(crate) fn agreed(&self, payload_type: u8) {
        self.payload_type.store(payload_type, Ordering::Release);
    }

    fn number(&self) -> MutexGuard<'_, Numbering> {
        self.numbering
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn takes(&self) -> Option<u8> {
        let payload_type = self.payload_type.load(Ordering::Acquire);
        (payload_type != 0 && self.pace.is_open()).then_some(payload_type)
    }
}

impl LocalTrack {
    pub(crate) fn new(peer: PeerId, local: Arc<Local>, agent: Weak<Shared>) -> Self {
        Self { peer, local, agent }
    }

    /// The neighbour that it is sent to.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// Its name, the same at the other end.
    pub fn id(&self) -> &str {
        &self.local.id
    }

    /// What it carries: Opus, or VP8.
    pub fn kind(&self) -> TrackKind {
        self.local.kind
    }

    /// Waits until what is written is sent: the neighbour knows of the track.
    ///
    /// # Errors
    /// [`TrackError::Ended`] once it has.
    pub async fn ready(&self) -> Result<(), MeshError> {
        loop {
            let changed = self.local.changed.notified();
            if self.local.slot()?.is_some() {
                return Ok(());
            }
            changed.await;
        }
    }

    /// Sends a packet, as it is but for its SSRC, its payload type, and numbers that a pause, or
    /// another source, would leave a gap in.
    ///
    /// # Errors
    /// [`TrackError::Ended`] once the track has.
    pub async fn write_rtp(&self, packet: rtp::Packet) -> Result<(), MeshError> {
        self.write(packet).await
    }

    async fn write(&self, packet: rtp::Packet) -> Result<(), MeshError> {
        let wants_keyframe = self.local.write(packet).await?;
        if wants_keyframe && let Some(agent) = self.agent.upgrade() {
            let (peer, id) = (self.peer, self.local.id.clone());
            agent.tell(&Event::KeyframeWanted { peer, id });
        }
        Ok(())
    }

    /// Sends what an encoder has made of so much time: an Opus packet, or a VP8 frame.
    ///
    /// # Errors
    /// [`TrackError::Ended`] once the track has.
    pub async fn write_sample(&self, data: Bytes, duration: Duration) -> Result<(), MeshError> {
        for packet in self.local.packets(&data, duration)? {
            self.write(packet).await?;
        }
        Ok(())
    }

    /// Sends nothing of what is written from now on, or again. The time that passes meanwhile
    /// counts. A video needs a keyframe then.
    pub fn mute(&self, is_muted: bool) {
        let mut state = self.local.lock();
        state.is_keyframe_wanted |= state.is_muted && !is_muted;
        state.is_muted = is_muted;
    }

    /// Whether the neighbour needs a keyframe, since this was last asked:
    /// [`Event::KeyframeWanted`](mesh_core::Event::KeyframeWanted) tells it too.
    pub fn is_keyframe_wanted(&self) -> bool {
        std::mem::take(&mut self.local.lock().is_keyframe_wanted)
    }

    /// What is written from now on is of another source: another file, or packets of another
    /// sender. Its numbers and its time go on from the former's.
    pub fn replace(&self) {
        self.local.lock().numbering.renew();
    }

    /// Ends the track, as dropping it does.
    pub fn end(self) {}
}

impl Drop for LocalTrack {
    fn drop(&mut self) {
        self.local.end();
        if let Some(agent) = self.agent.upgrade() {
            agent.end_track(self.peer, &self.local);
        }
    }
}

impl Local {
    pub(super) fn new(kind: TrackKind) -> Self {
        let id = data_encoding::HEXLOWER.encode(&random_seed()[..16]);
        Self {
            id,
            kind,
            state: Mutex::new(State::new(kind)),
            changed: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.has_ended = true;
        state.slots.clear();
        drop(state);
        self.changed.notify_waiters();
    }

    /// It has a section of a connection.
    pub(crate) fn enter(&self, slot: &Arc<Slot>) {
        let mut state = self.lock();
        if !state.has_ended {
            state.slots.push(Arc::clone(slot));
            state.slots.sort_by_key(|slot| slot.link);
        }
    }

    /// A connection has ended.
    pub(super) fn leave(&self, link: u64) {
        self.lock().slots.retain(|slot| slot.link != link);
    }

    /// Whether it has this section.
    pub(crate) fn is_in(&self, slot: &Arc<Slot>) -> bool {
        let state = self.lock();
        state.slots.iter().any(|other| Arc::ptr_eq(other, slot))
    }

    /// The other end has agreed to a section of it.
    pub(crate) fn agreed(&self) {
        self.changed.notify_waiters();
    }

    /// Whether the wish for a keyframe is to be told.
    pub(crate) fn wants_keyframe(&self, now: Instant) -> bool {
        let mut state = self.lock();
        let last = state.keyframe_wanted_at;
        let is_told = last.is_some_and(|at| now.saturating_duration_since(at) < KEYFRAMES_APART);
        if !is_told {
            state.keyframe_wanted_at = Some(now);
            state.is_keyframe_wanted = true;
        }
        !is_told && !state.has_ended
    }

    /// The newest connection's section that takes packets.
    fn slot(&self) -> Result<Option<Ready>, TrackError> {
        let state = self.lock();
        if state.has_ended {
            return Err(TrackError::Ended);
        }
        let mut newest = state.slots.iter().rev();
        Ok(newest.find_map(|slot| Some((Arc::clone(slot), slot.takes()?))))
    }

    /// The section that a packet goes to: of the newest connection. A video changes to that at a
    /// keyframe, without which the decoder there has nothing to begin with; until one comes the
    /// connection before carries it. Returns whether a keyframe is needed for that, and was not
    /// before.
    fn slot_for(&self, packet: &rtp::Packet) -> Result<(Option<Ready>, bool), TrackError> {
        let newest = self.slot()?;
        let Some((slot, _)) = &newest else {
            return Ok((None, false));
        };
        let mut state = self.lock();
        let now = Instant::now();
        let used = state.used.filter(|used| *used != slot.link);
        let mut slots = state.slots.iter();
        let before = used.and_then(|used| slots.find(|slot| slot.link == used));
        let before = before.and_then(|slot| Some((Arc::clone(slot), slot.takes()?)));
        let since = state.changes_since.unwrap_or(now);
        let waits = self.kind == TrackKind::Video
            && !is_keyframe(packet)
            && now.saturating_duration_since(since) < KEYFRAME_PATIENCE;
        let is_new = waits && used.is_some() && state.changes_since.is_none();
        state.is_keyframe_wanted |= is_new;
        if waits && before.is_some() {
            state.changes_since = Some(since);
            return Ok((before, is_new));
        }
        state.used = Some(slot.link);
        state.changes_since = None;
        Ok((newest, is_new))
    }

    fn packets(&self, data: &Bytes, duration: Duration) -> Result<Vec<rtp::Packet>, TrackError> {
        let mut state = self.lock();
        if state.has_ended {
            return Err(TrackError::Ended);
        }
        let ticks = duration.as_secs_f64() * f64::from(codecs::clock_rate(self.kind));
        let made = state
            .packetizer
            .packetize(Instant::now(), data, ticks as u32);
        Ok(made.unwrap_or_else(|error| {
            tracing::debug!(%error, "sample left out: it cannot be put into packets");
            Vec::new()
        }))
    }

    /// Sends a packet. Returns whether a keyframe is needed, and was not before.
    async fn write(&self, mut packet: rtp::Packet) -> Result<bool, MeshError> {
        let (slot, wants_keyframe) = self.slot_for(&packet)?;
        {
            let mut state = self.lock();
            if state.is_muted {
                state.numbering.leave_out();
                return Ok(wants_keyframe);
            }
            state.numbering.pass(&mut packet.header, Instant::now());
        }
        if let Some((slot, payload_type)) = slot {
            slot.number().pass(&mut packet.header, Instant::now());
            packet.header.ssrc = slot.ssrc;
            packet.header.payload_type = payload_type;
            packet.header.extension = false;
            packet.header.extensions.clear();
            if let Err(error) = slot.track.write_rtp(packet).await {
                // The connection is closing: another takes its place, or the track ends.
                tracing::debug!(%error, "packet of a track not sent");
            }
        }
        Ok(wants_keyframe)
    }
}

impl State {
    fn new(kind: TrackKind) -> Self {
        let clock_rate = codecs::clock_rate(kind);
        let packetizer = new_packetizer(
            Instant::now(),
            PACKET_BYTES_MAX,
            0,
            0,
            codecs::payloader(kind),
            Box::new(new_random_sequencer()),
            clock_rate,
        );
        Self {
            slots: Vec::new(),
            is_muted: false,
            has_ended: false,
            numbering: Numbering::new(clock_rate),
            packetizer: Box::new(packetizer),
            keyframe_wanted_at: None,
            is_keyframe_wanted: false,
            used: None,
            changes_since: None,
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("slots", &self.slots)
            .field("is_muted", &self.is_muted)
            .field("has_ended", &self.has_ended)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("link", &self.link)
            .field("ssrc", &self.ssrc)
            .finish_non_exhaustive()
    }
}

/// Whether a keyframe of VP8 begins with a packet.
fn is_keyframe(packet: &rtp::Packet) -> bool {
    let mut vp8 = Vp8Packet::default();
    let payload = vp8.depacketize(&packet.payload);
    let begins = vp8.s == 1 && vp8.pid == 0;
    begins && payload.is_ok_and(|payload| payload.first().is_some_and(|first| first & 1 == 0))
}
