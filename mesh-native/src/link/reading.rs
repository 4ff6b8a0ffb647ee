//! What comes while a link opens is read one message at a time.
//!
//! In each turn the library's driver sends, looks for events, sleeps, and then reads as many
//! datagrams as there are. A message that is read in the same turn as the end of the SCTP handshake
//! is handed over before that event has opened its channel, and is lost for good, though the peer
//! takes it for received. One that is read in the turn after finds the channel, but makes its
//! stream, which then lacks what the channel was to be: unordered, say. So until the channels are
//! open each datagram that may carry a message is followed by turns in which nothing is read.

use std::sync::atomic::{AtomicU8, Ordering};

use super::early::is_relayed;

/// Turns after a datagram was read until the next may be: it reaches the connection one turn later
/// if it came through a relay, what it has ended is heard of in the next, and the streams are made
/// in the one after that.
const TURNS: u8 = 3;

/// The first byte of datagrams that are no STUN messages ([RFC 7983]).
///
/// [RFC 7983]: https://www.rfc-editor.org/rfc/rfc7983
const NO_STUN: u8 = 20;

/// The turns that the driver of one connection takes before it reads on.
#[derive(Debug, Default)]
pub(super) struct Reading(AtomicU8);

impl Reading {
    /// Looks at a datagram that is handed over.
    pub(super) fn note(&self, datagram: &[u8]) {
        let may_carry_a_message = datagram.first().is_some_and(|first| *first >= NO_STUN);
        if may_carry_a_message || is_relayed(datagram) {
            self.0.store(TURNS, Ordering::Relaxed);
        }
    }

    /// Whether nothing is to be read in this turn.
    pub(super) fn must_wait(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// The driver has taken a turn, and is about to sleep. Whether it takes another at once.
    pub(super) fn another_turn(&self) -> bool {
        let less = |turns: u8| turns.checked_sub(1);
        let turns = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        turns.is_ok_and(|turns| turns > 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_until_the_driver_has_taken_its_turns() {
        let reading = Reading::default();
        reading.note(&[1, 1, 0, 0]);
        assert!(!reading.must_wait(), "a STUN message carries none");
        assert!(!reading.another_turn());
        for datagram in [&[23, 254, 253][..], &[0x40, 0, 0, 1, 7]] {
            reading.note(datagram);
            for _ in 1..TURNS {
                assert!(reading.must_wait() && reading.another_turn());
            }
            assert!(reading.must_wait() && !reading.another_turn());
            assert!(!reading.must_wait());
        }
    }
}
