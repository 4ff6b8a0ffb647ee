//! Tells what was seen from what was not: a sliding window over an author's sequence numbers, as
//! IPsec's anti-replay window ([RFC 4303], section 3.4.3), for each incarnation of the author.
//!
//! [RFC 4303]: https://www.rfc-editor.org/rfc/rfc4303

/// Sequence numbers remembered below the highest seen: what overtaking on different paths and
/// retries can disorder.
const WINDOW: u64 = 1_024;

/// One author's messages to one target.
#[derive(Clone, Debug)]
pub(crate) struct ReplayWindow {
    incarnation: u64,
    highest: u64,
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
            seen: [0; (WINDOW / 64) as usize],
        }
    }
}

impl ReplayWindow {
    /// Looks without changing anything, so that an unverified claim cannot move the window.
    pub(crate) fn check(&self, incarnation: u64, sequence: u64) -> Seen {
        if incarnation > self.incarnation {
            return Seen::Never;
        }
        if incarnation < self.incarnation || sequence.saturating_add(WINDOW) <= self.highest {
            return Seen::TooOld;
        }
        if sequence <= self.highest && self.bit(sequence) {
            return Seen::Before;
        }
        Seen::Never
    }

    /// Notes an accepted message.
    pub(crate) fn insert(&mut self, incarnation: u64, sequence: u64) {
        if incarnation > self.incarnation {
            *self = Self {
                incarnation,
                ..Self::default()
            };
        }
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

    #[test]
    fn a_new_incarnation_starts_afresh_and_an_old_one_is_refused() {
        let mut window = ReplayWindow::default();
        window.insert(10, 5);
        assert_eq!(window.check(10, 5), Seen::Before);
        assert_eq!(window.check(11, 5), Seen::Never);
        window.insert(11, 1);
        assert_eq!(window.check(10, 6), Seen::TooOld);
        assert_eq!(window.check(11, 5), Seen::Never);
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(jumps in prop::collection::vec(-1_500i64..1_500, 1..300)) {
            let (mut window, mut model) = (ReplayWindow::default(), BTreeSet::new());
            let mut at = 2_000i64;
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
                prop_assert_eq!(window.check(1, sequence), expected);
                if expected == Seen::Never {
                    window.insert(1, sequence);
                    model.insert(sequence);
                }
            }
        }
    }
}
