//! Single durations, for a driver that wants to know how they are distributed.
//!
//! Counters tell how much was done, not how long each piece took. A driver that has asked
//! ([`Mesh::take_samples`](crate::Mesh::take_samples)) collects them once a turn; without a driver
//! that has, nothing is kept and nothing measured.

use std::collections::VecDeque;
use std::time::Duration;

/// Samples that wait to be collected at most: more than one turn of a busy driver makes. Beyond
/// that, later ones are left out: distributions bear that, counters would not.
const SAMPLES_MAX: usize = 4_096;

/// Reads a clock that only goes forward, of whatever origin. The core has none of its own, and does
/// nothing else with it than to say how long signing and verifying took: no decision depends on it.
pub type Stopwatch = fn() -> Duration;

/// How long one piece of work took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// From a ping over a link to its answer.
    RoundTrip(Duration),
    /// To sign one statement.
    Signed(Duration),
    /// To check one signature. One that is known to be valid already is not checked.
    Verified(Duration),
}

/// Samples that were taken and not collected yet.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    stopwatch: Option<Stopwatch>,
    taken: VecDeque<Sample>,
}

impl Samples {
    /// Takes samples from now on.
    pub(crate) fn begin(&mut self, stopwatch: Stopwatch) {
        self.stopwatch = Some(stopwatch);
    }

    pub(crate) fn add(&mut self, sample: Sample) {
        if self.stopwatch.is_some() && self.taken.len() < SAMPLES_MAX {
            self.taken.push_back(sample);
        }
    }

    /// Does some work, and takes the time if that is wanted.
    pub(crate) fn time<T>(
        &mut self,
        sample: fn(Duration) -> Sample,
        work: impl FnOnce() -> T,
    ) -> T {
        let Some(stopwatch) = self.stopwatch else {
            return work();
        };
        let began = stopwatch();
        let result = work();
        self.add(sample(stopwatch().saturating_sub(began)));
        result
    }

    /// The oldest.
    pub(crate) fn poll(&mut self) -> Option<Sample> {
        self.taken.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// A clock on which a millisecond passes between two looks.
    fn ticking() -> Duration {
        static LOOKS: AtomicU64 = AtomicU64::new(0);
        Duration::from_millis(LOOKS.fetch_add(1, Ordering::Relaxed))
    }

    #[test]
    fn nothing_is_kept_for_a_driver_that_has_not_asked() {
        let mut samples = Samples::default();
        samples.add(Sample::RoundTrip(Duration::ZERO));
        assert_eq!(samples.time(Sample::Signed, || 7), 7);
        assert_eq!((samples.poll(), samples.taken.capacity()), (None, 0));
    }

    #[test]
    fn work_is_timed_and_what_nobody_collects_is_bounded() {
        let mut samples = Samples::default();
        samples.begin(ticking);
        assert_eq!(samples.time(Sample::Verified, || 7), 7);
        let tick = Duration::from_millis(1);
        assert_eq!(samples.poll(), Some(Sample::Verified(tick)));
        for ms in 0..2 * SAMPLES_MAX as u64 {
            samples.add(Sample::RoundTrip(Duration::from_millis(ms)));
        }
        assert_eq!(samples.taken.len(), SAMPLES_MAX);
        assert_eq!(samples.poll(), Some(Sample::RoundTrip(Duration::ZERO)));
    }
}
