//! Which messages may still be told to have failed: each has one outcome, the first that is true.
//!
//! An acknowledged message is pending until its receipt comes or its deadline passes. A reliable
//! one is only told to have failed, by notices of forwarders that got stuck with it: of one message
//! there may be several, if copies went over several ways.

use std::collections::{BTreeMap, VecDeque};

use crate::id::PeerId;

/// Messages of one word, a bit each.
const WORD: u64 = u64::BITS as u64;

/// Words that are kept for each target: 16,384 messages under way to it, eight times what the
/// queues on a path of two hops hold.
const WORDS_MAX: usize = 256;

/// Reliable messages of which no failure was told yet, by target.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    by_target: BTreeMap<PeerId, Open>,
}

/// The numbers of some messages to one target, as a bit each.
#[derive(Debug, Default)]
struct Open {
    /// The number of the first bit.
    first: u64,
    words: VecDeque<u64>,
}

impl Outcomes {
    /// A reliable message was sent.
    pub(super) fn open(&mut self, target: PeerId, sequence: u64) {
        let open = self.by_target.entry(target).or_default();
        if open.words.is_empty() {
            open.first = sequence / WORD * WORD;
        }
        let place = (sequence.saturating_sub(open.first) / WORD) as usize;
        let missing = (place + 1).saturating_sub(open.words.len());
        if missing > WORDS_MAX {
            *open = Open::default();
            return self.open(target, sequence);
        }
        open.words.extend(std::iter::repeat_n(0, missing));
        open.words[place] |= 1 << (sequence % WORD);
        while open.words.len() > WORDS_MAX {
            open.words.pop_front();
            open.first += WORD;
        }
    }

    /// A message has failed. Returns whether that is news: it was sent, and no outcome was told.
    pub(super) fn close(&mut self, target: PeerId, sequence: u64) -> bool {
        let word = self.by_target.get_mut(&target).and_then(|open| {
            let place = sequence.checked_sub(open.first)? / WORD;
            open.words.get_mut(usize::try_from(place).ok()?)
        });
        let Some(word) = word else {
            return false;
        };
        let bit = 1 << (sequence % WORD);
        let was_open = *word & bit != 0;
        *word &= !bit;
        was_open
    }

    /// Forgets targets that are no longer here.
    pub(super) fn retain(&mut self, is_here: impl Fn(PeerId) -> bool) {
        self.by_target.retain(|&peer, _| is_here(peer));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::trust::Identity;

    fn peer() -> PeerId {
        Identity::from_secret([1; 32]).peer()
    }

    #[test]
    fn what_was_never_sent_cannot_fail_and_what_was_sent_fails_once() {
        let mut outcomes = Outcomes::default();
        assert!(!outcomes.close(peer(), 1_000_000));
        outcomes.open(peer(), 1_000_000);
        outcomes.open(peer(), 1_000_070);
        assert!(!outcomes.close(peer(), 1_000_001), "not sent");
        assert!(outcomes.close(peer(), 1_000_070));
        assert!(outcomes.close(peer(), 1_000_000));
        assert!(!outcomes.close(peer(), 1_000_000), "told already");
        assert!(!outcomes.close(peer(), u64::MAX));
    }

    #[test]
    fn memory_is_bounded_and_the_newest_are_kept() {
        let mut outcomes = Outcomes::default();
        let kept = WORDS_MAX as u64 * WORD;
        (0..kept * 3).for_each(|n| outcomes.open(peer(), n));
        assert_eq!(outcomes.by_target[&peer()].words.len(), WORDS_MAX);
        assert!(!outcomes.close(peer(), kept));
        assert!(outcomes.close(peer(), kept * 2));
        outcomes.open(peer(), u64::MAX);
        assert!(outcomes.close(peer(), u64::MAX));
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(
            steps in prop::collection::vec((any::<bool>(), 0u64..200), 0..300),
        ) {
            let (mut outcomes, mut set) = (Outcomes::default(), std::collections::BTreeSet::new());
            let mut highest = 0;
            for (sends, number) in steps {
                if sends {
                    highest += number; // Sequences grow.
                    outcomes.open(peer(), highest);
                    set.insert(highest);
                } else {
                    let number = highest.saturating_sub(number);
                    prop_assert_eq!(outcomes.close(peer(), number), set.remove(&number));
                }
            }
        }
    }
}
