//! One slot for each thing that may be due: arming is idempotent, nothing stale ever fires.

use std::collections::BTreeMap;

use crate::time::Instant;
use crate::timeout::TimeoutReason;

/// The timers of one machine, each by the reason for which it fires.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeMap<TimeoutReason, Instant>,
}

impl Timers {
    /// Fires at `at`, or earlier if it was armed so already.
    pub(crate) fn arm(&mut self, timer: TimeoutReason, at: Instant) {
        let due = self.due.entry(timer).or_insert(at);
        *due = at.min(*due);
    }

    /// Fires at `at`, whatever it was armed to.
    pub(crate) fn set(&mut self, timer: TimeoutReason, at: Instant) {
        self.due.insert(timer, at);
    }

    /// It fires no more until it is armed again.
    pub(crate) fn disarm(&mut self, timer: TimeoutReason) {
        self.due.remove(&timer);
    }

    /// None fires any more.
    pub(crate) fn clear(&mut self) {
        self.due.clear();
    }

    /// When the next fires, and which.
    pub(crate) fn deadline(&self) -> Option<(Instant, TimeoutReason)> {
        self.due.iter().map(|(&timer, &at)| (at, timer)).min()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_soonest_fires_first_and_of_one_moment_in_the_order_of_the_reasons() {
        let at = |ms| Instant::default() + Duration::from_millis(ms);
        let mut timers = Timers::default();
        timers.arm(TimeoutReason::Adapt, at(3));
        timers.arm(TimeoutReason::Settle, at(5));
        timers.arm(TimeoutReason::Adapt, at(9));
        assert_eq!(timers.deadline(), Some((at(3), TimeoutReason::Adapt)));
        timers.arm(TimeoutReason::Settle, at(3));
        assert_eq!(timers.deadline(), Some((at(3), TimeoutReason::Settle)));
        timers.set(TimeoutReason::Settle, at(7));
        timers.disarm(TimeoutReason::Adapt);
        assert_eq!(timers.deadline(), Some((at(7), TimeoutReason::Settle)));
        timers.clear();
        assert_eq!(timers.deadline(), None);
    }
}
