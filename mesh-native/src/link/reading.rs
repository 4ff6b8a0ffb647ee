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

/// Turns after a datagram was read until the next may be: what it has ended is heard of in the
/// first, and the streams are made in the second.
const TURNS: u8 = 2;

/// The same of one that came through a relay: it reaches the connection one turn later.
const TURNS_OF_RELAYED: u8 = TURNS + 1;

/// The first byte of a DTLS record of application data ([RFC 6347], section 4.1), as SCTP is to it.
/// Those of the handshake, which has more datagrams, are smaller, as are those of STUN.
///
/// [RFC 6347]: https://www.rfc-editor.org/rfc/rfc6347
const APPLICATION_DATA: u8 = 23;

/// The turns that the driver of one connection takes before it reads on.
#[derive(Debug, Default)]
pub(super) struct Reading(AtomicU8);

impl Reading {
    /// Looks at a datagram that is handed over.
    pub(super) fn note(&self, datagram: &[u8]) {
        let may_carry_a_message = datagram.first().is_some_and(|it| *it >= APPLICATION_DATA);
        let turns = match is_relayed(datagram) {
            true => TURNS_OF_RELAYED,
            false if may_carry_a_message => TURNS,
            false => return,
        };
        self.0.store(turns, Ordering::Relaxed);
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
        for first in [1, 22] {
            reading.note(&[first, 254, 253]);
            assert!(
                !reading.must_wait(),
                "STUN and handshakes carry no messages"
            );
        }
        assert!(!reading.another_turn());
        for (first, turns) in [(23, TURNS), (0x40, TURNS_OF_RELAYED)] {
            reading.note(&[first, 254, 253]);
            for _ in 1..turns {
                assert!(reading.must_wait() && reading.another_turn());
            }
            assert!(reading.must_wait() && !reading.another_turn());
            assert!(!reading.must_wait());
        }
    }
}
