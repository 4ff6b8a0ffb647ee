//! How many bytes a link's path holds: the library counts them with those that wait for it.
//!
//! What a path delivers in its round trip is under way on it, as BBR takes it (*BBR:
//! Congestion-Based Congestion Control*, ACM Queue 2016). A link that is given that much and a
//! little more keeps its path full, and the little more is all that waits. Until the path is found
//! to be full, which is when it delivers no more although there is more, the link is given several
//! times as much.

use std::time::{Duration, Instant};

use mesh_core::agent::Allowance;

/// The most bytes that are taken to be under way: 160 Mbit/s over a round trip of 200 ms.
const UNDER_WAY_MAX: usize = 4 << 20;

/// The least time over which it is counted what a path delivers: acknowledgements come in bursts.
const ROUND_MIN: Duration = Duration::from_millis(10);

/// What is under way less is forgotten by this part a round: a link that has little to send at
/// times has no smaller path.
const FORGET: usize = 8;

/// A path that delivers less than so many times as much as in the round before may be full, and is
/// after so many such rounds: both as in BBR's *Startup*.
const GROWS: f64 = 1.25;
const PLATEAU: u8 = 3;

/// Differences below this, in bytes, are not worth a new mark: one frame of the largest size.
const STEP: usize = 16 * 1024;

/// Measures one link.
#[derive(Debug)]
pub(super) struct UnderWay {
    /// Bytes sent so far.
    sent: usize,
    /// When the round began, and how many bytes had been acknowledged then.
    round: (Instant, usize),
    measured: usize,
    /// There was as much to send in this round as may be.
    was_limited: bool,
    /// Such rounds in a row in which the path delivered hardly more than before.
    plateau: u8,
    told: Allowance,
}

impl UnderWay {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            sent: 0,
            round: (now, 0),
            measured: 0,
            was_limited: false,
            plateau: 0,
            told: Allowance::UNMEASURED,
        }
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
    }

    /// So many bytes are not acknowledged, on a path of this round trip. Returns how many may be,
    /// which changes in steps.
    pub(super) fn measured(
        &mut self,
        outstanding: usize,
        round_trip: Option<Duration>,
        now: Instant,
    ) -> Allowance {
        let Some(round_trip) = round_trip else {
            // As if nothing were counted: too much waits, but nothing is slower.
            return Allowance::UNCOUNTED;
        };
        let acknowledged = self.sent.saturating_sub(outstanding);
        self.end_round(acknowledged, round_trip, now);
        let allowance = match self.plateau {
            ..PLATEAU => Allowance::growing(self.measured),
            PLATEAU.. => Allowance::on_path(self.measured, round_trip),
        };
        let (new, told) = (allowance.congested_at(), self.told.congested_at());
        if new.abs_diff(told) > STEP.max(told / FORGET) {
            self.told = allowance;
        }
        self.was_limited |= outstanding >= self.told.congested_at();
        self.told
    }

    /// Counts what the path has delivered, if that took long enough.
    fn end_round(&mut self, acknowledged: usize, round_trip: Duration, now: Instant) {
        let (since, before) = self.round;
        let took = now - since;
        if took < round_trip.max(ROUND_MIN) {
            return;
        }
        self.round = (now, acknowledged);
        let rate = acknowledged.saturating_sub(before) as f64 / took.as_secs_f64();
        let delivered = (rate * round_trip.as_secs_f64()) as usize;
        let kept = self.measured - self.measured / FORGET;
        let before = std::mem::replace(&mut self.measured, delivered.max(kept).min(UNDER_WAY_MAX));
        let grows = self.measured as f64 > before as f64 * GROWS;
        if std::mem::take(&mut self.was_limited) && self.plateau < PLATEAU {
            self.plateau = if grows { 0 } else { self.plateau + 1 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends over a path with this rate and round trip for a while, as much as a link takes;
    /// returns what is taken to be under way, and what may wait.
    fn filled(bytes_per_ms: usize, round_trip_ms: usize) -> (usize, usize) {
        let start = Instant::now();
        let mut path = UnderWay::new(start);
        let round_trip = Some(Duration::from_millis(round_trip_ms as u64));
        // Bytes that had left the sender by each millisecond.
        let (mut sent, mut left) = (0, vec![0; round_trip_ms + 1]);
        let mut allowance = Allowance::UNMEASURED;
        for ms in 0..5_000 {
            let acknowledged: usize = left[left.len() - 1 - round_trip_ms];
            let now = start + Duration::from_millis(ms);
            allowance = path.measured(sent - acknowledged, round_trip, now);
            while sent - acknowledged < allowance.congested_at() {
                path.sent(STEP);
                sent += STEP;
                allowance = path.measured(sent - acknowledged, round_trip, now);
            }
            left.push(sent.min(left[left.len() - 1] + bytes_per_ms));
        }
        let under_way = allowance.under_way();
        (under_way, allowance.congested_at() - under_way)
    }

    #[test]
    fn what_a_path_holds_is_found_and_no_more() {
        for (bytes_per_ms, round_trip_ms) in [(12_500, 100), (12_500, 20), (2_000, 300)] {
            let holds = bytes_per_ms * round_trip_ms;
            let (found, _) = filled(bytes_per_ms, round_trip_ms);
            let (least, most) = (holds * 3 / 4, holds * 5 / 4 + 64 * 1024);
            assert!((least..=most).contains(&found), "{found} of {holds}");
        }
    }

    #[test]
    fn a_short_path_holds_next_to_nothing() {
        let (under_way, waiting) = filled(30_000, 1);
        assert!(under_way <= 64 * 1024 && waiting == 256 * 1024);
    }

    #[test]
    fn little_waits_on_a_slow_path() {
        let (under_way, waiting) = filled(50, 300);
        assert!(
            under_way + waiting <= 96 * 1024,
            "{under_way} and {waiting}"
        );
    }

    /// What arrives in ten seconds over a path of 100 Mbit/s, in bytes, if SCTP begins with 4 KiB,
    /// sends as much again with each acknowledgement while more waits (RFC 9260, section 7.2.1),
    /// and is handed a frame whenever less than `may_be` is not acknowledged.
    fn arrives(round_trip_ms: usize, mut may_be: impl FnMut(usize, Instant) -> usize) -> usize {
        const MS_BYTES: usize = 12_500;
        let start = Instant::now();
        let (mut handed, mut sent, mut window) = (0, 0, 4 * 1024);
        // Bytes that had left by each millisecond.
        let mut left = vec![0; round_trip_ms + 1];
        let mut acknowledged_before = 0;
        for ms in 0..10_000 {
            let acknowledged = left[left.len() - 1 - round_trip_ms];
            if handed > sent {
                window += acknowledged - acknowledged_before;
            }
            acknowledged_before = acknowledged;
            let now = start + Duration::from_millis(ms);
            while handed - acknowledged < may_be(handed - acknowledged, now) {
                handed += STEP;
            }
            sent = handed.min(acknowledged + window.min(1 << 20));
            left.push(sent.min(left[left.len() - 1] + MS_BYTES));
        }
        left[left.len() - 1]
    }

    #[test]
    fn a_path_is_filled_nearly_as_soon_as_if_a_mebibyte_waited_for_it() {
        for round_trip_ms in [20, 100, 300, 600] {
            let round_trip = Some(Duration::from_millis(round_trip_ms as u64));
            let mut path = UnderWay::new(Instant::now());
            let mut before = 0;
            let ours = arrives(round_trip_ms, |outstanding, now| {
                if outstanding > before {
                    path.sent(outstanding - before);
                }
                before = outstanding;
                path.measured(outstanding, round_trip, now).congested_at()
            });
            let most = arrives(round_trip_ms, |_, _| 1 << 20);
            assert!(ours * 10 > most * 9, "{round_trip_ms} ms: {ours} of {most}");
        }
    }

    #[test]
    fn it_is_bounded() {
        assert!(filled(1_000_000, 300).0 <= UNDER_WAY_MAX);
    }
}
