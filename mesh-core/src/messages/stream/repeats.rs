//! Copies that leave because a message is lost, or news of it are overdue.

use super::news::Asked;
use super::outbox::{Lost, Outbox, Patience, ROOM_PATIENCE, Sent};
use crate::error::LossReason;
use crate::id::PeerId;
use crate::time::Instant;
use crate::wire::Envelope;

/// A copy that is to leave now.
#[derive(Debug)]
pub(crate) struct Repeat {
    pub(crate) number: u64,
    /// The sequence of the first message.
    pub(crate) sequence: u64,
    pub(crate) envelope: Envelope,
    /// The neighbour that the last one was handed to, if another is better.
    pub(crate) hop: Option<PeerId>,
    pub(crate) deadline: Instant,
    /// What was known of it before.
    before: (Option<Lost>, Instant),
}

impl Outbox {
    /// The copies that are to leave now: of what is known to be lost, as much as the window takes,
    /// and the first of all if news are overdue. Not at first while messages wait for the link to
    /// the neighbour that it was handed to: the copy would come after them.
    pub(crate) fn due(
        &mut self,
        patience: Patience,
        now: Instant,
        is_held: impl FnOnce(PeerId) -> bool,
    ) -> Vec<Repeat> {
        self.wait_for_link(patience, now, is_held);
        let mut due = Vec::new();
        let lost = |sent: &&Sent| sent.lost.is_some();
        let waiting: usize = self.sent.iter().filter(lost).map(|sent| sent.slots).sum();
        let mut under_way = self.slots - waiting;
        for sent in &mut self.sent {
            let Some(lost) = sent.lost.as_mut().filter(|lost| lost.repeat_at <= now) else {
                continue;
            };
            if under_way >= self.window.slots() {
                lost.repeat_at = now + ROOM_PATIENCE;
                continue;
            }
            under_way += sent.slots;
            due.extend(sent.repeat(now));
        }
        if self.ask_again_at(patience).is_some_and(|at| at <= now)
            && let Some(asked) = &mut self.asked
        {
            if std::mem::take(&mut asked.is_put_off) {
                asked.since = now;
            }
            asked.probed_at.get_or_insert(now);
            asked.again += 1;
            asked.at = now;
            // It is news, or it is answered because it is not.
            let first = self.sent.iter_mut().find(|sent| sent.copy.is_some());
            if due.is_empty() {
                let probe = first.and_then(|sent| sent.repeat(now));
                // At first the same way: nothing is known to be wrong with it.
                due.extend(probe.map(|probe| match asked.again {
                    1 => Repeat { hop: None, ..probe },
                    _ => probe,
                }));
            }
            // One question may be held up; two that are not answered are of a path that is full.
            if asked.again > 1 {
                self.window.shrink(self.round_trip(), now);
            }
        }
        self.calm_down();
        if let Some(last) = due.last() {
            let number = last.number;
            self.asked.get_or_insert(Asked::at(number, now));
        }
        due
    }

    /// A copy that was due would come after the one before it: it is due again a little later.
    pub(crate) fn hold(&mut self, repeat: &Repeat, now: Instant) {
        if let Some(place) = self.find(|sent| sent.end() <= repeat.number) {
            let sent = &mut self.sent[place];
            let (lost, sent_at) = repeat.before;
            sent.repeats -= 1;
            sent.sent_at = sent_at;
            sent.lost = lost.map(|lost| Lost {
                repeat_at: now + ROOM_PATIENCE,
                ..lost
            });
            self.lost |= sent.lost.is_some();
        }
    }

    /// There is no way for a copy that was due.
    pub(crate) fn put_off(&mut self, number: u64, at: PeerId, now: Instant) {
        if let Some(place) = self.find(|sent| sent.end() <= number) {
            let sent = &mut self.sent[place];
            sent.lost = Some(Lost {
                reason: LossReason::NoRoute,
                at,
                repeat_at: now + ROOM_PATIENCE * 2,
            });
            self.lost = true;
        }
    }
}

impl Sent {
    fn repeat(&mut self, now: Instant) -> Option<Repeat> {
        let before = (self.lost.take(), self.sent_at);
        let envelope = self.copy.clone()?;
        self.repeats += 1;
        self.sent_at = now;
        Some(Repeat {
            number: self.number,
            sequence: self.sequence,
            envelope,
            hop: self.hop,
            deadline: self.deadline,
            before,
        })
    }
}
