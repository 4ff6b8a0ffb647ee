//! How many messages are repeated at once before the first of the copies is answered.
//!
//! What is late on a path is late together: one packet that got lost holds up all that was sent
//! after it. To repeat it all would fill a path that is slow. So a few copies find out whether the
//! way works, and each answer allows for one more, as TCP does after its timer ran out (RFC 6298,
//! section 5; RFC 5681, section 3.1).

use crate::time::Instant;

/// Copies that may be under way to an agent of which nothing was heard since the last: as many as
/// the segments that TCP begins with on a path of which it knows nothing (RFC 6928).
const COPIES_MIN: usize = 10;

/// Copies to one agent that may be under way.
#[derive(Debug)]
pub(crate) struct Copies {
    max: usize,
    heard_at: Option<Instant>,
}

impl Default for Copies {
    fn default() -> Self {
        Self {
            max: COPIES_MIN,
            heard_at: None,
        }
    }
}

impl Copies {
    /// How many may be under way.
    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// The agent has answered: a copy, or a message that was sent once.
    pub(crate) fn heard(&mut self, of_copy: bool, now: Instant) {
        self.heard_at = Some(now);
        self.max = self.max.saturating_add(usize::from(of_copy));
    }

    /// A copy that left then is due again.
    pub(crate) fn unanswered(&mut self, sent_at: Instant) {
        if self.heard_at.is_none_or(|at| at < sent_at) {
            self.max = COPIES_MIN;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_allows_for_one_more_and_silence_for_few() {
        let at = |ms: u64| Instant::from_micros(ms * 1_000);
        let mut copies = Copies::default();
        assert_eq!(copies.max(), COPIES_MIN);
        (0..4).for_each(|_| copies.heard(true, at(10)));
        assert_eq!(copies.max(), COPIES_MIN + 4);
        copies.heard(false, at(20));
        copies.unanswered(at(15));
        assert_eq!(copies.max(), COPIES_MIN + 4, "the way works");
        copies.unanswered(at(25));
        assert_eq!(copies.max(), COPIES_MIN);
    }
}
