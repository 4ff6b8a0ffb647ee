//! How soon something is done that changes call for: at once when it is quiet, ever later while
//! they keep coming, as routers throttle their shortest-path runs ([RFC 8405]).
//!
//! [RFC 8405]: https://www.rfc-editor.org/rfc/rfc8405

use std::time::Duration;

use crate::time::Instant;

/// The longest wait of a throttle, in shortest waits: four doublings. Even a room that forms leaves
/// most of each agent's time for other work then.
const SLOWED: u32 = 16;

#[derive(Debug)]
pub(super) struct Throttle {
    min: Duration,
    max: Duration,
    wait: Duration,
    last: Option<Instant>,
    not_before: Instant,
}

impl Throttle {
    /// Waits `min` after a change when it is quiet, and up to [`SLOWED`] times as long between runs
    /// when it is not.
    pub(crate) fn new(min: Duration) -> Self {
        Self {
            min,
            max: min * SLOWED,
            wait: min,
            last: None,
            not_before: Instant::default(),
        }
    }

    /// When to do it, given a change now.
    pub(crate) fn due(&self, now: Instant) -> Instant {
        let soon = (now + self.min).max(self.not_before);
        self.last.map_or(soon, |last| soon.max(last + self.wait))
    }

    /// Much is about to change: all of it is one change at `until`.
    pub(crate) fn hold(&mut self, until: Instant) {
        self.not_before = until;
    }

    /// It was done.
    pub(crate) fn done(&mut self, now: Instant) {
        // A pause of two of the longest waits is quiet again.
        let busy = self.last.is_some_and(|at| now.since(at) < self.max * 2);
        self.wait = if busy {
            (self.wait * 2).min(self.max)
        } else {
            self.min
        };
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_back_is_done_once_at_the_end() {
        let ms = |ms| Instant::default() + Duration::from_millis(ms);
        let mut throttle = Throttle::new(Duration::from_millis(50));
        throttle.hold(ms(700));
        assert_eq!(
            (throttle.due(ms(0)), throttle.due(ms(600))),
            (ms(700), ms(700))
        );
        throttle.done(ms(700));
        assert_eq!(throttle.due(ms(900)), ms(950));
    }

    #[test]
    fn waits_grow_while_changes_keep_coming_and_shrink_when_they_stop() {
        let ms = Duration::from_millis;
        let mut throttle = Throttle::new(ms(50));
        let mut now = Instant::default();
        let mut waits = Vec::new();
        for _ in 0..7 {
            let due = throttle.due(now);
            waits.push(due.since(now).as_millis());
            now = due;
            throttle.done(now);
        }
        assert_eq!(waits, [50, 50, 100, 200, 400, 800, 800]);
        now = now + ms(1_600);
        assert_eq!(throttle.due(now).since(now), ms(50));
        throttle.done(now + ms(50));
        assert_eq!(throttle.due(now + ms(50)).since(now), ms(100));
    }
}
