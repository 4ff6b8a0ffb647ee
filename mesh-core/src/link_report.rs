//! What an agent says of its link to another member, or of why it has none: asked of it over the
//! mesh, so that two members that are not linked can both be heard.

use serde::{Deserialize, Serialize};

use crate::ice::LinkPath;
use crate::id::PeerId;

/// Bytes of a [`FailedAttempts::reason`], at most: one line for people. What backends say of their
/// own is shorter; more is cut off where it is kept, and refused from others.
pub const REASON_BYTES_MAX: usize = 200;

/// What one agent says of its link to another member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkReport {
    /// Where the link stands.
    pub condition: LinkCondition,
    /// The agent wants the link: its topology names it, or the agent has chosen it beside that.
    pub wanted: bool,
    /// The member is of another shard of a large room, with which few agents are linked.
    pub remote: bool,
    /// Links that the agent keeps: its k.
    pub k: u16,
    /// Links that it has to all members, open or being opened.
    pub links: u16,
    /// Links that it takes at most.
    pub links_max: u16,
    /// It knows a TURN server.
    pub knows_relays: bool,
    /// Hops of its route to the member; null without one.
    pub hops: Option<u8>,
    /// The neighbour through which its messages to the member leave; null without one.
    pub next_hop: Option<PeerId>,
    /// What has failed since they were last linked, or null.
    pub failed: Option<FailedAttempts>,
}

/// Where a link stands at one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum LinkCondition {
    /// The agent knows no such member.
    Unknown,
    /// There is none, and none is being opened.
    Absent,
    /// It is being opened.
    Opening {
        /// Milliseconds since the attempt began.
        for_ms: u32,
        /// The agent has offered; else the other end has.
        offers: bool,
        /// Its signals travel through the signaling server; else over the mesh.
        via_hub: bool,
        /// What it waits for.
        awaits: LinkStep,
    },
    /// It is open.
    Linked {
        /// Milliseconds since it opened.
        for_ms: u32,
        /// The smoothed round trip in microseconds; null before the first.
        rtt_us: Option<u32>,
        /// The way that it takes; null while it is not known.
        path: Option<LinkPath>,
    },
    /// It is being closed, for one end does not want it any more.
    Closing,
    /// It was open, and nothing is heard of the other end. Its connection is kept for a while.
    Silent {
        /// Milliseconds since the end was last heard.
        for_ms: u32,
    },
}

/// A step on the way to a link, which it waits for or has failed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkStep {
    /// The offer of the other end, whose id is lower.
    Offer,
    /// The other end's answer to the offer.
    Answer,
    /// A path, which ICE looks for.
    Path,
    /// DTLS and the data channels, over the path that was found.
    Channels,
    /// Room at the other end, which has as many links as it takes.
    Room,
    /// A sign of life: the link was open, and was lost.
    Life,
}

/// Attempts to link that have failed one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedAttempts {
    /// How many.
    pub count: u32,
    /// What the last one lacked.
    pub at: LinkStep,
    /// Relayed candidates were tried in it.
    pub relays: bool,
    /// The cause, for people. At most [`REASON_BYTES_MAX`].
    pub reason: String,
    /// Milliseconds since it failed.
    pub ago_ms: u32,
    /// Milliseconds until the peer is tried again, if the link is still wanted then.
    pub retry_in_ms: u32,
    /// The topology does without the member until then: another takes its place.
    pub left_out: bool,
}

impl LinkReport {
    /// The memory that it takes beside its own size, in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.failed.as_ref().map_or(0, |it| it.reason.len())
    }

    /// Whether it is within its bounds.
    pub(crate) fn is_well_formed(&self) -> bool {
        let failed = self.failed.as_ref();
        failed.is_none_or(|failed| failed.reason.len() <= REASON_BYTES_MAX)
    }
}

/// The beginning of a reason, within its bound.
pub(crate) fn bounded(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)]
}
