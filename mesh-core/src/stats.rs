//! Counters of everything sent, delivered, forwarded, lost and rejected.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{LossReason, RejectReason};

/// What an agent has done since it started. Counts grow for ever, except [`LinkCounts`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Messages of this agent to single members.
    pub sent: u64,
    /// Broadcasts of this agent.
    pub broadcasts: u64,
    /// Copies of broadcasts sent to neighbours, our own and others'.
    pub broadcast_copies: u64,
    /// Broadcasts sent once more to neighbours that the tree had missed.
    pub broadcasts_mended: u64,
    /// Messages and broadcasts handed to the application.
    pub delivered: u64,
    /// Broadcasts not handed to the application, because it has not subscribed to their topics.
    pub unsubscribed: u64,
    /// Envelopes passed on for others, broadcast copies included.
    pub forwarded: u64,
    /// Copies of a broadcast or of an acknowledged message that had been delivered already.
    pub duplicates: u64,
    /// Receipts and replies that came back.
    pub acknowledged: u64,
    /// Acknowledged messages and requests sent once more.
    pub retried: u64,
    /// Envelopes that left again over another path because their link died.
    pub rerouted: u64,
    /// Link-state records taken over.
    pub link_states: u64,
    /// Frames received.
    pub frames_in: u64,
    /// Frames sent.
    pub frames_out: u64,
    /// Bytes of frames received.
    pub bytes_in: u64,
    /// Bytes of frames sent.
    pub bytes_out: u64,
    /// Links as they are now, and as they went.
    pub links: LinkCounts,
    /// Messages lost here, by reason.
    pub lost: BTreeMap<LossReason, u64>,
    /// What was rejected, by reason.
    pub rejected: BTreeMap<RejectReason, u64>,
}

/// Links now and so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkCounts {
    /// Open now.
    pub open: usize,
    /// Being negotiated now.
    pub negotiating: usize,
    /// Wanted by the topology now.
    pub wanted: usize,
    /// Opened so far.
    pub opened: u64,
    /// Those of them that fell silent and work again, on the same connection.
    pub revived: u64,
    /// Attempts that failed so far.
    pub failed: u64,
    /// Those of them that the other end declined, for want of room.
    pub declined: u64,
    /// Open links that closed so far.
    pub closed: u64,
}

impl Stats {
    pub(crate) fn lose(&mut self, reason: LossReason) {
        *self.lost.entry(reason).or_default() += 1;
    }

    pub(crate) fn reject(&mut self, reason: RejectReason) {
        *self.rejected.entry(reason).or_default() += 1;
    }
}
