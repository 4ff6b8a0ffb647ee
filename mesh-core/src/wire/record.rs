//! Records: what one link end says to the other, and envelopes that travel on.

use serde::{Deserialize, Serialize};

use super::clear::ClearHeader;
use crate::id::{PeerId, Target};
use crate::trust::Signed;

/// One unit of a frame. The order of the variants is the wire format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// Asks the other end for a [`Record::Pong`] with the same nonce.
    Ping {
        /// Chosen by the asker.
        nonce: u32,
    },
    /// Answers a ping.
    Pong {
        /// The ping's nonce.
        nonce: u32,
    },
    /// How many envelopes have arrived on the data channel since the link opened: the sender may
    /// forget them, the receiver has taken responsibility.
    Ack {
        /// A running total.
        received: u64,
    },
    /// The sender will close the link as soon as what it has sent is acknowledged.
    Drain,
    /// A fingerprint of the sender's link-state database; the receiver answers with
    /// [`Record::Digest`] if its own differs.
    Summary {
        /// Folded from every record's author and version.
        fingerprint: u64,
    },
    /// The versions that the sender's database holds; the receiver answers with newer records.
    Digest {
        /// The lowest author prefix covered; a database larger than a frame takes several digests.
        low: u64,
        /// The highest author prefix covered.
        high: u64,
        /// One entry a record, by author prefix.
        entries: Vec<DigestEntry>,
        /// Whether the receiver should send its own digest in return.
        reply: bool,
    },
    /// A signed [`LinkState`](super::LinkState).
    LinkState(Signed),
    /// A signed [`Message`](super::Message) on its way.
    Envelope(Envelope),
    /// Broadcasts that the sender has; the receiver asks for those that it lacks.
    Have {
        /// Of each one the first eight bytes of its signature, xor those from the 33rd on.
        names: Vec<u64>,
    },
    /// Broadcasts that the sender lacks, of those that the receiver has told of.
    Want {
        /// As in [`Record::Have`].
        names: Vec<u64>,
    },
}

/// One record of a link-state database, named without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestEntry {
    /// The first eight bytes of the author's id.
    pub author_prefix: u64,
    /// The version held.
    pub version: u64,
}

/// A signed message with what a forwarder needs. The channel that it arrived on is the channel that
/// it leaves on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Hops that it may still take; the only thing that changes on the way.
    pub ttl: u8,
    /// Where it goes; must equal the target inside the signature.
    pub target: Target,
    /// The message.
    pub signed: Signed,
}

impl Envelope {
    /// How many messages it claims to carry.
    pub(crate) fn messages(&self) -> usize {
        let header = self.signed.peek::<ClearHeader>();
        header.map_or(1, |header| usize::from(header.count))
    }
}

impl DigestEntry {
    /// The entry of a record.
    pub fn new(author: PeerId, version: u64) -> Self {
        Self {
            author_prefix: author.prefix(),
            version,
        }
    }
}
