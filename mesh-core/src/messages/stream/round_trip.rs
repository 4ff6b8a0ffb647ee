//! How long answers take, smoothed as TCP does it ([RFC 6298], section 2).
//!
//! [RFC 6298]: https://www.rfc-editor.org/rfc/rfc6298

use std::time::Duration;

/// A smoothed round trip.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RoundTrip {
    smoothed: Option<Duration>,
    /// How far samples are off that, smoothed too.
    deviation: Duration,
}

impl RoundTrip {
    pub(super) fn measured(&mut self, sample: Duration) {
        (self.smoothed, self.deviation) = match self.smoothed {
            None => (Some(sample), sample / 2),
            Some(old) => (
                Some((old * 7 + sample) / 8),
                (self.deviation * 3 + old.abs_diff(sample)) / 4,
            ),
        };
    }

    /// The usual round trip, if one was measured.
    pub(super) fn usual(&self) -> Option<Duration> {
        self.smoothed
    }

    /// The longest that an answer is likely to take: a link that lost a packet holds up all that
    /// comes after, so round trips vary.
    pub(super) fn longest(&self) -> Option<Duration> {
        let trip = self.smoothed?;
        Some((trip * 2).max(trip + self.deviation * 4))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_late_after_two_round_trips_or_where_they_vary_after_more() {
        let ms = Duration::from_millis;
        let mut trip = RoundTrip::default();
        assert_eq!(trip.longest(), None);
        trip.measured(ms(80));
        assert_eq!(
            (trip.usual(), trip.longest()),
            (Some(ms(80)), Some(ms(240)))
        );
        (0..40).for_each(|_| trip.measured(ms(80)));
        assert_eq!(trip.longest(), Some(ms(160)));
        trip.measured(ms(480));
        assert_eq!(trip.usual(), Some(ms(130)));
        let longest = trip.longest().map(|longest| longest.as_millis());
        assert_eq!(longest, Some(530));
    }
}
