//! The civil time that the mesh dates by: the hub's, as long as it has told it, carried on by the
//! monotonic clock.
//!
//! Members of a room must agree on the time within [`Config::clock_skew_max`], and their machines
//! do not: a clock may be minutes off, be set, or stand still while the machine sleeps. So every
//! member takes the hub's time, and keeps it while the hub is away.
//!
//! [`Config::clock_skew_max`]: crate::Config::clock_skew_max

use std::time::Duration;

use crate::signaling::HubTime;
use crate::time::{Instant, UnixTime};

/// Lead of the machine's clock over the monotonic one between two looks from which on it is a leap:
/// adjustments by NTP are smaller.
const LEAP_MIN: Duration = Duration::from_secs(2);

/// Difference between the machine's clock and the hub's from which on the user is told: dates of
/// messages and certificates bear this much, and logs of two machines can still be compared.
const OFF_MAX: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct CivilClock {
    /// The mesh's time at an instant.
    mesh: (Instant, UnixTime),
    /// The machine's clock at an instant.
    machine: (Instant, UnixTime),
    /// How far the machine's clock was off when the user was last told.
    told: Duration,
}

impl CivilClock {
    pub(crate) fn new(now: Instant, unix: UnixTime) -> Self {
        Self {
            mesh: (now, unix),
            machine: (now, unix),
            told: Duration::ZERO,
        }
    }

    pub(crate) fn unix(&self, now: Instant) -> UnixTime {
        let (at, unix) = self.mesh;
        unix + now.since(at)
    }

    /// Reads the machine's clock. Returns whether it has leapt ahead, as it does while the machine
    /// sleeps and the monotonic clock stands still; the mesh's time follows, but for what the
    /// machine was behind: by so much its clock was set right. A clock that is set back tells
    /// nothing of the time, and is not followed.
    pub(crate) fn read(&mut self, now: Instant, unix: UnixTime) -> bool {
        let (at, before) = self.machine;
        let expected = before + now.since(at);
        let leap = unix - expected;
        let behind = self.unix(now) - expected;
        self.machine = (now, unix);
        if leap < LEAP_MIN {
            return false;
        }
        self.mesh = (now, self.unix(now) + leap.saturating_sub(behind));
        true
    }

    /// Takes the hub's time, told between asking and now. Returns how far the machine's clock is
    /// off, if the user should know: the distance, and whether it is ahead.
    pub(crate) fn sync(&mut self, told: HubTime, now: Instant) -> Option<(Duration, bool)> {
        let unix = told.unix + now.since(told.asked_at) / 2;
        self.mesh = (now, unix);
        let (at, machine) = self.machine;
        let machine = machine + now.since(at);
        let off = machine.distance(unix);
        let news = off.abs_diff(self.told) > OFF_MAX;
        if off <= OFF_MAX {
            self.told = Duration::ZERO;
            return None;
        }
        news.then(|| {
            self.told = off;
            (off, machine > unix)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixTime = UnixTime::from_micros(1_800_000_000_000_000);

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    fn after(seconds: u64) -> UnixTime {
        START + Duration::from_secs(seconds)
    }

    fn back(seconds: u64) -> UnixTime {
        UnixTime::from_micros(START.as_micros() - seconds * 1_000_000)
    }

    #[test]
    fn the_time_goes_on_when_the_clock_is_set_back_and_follows_a_sleep() {
        let mut clock = CivilClock::new(at(0), START);
        assert!(!clock.read(at(10), back(300)), "set back");
        assert_eq!(clock.unix(at(10)), after(10));
        assert!(!clock.read(at(20), back(290)));
        assert_eq!(clock.unix(at(20)), after(20));
        assert!(clock.read(at(21), after(21)), "set right");
        assert_eq!(clock.unix(at(21)), after(21));
        assert!(clock.read(at(22), after(82)), "60 s of sleep");
        assert_eq!(clock.unix(at(22)), after(82));
    }

    #[test]
    fn the_hubs_time_counts_and_a_clock_that_is_off_is_told_once() {
        let mut clock = CivilClock::new(at(0), START);
        let told = |asked_at, unix| HubTime { asked_at, unix };
        let off = clock.sync(told(at(1), after(126)), at(3));
        assert_eq!(off, Some((Duration::from_secs(124), false)));
        assert_eq!(clock.unix(at(3)), after(127), "half a round trip later");
        assert_eq!(clock.sync(told(at(9), after(134)), at(9)), None, "known");
        assert_eq!(clock.unix(at(10)), after(135));
        let ahead = clock.sync(told(at(20), back(80)), at(20));
        assert_eq!(ahead, Some((Duration::from_secs(100), true)));
    }
}
