//! One slot for each thing that may be due: arming is idempotent, nothing stale ever fires.

use std::collections::BTreeMap;

use crate::time::Instant;

/// What may be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// Links follow the membership.
    Settle,
    /// Our links are announced.
    Announce,
    /// Gathered link-state records are passed on.
    Gossip,
    /// The database is compared with a neighbour's, as is waited for.
    Compare,
    /// The same with a random neighbour's, in case anything was lost.
    Repair,
    /// Paths are computed again.
    Routes,
    /// Received envelopes are acknowledged.
    Acks,
    /// The state of the mesh is looked at.
    Adapt,
    /// Neighbours are told which broadcasts are here.
    Tell,
    /// Broadcasts that were asked for and have not come are asked of others.
    Ask,
    /// Neighbours that owe acknowledgements are asked whether they live.
    Suspect,
    /// Silent connections are asked for a sign of life, or closed.
    Silent,
    /// Members that have not come back to the hub have left.
    Return,
    /// Unanswered messages are sent again or given up.
    Retry,
    /// Messages that have found no way are given up.
    Waiting,
    /// Streams of this agent: copies of what is lost leave, and news are asked for.
    Streams,
    /// Streams of others: what is missing is asked for, or given up.
    Gaps,
}

#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeMap<Timer, Instant>,
}

impl Timers {
    /// Fires at `at`, or earlier if it was armed so already.
    pub(crate) fn arm(&mut self, timer: Timer, at: Instant) {
        let due = self.due.entry(timer).or_insert(at);
        *due = at.min(*due);
    }

    /// Fires at `at`, whatever it was armed to.
    pub(crate) fn set(&mut self, timer: Timer, at: Instant) {
        self.due.insert(timer, at);
    }

    pub(crate) fn clear(&mut self) {
        self.due.clear();
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.due.values().copied().min()
    }

    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let timer = *self.due.iter().find(|(_, at)| **at <= now)?.0;
        self.due.remove(&timer);
        Some(timer)
    }
}
