//! Tells what was seen from what was not: a sliding window over an author's sequence numbers, as
//! IPsec's anti-replay window ([RFC 4303], section 3.4.3), for each incarnation of the author.
//!
//! [RFC 4303]: https://www.rfc-editor.org/rfc/rfc4303

use crate::time::UnixTime;
use crate::wire::MessageHeader;

/// Sequence numbers that are remembered below the highest of an author: repetitions and different
/// paths put a message behind as many others, and each author costs one bit a number.
const WINDOW: u64 = 4_096;

/// One author's messages to one target.
#[derive(Clone, Debug)]
pub(crate) struct ReplayWindow {
    incarnation: u64,
    highest: u64,
    /// The date of the latest message accepted.
    latest: UnixTime,
    /// Bit `n % WINDOW` tells whether `n` was seen, for n in (highest - WINDOW, highest].
    seen: [u64; (WINDOW / 64) as usize],
}

/// What the window knows of a sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// New: it may be accepted.
    Never,
    /// Accepted before.
    Before,
    /// Below the window, or of an earlier incarnation: cannot be told, so not to be accepted.
    TooOld,
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self {
            incarnation: 0,
            highest: 0,
            latest: UnixTime::default(),
            seen: [0; (WINDOW / 64) as usize],
        }
    }
}

impl ReplayWindow {
    /// Looks without changing anything, so that an unverified claim cannot move the window.
    pub(crate) fn check(&self, header: &MessageHeader) -> Seen {
        let sequence = header.sequence;
        if header.incarnation != self.incarnation {
            // The author has started again if this is dated later than all that it said before. The
            // number itself may be lower: its clock may have been set back meanwhile.
            let later = header.sent_at > self.latest;
            return if later { Seen::Never } else { Seen::TooOld };
        }
        if sequence.saturating_add(WINDOW) <= self.highest {
            return Seen::TooOld;
        }
        if sequence <= self.highest && self.bit(sequence) {
            return Seen::Before;
        }
        Seen::Never
    }

    /// Whether the author has started again since it said this.
    pub(crate) fn is_of_former_life(&self, header: &MessageHeader) -> bool {
        header.incarnation != self.incarnation && self.check(header) == Seen::TooOld
    }

    /// Looks, and notes a verified message that is new.
    pub(crate) fn accept(&mut self, header: &MessageHeader) -> Seen {
        let seen = self.check(header);
        if seen == Seen::Never {
            self.insert(header);
        }
        seen
    }

    /// Notes an accepted message.
    pub(crate) fn insert(&mut self, header: &MessageHeader) {
        let MessageHeader {
            incarnation,
            sequence,
            ..
        } = *header;
        if incarnation != self.incarnation {
            *self = Self {
                incarnation,
                ..Self::default()
            };
        }
        self.latest = self.latest.max(header.sent_at);
        if sequence > self.highest {
            let skipped = (self.highest + 1..=sequence).rev().take(WINDOW as usize);
            for n in skipped {
                self.set(n, false);
            }
            self.highest = sequence;
        }
        self.set(sequence, true);
    }

    fn bit(&self, sequence: u64) -> bool {
        let n = sequence % WINDOW;
        self.seen[(n / 64) as usize] >> (n % 64) & 1 == 1
    }

    fn set(&mut self, sequence: u64, seen: bool) {
        let n = sequence % WINDOW;
        let word = &mut self.seen[(n / 64) as usize];
        let mask = 1 << (n % 64);
        if seen {
            *word |= mask;
        } else {
            *word &= !mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::id::Target;

    fn header(incarnation: u64, sequence: u64, sent_at_us: u64) -> MessageHeader {
        MessageHeader {
            incarnation,
            sequence,
            target: Target::Room,
            sent_at: UnixTime::from_micros(sent_at_us),
            ttl: 16,
        }
    }

    #[test]
    fn a_new_incarnation_starts_afresh_and_an_old_one_is_refused() {
        let mut window = ReplayWindow::default();
        window.insert(&header(10, 5, 100));
        assert_eq!(window.check(&header(10, 5, 100)), Seen::Before);
        assert_eq!(window.check(&header(11, 5, 200)), Seen::Never);
        window.insert(&header(11, 1, 200));
        assert_eq!(window.check(&header(10, 6, 150)), Seen::TooOld);
        assert_eq!(window.check(&header(11, 5, 200)), Seen::Never);
    }

    #[test]
    fn an_author_whose_clock_was_set_back_is_heard_again() {
        let mut window = ReplayWindow::default();
        window.insert(&header(1_000, 7, 1_500));
        // Started again with its clock behind; heard once its dates pass the last one seen.
        assert_eq!(window.check(&header(900, 1, 1_400)), Seen::TooOld);
        assert_eq!(window.check(&header(900, 2, 1_501)), Seen::Never);
        window.insert(&header(900, 2, 1_501));
        assert_eq!(
            window.check(&header(1_000, 8, 1_500)),
            Seen::TooOld,
            "a recording"
        );
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(jumps in prop::collection::vec(-5_000i64..5_000, 1..300)) {
            let (mut window, mut model) = (ReplayWindow::default(), BTreeSet::new());
            let mut at = 9_000i64;
            for jump in jumps {
                at = (at + jump).max(1);
                let sequence = at as u64;
                let highest = model.last().copied().unwrap_or(0);
                let expected = if sequence + WINDOW <= highest {
                    Seen::TooOld
                } else if model.contains(&sequence) {
                    Seen::Before
                } else {
                    Seen::Never
                };
                let header = header(1, sequence, 1);
                prop_assert_eq!(window.check(&header), expected);
                if expected == Seen::Never {
                    window.insert(&header);
                    model.insert(sequence);
                }
            }
        }
    }
}
