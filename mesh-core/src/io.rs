//! The port between the core and its drivers: facts in, orders out, and events for the application.
//!
//! [`Input`] and [`Output`] are closed on purpose: a new order must break both drivers and the
//! simulator at compile time. [`Event`] is open.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use crate::channel::Channel;
use crate::error::{LossReason, RejectReason};
use crate::ice::{IceConfig, LinkPath};
use crate::id::{LinkId, MessageId, PeerId, SocketId};
use crate::link_report::LinkReport;
use crate::media::{TrackKind, Tracks};
use crate::payload::{Delivery, Payload};
use crate::wire::LinkSignal;

/// A fact that the driver reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A WebSocket to a signaling server is open.
    SignalingOpened {
        /// Which.
        socket: SocketId,
    },
    /// A text came from a signaling server.
    SignalingReceived {
        /// Over which WebSocket.
        socket: SocketId,
        /// The text.
        text: String,
    },
    /// A WebSocket closed, or could not be opened.
    SignalingClosed {
        /// Which.
        socket: SocketId,
        /// The cause, for people.
        reason: String,
    },
    /// The link's peer connection has something for its other end.
    LinkSignaled {
        /// The link.
        link: LinkId,
        /// What to pass on.
        signal: LinkSignal,
    },
    /// ICE has found a path for the link, DTLS and the channels follow.
    LinkReached {
        /// The link.
        link: LinkId,
    },
    /// The way that the link takes, once ICE has found one, and after each further round.
    LinkPath {
        /// The link.
        link: LinkId,
        /// The way.
        path: LinkPath,
    },
    /// All channels of the link are open. Comes before its first frame.
    LinkOpened {
        /// The link.
        link: LinkId,
    },
    /// All addresses that the link leaves from are gone from this machine.
    LinkStranded {
        /// The link.
        link: LinkId,
    },
    /// A data-channel message arrived.
    FrameReceived {
        /// The link.
        link: LinkId,
        /// The channel.
        channel: Channel,
        /// The message.
        frame: Bytes,
    },
    /// More is buffered in the link than is good: order nothing more until it has drained.
    LinkCongested {
        /// The link.
        link: LinkId,
    },
    /// The link's buffers have drained.
    LinkDrained {
        /// The link.
        link: LinkId,
    },
    /// The addresses of this machine have changed, or the browser is online again: links may be
    /// dead, and the signaling server may be reached in another way.
    NetworkChanged,
    /// The link failed or its other end closed it.
    LinkClosed {
        /// The link.
        link: LinkId,
        /// The cause, for people.
        reason: String,
    },
}

/// An order to the driver.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Open a WebSocket to a signaling server, beside any that is open.
    OpenSignaling {
        /// Its key from now on.
        socket: SocketId,
        /// Which of the agent's addresses, counted from 0.
        hub: usize,
    },
    /// Send a text to a signaling server.
    SendSignaling {
        /// Over which WebSocket.
        socket: SocketId,
        /// The text.
        text: String,
    },
    /// Close a WebSocket, once what was ordered before is sent. No fact about it is expected any
    /// more.
    CloseSignaling {
        /// Which.
        socket: SocketId,
    },
    /// Create a peer connection with the three channels. With a remote offer, answer it; without,
    /// offer.
    OpenLink {
        /// The link's key from now on.
        link: LinkId,
        /// The other end.
        peer: PeerId,
        /// The other end's offer, for the answerer.
        offer: Option<String>,
        /// Whether it gets a DTLS certificate of its own, made for it alone: it takes the place of
        /// another connection, whose keys are too old.
        fresh_keys: bool,
        /// Whether its packets are to be small: larger ones may get lost on the path, and nothing
        /// tells so. Browsers do not let an application choose.
        small_packets: bool,
        /// What it gathers candidates with.
        ice: IceConfig,
        /// Sections that an offer has for tracks of the other end.
        tracks: Tracks,
    },
    /// From its next round on a link's peer connection gathers candidates with this. Nothing
    /// changes until then.
    ConfigureLink {
        /// The link.
        link: LinkId,
        /// What it gathers candidates with.
        ice: IceConfig,
    },
    /// Restart ICE on a link's peer connection, with sockets bound anew, and offer: its path is
    /// away.
    RestartLink {
        /// The link.
        link: LinkId,
    },
    /// Offer anew on a link's peer connection, without a restart of ICE: tracks are others now.
    NegotiateTracks {
        /// The link.
        link: LinkId,
        /// Sections that the offer has for tracks of the other end.
        tracks: Tracks,
    },
    /// Hand the peer's answer or candidate to the peer connection; or its offer of a further round,
    /// which is to be answered.
    ApplySignal {
        /// The link.
        link: LinkId,
        /// What the other end's peer connection produced.
        signal: LinkSignal,
    },
    /// Send a data-channel message.
    Transmit {
        /// The link.
        link: LinkId,
        /// The channel.
        channel: Channel,
        /// The message.
        frame: Bytes,
    },
    /// Close the peer connection, once what was ordered before is sent. No fact about this link is
    /// expected any more.
    CloseLink {
        /// The link.
        link: LinkId,
    },
    /// Callers that were told [`SendError::Backpressure`](crate::SendError::Backpressure) may
    /// retry.
    Writable,
    /// Tell the application.
    Emit(Event),
}

/// A fact for the application; the same JSON in every binding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
#[non_exhaustive]
pub enum Event {
    /// The signaling server has admitted this agent.
    Joined {
        /// The room.
        room: String,
        /// Other members, as the server knows them.
        members: usize,
    },
    /// The signaling server has refused this agent for good.
    Refused {
        /// The protocol's error code.
        code: String,
        /// What to do.
        message: String,
    },
    /// The signaling server is gone or cannot be reached. The mesh goes on without it.
    SignalingLost {
        /// Which of the agent's addresses, counted from 0.
        hub: usize,
        /// The cause.
        reason: String,
        /// When it will be dialled again.
        retry_in_ms: u64,
    },
    /// The signaling server is back, or another has admitted this agent.
    SignalingRestored {
        /// Which of the agent's addresses, counted from 0.
        hub: usize,
    },
    /// Another signaling server serves this agent; the former did until then.
    SignalingMoved {
        /// Which of the agent's addresses, counted from 0. The same as before where a load balancer
        /// stands before several servers.
        hub: usize,
    },
    /// A member appeared.
    PeerJoined {
        /// Who.
        peer: PeerId,
        /// Its label.
        name: String,
    },
    /// A member has left, or can no longer be reached by anyone, or is of another shard now.
    PeerLeft {
        /// Who.
        peer: PeerId,
        /// Its label.
        name: String,
    },
    /// A link is open.
    LinkOpened {
        /// The other end.
        peer: PeerId,
        /// Time from the decision to link, in milliseconds.
        setup_ms: f64,
        /// The part of it until our offer or answer was ready to be sent.
        described_ms: f64,
        /// The part until the answer to our offer was there; null at the end that answered.
        answered_ms: Option<f64>,
        /// The part until ICE had found a path, if the driver has told.
        reached_ms: Option<f64>,
    },
    /// A link goes on over another connection, which has fresh DTLS keys.
    LinkRotated {
        /// The other end.
        peer: PeerId,
        /// Time from the decision to rotate, or from the offer, in milliseconds.
        took_ms: f64,
    },
    /// The way that a link takes is known, or is another now.
    LinkPath {
        /// The other end.
        peer: PeerId,
        /// The way.
        path: LinkPath,
    },
    /// A link that was open is closed.
    LinkClosed {
        /// The other end.
        peer: PeerId,
        /// The cause.
        reason: String,
    },
    /// A link did not open; it will be tried again.
    LinkFailed {
        /// The other end.
        peer: PeerId,
        /// The cause.
        reason: String,
    },
    /// A neighbour sends a track of audio or video. It goes on while the link gets fresh keys.
    Track {
        /// Who sends.
        peer: PeerId,
        /// The track, as its sender has named it.
        id: String,
        /// What it carries.
        kind: TrackKind,
    },
    /// A neighbour's track has ended: it was ended by its sender, or the link is closed.
    TrackEnded {
        /// Who sent.
        peer: PeerId,
        /// The track.
        id: String,
    },
    /// A neighbour cannot go on with a video track of this agent until it gets a keyframe.
    KeyframeWanted {
        /// Who asks.
        peer: PeerId,
        /// The track.
        id: String,
    },
    /// Links or members changed somewhere in the mesh.
    TopologyChanged,
    /// A message for this agent, its signature verified.
    Message(Received),
    /// A large message of this agent: so much of it has arrived.
    Sending {
        /// The message.
        id: MessageId,
        /// The target.
        to: PeerId,
        /// Bytes of the payload that have arrived.
        bytes: u64,
        /// All of them.
        bytes_total: u64,
    },
    /// A large message for this agent: so much of it has come.
    Receiving {
        /// The message.
        id: MessageId,
        /// Its author.
        from: PeerId,
        /// Bytes of the payload that have come.
        bytes: u64,
        /// All of them.
        bytes_total: u64,
    },
    /// An acknowledged message, or any large one, has arrived at its target.
    Delivered {
        /// The message.
        id: MessageId,
        /// The target.
        to: PeerId,
        /// From sending to the receipt.
        round_trip_ms: f64,
    },
    /// A request was answered.
    Replied {
        /// The request.
        id: MessageId,
        /// Who answered.
        from: PeerId,
        /// The answer.
        payload: Payload,
        /// From sending to the reply.
        round_trip_ms: f64,
    },
    /// A member has told how it sees its link to another, as it was asked.
    LinkExplained {
        /// The question.
        id: MessageId,
        /// The member that was asked: one end of the link.
        of: PeerId,
        /// The other end.
        about: PeerId,
        /// What it says.
        report: Box<LinkReport>,
    },
    /// A message of this agent was lost, or is not known to have arrived.
    DeliveryFailed {
        /// The message.
        id: MessageId,
        /// The target; null for a broadcast.
        to: Option<PeerId>,
        /// The cause.
        reason: LossReason,
        /// Who got stuck with it.
        at: PeerId,
    },
    /// Something that came in was not to be trusted, and was dropped.
    Rejected {
        /// The link's other end that it came over; null for the signaling server.
        via: Option<PeerId>,
        /// The claimed author, if it had one.
        author: Option<PeerId>,
        /// The cause.
        reason: RejectReason,
    },
    /// The reader of events was too slow, and this many were dropped.
    Lagged {
        /// How many.
        missed: u64,
    },
    /// Something is not as it should be. The agent goes on.
    Warning {
        /// What it is about, for programs.
        code: WarningCode,
        /// The cause and the remedy.
        message: String,
    },
    /// This agent has left the mesh: the last event.
    Left,
}

/// What a [`Event::Warning`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum WarningCode {
    /// This machine's clock is far off the signaling server's.
    ClockOff,
    /// A STUN or TURN server is left out, because it cannot be used.
    IceServer,
    /// A neighbour does not answer when it is told of tracks of audio or video.
    Tracks,
}

impl Event {
    /// The memory that the event takes, in bytes, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        let more = match self {
            Self::Message(message) => {
                let topic = message.topic.as_ref().map_or(0, String::len);
                message.payload.len() + message.name.len() + topic
            }
            Self::Replied { payload, .. } => payload.len(),
            Self::LinkExplained { report, .. } => size_of::<LinkReport>() + report.memory_bytes(),
            Self::LinkClosed { reason, .. } | Self::LinkFailed { reason, .. } => reason.len(),
            Self::PeerJoined { name, .. } | Self::PeerLeft { name, .. } => name.len(),
            Self::Track { id, .. }
            | Self::TrackEnded { id, .. }
            | Self::KeyframeWanted { id, .. } => id.len(),
            _ => 0,
        };
        size_of::<Self>() + more
    }

    /// Whether it brings a large message.
    pub(crate) fn is_large(&self) -> bool {
        match self {
            Self::Message(message) => message.payload.is_large(),
            Self::Replied { payload, .. } => payload.is_large(),
            _ => false,
        }
    }

    /// What became of a request, if this event settles one: what its caller waits for.
    pub fn outcome(&self) -> Option<(MessageId, Result<Payload, LossReason>)> {
        match self {
            Self::Replied { id, payload, .. } => Some((*id, Ok(payload.clone()))),
            Self::DeliveryFailed { id, reason, .. } => Some((*id, Err(*reason))),
            _ => None,
        }
    }
}

/// A message as the application gets it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Received {
    /// Names the message; give it to `reply`.
    pub id: MessageId,
    /// The author, whose signature was verified.
    pub from: PeerId,
    /// The author's label.
    pub name: String,
    /// The topic of a broadcast; null for a message to this agent alone.
    pub topic: Option<String>,
    /// The content.
    pub payload: Payload,
    /// How it was sent.
    pub delivery: Delivery,
    /// The author awaits a reply.
    pub wants_reply: bool,
    /// Links that it crossed.
    pub hops: u8,
    /// From the author's clock at sending to ours now; meaningful where the clocks agree.
    pub latency_ms: f64,
}
