//! Errors by blame: the bytes, the signature, a peer, or the caller.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::id::PeerId;
use crate::payload::JsonError;

/// Bytes that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Nothing at all.
    #[error("the frame is empty")]
    Empty,
    /// More bytes than a frame may have.
    #[error("the frame has {bytes} bytes, at most {bytes_max} are allowed")]
    Oversized {
        /// The size seen.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A wire version that this build does not speak.
    #[error("wire version {0} is not spoken here")]
    Version(u8),
    /// A record that does not decode.
    #[error("record {index} does not decode")]
    Record {
        /// Its place in the frame, from 0.
        index: usize,
    },
}

/// Why a [`Signed`](crate::Signed) body is not to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The author is no Ed25519 public key.
    #[error("the author is no valid public key")]
    Key,
    /// The signature is not the author's over these bytes, this purpose and this room.
    #[error("the signature does not match")]
    Signature,
    /// Rightly signed, but not decodable.
    #[error("the signed body does not decode")]
    Body,
}

/// Why something that came from a peer or the hub was rejected; also the name of its counter.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Error, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RejectReason {
    /// A frame, record or body that does not decode.
    #[error("malformed")]
    Malformed,
    /// A frame above the size limit.
    #[error("oversized")]
    Oversized,
    /// A wire version not spoken here.
    #[error("unknown version")]
    Version,
    /// The signature is not the claimed author's.
    #[error("invalid signature")]
    InvalidSignature,
    /// Seen before, or of an earlier incarnation of its author.
    #[error("replayed")]
    Replayed,
    /// Dated too far from this agent's clock.
    #[error("expired or from the future")]
    Expired,
    /// Signed for another target than it was routed to.
    #[error("misrouted")]
    Misrouted,
    /// More of something than the limits allow.
    #[error("limit exceeded")]
    Limit,
    /// Text from the hub that is not in its protocol.
    #[error("signaling protocol violated")]
    Signaling,
    /// A signal that does not fit the link's state.
    #[error("unexpected signal")]
    UnexpectedSignal,
}

impl RejectReason {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Malformed,
        Self::Oversized,
        Self::Version,
        Self::InvalidSignature,
        Self::Replayed,
        Self::Expired,
        Self::Misrouted,
        Self::Limit,
        Self::Signaling,
        Self::UnexpectedSignal,
    ];
}

impl From<DecodeError> for RejectReason {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Oversized { .. } => Self::Oversized,
            DecodeError::Version(_) => Self::Version,
            DecodeError::Empty | DecodeError::Record { .. } => Self::Malformed,
        }
    }
}

impl From<VerifyError> for RejectReason {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Body => Self::Malformed,
            VerifyError::Key | VerifyError::Signature => Self::InvalidSignature,
        }
    }
}

/// Why a message was lost; also the name of its counter.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Error, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LossReason {
    /// No path leads to the target.
    #[error("no route to the target")]
    NoRoute,
    /// It travelled more hops than its TTL allows.
    #[error("its TTL ran out")]
    TtlExpired,
    /// The queue of the next link is full.
    #[error("the next hop's queue is full")]
    QueueFull,
    /// The link died with the message in flight and no other path was left.
    #[error("the peer disconnected")]
    PeerDisconnected,
    /// No receipt or reply before the deadline.
    #[error("the deadline passed")]
    Deadline,
    /// The agent left the mesh first.
    #[error("this agent left the mesh")]
    Left,
    /// The target takes no message of this size.
    #[error("the target takes no message of this size: its `largeBytesMax` is less")]
    TooLarge,
    /// The target has as many large messages under way as it takes, or not what was sent.
    #[error("the target has too many large messages under way, or found this one damaged")]
    Refused,
    /// Its author has given it up.
    #[error("it was cancelled")]
    Cancelled,
}

impl LossReason {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::NoRoute,
        Self::TtlExpired,
        Self::QueueFull,
        Self::PeerDisconnected,
        Self::Deadline,
        Self::Left,
        Self::TooLarge,
        Self::Refused,
        Self::Cancelled,
    ];
}

/// The caller's own mistakes, and the state of the mesh that it must know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendError {
    /// [`Mesh::join`](crate::Mesh::join) was not called, or the agent has left.
    #[error("this agent is not in the mesh: join first")]
    NotJoined,
    /// The target is this agent.
    #[error("an agent cannot send to itself")]
    ToSelf,
    /// The target is not a member of the room.
    #[error("{0} is not a member of this room")]
    UnknownPeer(PeerId),
    /// The payload is larger than any that may be sent so: datagrams and broadcasts must fit a
    /// frame.
    #[error("the payload has {bytes} bytes, at most {bytes_max} may be sent so")]
    TooLarge {
        /// The size of the payload.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The payload is marked as JSON and cannot be sent as such.
    #[error(transparent)]
    Json(JsonError),
    /// The topic is too long.
    #[error("the topic has {bytes} bytes, at most {bytes_max} are allowed")]
    TopicTooLong {
        /// The size of the topic.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The queue to the next hop is full: wait for [`Output::Writable`](crate::Output::Writable).
    #[error("the queue to the next hop is full: wait until it is writable")]
    Backpressure,
    /// The application has sent as many of late as
    /// [`Config::messages_per_second`](crate::Config::messages_per_second) allows. One more may be
    /// sent after this time.
    #[error("more messages than this agent may send: wait {0:?}")]
    RateLimited(Duration),
    /// As many messages await a receipt or a reply as are allowed.
    #[error("{0} messages await a receipt already: wait until some are delivered")]
    TooManyPending(usize),
    /// There is no request with this id to reply to.
    #[error("no request with this id awaits a reply")]
    UnknownRequest,
    /// The deadline is zero or too far away.
    #[error("a deadline must be between 1 ms and {0:?}")]
    Deadline(Duration),
}

impl SendError {
    /// A stable code, the same in every binding.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotJoined => "not-joined",
            Self::ToSelf => "to-self",
            Self::UnknownPeer(_) => "unknown-peer",
            Self::TooLarge { .. } => "too-large",
            Self::Json(_) => "json",
            Self::TopicTooLong { .. } => "topic-too-long",
            Self::Backpressure => "backpressure",
            Self::RateLimited(_) => "rate-limited",
            Self::TooManyPending(_) => "too-many-pending",
            Self::UnknownRequest => "unknown-request",
            Self::Deadline(_) => "deadline",
        }
    }

    /// Whether the same call may succeed once there is room: at the next
    /// [`Output::Writable`](crate::Output::Writable).
    pub const fn is_passing(self) -> bool {
        matches!(self, Self::Backpressure | Self::TooManyPending(_))
    }
}

/// Why a track of audio or video is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TrackError {
    /// There is no open link to the member.
    #[error(
        "not linked to {0}: tracks travel to neighbours only; send to a peer that peers() \
         shows as direct, or wait for its event linkOpened"
    )]
    NotLinked(PeerId),
    /// As many tracks are sent to the neighbour as may be.
    #[error("at most {0} tracks may be sent to one neighbour: end one first")]
    TooMany(u8),
    /// The track has ended.
    #[error("the track has ended, with its link or by its sender: send another")]
    Ended,
}

impl TrackError {
    /// A stable code, the same in every binding.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotLinked(_) => "not-linked",
            Self::TooMany(_) => "too-many-tracks",
            Self::Ended => "track-ended",
        }
    }
}

/// Why a call of an agent's handle failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MeshError {
    /// The mesh did not take the message.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The request was not answered.
    #[error("no reply: {0}")]
    NoReply(LossReason),
    /// The large message did not arrive.
    #[error("not delivered: {0}")]
    NotDelivered(LossReason),
    /// A track cannot be sent.
    #[error(transparent)]
    Track(#[from] TrackError),
    /// The agent was closed.
    #[error("this agent is closed")]
    Closed,
}

impl MeshError {
    /// After how long the same may succeed, where that is known.
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Send(SendError::RateLimited(wait)) => Some(wait),
            _ => None,
        }
    }

    /// A stable code for programs, the same in every binding.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Send(error) => error.code(),
            Self::NoReply(_) => "no-reply",
            Self::NotDelivered(_) => "not-delivered",
            Self::Track(error) => error.code(),
            Self::Closed => "closed",
        }
    }
}

/// Why a request has no reply.
impl From<LossReason> for MeshError {
    fn from(reason: LossReason) -> Self {
        match reason {
            LossReason::Left => Self::Closed,
            reason => Self::NoReply(reason),
        }
    }
}

/// A configuration that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A name that is empty or too long.
    #[error("the {what} {value:?} has {bytes} bytes: it must have 1 to {bytes_max}")]
    NameLength {
        /// Which name: `room` or `name`.
        what: &'static str,
        /// What was given, or its beginning.
        value: String,
        /// How long it is.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A name with a character that does not show: two names that look the same would differ.
    #[error(
        "the {what} {value:?} has the character U+{:04X} at place {place}, which does not show or \
         turns the writing around: leave it out",
        u32::from(*.character)
    )]
    NameCharacter {
        /// Which name: `room` or `name`.
        what: &'static str,
        /// What was given.
        value: String,
        /// The character.
        character: char,
        /// Which of the characters it is, from 1 on.
        place: usize,
    },
    /// A name that begins or ends with white space, or is nothing but that.
    #[error("the {what} {value:?} begins or ends with white space: leave it out")]
    NameSpace {
        /// Which name: `room` or `name`.
        what: &'static str,
        /// What was given.
        value: String,
    },
    /// No address of a signaling server, or too many.
    #[error("{0} signaling addresses: an agent takes 1 to {max}", max = crate::config::HUBS_MAX)]
    HubCount(usize),
    /// An address of a signaling server that is there twice.
    #[error("the signaling address {0:?} is there twice: give each once")]
    HubTwice(String),
    /// `k` is out of range.
    #[error("k is {0}: an agent keeps 2 to 64 links")]
    K(usize),
    /// A limit or an interval that cannot work, alone or with another.
    #[error("{field}: {reason}")]
    Limit {
        /// The field of `Config` or `HubConfig`.
        field: &'static str,
        /// What is wrong, and what is right.
        reason: String,
    },
}
