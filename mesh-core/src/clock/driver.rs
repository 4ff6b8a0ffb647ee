//! Time as an agent counts it: without that in which its process did not run.
//!
//! A process that was stopped, a machine that slept, a tab that was frozen: when it goes on,
//! everything seems overdue, and silence seems to prove that the others are dead. It proves
//! nothing, since this agent could not have heard them. So the time that has passed between what
//! was due and the moment at which the driver came to it, if it is long, is left out of all that
//! the agent counts, whatever it counts. If it is short the machine is busy, and what can wait
//! does.

use std::time::Duration;

use crate::time::Instant;

/// The longest lag of a driver that is only busy; a longer one means that the process did not run.
/// A process in which a thousand agents form a mesh on two cores lags by two or three seconds.
const LAG_MAX: Duration = Duration::from_secs(5);

/// Extra delay of deferrable work for each second of the driver's lag: the machine then does four
/// parts of other work to one of this.
const LAG_WEIGHT: u32 = 4;

/// Translates the driver's time into the agent's, and back.
#[derive(Debug)]
pub(crate) struct DriverClock {
    /// When the driver last came around, by its time.
    seen: Instant,
    /// The time that does not count.
    slept: Duration,
    /// How late the driver has been of late; half as much after a second on time.
    lag: Duration,
    lag_noted: Instant,
}

impl DriverClock {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            seen: now,
            slept: Duration::ZERO,
            lag: Duration::ZERO,
            lag_noted: now,
        }
    }

    /// The agent's time.
    pub(crate) fn enter(&mut self, now: Instant) -> Instant {
        self.seen = self.seen.max(now);
        Instant::default() + now.since(Instant::default() + self.slept)
    }

    /// The driver's time.
    pub(crate) fn leave(&self, at: Instant) -> Instant {
        at + self.slept
    }

    /// Whether it is so long since the driver came around that it is worth a look.
    pub(crate) fn was_away(&self, now: Instant) -> bool {
        now.since(self.seen) > LAG_MAX
    }

    /// How late the driver has been of late.
    pub(crate) fn lag(&self) -> Duration {
        self.lag
    }

    /// Extra delay of deferrable work at the current lag.
    pub(crate) fn grace(&self) -> Duration {
        self.lag * LAG_WEIGHT
    }

    /// The driver comes around now, and this was due.
    pub(crate) fn note_lag(&mut self, due: Option<Instant>, now: Instant) {
        let late = due.map_or(Duration::ZERO, |due| now.since(due));
        let late = late.min(LAG_MAX);
        self.lag = late.max(self.lag.mul_f64(now.left_since(self.lag_noted)));
        self.lag_noted = now;
    }

    /// Leaves out what has passed since something was due, if the process cannot have run then.
    pub(crate) fn sleep_since(&mut self, due: Instant, now: Instant) -> bool {
        let asleep = now.since(due.max(self.seen));
        let counts = asleep > LAG_MAX;
        if counts {
            self.slept += asleep;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn time_in_which_something_was_due_and_nothing_done_does_not_count() {
        let mut clock = DriverClock::new(at(0));
        assert_eq!(clock.enter(at(10)), at(10));
        assert!(!clock.sleep_since(at(12), at(15)), "busy for 3 s");
        assert!(clock.sleep_since(at(12), at(42)), "stopped for 30 s");
        assert_eq!(clock.enter(at(42)), at(12));
        assert_eq!(clock.leave(at(13)), at(43));
    }

    #[test]
    fn an_idle_driver_that_has_nothing_due_is_not_asleep() {
        let mut clock = DriverClock::new(at(0));
        clock.enter(at(1));
        assert!(clock.was_away(at(20)));
        assert!(!clock.sleep_since(at(20), at(20)));
        assert_eq!(clock.enter(at(20)), at(20));
    }
}
