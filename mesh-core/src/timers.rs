//! One slot for each thing that may be due: arming is idempotent, nothing stale ever fires.

use std::collections::BTreeMap;

use crate::time::Instant;
use crate::timeout::TimeoutReason;

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
    /// Links go on with what was too much for one moment.
    Bursts,
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
    /// Large messages: parts are repeated or asked for, and what is idle is given up.
    Large,
    /// Streams of others: what is missing is asked for, or given up.
    Gaps,
}

impl From<Timer> for TimeoutReason {
    fn from(timer: Timer) -> Self {
        match timer {
            Timer::Settle => Self::Settle,
            Timer::Announce => Self::Announce,
            Timer::Gossip => Self::Gossip,
            Timer::Compare => Self::Compare,
            Timer::Repair => Self::Repair,
            Timer::Routes => Self::Routes,
            Timer::Acks => Self::Acknowledge,
            Timer::Adapt => Self::Adapt,
            Timer::Tell => Self::Tell,
            Timer::Ask => Self::Ask,
            Timer::Suspect => Self::Suspect,
            Timer::Silent => Self::Silent,
            Timer::Return => Self::Return,
            Timer::Retry => Self::Retry,
            Timer::Waiting => Self::Waiting,
            Timer::Streams => Self::Streams,
            Timer::Large => Self::Large,
            Timer::Bursts => Self::Bursts,
            Timer::Gaps => Self::Gaps,
        }
    }
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

    pub(crate) fn deadline(&self) -> Option<(Instant, TimeoutReason)> {
        let due = self.due.iter().map(|(&timer, &at)| (at, timer)).min();
        due.map(|(at, timer)| (at, timer.into()))
    }

    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let timer = *self.due.iter().find(|(_, at)| **at <= now)?.0;
        self.due.remove(&timer);
        Some(timer)
    }
}
