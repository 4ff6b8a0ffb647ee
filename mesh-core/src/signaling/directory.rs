//! The port between a [`Hub`](super::Hub) and the directory that it shares with other hubs: who is
//! in which room, at which hub, and how rooms are divided.
//!
//! A directory is keyed state and one stream of its changes. All hubs read the same changes in the
//! same order, so all come to list the same. A driver brings them ([`DirectoryFact`]) and carries
//! out what the hub wants changed ([`Order`]); a change counts when it is read from the stream.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{ClientId, PeerId};
use crate::topology::Shards;

/// A hub, for as long as its process lives: the next one is another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct HubId(pub u64);

/// One admission of a member: at which hub, and which client it is there. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Session {
    /// The hub that admitted it.
    pub hub: HubId,
    /// The client of that hub.
    pub client: ClientId,
}

/// What the directory says of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its label.
    pub name: String,
    /// Its latest admission.
    pub session: Session,
    /// When that was, in milliseconds since 1970 by the hub's clock; more than that of the entry
    /// whose place it took. Of two entries for one member the later one counts.
    pub at: u64,
}

/// What a hub wants to have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// A member was admitted. Nothing changes if there is an entry that is as late or later, or of
    /// the same session.
    Enter {
        /// The room.
        room: String,
        /// The member.
        peer: PeerId,
        /// What is said of it.
        entry: Entry,
    },
    /// A member has gone. Nothing changes if its entry is of another session.
    Leave {
        /// The room.
        room: String,
        /// The member.
        peer: PeerId,
        /// The session that ended.
        session: Session,
    },
    /// A room is to be divided anew. Nothing changes if it is not divided as said.
    Divide {
        /// The room.
        room: String,
        /// How it is divided, as far as this hub knows.
        from: Shards,
        /// How it is to be divided.
        to: Shards,
    },
    /// A hub is dead, its members' entries are to go. Nothing changes if the hub lives.
    Forget(HubId),
}

/// What has changed in the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A member was entered, for the first time or in place of another entry.
    Entered {
        /// The room.
        room: String,
        /// The member.
        peer: PeerId,
        /// What is said of it.
        entry: Entry,
    },
    /// A member's entry was removed.
    Left {
        /// The room.
        room: String,
        /// The member.
        peer: PeerId,
    },
    /// A room is divided so from now on.
    Divided {
        /// The room.
        room: String,
        /// How.
        shards: Shards,
    },
    /// All entries of a hub were removed.
    Forgotten(HubId),
}

/// All that the directory says, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The rooms' members.
    pub entries: Vec<(String, PeerId, Entry)>,
    /// How rooms are divided; those that are not need not be listed.
    pub divisions: Vec<(String, Shards)>,
    /// Whether the directory has lost something that this hub had read of it: it was emptied, or
    /// goes on from what it said earlier.
    pub went_back: bool,
}

/// A fact about the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectoryFact {
    /// It cannot be reached any more. What was ordered may have been done or not.
    Lost,
    /// It can be reached again, and the changes that were missed follow.
    Resumed,
    /// It can be reached, and says this; changes follow.
    Read(Snapshot),
    /// It has changed.
    Changed(Change),
    /// The orders of the last [`DirectoryOrder::Publish`] were carried out.
    Published,
    /// The directory has been told that this hub lives, and these hubs have said so lately.
    Pulse(BTreeSet<HubId>),
    /// Another hub sent this.
    Told(String),
    /// What was to be sent to another hub was not.
    Untold(String),
}

/// An order about the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectoryOrder {
    /// Carry out these, at once and in this order. No more follow until
    /// [`DirectoryFact::Published`] or [`DirectoryFact::Lost`].
    Publish(Vec<Order>),
    /// Send a text to another hub, or say that it is [`DirectoryFact::Untold`].
    Tell {
        /// The hub.
        hub: HubId,
        /// The text.
        text: String,
    },
}

/// How a hub stands with the directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DirectoryState {
    /// It has none: it is the only hub.
    #[default]
    None,
    /// It cannot reach it.
    Away,
    /// It reads and writes it.
    Shared,
}

impl DirectoryState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::None, Self::Away, Self::Shared];
}

/// Text that is no id of a hub, or of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hub is 16 hexadecimal digits, a session a hub, `-` and a number")]
pub struct ParseSessionError;

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for HubId {
    type Err = ParseSessionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if text.len() != 16 || !digits {
            return Err(ParseSessionError);
        }
        let number = u64::from_str_radix(text, 16);
        number.map(Self).map_err(|_| ParseSessionError)
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.hub, self.client.0)
    }
}

impl FromStr for Session {
    type Err = ParseSessionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (hub, client) = text.split_once('-').ok_or(ParseSessionError)?;
        let client = client.parse().map_err(|_| ParseSessionError)?;
        Ok(Self {
            hub: hub.parse()?,
            client: ClientId(client),
        })
    }
}

impl TryFrom<String> for Session {
    type Error = ParseSessionError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Session> for String {
    fn from(session: Session) -> Self {
        session.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_read_as_it_is_written() {
        let session = Session {
            hub: HubId(0xfe),
            client: ClientId(7),
        };
        assert_eq!(session.to_string(), "00000000000000fe-7");
        assert_eq!(session.to_string().parse(), Ok(session));
        for text in [
            "",
            "fe-7",
            "00000000000000fe",
            "00000000000000fe-x",
            "+0000000000000fe-7",
        ] {
            assert_eq!(text.parse::<Session>(), Err(ParseSessionError), "{text}");
        }
    }
}
