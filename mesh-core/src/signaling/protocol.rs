//! The texts between an agent and the hub.

use serde::{Deserialize, Serialize};

use crate::ice::IceServer;
use crate::id::PeerId;
use crate::topology::Shards;
use crate::trust::Signed;

/// The signaling protocol that this build speaks.
pub const PROTOCOL_VERSION: u32 = 2;

/// From an agent to the hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum ClientMessage {
    /// Opens the conversation.
    Hello {
        /// [`PROTOCOL_VERSION`].
        version: u32,
        /// The room to join.
        room: String,
        /// The agent's public key.
        peer: PeerId,
        /// The agent's label.
        name: String,
        /// How the room was divided when the agent was last in it, for a hub that has restarted.
        #[serde(default)]
        shards: Shards,
        /// Whether the agent was in the room before and comes back to it, with its links: it is no
        /// newcomer.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        again: bool,
    },
    /// Answers [`HubMessage::Challenge`].
    Prove {
        /// An [`Admit`](crate::wire::Admit) signed by the agent.
        proof: Signed,
    },
    /// To be passed on to another member.
    Signal {
        /// The member.
        to: PeerId,
        /// A [`Message`](crate::wire::Message) that carries a signal.
        message: Signed,
    },
    /// A sign of life, answered by [`HubMessage::Pong`].
    Ping,
    /// The agent leaves the room for good.
    Leave,
}

/// From the hub to an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum HubMessage {
    /// Answers [`ClientMessage::Hello`].
    Challenge {
        /// To be signed.
        nonce: String,
    },
    /// The agent is admitted.
    Welcome {
        /// The members that it has to know.
        #[serde(flatten)]
        listing: Listing,
        /// STUN and TURN servers to use.
        ice_servers: Vec<IceServer>,
        /// The hub's clock, in milliseconds since 1970-01-01T00:00:00Z: agents date by it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        time_ms: Option<u64>,
    },
    /// The room is divided anew: this replaces what was listed before.
    Divided {
        /// The members that the agent has to know now.
        #[serde(flatten)]
        listing: Listing,
    },
    /// The list changed.
    Members {
        /// New on it.
        #[serde(default)]
        joined: Vec<Member>,
        /// No longer on it.
        #[serde(default)]
        left: Vec<PeerId>,
        /// How many are in the room.
        #[serde(default)]
        room_members: usize,
        /// How many came lately or are about to: if they are many, more are to be expected.
        #[serde(default)]
        newcomers: usize,
    },
    /// Passed on from another member.
    Signal {
        /// The member that sent it, as the hub admitted it.
        from: PeerId,
        /// What it sent.
        message: Signed,
    },
    /// Answers [`ClientMessage::Ping`].
    Pong {
        /// The hub's clock, as in [`HubMessage::Welcome`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        time_ms: Option<u64>,
        /// Servers in the place of those in [`HubMessage::Welcome`], where their credentials are
        /// about to expire.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ice_servers: Option<Vec<IceServer>>,
    },
    /// The hub is about to stop: the agent is to go to another, each at a moment of its own.
    Move {
        /// How long all of them may take, in milliseconds.
        within_ms: u64,
    },
    /// The agent made a mistake, or the hub cannot serve it.
    Error {
        /// For programs.
        code: ErrorCode,
        /// For people: the cause and the remedy.
        message: String,
        /// Of an error about a signal: the member that it was for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peer: Option<PeerId>,
    },
}

/// The members that an agent has to know: the others of its shard, and the few of each other shard
/// that may be linked with its own. In a room that is not divided, all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listing {
    /// The members.
    pub members: Vec<Member>,
    /// How many are in the room, the agent among them.
    #[serde(default)]
    pub room_members: usize,
    /// How many came lately or are about to: if they are many, more are to be expected.
    #[serde(default)]
    pub newcomers: usize,
    /// How the room is divided.
    #[serde(default)]
    pub shards: Shards,
}

/// A member of a room, as the hub knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its public key.
    pub peer: PeerId,
    /// Its label.
    pub name: String,
}

/// What went wrong, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The protocol version is not spoken here.
    Version,
    /// A text that is no message, or not the one expected now.
    BadRequest,
    /// The proof does not show that the client holds the key.
    BadProof,
    /// The client did not prove its identity in time.
    AdmissionTimeout,
    /// The text is too long.
    TooLarge,
    /// Too many texts in too short a time.
    RateLimited,
    /// The room has as many members as the hub allows.
    RoomFull,
    /// The hub has as many clients as it allows.
    HubFull,
    /// The hub is about to stop and admits no more clients: another may.
    Draining,
    /// Another connection proved the same identity and took this one's place.
    Replaced,
    /// The client was silent for too long.
    Silent,
    /// The member that a signal is for is not here. The connection goes on.
    UnknownPeer,
    /// The member that a signal is for has too many to take; the signal is dropped. The connection
    /// goes on.
    Busy,
    /// The hub of the member that a signal is for cannot be reached from this one; the signal is
    /// dropped. The connection goes on.
    OutOfReach,
    /// A code from a later version of the protocol.
    #[serde(other)]
    Other,
}

impl ErrorCode {
    /// All that a hub sends.
    pub const ALL: [Self; 14] = [
        Self::Version,
        Self::BadRequest,
        Self::BadProof,
        Self::AdmissionTimeout,
        Self::TooLarge,
        Self::RateLimited,
        Self::RoomFull,
        Self::HubFull,
        Self::Draining,
        Self::Replaced,
        Self::Silent,
        Self::UnknownPeer,
        Self::Busy,
        Self::OutOfReach,
    ];

    /// The code as it is written in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::BadRequest => "bad-request",
            Self::BadProof => "bad-proof",
            Self::AdmissionTimeout => "admission-timeout",
            Self::TooLarge => "too-large",
            Self::RateLimited => "rate-limited",
            Self::RoomFull => "room-full",
            Self::HubFull => "hub-full",
            Self::Draining => "draining",
            Self::Replaced => "replaced",
            Self::Silent => "silent",
            Self::UnknownPeer => "unknown-peer",
            Self::Busy => "busy",
            Self::OutOfReach => "out-of-reach",
            Self::Other => "other",
        }
    }

    /// It is about a signal, and the connection goes on.
    pub(crate) const fn is_about_a_signal(self) -> bool {
        matches!(self, Self::UnknownPeer | Self::Busy | Self::OutOfReach)
    }

    /// Trying again with the same identity and version would end the same way.
    pub(crate) const fn is_final(self) -> bool {
        matches!(self, Self::Version | Self::BadProof | Self::Replaced)
    }
}
