//! The round trip of a connection's path, measured by its connectivity checks.
//!
//! A check is answered by the other end's ICE agent at once ([RFC 8445], section 7.3), and waits
//! behind nothing that the data channels hold. So it takes what the path takes, however much is
//! sent over it.
//!
//! [RFC 8445]: https://www.rfc-editor.org/rfc/rfc8445

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::check::{ANSWER, is_check, stun_of};
use super::clock::micros;

/// Age at which the shortest round trip is measured anew: paths change. Consent is renewed several
/// times meanwhile.
const SHORTEST_FOR: Duration = Duration::from_secs(60);

/// The weight of a new measurement in the mean: an eighth ([RFC 6298], section 2.3).
///
/// [RFC 6298]: https://www.rfc-editor.org/rfc/rfc6298
const WEIGHT: u32 = 8;

/// The longest that counts, in shortest round trips: as much again is taken for jitter of the path.
/// More is most often a busy machine's, which answers late.
const JITTER_MAX: u32 = 2;

/// Checks that wait for their answer. While a connection opens it sends one every 20 ms for each
/// pair of candidates: those of a second and more.
const ASKED_MAX: usize = 64;

/// A STUN transaction ([RFC 8489], section 5).
///
/// [RFC 8489]: https://www.rfc-editor.org/rfc/rfc8489
type Transaction = [u8; 12];

/// Measures the path of one connection. All moments are in µs since the connection began.
#[derive(Debug, Default)]
pub(super) struct RoundTrip(Mutex<Checks>);

#[derive(Debug, Default)]
struct Checks {
    asked: VecDeque<(Transaction, u64)>,
    /// The shortest of late, and when it was measured.
    shortest: Option<(Duration, u64)>,
    /// The mean of those so far, the last of most weight.
    mean: Option<Duration>,
}

impl RoundTrip {
    /// Notes a datagram sent, if it is a check.
    pub(super) fn sent(&self, datagram: &[u8], now: u64) {
        let Some(transaction) = transaction(datagram).filter(|_| is_check(datagram)) else {
            return;
        };
        let asked = &mut self.lock().asked;
        if asked.len() == ASKED_MAX {
            asked.pop_front();
        }
        asked.push_back((transaction, now));
    }

    /// Notes a datagram received, if it is the answer to a check.
    pub(super) fn received(&self, datagram: &[u8], now: u64) {
        let answer = transaction(datagram).filter(|_| stun_of(datagram).starts_with(&ANSWER));
        let Some(answered) = answer else {
            return;
        };
        let mut checks = self.lock();
        let place = checks
            .asked
            .iter()
            .position(|(asked, _)| *asked == answered);
        let Some((_, at)) = place.and_then(|place| checks.asked.drain(..=place).next_back()) else {
            return;
        };
        let took = Duration::from_micros(now.saturating_sub(at));
        let known = checks.shortest;
        let known = known.filter(|(_, at)| now.saturating_sub(*at) < micros(SHORTEST_FOR));
        if known.is_none_or(|(shortest, _)| took <= shortest) {
            checks.shortest = Some((took, now));
        }
        let mean = checks.mean.unwrap_or(took);
        checks.mean = Some(mean - mean / WEIGHT + took / WEIGHT);
    }

    /// A check was sent again: its answer may be to either copy, and measures nothing.
    pub(super) fn sent_again(&self) {
        self.lock().asked.clear();
    }

    /// Another path is looked for.
    pub(super) fn forget(&self) {
        *self.lock() = Checks::default();
    }

    /// The round trip of late, if one was measured. Packets that do not overtake each other take
    /// about as long as the slowest of them, so the mean counts and not the shortest: what a path
    /// with jitter holds would be taken for too little.
    pub(super) fn of_late(&self) -> Option<Duration> {
        let checks = self.lock();
        let (shortest, _) = checks.shortest?;
        Some(checks.mean?.clamp(shortest, shortest * JITTER_MAX))
    }

    fn lock(&self) -> MutexGuard<'_, Checks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The transaction of a datagram that is a STUN message.
fn transaction(datagram: &[u8]) -> Option<Transaction> {
    /// Bytes before the transaction: type, length and cookie.
    const BEFORE: usize = 8;
    stun_of(datagram).get(BEFORE..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::link::check::CHECK;

    const MS: u64 = 1_000;

    fn stun(kind: [u8; 2], transaction: u8) -> Vec<u8> {
        const USERNAME: [u8; 4] = [0, 6, 0, 0];
        let head = [0, 4, 0x21, 0x12, 0xa4, 0x42];
        [&kind[..], &head, &[transaction; 12], &USERNAME].concat()
    }

    #[test]
    fn a_check_and_its_answer_measure_the_path() {
        let trip = RoundTrip::default();
        trip.sent(&stun(CHECK, 1), 10 * MS);
        trip.sent(&stun(CHECK, 2), 30 * MS);
        // A question to a STUN server is no check.
        trip.sent(&stun(CHECK, 5)[..20], 35 * MS);
        trip.received(&stun(ANSWER, 5), 36 * MS);
        trip.received(&stun(ANSWER, 3), 40 * MS);
        trip.received(&stun(CHECK, 1), 40 * MS);
        trip.received(&[23; 60], 40 * MS);
        assert_eq!(trip.of_late(), None);
        trip.received(&stun(ANSWER, 1), 130 * MS);
        trip.received(&stun(ANSWER, 1), 131 * MS);
        assert_eq!(trip.of_late(), Some(Duration::from_millis(120)));
    }

    #[test]
    fn the_mean_counts_from_the_shortest_of_late_to_twice_that() {
        let trip = RoundTrip::default();
        let measure = |at: u64, took: u64| {
            trip.sent(&stun(CHECK, 7), at * MS);
            let relayed = [&[0x40, 1, 0, 20], &stun(ANSWER, 7)[..]].concat();
            trip.received(&relayed, (at + took) * MS);
            trip.of_late().expect("measured").as_millis()
        };
        assert_eq!(measure(1_000, 40), 40);
        assert_eq!(measure(2_000, 80), 45);
        assert_eq!(measure(3_000, 600), 80);
        // Two minutes later that one is forgotten, and what the path has become counts.
        assert_eq!(measure(120_000, 300), 300);
        trip.forget();
        assert_eq!(trip.of_late(), None);
    }

    #[test]
    fn checks_that_nobody_answers_are_bounded() {
        let trip = RoundTrip::default();
        (0..=255).for_each(|n| trip.sent(&stun(CHECK, n), MS));
        assert_eq!(trip.lock().asked.len(), ASKED_MAX);
    }
}
