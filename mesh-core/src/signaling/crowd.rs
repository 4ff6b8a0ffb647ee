//! Whether more newcomers are to be expected: links that follow a room while a crowd joins it are
//! planned many times, and opened for nothing. The hub counts newcomers, and tells the members,
//! which may have come last themselves.

use crate::config::default_k;
use crate::time::Instant;

/// The least size of a room whose crowd is waited for: in a smaller room all members are linked
/// with each other, and links cannot be planned better later.
const MEMBERS_MIN: usize = 20;

/// The part of a room that must have come lately to be a crowd: links of fewer newcomers change few
/// plans.
const SHARE: f64 = 1.0 / 32.0;

const _: () = assert!(
    default_k(MEMBERS_MIN) + 1 == MEMBERS_MIN,
    "smaller rooms are full meshes"
);

/// Newcomers of late: one that came a second ago counts half, two seconds ago a quarter.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    newcomers: f64,
    counted_at: Instant,
}

impl Crowd {
    /// A crowd of which so many came lately, or are about to.
    pub(crate) fn new(newcomers: usize, now: Instant) -> Self {
        Self {
            newcomers: newcomers as f64,
            counted_at: now,
        }
    }

    pub(super) fn came(&mut self, now: Instant) {
        self.newcomers = self.lately(now) + 1.0;
        self.counted_at = now;
    }

    /// How many came lately.
    pub(super) fn newcomers(&self, now: Instant) -> usize {
        self.lately(now).round() as usize
    }

    /// Whether so many came lately that more are to be expected in a room of so many.
    pub(crate) fn is_coming(&self, members: usize, now: Instant) -> bool {
        self.members_soon(members, now) >= MEMBERS_MIN && self.is_there(members, now)
    }

    /// Whether so many came lately that they have come together.
    pub(crate) fn is_there(&self, members: usize, now: Instant) -> bool {
        // In a small room too, one newcomer is no crowd.
        self.lately(now) >= (SHARE * members as f64).max(2.0)
    }

    /// How many a room of so many is about to have at least: of a crowd the first are told of
    /// more than are there.
    pub(crate) fn members_soon(&self, members: usize, now: Instant) -> usize {
        members.max(self.newcomers(now))
    }

    fn lately(&self, now: Instant) -> f64 {
        self.newcomers * now.left_since(self.counted_at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_few_at_a_time_are_a_crowd_and_one_is_not() {
        let (mut crowd, mut now) = (Crowd::default(), Instant::from_micros(5_000_000));
        crowd.came(now);
        assert!(!crowd.is_coming(MEMBERS_MIN, now), "one");
        for _ in 0..20 {
            now = now + Duration::from_millis(50);
            crowd.came(now);
        }
        assert!(crowd.is_coming(450, now), "twenty in a second");
        assert!(!crowd.is_coming(MEMBERS_MIN - 1, now));
        assert!(!crowd.is_coming(450, now + Duration::from_secs(1)));
        let told = Crowd::new(crowd.newcomers(now), now);
        let later = told.lately(now + Duration::from_secs(1));
        assert!((2.0 * later - crowd.lately(now)).abs() <= 0.5, "{later}");
    }

    #[test]
    fn the_first_of_a_crowd_wait_for_those_at_the_door() {
        let now = Instant::from_micros(5_000_000);
        let crowd = Crowd::new(MEMBERS_MIN, now);
        assert!(crowd.is_coming(1, now));
        assert_eq!(crowd.members_soon(1, now), MEMBERS_MIN);
        assert!(!Crowd::new(MEMBERS_MIN - 1, now).is_coming(1, now));
    }
}
