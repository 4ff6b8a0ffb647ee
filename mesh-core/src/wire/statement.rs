//! Statements: the bodies that agents sign.

use serde::{Deserialize, Serialize};

use super::chunk::{Chunk, Stop};
use crate::error::LossReason;
use crate::id::{MessageId, PeerId, Target};
use crate::link_report::LinkReport;
use crate::media::Tracks;
use crate::payload::{Delivery, Payload};
use crate::time::UnixTime;
use crate::trust::{Domain, Statement};

/// An agent's answer to the hub's challenge: proves that it holds the key, for this room and name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admit {
    /// The hub's nonce.
    pub nonce: String,
    /// The name that the agent goes by.
    pub name: String,
}

/// An agent's links, as it sees them. The newest version of each author counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkState {
    /// Grows with every change and with every start: microseconds since the epoch, or one more than
    /// the last if the clock did not advance.
    pub version: u64,
    /// The agent's label.
    pub name: String,
    /// The agent has left: forget it.
    pub departed: bool,
    /// Links that the agent lacks and would open with others that lack some too. Below zero: links
    /// that it has beyond those that it wants.
    pub lacks: i8,
    /// Its open links, by peer.
    pub links: Vec<LinkEntry>,
}

/// One open link in a [`LinkState`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkEntry {
    /// The other end, by the first eight bytes of its id ([`PeerId::prefix`]), for records are much
    /// of what is sent. To find a key that agrees in them with a given member takes 2⁶⁴ keys, with
    /// any of N members 2⁶⁴/N; PROTOCOL.md says what two keys of one owner that agree can do.
    pub peer_prefix: u64,
    /// The smoothed round-trip time in microseconds; 0 if not measured yet.
    pub rtt_us: u32,
    /// What the link was measured to carry when it was busy, in kbit/s; 0 if it never was.
    pub kbps: u32,
}

impl LinkState {
    /// What the author says of its link to a peer. The links must be in order, as the database
    /// keeps them.
    pub(crate) fn link_to(&self, peer: PeerId) -> Option<&LinkEntry> {
        let by_prefix = |entry: &LinkEntry| entry.peer_prefix;
        let place = self.links.binary_search_by_key(&peer.prefix(), by_prefix);
        Some(&self.links[place.ok()?])
    }
}

impl LinkEntry {
    /// A link of which nothing is known yet but its other end.
    pub fn unmeasured(peer: PeerId) -> Self {
        Self {
            peer_prefix: peer.prefix(),
            rtt_us: 0,
            kbps: 0,
        }
    }
}

/// What one agent tells another, or all others. On the wire its [clear header](super::ClearHeader)
/// comes first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The author, the time, and how far it may go.
    pub header: MessageHeader,
    /// What.
    pub content: Content,
}

/// The part of a message that identifies and dates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageHeader {
    /// The author's start, in microseconds since the epoch.
    pub incarnation: u64,
    /// Counts the author's messages to this target, from 1; of several the number of the first.
    pub sequence: u64,
    /// What it is for.
    pub target: Target,
    /// When it was sent.
    pub sent_at: UnixTime,
    /// The TTL that it started with, so that the target knows the hops taken.
    pub ttl: u8,
}

impl MessageHeader {
    /// The name of the message, given its signer.
    pub fn id(&self, author: PeerId) -> MessageId {
        MessageId {
            author,
            incarnation: self.incarnation,
            target: self.target,
            sequence: self.sequence,
        }
    }

    /// The header that the message so many after this one would have alone.
    pub(crate) fn after(&self, messages: usize) -> Self {
        Self {
            sequence: self.sequence.saturating_add(messages as u64),
            ..*self
        }
    }
}

/// What a message carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// For the application.
    Data(Data),
    /// Answers to requests, which are also their receipts; at least one and at most [`ITEMS_MAX`].
    Replies(Vec<Reply>),
    /// Acknowledged messages have arrived.
    Receipt {
        /// The incarnation and sequence of the first.
        message: (u64, u64),
        /// How many they are, numbered one after another.
        count: u8,
    },
    /// A forwarder could not pass messages on, or their target does not wait for them any more;
    /// their author is the target of the notice.
    Undelivered {
        /// The incarnation, target and sequence of the first.
        message: (u64, Target, u64),
        /// How many they are, numbered one after another.
        count: u8,
        /// What stopped it.
        reason: LossReason,
    },
    /// Link negotiation between the author and the target.
    Signal {
        /// Names the attempt; chosen by the offerer.
        attempt: u64,
        /// What is said about it.
        signal: PeerSignal,
    },
    /// How far a stream of the target's has come here, or which parts of a large message.
    Progress(Progress),
    /// A part of a large message.
    Chunk(Chunk),
    /// A large message ends before all of it has come.
    Stop(Stop),
    /// The target is asked how it sees its link to another member.
    LinkQuery {
        /// Names the question to its author.
        number: u64,
        /// The other member.
        about: PeerId,
    },
    /// So it sees that link.
    LinkReport {
        /// The number of the question.
        number: u64,
        /// The other member.
        about: PeerId,
        /// The link.
        report: Box<LinkReport>,
    },
    /// The author has given up numbers that the target waits for, as SCTP's FORWARD TSN says
    /// ([RFC 3758], section 3.2).
    ///
    /// [RFC 3758]: https://www.rfc-editor.org/rfc/rfc3758
    Skip {
        /// The stream, of the author and in its incarnation.
        stream: u64,
        /// No number below comes any more.
        next: u64,
    },
}

/// Application data: messages that were sent together, in the order of sending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// How hard the mesh tries. The clear header says it.
    #[serde(skip)]
    pub delivery: Delivery,
    /// The author waits for a [`Reply`] to each.
    pub wants_reply: bool,
    /// Where they stand among all that the author sends to this target; none for datagrams and
    /// broadcasts.
    pub place: Option<Place>,
    /// What was sent, numbered one after another; at least one and at most [`ITEMS_MAX`].
    pub items: Vec<Item>,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The request's incarnation and sequence; its author is the target of the reply.
    pub request: (u64, u64),
    /// The answer.
    pub payload: Payload,
}

/// Where messages stand in the **stream** of all that their author sends to one target, but for
/// datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Names the stream: the sequence of its first message. A later stream has a larger one.
    pub stream: u64,
    /// The number of the first of them in the stream, from 0 on; of the others one more each.
    pub number: u64,
    /// So many numbers before it, at most, may still come. Those before are done with: they have
    /// arrived, or the author has given them up.
    pub awaited: u64,
    /// The target hands them to the application after all that were sent before them.
    pub ordered: bool,
    /// The target is to tell the author at once how far the stream has come.
    pub asks: bool,
}

impl Place {
    /// The first number that may still come.
    pub(crate) fn base(&self) -> u64 {
        self.number.saturating_sub(self.awaited)
    }
}

/// What has arrived of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The incarnation of the stream's author, which is the target of this message.
    pub incarnation: u64,
    /// The stream.
    pub stream: u64,
    /// All numbers below have arrived, or are not waited for any more.
    pub next: u64,
    /// All numbers below have arrived or are missing.
    pub seen: u64,
    /// Ranges of numbers, from `next` to `seen`, that have not arrived: the first of each, and how
    /// many. In order, at most [`MISSING_MAX`].
    pub missing: Vec<(u64, u64)>,
    /// Since the last of these something has come that had come before: this answers a repetition.
    pub repeated: bool,
}

/// Missing ranges told at once, at most: a window in which every other message is missing has more,
/// and what is not told now is told next time.
pub const MISSING_MAX: usize = 64;

/// Messages that travel under one signature at most: their number is a byte in receipts.
pub const ITEMS_MAX: usize = u8::MAX as usize;

/// What the application sent in one call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The topic of a broadcast; empty for none.
    pub topic: String,
    /// The bytes, text or JSON.
    pub payload: Payload,
}

impl Data {
    /// One message without a topic, that wants no reply.
    pub fn one(payload: Payload, delivery: Delivery) -> Self {
        let topic = String::new();
        Self {
            delivery,
            wants_reply: false,
            place: None,
            items: vec![Item { topic, payload }],
        }
    }

    /// Whether they are handed over in the order of sending.
    pub(crate) fn is_ordered(&self) -> bool {
        self.place.is_some_and(|place| place.ordered)
    }

    /// How many messages these are, if it is a number that may be.
    pub(crate) fn count(&self) -> Option<u8> {
        let count = u8::try_from(self.items.len()).ok();
        count.filter(|count| *count > 0)
    }
}

/// What two agents say to each other to open a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerSignal {
    /// WebRTC's own part.
    Link {
        /// Which round of the attempt it is of: 0 is the first, later ones restart ICE on the same
        /// connection.
        round: u16,
        /// What the author's peer connection has produced.
        signal: LinkSignal,
    },
    /// The author wants a link, and asks the target, whose id is lower, to offer one.
    Solicit,
    /// The author will not link for now.
    Decline,
    /// Offers a connection with fresh keys that is to take the place of a link, which goes on until
    /// this one is open.
    Succeed {
        /// The attempt by which that link was opened.
        predecessor: u64,
        /// The offer, as in [`LinkSignal::Offer`].
        sdp: String,
    },
    /// The author asks for a further step on the link that the attempt has opened.
    Ask(Step),
    /// The attempt has failed at the author, or is not needed any more: the other end need not wait
    /// longer.
    Failed,
}

/// What an end of a link may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// A round that restarts ICE, if the target does not hear the link either. The lower end offers
    /// the round, the higher asks in turn: signals travel then.
    Restart,
    /// A successor with fresh keys, of the lower end.
    Succeed,
    /// The same as a restart, at once: the address that the author's end left from is gone.
    Rebind,
    /// A direct path, of the lower end: the link is relayed.
    Direct,
    /// A round, of the lower end, whose offer has sections for so many tracks of the author.
    Media(Tracks),
}

/// What a backend's peer connection produces and consumes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkSignal {
    /// An SDP offer, with the candidates known so far.
    Offer {
        /// The description ([RFC 8866](https://www.rfc-editor.org/rfc/rfc8866)).
        sdp: String,
    },
    /// An SDP answer, with the candidates known so far.
    Answer {
        /// The description.
        sdp: String,
    },
    /// A candidate found later ([RFC 8838](https://www.rfc-editor.org/rfc/rfc8838), trickle ICE).
    Candidate {
        /// The `candidate:` line.
        candidate: String,
        /// The media stream's identification tag.
        mid: Option<String>,
        /// The media description's index.
        line: Option<u16>,
    },
}

impl Statement for Admit {
    const DOMAIN: Domain = Domain::Admission;
}

impl Statement for LinkState {
    const DOMAIN: Domain = Domain::LinkState;
}

impl Statement for Message {
    const DOMAIN: Domain = Domain::Message;
}
