//! Identifiers: of agents, links and messages.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// An agent's identity: its Ed25519 public key ([RFC 8032]).
///
/// Shown and parsed as 64 lower-case hexadecimal digits; `Debug` and [`PeerId::short`] give the
/// first eight.
///
/// [RFC 8032]: https://www.rfc-editor.org/rfc/rfc8032
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerId([u8; 32]);

/// Text that is not a peer id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a peer id is 64 hexadecimal digits")]
pub struct ParsePeerIdError;

impl PeerId {
    /// Wraps the bytes of a public key; whether they are a valid key shows when verifying.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes of the public key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first eight hexadecimal digits: enough for a person to tell peers apart in a log.
    pub fn short(&self) -> String {
        HEXLOWER.encode(&self.0[..4])
    }

    /// The first eight bytes as a number: enough to tell the members of a room apart, and the input
    /// of the topology's hashes.
    pub fn prefix(&self) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(bytes)
    }
}

/// As the bytes compare. Eight of them nearly always decide, and a number compares much faster than
/// a string does: every map of the mesh is ordered by peer.
impl Ord for PeerId {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_prefix = self.prefix().cmp(&other.prefix());
        by_prefix.then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for PeerId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl FromStr for PeerId {
    type Err = ParsePeerIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        if text.len() != 64 {
            return Err(ParsePeerIdError);
        }
        HEXLOWER
            .decode_mut(text.as_bytes(), &mut bytes)
            .map_err(|_| ParsePeerIdError)?;
        Ok(Self(bytes))
    }
}

impl Serialize for PeerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for PeerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
            text.parse().map_err(D::Error::custom)
        } else {
            <[u8; 32]>::deserialize(deserializer).map(Self)
        }
    }
}

/// One link of this agent, chosen by the core and used by the driver as a key. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct LinkId(pub u64);

/// One WebSocket connection at the [`Hub`](crate::Hub), chosen by the driver. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// A WebSocket to a hub, as an agent numbers those that it dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u64);

/// Names one message for ever: its author, the author's incarnation, the target, the sequence.
///
/// Shown and parsed as `author/incarnation/target/sequence`, where the target is a peer id or `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// The agent that wrote and signed the message.
    pub author: PeerId,
    /// The author's incarnation: the time at which it started, in microseconds since 1970.
    pub incarnation: u64,
    /// What it is for; each target has its own sequence.
    pub target: Target,
    /// Counts the author's messages to this target, from 1.
    pub sequence: u64,
}

/// What a message is for: an agent, or all of a room or topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Target {
    /// One member.
    Peer(PeerId),
    /// Every member of the room.
    Room,
}

/// Text that is not a message id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a message id reads author/incarnation/target/sequence, as the mesh gave it")]
pub struct ParseMessageIdError;

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/", self.author, self.incarnation)?;
        match self.target {
            Target::Peer(peer) => write!(f, "{peer}")?,
            Target::Room => f.write_str("*")?,
        }
        write!(f, "/{}", self.sequence)
    }
}

impl FromStr for MessageId {
    type Err = ParseMessageIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('/');
        let mut part = || parts.next().ok_or(ParseMessageIdError);
        let id = Self {
            author: part()?.parse().map_err(|_| ParseMessageIdError)?,
            incarnation: part()?.parse().map_err(|_| ParseMessageIdError)?,
            target: match part()? {
                "*" => Target::Room,
                peer => Target::Peer(peer.parse().map_err(|_| ParseMessageIdError)?),
            },
            sequence: part()?.parse().map_err(|_| ParseMessageIdError)?,
        };
        match parts.next() {
            None => Ok(id),
            Some(_) => Err(ParseMessageIdError),
        }
    }
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_what_they_print() {
        let author = PeerId::from_bytes([0xab; 32]);
        assert_eq!(author.to_string().parse(), Ok(author));
        for target in [Target::Room, Target::Peer(PeerId::from_bytes([1; 32]))] {
            let id = MessageId {
                author,
                incarnation: 7,
                target,
                sequence: 42,
            };
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn malformed_ids_are_refused() {
        for text in [
            "",
            "ab",
            &"g".repeat(64),
            &"AB".repeat(32),
            &"ab".repeat(33),
        ] {
            assert_eq!(text.parse::<PeerId>(), Err(ParsePeerIdError), "{text}");
        }
        let peer = "ab".repeat(32);
        for text in [
            "",
            "//*/",
            &format!("{peer}/1/*"),
            &format!("{peer}/1/*/2/3"),
        ] {
            assert_eq!(
                text.parse::<MessageId>(),
                Err(ParseMessageIdError),
                "{text}"
            );
        }
    }
}
