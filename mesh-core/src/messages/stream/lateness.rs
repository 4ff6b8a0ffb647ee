//! How late the answers of a target are, and what its next messages gain by waiting for each other.

use std::time::Duration;

use crate::time::Instant;

/// Answers that take this much longer than the shortest are late: most paths shake packets by less.
const LATE_MIN: Duration = Duration::from_millis(50);

/// How long the shortest answer counts, and as long again at most: paths change. BBR believes a
/// shortest round trip for so long too ([draft-ietf-ccwg-bbr], `MinRTTFilterLen`).
///
/// [draft-ietf-ccwg-bbr]: https://datatracker.ietf.org/doc/draft-ietf-ccwg-bbr/
const SHORTEST_FOR: Duration = Duration::from_secs(10);

/// How long answers of a target take.
///
/// On a path that carries less than it is given, messages wait for each other, and answers take far
/// longer than the shortest has. Then less is given: those that are sent within a part of the
/// shortest time share a signature, which takes more bytes with all that it covers than most
/// messages have. A message so waits little beside what all wait for anyway, and not at all where
/// answers are on time. Nagle's algorithm ([RFC 896]) has small messages wait for the same reason,
/// but wherever one is under way.
///
/// [RFC 896]: https://www.rfc-editor.org/rfc/rfc896
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lateness {
    /// The shortest of the last [`SHORTEST_FOR`], since when, and that of the time before.
    shortest: Option<(Duration, Instant)>,
    before: Option<Duration>,
    /// The last.
    last: Duration,
}

impl Lateness {
    /// An answer took so long.
    pub(super) fn measured(&mut self, took: Duration, now: Instant) {
        self.last = took;
        self.shortest = match self.shortest {
            Some((shortest, since)) if now.since(since) < SHORTEST_FOR => {
                Some((shortest.min(took), since))
            }
            old => {
                let is_recent = |(_, since): &(_, Instant)| now.since(*since) < SHORTEST_FOR * 2;
                let before = old.filter(is_recent);
                self.before = before.map(|(shortest, _)| shortest);
                Some((took, now))
            }
        };
    }

    /// How long the next message waits for others: half of the shortest time, or of what the last
    /// answer took longer than that, if it is a third of that time at least.
    pub(super) fn gathering(&self) -> Duration {
        let shortest = self.shortest.map(|(shortest, _)| shortest);
        let shortest = shortest.into_iter().chain(self.before).min();
        let shortest = shortest.unwrap_or_default();
        let late = self.last.saturating_sub(shortest);
        match late >= LATE_MIN.max(shortest / 3) {
            true => late.min(shortest) / 2,
            false => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers that took so many milliseconds, a second apart.
    fn after(samples: &[u64]) -> Duration {
        let (mut lateness, mut now) = (Lateness::default(), Instant::default());
        for sample in samples {
            lateness.measured(Duration::from_millis(*sample), now);
            now = now + Duration::from_secs(1);
        }
        lateness.gathering()
    }

    #[test]
    fn messages_wait_for_each_other_while_answers_are_late() {
        let ms = Duration::from_millis;
        assert_eq!(after(&[]), Duration::ZERO, "none has come");
        assert_eq!(after(&[320]), Duration::ZERO);
        assert_eq!(after(&[320, 400]), Duration::ZERO, "that is jitter");
        assert_eq!(after(&[25, 65]), Duration::ZERO, "so is that");
        assert_eq!(after(&[320, 440]), ms(60));
        assert_eq!(after(&[320, 5_000]), ms(160), "no longer");
        assert_eq!(after(&[320, 5_000, 330]), Duration::ZERO, "on time again");
    }

    #[test]
    fn a_path_that_has_become_longer_is_not_late_for_ever() {
        let mut samples = vec![100; 10];
        samples.extend([160; 10]);
        assert_eq!(after(&samples), Duration::from_millis(30));
        samples.push(160);
        assert_eq!(after(&samples), Duration::ZERO);
        let (mut lateness, hour) = (Lateness::default(), Duration::from_secs(3_600));
        lateness.measured(Duration::from_millis(300), Instant::default());
        lateness.measured(Duration::from_millis(450), Instant::default() + hour);
        assert_eq!(lateness.gathering(), Duration::ZERO);
    }
}
