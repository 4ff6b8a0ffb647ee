//! How much of a stream may be under way: additive increase, multiplicative decrease.
//!
//! As TCP's congestion window ([RFC 5681]), but counted in slots, of a message or a KiB of a large
//! one, and told of loss by forwarders: one with a full queue says so.
//!
//! [RFC 5681]: https://www.rfc-editor.org/rfc/rfc5681

use std::time::Duration;

use super::SPAN_MAX;
use crate::time::Instant;

/// Slots of a new stream: one turn of a loop seldom sends more, and the smallest usual SCTP window
/// takes 64 KiB.
const SLOTS_START: f64 = 64.0;

/// The least slots of a window: two of the largest messages, so that one is under way while news of
/// the other are, and later messages show that one is lost.
const SLOTS_MIN: f64 = 32.0;

/// The most slots of a window: twice the numbers that may be under way, or 2 MiB. News are asked
/// for with each half, so a window is free again a round trip after half of it was sent: that fills
/// a path with a round trip of 100 ms at 80 Mbit/s.
pub(super) const SLOTS_MAX: f64 = 2.0 * SPAN_MAX as f64;

const _: () = assert!(SLOTS_MIN < SLOTS_START && SLOTS_START < SLOTS_MAX);

/// Slots that the window grows by in each round trip once a message was lost: as many small
/// messages as one segment of TCP holds, by which TCP grows.
const INCREASE: f64 = 16.0;

/// Bytes of a message that take one slot: a small message and 1 KiB of a large one count alike.
pub(super) const SLOT_BYTES: usize = 1_024;

/// The least time between two decreases of the window: losses of one moment count once.
const DECREASE_INTERVAL: Duration = Duration::from_millis(50);

/// What a message of so many bytes takes of a window.
pub(super) fn slots(bytes: usize) -> usize {
    bytes.div_ceil(SLOT_BYTES).max(1)
}

#[derive(Debug)]
pub(super) struct Window {
    size: f64,
    /// Below this it doubles in the time in which all of it arrives.
    threshold: f64,
    shrunk_at: Option<Instant>,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            size: SLOTS_START,
            threshold: SLOTS_MAX,
            shrunk_at: None,
        }
    }
}

impl Window {
    pub(super) fn slots(&self) -> usize {
        self.size as usize
    }

    /// So many slots have arrived while the window was in use.
    pub(super) fn grow(&mut self, slots: usize) {
        let slots = slots as f64;
        if self.size < self.threshold {
            self.size += slots;
        } else {
            self.size += INCREASE * slots / self.size;
        }
        self.size = self.size.min(SLOTS_MAX);
    }

    /// Something was lost on a path of this round trip.
    pub(super) fn shrink(&mut self, round_trip: Duration, now: Instant) {
        let pause = round_trip.max(DECREASE_INTERVAL);
        if self.shrunk_at.is_some_and(|at| now.since(at) < pause) {
            return;
        }
        self.shrunk_at = Some(now);
        self.size = (self.size / 2.0).max(SLOTS_MIN);
        self.threshold = self.size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_until_something_is_lost_and_then_grows_slowly() {
        let mut window = Window::default();
        window.grow(window.slots());
        assert_eq!(window.slots(), 128);
        window.shrink(Duration::ZERO, Instant::from_micros(1));
        assert_eq!(window.slots(), 64);
        window.grow(64);
        assert_eq!(window.slots(), 80);
        (0..1_000).for_each(|_| window.grow(window.slots()));
        assert_eq!(window.slots(), 2_048);
    }

    #[test]
    fn losses_of_one_moment_halve_it_once_and_it_never_closes() {
        let mut window = Window::default();
        let at = |ms: u64| Instant::from_micros(ms * 1_000);
        (0..10).for_each(|ms| window.shrink(Duration::from_millis(10), at(ms)));
        assert_eq!(window.slots(), 32);
        (1..10).for_each(|n| window.shrink(Duration::from_millis(10), at(n * 100)));
        assert_eq!(window.slots(), 32);
    }

    #[test]
    fn a_large_message_takes_as_many_slots_as_it_has_kib() {
        assert_eq!([0, 1, 1_024, 1_025, 15_872].map(slots), [1, 1, 1, 2, 16]);
    }
}
