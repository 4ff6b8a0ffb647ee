//! When a link buffers more than is good, and when it has drained: the same for every WebRTC stack.
//!
//! Bytes that are under way on the path do not wait. Where a stack counts them among those that its
//! data channels hold, its driver measures how many they are, and so how much may wait besides.

use std::time::Duration;

use crate::io::Channel;
use crate::wire::FRAME_BYTES_MAX;

/// Time that what waits in the data channels of a link may take to leave, where the round trip is
/// not longer. More would only add latency.
const WAITING: Duration = Duration::from_millis(100);

/// Round trips in which what waits may leave, where they are long.
const TRIPS: f64 = 2.0;

/// Bytes that may wait at most: what 20 Mbit/s carry in [`WAITING`]. On a path that holds more, as
/// many as it holds: together with those under way that is the window of BBR.
const WAITING_BYTES_MAX: usize = 256 * 1024;

/// Bytes that may wait at least, on the slowest path: two frames of the largest size, so that there
/// is always one to send.
const WAITING_BYTES_MIN: usize = 2 * FRAME_BYTES_MAX;

/// Bytes that may wait at least on a path that is not known to be full: as many as leave in the
/// first five round trips (RFC 9260, section 7.2.1), for how much a path holds is known late.
const GROWING_BYTES_MIN: usize = 8 * FRAME_BYTES_MAX;

/// Bytes that may wait on a path that is not known to be full, for each one under way: as many as
/// leave within two round trips, twice as many in each as in the one before.
const GROWTH: usize = 4;

/// Bytes that are sent until the data channels are asked again how much waits in them: one frame of
/// the largest size. To ask costs about as much as to send a small one.
pub const MEASURED_BYTES: usize = FRAME_BYTES_MAX;

/// The part of the bytes which may wait that is the low water of each data channel: the last
/// channel that falls to its low water must find the sum of all below that at which a link has
/// drained.
const LOW_WATER_PART: usize = 8;

const _: () = assert!(
    Channel::ALL.len() < LOW_WATER_PART,
    "a congested link drains"
);
const _: () = assert!(
    MEASURED_BYTES < WAITING_BYTES_MIN - WAITING_BYTES_MIN / LOW_WATER_PART * Channel::ALL.len(),
    "a link that is measured again has not passed both marks"
);

/// How many bytes a link may have in its data channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Those that are under way on the path. Nearly all are of the channel for data.
    under_way: usize,
    /// Those that may wait besides.
    waiting: usize,
}

impl Allowance {
    /// Of a link whose stack does not count what is under way.
    pub const UNCOUNTED: Self = Self {
        under_way: 0,
        waiting: WAITING_BYTES_MAX,
    };

    /// Of a link on whose path nothing was measured yet.
    pub const UNMEASURED: Self = Self {
        under_way: 0,
        waiting: GROWING_BYTES_MIN,
    };

    /// Of a link whose path delivers more in each round trip than in the one before, and had so
    /// many bytes under way in the last that was measured. Without enough to send a stack would
    /// take the path for narrow.
    pub fn growing(under_way: usize) -> Self {
        Self {
            under_way,
            waiting: (under_way * GROWTH).max(GROWING_BYTES_MIN),
        }
    }

    /// Of a link whose path holds so many bytes in a round trip. As many as it carries in 100 ms
    /// may wait, or in two round trips if they take longer.
    pub fn on_path(under_way: usize, round_trip: Duration) -> Self {
        let trips = WAITING.as_secs_f64() / round_trip.as_secs_f64().max(f64::EPSILON);
        let waiting = (under_way as f64 * trips.max(TRIPS)) as usize;
        Self {
            under_way,
            waiting: waiting.clamp(WAITING_BYTES_MIN, WAITING_BYTES_MAX.max(under_way)),
        }
    }

    /// Bytes that are under way.
    pub fn under_way(self) -> usize {
        self.under_way
    }

    /// Bytes in all channels at which a link is congested.
    pub fn congested_at(self) -> usize {
        self.under_way + self.waiting
    }

    /// Bytes in all channels at which a link that was congested has drained.
    pub fn drained_at(self) -> usize {
        self.under_way + self.low_water() * Channel::ALL.len()
    }

    /// Bytes in one data channel at which the stack is to tell that it has drained.
    pub fn low_water_of(self, channel: Channel) -> u32 {
        let bytes = match channel {
            Channel::Data => self.low_water() + self.under_way,
            Channel::Control | Channel::Stream => self.low_water(),
        };
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    fn low_water(self) -> usize {
        self.waiting / LOW_WATER_PART
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    fn some() -> impl Iterator<Item = Allowance> {
        let paths = [0, 10 * KIB, 700 * KIB].into_iter().flat_map(|bytes| {
            [0, 1, 90, 300].map(|ms| Allowance::on_path(bytes, Duration::from_millis(ms)))
        });
        let growing = [0, 10 * KIB, 700 * KIB].map(Allowance::growing);
        [Allowance::UNCOUNTED, Allowance::UNMEASURED]
            .into_iter()
            .chain(paths)
            .chain(growing)
    }

    #[test]
    fn between_high_and_low_water_a_link_stays_what_it_is() {
        for allowance in some() {
            let (drained, congested) = (allowance.drained_at(), allowance.congested_at());
            assert!(congested > drained + MEASURED_BYTES, "{allowance:?}");
        }
    }

    #[test]
    fn channels_that_are_all_at_low_water_have_drained() {
        for allowance in some() {
            let low = Channel::ALL.map(|channel| allowance.low_water_of(channel) as usize);
            assert!(low.iter().sum::<usize>() <= allowance.drained_at());
        }
    }

    #[test]
    fn as_much_waits_as_leaves_in_a_tenth_of_a_second_or_in_two_round_trips() {
        let waiting = |under_way, ms| {
            let allowance = Allowance::on_path(under_way, Duration::from_millis(ms));
            allowance.congested_at() - under_way
        };
        assert_eq!(waiting(10 * KIB, 20), 50 * KIB);
        assert_eq!(waiting(40 * KIB, 80), 80 * KIB);
        assert_eq!(waiting(100 * KIB, 300), 200 * KIB);
        assert_eq!(waiting(10 * KIB, 300), WAITING_BYTES_MIN);
        assert_eq!(waiting(10 * KIB, 0), WAITING_BYTES_MAX);
        assert_eq!(waiting(4_000 * KIB, 300), 4_000 * KIB);
    }
}
