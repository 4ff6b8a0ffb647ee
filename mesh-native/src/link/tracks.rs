//! The sections of tracks in one connection: which there are, and what each carries.
//!
//! A section of ours has one stream of packets from its first description on, whatever it carries:
//! the same SSRC, and the same name in the library. What changes with the track is the stream that
//! the description names.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use mesh_core::{NO_STREAM, TrackKind, Tracks, sections};
use rtc::media_stream::MediaStreamTrack;
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodingParameters, RTCRtpEncodingParameters};
use tokio::task::JoinSet;
use webrtc::error::Result;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::PeerConnection;
use webrtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};

use super::codecs;
use super::pace::Pace;
use crate::media::{Local, PeerMedia, Slot, Source};
use crate::random_seed;

/// The tracks of one connection.
pub(super) struct ConnectionTracks {
    link: u64,
    media: Arc<PeerMedia>,
    connection: Arc<dyn PeerConnection>,
    pace: Arc<Pace>,
    /// Sections of ours.
    sending: Vec<Sending>,
    /// Sections that we have offered the other end to send in.
    offered: Tracks,
    /// Sections that the other end has offered us to send in.
    taken: BTreeSet<String>,
    /// What reads the library's streams; ends with this.
    readers: JoinSet<()>,
}

/// A section of ours, and what it carries.
struct Sending {
    slot: Arc<Slot>,
    local: Option<Arc<Local>>,
}

impl ConnectionTracks {
    pub(super) fn new(
        link: u64,
        media: Arc<PeerMedia>,
        connection: Arc<dyn PeerConnection>,
        pace: Arc<Pace>,
    ) -> Self {
        Self {
            link,
            media,
            connection,
            pace,
            sending: Vec::new(),
            offered: Tracks::default(),
            taken: BTreeSet::new(),
            readers: JoinSet::new(),
        }
    }

    /// Makes sections for the tracks of this end, and for so many of the other end. An offer
    /// follows.
    pub(super) async fn offer(&mut self, theirs: Tracks) -> Result<()> {
        for local in self.unplaced().await? {
            let sending = self.add_section(local.kind, &local.id).await?;
            local.enter(&sending.slot);
            let local = Some(local);
            self.sending.push(Sending { local, ..sending });
        }
        for kind in TrackKind::ALL {
            while self.offered.of(kind) < theirs.of(kind) {
                let kind_of = codecs::kind_of(kind);
                self.connection
                    .add_transceiver_from_kind(kind_of, None)
                    .await?;
                self.offered.add(kind);
            }
        }
        Ok(())
    }

    /// Takes the sections that an offer has for this end. The offer is applied next, and answered.
    pub(super) async fn answer(&mut self, offer: &str) -> Result<()> {
        for section in sections(offer).into_iter().filter(|section| !section.sends) {
            if self.taken.insert(section.mid) {
                let sending = self.add_section(section.kind, NO_STREAM).await?;
                self.sending.push(sending);
            }
        }
        let left = self.unplaced().await?;
        if !left.is_empty() {
            // The core asks for another round.
            tracing::debug!(tracks = left.len(), "no section for tracks in the offer");
        }
        Ok(())
    }

    /// Empties the sections of tracks that have ended, and gives those that are free to tracks that
    /// have none. Returns the tracks that are left.
    async fn unplaced(&mut self) -> Result<Vec<Arc<Local>>> {
        let locals = self.media.locals();
        let is_among = |local: &Arc<Local>| locals.iter().any(|other| Arc::ptr_eq(other, local));
        for sending in &mut self.sending {
            if sending.local.take_if(|local| !is_among(local)).is_some() {
                name(sending, NO_STREAM).await?;
            }
        }
        let mut left = Vec::new();
        for local in locals {
            let carries = |sending: &Sending| {
                let here = sending.local.as_ref();
                here.is_some_and(|here| Arc::ptr_eq(here, &local))
            };
            if self.sending.iter().any(carries) {
                continue;
            }
            let is_free =
                |sending: &&mut Sending| sending.local.is_none() && sending.slot.kind == local.kind;
            let Some(free) = self.sending.iter_mut().find(is_free) else {
                left.push(local);
                continue;
            };
            name(free, &local.id).await?;
            local.enter(&free.slot);
            free.local = Some(local);
        }
        Ok(left)
    }

    /// A section in which this end sends a stream.
    async fn add_section(&mut self, kind: TrackKind, stream: &str) -> Result<Sending> {
        let seed = random_seed();
        let ssrc = u32::from_be_bytes([seed[0], seed[1], seed[2], seed[3]]).max(1);
        let name = format!("{}-{ssrc:08x}", kind.name());
        let media = stream_track(kind, stream, &name, ssrc);
        let track = Arc::new(TrackLocalStaticRTP::new(media));
        let init = RTCRtpTransceiverInit {
            direction: RTCRtpTransceiverDirection::Sendonly,
            ..RTCRtpTransceiverInit::default()
        };
        let added: Arc<dyn TrackLocal> = Arc::clone(&track) as Arc<dyn TrackLocal>;
        let transceiver = self
            .connection
            .add_transceiver_from_track(added, Some(init))
            .await?;
        let sender = transceiver.sender().await?;
        let sender = sender.ok_or(webrtc::error::Error::ErrRTPSenderNotExisted)?;
        let pace = Arc::clone(&self.pace);
        let slot = Arc::new(Slot::new((self.link, pace), (kind, ssrc), track, sender));
        self.readers
            .spawn(hear(Arc::clone(&slot), Arc::clone(&self.media)));
        Ok(Sending { slot, local: None })
    }

    /// A round is complete: both ends know what each section carries.
    pub(super) async fn agreed(&self, theirs: &str) -> Result<()> {
        for Sending { slot, local } in &self.sending {
            let parameters = slot.sender.get_parameters().await?.rtp_parameters;
            let wanted = codecs::codec(slot.kind).mime_type;
            let mut codecs = parameters.codecs.iter();
            let codec =
                codecs.find(|codec| codec.rtp_codec.mime_type.eq_ignore_ascii_case(&wanted));
            let payload_type = codec.map_or(0, |codec| codec.payload_type);
            slot.agreed(payload_type);
            if let Some(local) = local {
                local.agreed();
            }
        }
        let theirs = sections(theirs).into_iter().filter(|section| section.sends);
        self.media.described(self.link, theirs.collect());
        Ok(())
    }

    /// The library has the first packet of a stream.
    pub(super) async fn began(&mut self, track: Arc<dyn TrackRemote>) {
        let Some(mid) = self.section_of(&track).await else {
            tracing::debug!("stream of no section ignored");
            return;
        };
        let (link, media) = (self.link, Arc::clone(&self.media));
        self.readers.spawn(async move {
            let source = Source(track);
            while let Some(event) = source.0.poll().await {
                if let TrackRemoteEvent::OnRtpPacket(packet) = event {
                    media.received(link, &mid, &source, packet);
                }
            }
        });
    }

    async fn section_of(&self, track: &Arc<dyn TrackRemote>) -> Option<String> {
        for transceiver in self.connection.get_transceivers().await {
            if let Ok(Some(receiver)) = transceiver.receiver().await
                && Arc::ptr_eq(receiver.track(), track)
            {
                return transceiver.mid().await.ok()?;
            }
        }
        None
    }
}

impl Drop for ConnectionTracks {
    fn drop(&mut self) {
        self.media.disconnected(self.link);
    }
}

/// Has the next description say that a section carries a stream.
async fn name(sending: &Sending, stream: &str) -> Result<()> {
    let slot = &sending.slot;
    slot.renew();
    let name = webrtc::media_stream::Track::track_id(&*slot.track).await;
    let media = stream_track(slot.kind, stream, &name, slot.ssrc);
    slot.sender
        .replace_track(Arc::new(TrackLocalStaticRTP::new(media)))
        .await
}

fn stream_track(kind: TrackKind, stream: &str, name: &str, ssrc: u32) -> MediaStreamTrack {
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters {
            ssrc: Some(ssrc),
            ..RTCRtpCodingParameters::default()
        },
        active: true,
        codec: codecs::codec(kind),
        ..RTCRtpEncodingParameters::default()
    };
    let (stream, name) = (stream.to_owned(), name.to_owned());
    let label = name.clone();
    MediaStreamTrack::new(stream, name, label, codecs::kind_of(kind), vec![encoding])
}

/// Hears what the other end says of a section: it asks for keyframes.
async fn hear(slot: Arc<Slot>, media: Arc<PeerMedia>) {
    while slot.track.poll().await.is_some() {
        let locals = media.locals();
        let carried = locals.iter().find(|local| local.is_in(&slot));
        if let Some(local) = carried.filter(|local| local.wants_keyframe(Instant::now())) {
            media.keyframe_wanted(local.id.clone());
        }
    }
}
