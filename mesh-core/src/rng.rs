//! Randomness from the one seed that the driver hands in: the same seed gives the same trace.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The machines that draw random numbers, each from a stream of its own: one more draw in one
/// changes nothing in the others.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub(crate) enum Stream {
    Links = 1,
    Routing,
    Signaling,
}

impl Stream {
    /// The stream that follows from the agent's seed.
    pub(crate) fn of(self, seed: [u8; 32]) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::from_seed(seed);
        rng.set_stream(self as u64);
        rng
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_seed_differ_and_are_the_same_each_time() {
        let first = |stream: Stream, seed| stream.of(seed).next_u64();
        let all = [Stream::Links, Stream::Routing, Stream::Signaling];
        let drawn = all.map(|stream| first(stream, [1; 32]));
        assert_eq!(drawn, all.map(|stream| first(stream, [1; 32])));
        assert!(drawn[0] != drawn[1] && drawn[1] != drawn[2] && drawn[0] != drawn[2]);
        assert_ne!(drawn[0], first(Stream::Links, [2; 32]), "another seed");
    }
}
