//! News of a stream: what has arrived, what is missing, and how long it took to learn of it.

use std::time::Duration;

use super::outbox::{
    DOUBLINGS_MAX, FIRST_PATIENCE, Lost, Outbox, Patience, ROOM_PATIENCE, ROUND_TRIP, Sent,
};
use crate::error::LossReason;
use crate::id::PeerId;
use crate::time::Instant;
use crate::wire::Progress;

/// Delay beyond twice the shortest round trip at which the window shrinks: messages under way
/// beyond that only wait in queues, and would arrive too late to be of use.
const QUEUEING_MAX: Duration = Duration::from_millis(500);

/// Questions that are timed at once: twice as many as a window has halves, as it grows and shrinks.
const QUESTIONS_MAX: usize = 4;

/// A question for news that is not answered yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// The number that it came with.
    pub(super) number: u64,
    /// When it was first asked, and last.
    pub(super) since: Instant,
    pub(super) at: Instant,
    /// When it was first asked again, by a copy of a message that had been sent before.
    pub(super) probed_at: Option<Instant>,
    /// How often it was asked again.
    pub(super) again: u32,
    /// The target was not asked yet: it is if nothing else is sent soon.
    pub(super) is_put_off: bool,
}

impl Asked {
    /// A question that leaves now, with the message of this number.
    pub(super) fn at(number: u64, now: Instant) -> Self {
        Self {
            number,
            since: now,
            at: now,
            probed_at: None,
            again: 0,
            is_put_off: false,
        }
    }
}

/// Whether news took far longer than they could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lateness {
    None,
    /// A packet that was lost may have held them up: no reason to send less, nor more.
    Once,
    /// So did news that were asked for after those: messages under way wait in queues.
    Twice,
}

/// What the target's news come to.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Messages that have arrived, as sequences and counts.
    pub(crate) arrived: Vec<(u64, u64)>,
    /// Sequences of missing messages that are repeated elsewhere.
    pub(crate) missing: Vec<u64>,
}

impl Outbox {
    /// The target tells how far the stream has come. Nothing if it cannot be so.
    pub(crate) fn progress(
        &mut self,
        progress: &Progress,
        at: PeerId,
        now: Instant,
    ) -> Option<News> {
        let Progress { next, seen, .. } = *progress;
        if next > seen || seen > self.next {
            return None;
        }
        let mut news = News::default();
        let used = self.uses_window();
        let probed = self.asked.filter(|asked| asked.again > 0);
        // Else it may be the first question that is answered, late: what was sent after that is on
        // its way. A connection begins with 4 KiB a round trip, and much waits for that.
        let first = self.sent.front().map(Sent::end);
        let is_of_first = |asked: &Asked| first.is_some_and(|end| asked.number < end);
        let probed = probed.filter(|asked| progress.repeated || is_of_first(asked));
        let mut missing = progress.missing.iter().peekable();
        let (mut arrived, mut is_lossy) = (0, false);
        let guard = self.round_trip().max(ROOM_PATIENCE);
        let longest = self.news.longest().unwrap_or(ROUND_TRIP).max(guard);
        self.sent.retain_mut(|sent| {
            let is_before = |range: &&(u64, u64)| range.0.saturating_add(range.1) <= sent.number;
            while missing.next_if(is_before).is_some() {}
            let is_missing = missing.peek().is_some_and(|(first, _)| *first < sent.end());
            if sent.end() <= seen && !(is_missing && sent.end() > next) {
                arrived += sent.slots;
                news.arrived.push((sent.sequence, sent.count));
                return false;
            }
            // What was sent before a question that has come, and is not there, will not come. If it
            // was asked several times it may be the first that is answered.
            let asked_at = probed.and_then(|asked| asked.probed_at);
            let overdue = asked_at.is_some_and(|at| sent.sent_at + longest < at);
            let is_lost = sent.number < seen || overdue;
            if !is_lost || sent.sent_at + guard > now || sent.lost.is_some() {
                return true;
            }
            if sent.copy.is_none() {
                news.missing.push(sent.sequence);
                return true;
            }
            is_lossy = true;
            let reason = LossReason::Deadline;
            let repeat_at = now;
            sent.lost = Some(Lost {
                reason,
                at,
                repeat_at,
            });
            true
        });
        self.slots -= arrived;
        self.lost |= is_lossy;
        let lateness = self.answered(next.max(seen), now);
        if is_lossy || lateness == Lateness::Twice {
            self.window.shrink(self.round_trip(), now);
        } else if used && lateness == Lateness::None {
            self.window.grow(arrived);
        }
        self.calm_down();
        Some(news)
    }

    /// News have come, of all up to this number.
    fn answered(&mut self, seen: u64, now: Instant) -> Lateness {
        let mut took = None;
        while let Some((_, at)) = self.questions.pop_front_if(|(number, _)| *number < seen) {
            took = Some(now.since(at));
        }
        match self.asked.take() {
            // An earlier question's. The last is on its way.
            Some(asked) if asked.number >= seen => {
                self.asked = Some(Asked {
                    again: 0,
                    probed_at: None,
                    ..asked
                });
            }
            Some(asked) => {
                if !asked.is_put_off {
                    took = Some(now.since(asked.since));
                }
                self.ask_of_rest(now);
            }
            None => {}
        }
        let Some(took) = took else {
            return Lateness::None;
        };
        // If it was asked several times this is the longest that it can have taken. Without it a
        // path that has become slow would be asked too soon for ever; and a path that was away for
        // a while is soon taken for what it is.
        let longest = self.news.longest().unwrap_or_default();
        self.news
            .measured(took.min(FIRST_PATIENCE.max(longest * 2)));
        self.lateness(took, now)
    }

    /// Judges news by how long they took.
    fn lateness(&mut self, took: Duration, now: Instant) -> Lateness {
        let shortest = self.shortest.map_or(took, |shortest| shortest.min(took));
        self.shortest = Some(shortest);
        if took <= shortest * 2 + QUEUEING_MAX {
            self.late_at = None;
            return Lateness::None;
        }
        // What one lost packet has held up are all questions that had been asked by then.
        let is_of_same = |late_at: Instant| late_at + took > now;
        if self.late_at.is_some_and(is_of_same) {
            return Lateness::Once;
        }
        match self.late_at.replace(now) {
            None => Lateness::Once,
            Some(_) => Lateness::Twice,
        }
    }

    /// The message of this number asks as it leaves for the first time.
    pub(super) fn ask(&mut self, number: u64, now: Instant) {
        self.unasked = (0, 0);
        self.asked = Some(Asked::at(number, now));
        if self.questions.len() < QUESTIONS_MAX {
            self.questions.push_back((number, now));
        }
    }

    /// When the question that is not answered is asked again.
    pub(super) fn ask_again_at(&self, patience: Patience) -> Option<Instant> {
        let asked = self.asked?;
        let usual = self.news.longest().unwrap_or(FIRST_PATIENCE);
        let wait = patience.min.max(usual) * (1 << asked.again.min(DOUBLINGS_MAX));
        Some(asked.at + wait.min(patience.max.max(usual * 2)))
    }

    /// Where news are overdue for the first time, and the link to the neighbour that the first
    /// awaited message was handed to still holds messages, they are waited for as long again.
    pub(super) fn wait_for_link(
        &mut self,
        patience: Patience,
        now: Instant,
        is_held: impl FnOnce(PeerId) -> bool,
    ) {
        let is_overdue = self.ask_again_at(patience).is_some_and(|at| at <= now);
        if let Some(asked) = self.asked.as_mut()
            && is_overdue
            && asked.again == 0
            && let Some(first) = self.sent.iter().find(|sent| sent.copy.is_some())
            && first.hop.is_some_and(is_held)
        {
            asked.at = now;
        }
    }

    /// What is not known to have arrived is asked for, if nothing more is sent soon.
    pub(crate) fn ask_of_rest(&mut self, now: Instant) {
        let left = self.sent.iter().rev().find(|sent| sent.copy.is_some());
        self.asked = left.map(|sent| Asked {
            is_put_off: true,
            ..Asked::at(sent.end() - 1, now)
        });
    }
}
