//! Randomness from the one seed that the driver hands in: the same seed gives the same trace.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

/// A number in [0, 1).
pub(crate) fn unit(rng: &mut ChaCha8Rng) -> f64 {
    f64::from(rng.next_u32()) / (f64::from(u32::MAX) + 1.0)
}

/// The shortest of [`spread`]'s waits, as a part of the mean: a quarter either way keeps agents
/// that begin together apart after a few rounds, and leaves the mean.
pub(crate) const SPREAD_MIN: f64 = 0.75;

/// A wait of three to five fourths of another, by a random number from 0 to 1: what many agents
/// begin at once they do not all repeat at once.
pub(crate) fn spread(wait: Duration, jitter: f64) -> Duration {
    wait.mul_f64(SPREAD_MIN + jitter.clamp(0.0, 1.0) * 2.0 * (1.0 - SPREAD_MIN))
}

/// An index below `count`, which is not zero.
pub(crate) fn index(rng: &mut ChaCha8Rng, count: usize) -> usize {
    debug_assert!(count > 0, "nothing to choose from");
    ((u64::from(rng.next_u32()) * count as u64) >> 32) as usize
}

/// Puts items into a random order (Fisher and Yates).
pub(crate) fn shuffle<T>(items: &mut [T], rng: &mut ChaCha8Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, index(rng, last + 1));
    }
}
