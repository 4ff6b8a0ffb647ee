//! What tracks are coded in, and how their packets are looked after.
//!
//! One codec a kind, which every browser has: Opus and VP8. A connection without tracks has none of
//! it in its descriptions, and what looks after packets is made for the first track: the library
//! asks each interceptor, at each datagram of messages too, whether it has something to send.

use std::collections::VecDeque;
use std::time::Instant;

use mesh_core::TrackKind;
use rtc::interceptor::{
    Attribute, Interceptor, Packet, Slot, StreamInfo, TaggedPacket, TwccReceiverBuilder,
};
use rtc::peer_connection::configuration::interceptor_registry::{
    Registry, configure_nack, configure_rtcp_reports, configure_twcc_receiver_only,
};
use rtc::peer_connection::configuration::media_engine::{
    MIME_TYPE_OPUS, MIME_TYPE_VP8, MediaEngine,
};
use rtc::rtcp;
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp::codec::opus::OpusPayloader;
use rtc::rtp::codec::vp8::Vp8Payloader;
use rtc::rtp::packetizer::Payloader;
use rtc::rtp_transceiver::rtp_sender::{
    RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RtpCodecKind,
};
use rtc::sansio::Protocol;
use webrtc::error::{Error, Result};

/// Where keyframe requests are marked: nearest to the application, after all that acts on them.
const FORWARDER: usize = 14_000;

/// The kind, as the library names it.
pub(super) fn kind_of(kind: TrackKind) -> RtpCodecKind {
    match kind {
        TrackKind::Audio => RtpCodecKind::Audio,
        TrackKind::Video => RtpCodecKind::Video,
    }
}

/// Ticks a second of a track's timestamps.
pub(crate) fn clock_rate(kind: TrackKind) -> u32 {
    match kind {
        TrackKind::Audio => 48_000,
        TrackKind::Video => 90_000,
    }
}

/// What puts frames into packets.
pub(crate) fn payloader(kind: TrackKind) -> Box<dyn Payloader> {
    match kind {
        TrackKind::Audio => Box::new(OpusPayloader),
        TrackKind::Video => {
            let mut payloader = Vp8Payloader::default();
            payloader.enable_picture_id = true;
            Box::new(payloader)
        }
    }
}

/// The codec of a kind.
pub(super) fn codec(kind: TrackKind) -> RTCRtpCodec {
    let feedback = |typ: &str, parameter: &str| RTCPFeedback {
        typ: typ.to_owned(),
        parameter: parameter.to_owned(),
    };
    match kind {
        TrackKind::Audio => RTCRtpCodec {
            mime_type: MIME_TYPE_OPUS.to_owned(),
            clock_rate: clock_rate(kind),
            channels: 2,
            sdp_fmtp_line: "minptime=10;useinbandfec=1".to_owned(),
            rtcp_feedback: Vec::new(),
        },
        TrackKind::Video => RTCRtpCodec {
            mime_type: MIME_TYPE_VP8.to_owned(),
            clock_rate: clock_rate(kind),
            channels: 0,
            sdp_fmtp_line: String::new(),
            rtcp_feedback: vec![
                feedback("ccm", "fir"),
                feedback("nack", ""),
                feedback("nack", "pli"),
            ],
        },
    }
}

/// The codecs of a connection, and what looks after packets.
pub(super) fn engine() -> Result<(MediaEngine, Registry)> {
    let mut engine = MediaEngine::default();
    for (kind, payload_type) in [(TrackKind::Audio, 111), (TrackKind::Video, 96)] {
        let codec = RTCRtpCodecParameters {
            rtp_codec: codec(kind),
            payload_type,
        };
        engine.register_codec(codec, kind_of(kind))?;
    }
    // They name the feedback, and the header extension that it needs, in the descriptions too.
    let _ = configure_nack(Registry::new(), &mut engine);
    let _ = configure_twcc_receiver_only(Registry::new(), &mut engine)?;
    let registry = Registry::new().with(Slot::from(FORWARDER), ForTracks::default());
    Ok((engine, registry))
}

/// Interceptors that answer and ask for lost packets, report what arrives and when, by which a
/// browser finds the rate that the path carries, and pass keyframe requests on; none before there
/// is a track.
#[derive(Default)]
struct ForTracks(Option<Box<dyn Interceptor>>);

impl ForTracks {
    fn chain(&mut self) -> &mut dyn Interceptor {
        let chain = self.0.get_or_insert_with(|| {
            let registry = configure_nack(Registry::new(), &mut MediaEngine::default());
            let registry = configure_rtcp_reports(registry);
            let registry = registry.with(Slot::TwccReceiver, TwccReceiverBuilder::new().build());
            let registry = registry.with(Slot::from(FORWARDER), KeyframeRequests::default());
            Box::new(registry.build())
        });
        &mut **chain
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for ForTracks {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, packet: TaggedPacket) -> Result<()> {
        self.chain().handle_read(packet)
    }

    fn poll_read(&mut self) -> Option<Self::Rout> {
        self.0.as_mut()?.poll_read()
    }

    fn handle_write(&mut self, packet: TaggedPacket) -> Result<()> {
        self.chain().handle_write(packet)
    }

    fn poll_write(&mut self) -> Option<Self::Wout> {
        self.0.as_mut()?.poll_write()
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<()> {
        self.0.as_mut().map_or(Ok(()), |it| it.handle_timeout(now))
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.0.as_mut()?.poll_timeout()
    }

    fn close(&mut self) -> Result<()> {
        self.0.as_mut().map_or(Ok(()), |it| it.close())
    }
}

impl Interceptor for ForTracks {
    fn bind_local_stream(&mut self, stream: &StreamInfo) {
        self.chain().bind_local_stream(stream);
    }

    fn unbind_local_stream(&mut self, stream: &StreamInfo) {
        if let Some(chain) = &mut self.0 {
            chain.unbind_local_stream(stream);
        }
    }

    fn bind_remote_stream(&mut self, stream: &StreamInfo) {
        self.chain().bind_remote_stream(stream);
    }

    fn unbind_remote_stream(&mut self, stream: &StreamInfo) {
        if let Some(chain) = &mut self.0 {
            chain.unbind_remote_stream(stream);
        }
    }
}

/// Marks requests for a keyframe for the application, which alone can answer them.
#[derive(Default)]
struct KeyframeRequests {
    reads: VecDeque<TaggedPacket>,
    writes: VecDeque<TaggedPacket>,
}

/// Whether it asks for a keyframe.
fn is_request(packet: &dyn rtcp::Packet) -> bool {
    let packet = packet.as_any();
    packet.is::<PictureLossIndication>() || packet.is::<FullIntraRequest>()
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for KeyframeRequests {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, mut packet: TaggedPacket) -> Result<()> {
        if let Packet::Rtcp(packets) = &mut packet.message.packet {
            packets.retain(|packet| is_request(&**packet));
            if packets.is_empty() {
                return Ok(()); // Others have acted on it.
            }
            packet.message.add(Attribute::DeliverToApplication);
        }
        self.reads.push_back(packet);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<Self::Rout> {
        self.reads.pop_front()
    }

    fn handle_write(&mut self, packet: TaggedPacket) -> Result<()> {
        self.writes.push_back(packet);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<Self::Wout> {
        self.writes.pop_front()
    }
}

impl Interceptor for KeyframeRequests {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}
