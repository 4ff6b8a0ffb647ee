//! How late the answers of a target are, and what its next messages gain by waiting for each other.

use std::time::Duration;

/// Answers that take this much longer than the shortest are late: most paths shake packets by less.
const LATE_MIN: Duration = Duration::from_millis(50);

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
    shortest: Option<Duration>,
    /// How much longer the last took.
    late: Duration,
}

impl Lateness {
    /// An answer took so long.
    pub(super) fn measured(&mut self, took: Duration) {
        let shortest = self.shortest.map_or(took, |shortest| shortest.min(took));
        self.shortest = Some(shortest);
        self.late = took - shortest;
    }

    /// How long the next message waits for others: half of the shortest time, or of what answers
    /// take longer than that, if it is a third of that time at least.
    pub(super) fn gathering(&self) -> Duration {
        let shortest = self.shortest.unwrap_or_default();
        let is_late = self.late >= LATE_MIN.max(shortest / 3);
        let wait = self.late.min(shortest) / 2;
        if is_late { wait } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(samples: &[u64]) -> Duration {
        let mut lateness = Lateness::default();
        let samples = samples.iter().copied().map(Duration::from_millis);
        samples.for_each(|took| lateness.measured(took));
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
        assert_eq!(after(&[1, 5_000]), ms(1) / 2);
    }
}
