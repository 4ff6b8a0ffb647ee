//! The clock that a connection's library is told.
//!
//! SCTP waits twice as long before each time it sends again, up to a minute, and does not do so at
//! all after the fifth time until something new is acknowledged; the library lets neither be set.
//! Where more is under way by then than it sends at once after a loss, nothing ever leaves again:
//! with the hub gone, two halves of a mesh between which the network failed for a minute would
//! never find each other. So the clock stands still while the path is silent, and no attempt is
//! spent on it. Meanwhile a consent check is sent again now and then ([`super::check`]). When
//! anything is heard the clock is put forward, and what waits to be sent again is sent at once.

use std::time::Duration;

use super::pace::QUIET_TICK;
use super::settings::KEEPALIVE;

/// How long nothing is heard, though something was sent, until the clock stands still. On a path
/// that works consent checks come more often. By then SCTP has sent again three times, after 1, 3
/// and 7 s, and may do so twice more.
const STILL_AFTER: Duration = Duration::from_secs(13);

const _: () = assert!(
    KEEPALIVE.as_millis() + QUIET_TICK.as_millis() < STILL_AFTER.as_millis(),
    "the clock of a quiet link goes on"
);

/// How long after a silence the clock is put forward with what is heard, and how often: the first
/// that is heard need not be the acknowledgement without which SCTP sends nothing again.
const RECOVERY: Duration = Duration::from_secs(10);
const RECOVERY_STEP: Duration = Duration::from_secs(1);

/// The longest that SCTP waits before it sends again, a constant of `rtc-sctp`.
const RETRANSMISSION_MAX: Duration = Duration::from_secs(60);

/// The clock of one connection. All moments are in µs since the connection began, and never 0.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// How far it was put forward, and how long it has stood still, in µs.
    ahead: u64,
    stood: u64,
    /// When it was last read.
    read_at: u64,
    /// When a datagram of any kind was last received; 0 if none was.
    heard_at: u64,
    /// When the first datagram of data was sent since one was received; 0 if none was.
    unanswered_since: u64,
    /// When a silence ended last, and when the clock was last put forward; 0 if never.
    silence_ended: u64,
    put_forward_at: u64,
    /// It goes on until then though the path is silent: ICE looks for another path.
    goes_until: u64,
}

impl Clock {
    /// How far the clock is from the real time: what to add, and what to subtract.
    pub(super) fn read(&mut self, now: u64) -> (Duration, Duration) {
        if let Some(since) = self.stands_since(now) {
            self.stood += now.saturating_sub(self.read_at.max(since));
        }
        self.read_at = now;
        let offset = Duration::from_micros;
        (offset(self.ahead), offset(self.stood))
    }

    /// Whether the clock stands still, for the path is silent.
    pub(super) fn stands(&self, now: u64) -> bool {
        self.stands_since(now).is_some()
    }

    fn stands_since(&self, now: u64) -> Option<u64> {
        let silent_since = self.unanswered_since.max(self.heard_at);
        let since = (silent_since + micros(STILL_AFTER)).max(self.goes_until);
        (self.unanswered_since != 0 && since <= now).then_some(since)
    }

    /// Notes that data was sent, which the other end acknowledges.
    pub(super) fn sent(&mut self, now: u64) {
        if self.unanswered_since == 0 {
            self.unanswered_since = now;
        }
    }

    /// Notes a datagram received, of data or, else, of connectivity checks. If it ends a silence
    /// the clock is put forward. The ICE agent is told of the datagram before it looks at the
    /// clock, and takes the peer for alive.
    pub(super) fn heard(&mut self, now: u64, is_data: bool) {
        self.read(now);
        if self.stands(now) {
            self.silence_ended = now;
        }
        self.heard_at = now;
        if is_data {
            self.unanswered_since = 0;
        }
        let recovers = self.silence_ended != 0 && now - self.silence_ended <= micros(RECOVERY);
        if recovers && now - self.put_forward_at >= micros(RECOVERY_STEP) {
            self.put_forward(now);
        }
    }

    /// What waits to be sent again is due.
    pub(super) fn put_forward(&mut self, now: u64) {
        self.put_forward_at = now;
        self.ahead += micros(RETRANSMISSION_MAX);
    }

    /// The clock goes on until then: checks of other paths follow it.
    pub(super) fn go_until(&mut self, at: u64, now: u64) {
        self.read(now);
        self.goes_until = at;
    }
}

/// Wraps after half a million years.
pub(super) fn micros(duration: Duration) -> u64 {
    duration.as_micros() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    /// The time that the library is told at a real time, both in seconds.
    fn told(clock: &mut Clock, at: u64) -> u64 {
        let (ahead, stood) = clock.read(at * SECOND);
        at + ahead.as_secs() - stood.as_secs()
    }

    #[test]
    fn the_clock_stands_still_while_the_path_is_silent() {
        let mut clock = Clock::default();
        clock.heard(10 * SECOND, true);
        assert_eq!(told(&mut clock, 100), 100, "nothing was sent");
        clock.sent(100 * SECOND);
        clock.sent(104 * SECOND);
        assert_eq!(told(&mut clock, 104), 104);
        assert!(!clock.stands(112 * SECOND) && clock.stands(113 * SECOND));
        for at in [114, 115, 190] {
            assert_eq!(told(&mut clock, at), 113, "at {at} s");
        }
        clock.heard(195 * SECOND, false);
        assert!(!clock.stands(196 * SECOND));
        assert_eq!(told(&mut clock, 196), 113 + 1 + 60, "put forward");
        clock.heard(195 * SECOND + 500_000, true);
        assert_eq!(told(&mut clock, 197), 113 + 2 + 60, "not too often");
        clock.heard(197 * SECOND, true);
        assert_eq!(told(&mut clock, 198), 113 + 3 + 120);
        clock.heard(206 * SECOND, true);
        assert_eq!(told(&mut clock, 206), 113 + 11 + 120, "it works again");
    }

    #[test]
    fn checks_keep_the_clock_going() {
        let mut clock = Clock::default();
        clock.sent(SECOND);
        for at in 2..=100 {
            clock.heard(at * SECOND, false);
        }
        assert_eq!(told(&mut clock, 100), 100, "the other end is there");
        assert_eq!(told(&mut clock, 120), 113);
        clock.go_until(130 * SECOND, 120 * SECOND);
        assert_eq!(told(&mut clock, 125), 118, "ICE looks for another path");
        assert_eq!(told(&mut clock, 140), 123);
    }
}
