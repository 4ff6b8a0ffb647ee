//! How many bytes a link's path holds: the library counts them with those that wait for it.
//!
//! What a path delivers in its shortest delay is under way on it, as BBR takes it (*BBR:
//! Congestion-Based Congestion Control*, ACM Queue 2016). A link that is given that much and a
//! little more keeps its path full, and the little more is all that waits.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The most bytes that are taken to be under way: 160 Mbit/s over a round trip of 200 ms.
const UNDER_WAY_MAX: usize = 4 << 20;

/// The least time over which it is counted what a path delivers: acknowledgements come in bursts.
const ROUND_MIN: Duration = Duration::from_millis(10);

/// Age at which the shortest delay is measured anew: paths change, but on one that stays full it
/// would include what waits.
const SHORTEST_FOR: Duration = Duration::from_secs(60);

/// Moments of sending whose acknowledgement is waited for; the next ones are not noted.
const MARKS_MAX: usize = 64;

/// What is under way less is forgotten by this part a round: a link that has little to send at
/// times has no smaller path.
const FORGET: usize = 8;

/// Differences below this, in bytes, are not worth a new mark: one frame of the largest size.
const STEP: usize = 16 * 1024;

/// Measures one link.
#[derive(Debug)]
pub(super) struct UnderWay {
    /// Bytes sent so far.
    sent: usize,
    /// When how many had been sent.
    marks: VecDeque<(Instant, usize)>,
    /// The shortest time until bytes were acknowledged, and when it was measured.
    shortest: Option<(Duration, Instant)>,
    /// When the round began, and how many bytes had been acknowledged then.
    round: (Instant, usize),
    measured: usize,
    told: usize,
}

impl UnderWay {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            sent: 0,
            marks: VecDeque::new(),
            shortest: None,
            round: (now, 0),
            measured: 0,
            told: 0,
        }
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
    }

    /// So many bytes are not acknowledged. Returns how many of them are under way; it changes in
    /// steps.
    pub(super) fn measured(&mut self, outstanding: usize, now: Instant) -> usize {
        let acknowledged = self.sent.saturating_sub(outstanding);
        while let Some((at, _)) = self.marks.pop_front_if(|(_, sent)| *sent <= acknowledged) {
            self.took(now - at, now);
        }
        let is_new = self.marks.back().is_none_or(|(_, sent)| *sent < self.sent);
        if is_new && acknowledged < self.sent && self.marks.len() < MARKS_MAX {
            self.marks.push_back((now, self.sent));
        }
        if let Some((shortest, _)) = self.shortest {
            self.end_round(acknowledged, shortest, now);
        }
        if self.measured.abs_diff(self.told) > STEP.max(self.told / FORGET) {
            self.told = self.measured;
        }
        self.told
    }

    fn took(&mut self, delay: Duration, now: Instant) {
        let known = self.shortest;
        let known = known.filter(|(_, at)| now - *at < SHORTEST_FOR);
        if known.is_none_or(|(shortest, _)| delay <= shortest) {
            self.shortest = Some((delay, now));
        }
    }

    /// Counts what the path has delivered, if that took long enough.
    fn end_round(&mut self, acknowledged: usize, shortest: Duration, now: Instant) {
        let (since, before) = self.round;
        let took = now - since;
        if took < shortest.max(ROUND_MIN) {
            return;
        }
        self.round = (now, acknowledged);
        let rate = acknowledged.saturating_sub(before) as f64 / took.as_secs_f64();
        let delivered = (rate * shortest.as_secs_f64()) as usize;
        let kept = self.measured - self.measured / FORGET;
        self.measured = delivered.max(kept).min(UNDER_WAY_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends over a path with this rate and round trip for a while, as much as a link takes that
    /// may have `over` bytes beyond those under way; returns what is taken to be under way.
    fn filled(bytes_per_ms: usize, round_trip_ms: usize, over: usize) -> usize {
        let start = Instant::now();
        let mut path = UnderWay::new(start);
        // Bytes that had left the sender by each millisecond.
        let (mut sent, mut left) = (0, vec![0; round_trip_ms + 1]);
        let mut under_way = 0;
        for ms in 0..5_000 {
            let acknowledged: usize = left[left.len() - 1 - round_trip_ms];
            let now = start + Duration::from_millis(ms);
            under_way = path.measured(sent - acknowledged, now);
            while sent - acknowledged < under_way + over {
                path.sent(STEP);
                sent += STEP;
                under_way = path.measured(sent - acknowledged, now);
            }
            left.push(sent.min(left[left.len() - 1] + bytes_per_ms));
        }
        under_way
    }

    #[test]
    fn what_a_path_holds_is_found_and_no_more() {
        for (bytes_per_ms, round_trip_ms) in [(12_500, 100), (12_500, 20), (2_000, 300)] {
            let holds = bytes_per_ms * round_trip_ms;
            let found = filled(bytes_per_ms, round_trip_ms, 256 * 1024);
            let (least, most) = (holds * 3 / 4, holds * 5 / 4 + 64 * 1024);
            assert!((least..=most).contains(&found), "{found} of {holds}");
        }
    }

    #[test]
    fn a_short_path_holds_next_to_nothing() {
        assert!(filled(30_000, 1, 256 * 1024) <= 64 * 1024);
    }

    #[test]
    fn it_is_bounded() {
        assert!(filled(1_000_000, 300, 256 * 1024) <= UNDER_WAY_MAX);
    }
}
