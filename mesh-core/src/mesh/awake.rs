//! Time as an agent counts it: without that in which its process did not run.
//!
//! A process that was stopped, a machine that slept, a tab that was frozen: when it goes on,
//! everything seems overdue, and silence seems to prove that the others are dead. It proves
//! nothing, since this agent could not have heard them. So the time that has passed between what
//! was due and the moment at which the driver came to it, if it is long, is left out of all that
//! the agent counts, whatever it counts. If it is short the machine is busy, and what can wait
//! does.

use std::time::Duration;

use super::Mesh;
use crate::time::Instant;

/// How late the driver may be for being busy; whatever is later was not running. A process that
/// forms a thousand agents on two cores is late by two or three seconds.
const LATENESS_MAX: Duration = Duration::from_secs(5);

/// Extra delay of deferrable work for each second that the driver is late.
const LATENESS_WEIGHT: u32 = 4;

/// Translates the driver's time into the agent's, and back.
#[derive(Debug)]
pub(super) struct Awake {
    /// When the driver last came around, by its time.
    seen: Instant,
    /// The time that does not count.
    slept: Duration,
    /// How late the driver has been of late; half as much after a second on time.
    lateness: Duration,
    lateness_noted: Instant,
}

impl Awake {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            seen: now,
            slept: Duration::ZERO,
            lateness: Duration::ZERO,
            lateness_noted: now,
        }
    }

    /// The agent's time.
    pub(super) fn enter(&mut self, now: Instant) -> Instant {
        self.seen = self.seen.max(now);
        Instant::default() + now.since(Instant::default() + self.slept)
    }

    /// The driver's time.
    pub(super) fn leave(&self, at: Instant) -> Instant {
        at + self.slept
    }

    /// Whether it is so long since the driver came around that it is worth a look.
    fn was_away(&self, now: Instant) -> bool {
        now.since(self.seen) > LATENESS_MAX
    }

    /// How late the driver has been of late.
    pub(super) fn lateness(&self) -> Duration {
        self.lateness
    }

    /// The driver comes around now, and this was due.
    fn note_lateness(&mut self, due: Option<Instant>, now: Instant) {
        let late = due.map_or(Duration::ZERO, |due| now.since(due));
        let late = late.min(LATENESS_MAX);
        self.lateness = late.max(self.lateness.mul_f64(now.left_since(self.lateness_noted)));
        self.lateness_noted = now;
    }

    /// Leaves out what has passed since something was due, if the process cannot have run then.
    fn sleep_since(&mut self, due: Instant, now: Instant) -> bool {
        let asleep = now.since(due.max(self.seen));
        let counts = asleep > LATENESS_MAX;
        if counts {
            self.slept += asleep;
        }
        counts
    }
}

impl Mesh {
    /// Begins a call of the driver: the agent's time, after a look at whether its process ran.
    pub(super) fn enter(&mut self, now: Instant) -> Instant {
        if self.awake.was_away(now)
            && let Some(due) = self.poll_timeout() // By the driver's time.
            && self.awake.sleep_since(due, now)
        {
            let now = self.awake.enter(now);
            self.woke_up(now);
            return now;
        }
        self.awake.enter(now)
    }

    /// How late the driver is: on a busy machine it comes around seldom. What costs others work is
    /// done more seldom then too, and what others have to do gets more time.
    pub(super) fn note_lateness(&mut self, now: Instant) {
        self.awake.note_lateness(self.deadline(), now);
    }

    /// Extra delay of deferrable work at the present lateness of the driver.
    pub(super) fn grace(&self) -> Duration {
        self.awake.lateness * LATENESS_WEIGHT
    }

    /// This agent could not be heard for a while, or its addresses have changed: its links and the
    /// hub are asked whether they are still there.
    pub(super) fn woke_up(&mut self, now: Instant) {
        if !self.joined {
            return;
        }
        for link in self.links.iter_mut().filter(|link| link.is_usable()) {
            link.keepalive.probe(now);
        }
        self.suspect_hub(now);
    }

    /// The hub may be out of reach: asks it.
    pub(super) fn suspect_hub(&mut self, now: Instant) {
        let order = self.client.suspect(&self.config, now);
        self.outbox.extend(order);
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
        let mut awake = Awake::new(at(0));
        assert_eq!(awake.enter(at(10)), at(10));
        assert!(!awake.sleep_since(at(12), at(15)), "busy for 3 s");
        assert!(awake.sleep_since(at(12), at(42)), "stopped for 30 s");
        assert_eq!(awake.enter(at(42)), at(12));
        assert_eq!(awake.leave(at(13)), at(43));
    }

    #[test]
    fn an_idle_driver_that_has_nothing_due_is_not_asleep() {
        let mut awake = Awake::new(at(0));
        awake.enter(at(1));
        assert!(awake.was_away(at(20)));
        assert!(!awake.sleep_since(at(20), at(20)));
        assert_eq!(awake.enter(at(20)), at(20));
    }
}
