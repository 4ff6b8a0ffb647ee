//! How an envelope travels over a link: whose it is, on which channel, and what it yields to.

use std::collections::VecDeque;
use std::time::Duration;

use crate::id::PeerId;
use crate::io::Channel;
use crate::time::Instant;
use crate::wire::{CHUNK_BYTES, ClearHeader, Envelope, Kind};

/// Bytes of large messages that a new link sends ahead of acknowledgements: two parts, so that one
/// arrives while the other leaves.
const AHEAD_START: usize = 32 * 1024;

/// The most bytes that a link sends ahead of acknowledgements: 160 Mbit/s over a round trip of 100
/// ms. The least is one part.
const AHEAD_MAX: usize = 2 << 20;

const _: () = assert!(CHUNK_BYTES < AHEAD_START && AHEAD_START < AHEAD_MAX);

/// Acknowledgements by whose lower quartile the delay is judged: jitter holds up some, and the
/// first of a burst waits for none.
const RECENT: usize = 8;

/// The delay, in shortest delays, at which less is sent ahead: more bytes would only wait in the
/// connection, and small messages behind them. Less would take jitter for waiting.
const WAITING_MAX: u32 = 4;

/// Age at which the shortest delay is measured anew: paths change, but seldom within seconds.
const SHORTEST_FOR: Duration = Duration::from_secs(10);

/// Whose an envelope is, and how it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lane {
    pub(crate) author: PeerId,
    pub(crate) channel: Channel,
    /// It is a part of a large message, and yields to all others.
    pub(crate) is_bulk: bool,
}

impl Lane {
    pub(crate) fn new(author: PeerId, channel: Channel) -> Self {
        let is_bulk = false;
        Self {
            author,
            channel,
            is_bulk,
        }
    }

    /// That of a part of a large message.
    pub(crate) fn bulk(author: PeerId) -> Self {
        Self {
            author,
            channel: Channel::Data,
            is_bulk: true,
        }
    }

    pub(crate) fn of(envelope: &Envelope, channel: Channel) -> Self {
        Self {
            author: envelope.signed.claimed_author(),
            channel,
            is_bulk: channel == Channel::Data && is_bulk(envelope),
        }
    }
}

/// Whether an envelope claims to carry a part of a large message.
pub(super) fn is_bulk(envelope: &Envelope) -> bool {
    let header = envelope.signed.peek::<ClearHeader>();
    header.is_some_and(|header| header.kind == Kind::Chunk)
}

/// How much of large messages a connection is given ahead of what it has sent: as much as it takes
/// without delay, as LEDBAT does (RFC 6817), so that a small message finds it nearly empty.
#[derive(Debug)]
pub(super) struct Ahead {
    max: usize,
    bytes: usize,
    /// What was sent and not acknowledged.
    sent: VecDeque<(Instant, usize)>,
    shortest: Option<(Duration, Instant)>,
    /// What the last acknowledgements took.
    recent: VecDeque<Duration>,
    shrunk_at: Option<Instant>,
}

impl Default for Ahead {
    fn default() -> Self {
        Self {
            max: AHEAD_START,
            bytes: 0,
            sent: VecDeque::new(),
            shortest: None,
            recent: VecDeque::new(),
            shrunk_at: None,
        }
    }
}

impl Ahead {
    pub(super) fn has_room(&self) -> bool {
        self.bytes < self.max
    }

    pub(super) fn sent(&mut self, bytes: usize, now: Instant) {
        self.bytes += bytes;
        self.sent.push_back((now, bytes));
    }

    /// The next that was sent is acknowledged.
    pub(super) fn acknowledged(&mut self, now: Instant) {
        let Some((at, bytes)) = self.sent.pop_front() else {
            return;
        };
        self.bytes -= bytes;
        let took = now.since(at);
        let known = self
            .shortest
            .filter(|(_, at)| now.since(*at) < SHORTEST_FOR);
        let (shortest, _) = *self.shortest.insert(
            known
                .filter(|(shortest, _)| *shortest <= took)
                .unwrap_or((took, now)),
        );
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(took);
        if self.lower_quartile() <= shortest * WAITING_MAX {
            self.max = (self.max + bytes).min(AHEAD_MAX);
        } else if self.shrunk_at.is_none_or(|at| now.since(at) > shortest) {
            self.shrunk_at = Some(now);
            self.max = (self.max / 2).max(CHUNK_BYTES);
            self.recent.clear();
        }
    }

    /// What the quicker of the recent acknowledgements took.
    fn lower_quartile(&self) -> Duration {
        let mut recent: Vec<_> = self.recent.iter().copied().collect();
        recent.sort_unstable();
        recent.get(recent.len() / 4).copied().unwrap_or_default()
    }

    /// Nothing that was sent will be acknowledged.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_gets_as_much_ahead_as_it_takes_without_delay() {
        let mut ahead = Ahead::default();
        let mut now = Instant::from_micros(1);
        let mut round = |took: u64| {
            while ahead.has_room() {
                ahead.sent(16 * 1024, now);
            }
            now = now + Duration::from_millis(took);
            let sent = ahead.sent.len();
            (0..sent).for_each(|_| ahead.acknowledged(now));
            sent
        };
        let quick: Vec<_> = (0..8).map(|_| round(20)).collect();
        assert_eq!(quick, [2, 4, 8, 16, 32, 64, 128, 128], "it doubles");
        let slow: Vec<_> = (0..8).map(|_| round(200)).collect();
        assert_eq!(slow, [128, 64, 32, 16, 8, 4, 2, 1], "and halves");
    }

    #[test]
    fn jitter_is_no_queue() {
        let mut ahead = Ahead::default();
        let mut now = Instant::from_micros(1);
        // 20 ms, and up to 20 ms more each way; what comes later waits for what was sent before.
        for jitter in [0, 31, 12, 25, 18, 8, 36, 22].into_iter().cycle().take(160) {
            while ahead.has_room() {
                ahead.sent(16 * 1024, now);
            }
            now = now + Duration::from_millis(20 + jitter);
            (0..ahead.sent.len()).for_each(|_| ahead.acknowledged(now));
        }
        assert_eq!(ahead.max, AHEAD_MAX);
    }
}
