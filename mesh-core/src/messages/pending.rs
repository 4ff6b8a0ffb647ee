//! Messages that are repeated until they are answered, and the answers.

use std::time::Duration;

use super::copies::{Way, Ways};
use super::losses::delivery_failed;
use super::{Messages, Net};
use crate::error::LossReason;
use crate::id::{MessageId, PeerId, Target};
use crate::io::{Channel, Event};
use crate::log::decided;
use crate::time::{Instant, UnixTime};
use crate::timeout::TimeoutReason;
use crate::wire::{Content, Data, MessageHeader};

/// A message that is repeated until its receipt or reply comes.
#[derive(Debug)]
pub(super) struct Pending {
    /// What is repeated; none of a large request, whose parts are.
    pub(super) data: Option<Data>,
    pub(super) sent_at: Instant,
    /// When the first copy left, or will at the earliest.
    pub(super) left_at: Instant,
    /// When it was sent by the civil clock, as the message is dated.
    pub(super) dated: UnixTime,
    pub(super) deadline: Instant,
    pub(super) retry_at: Instant,
    pub(super) wait: Duration,
    /// The neighbour that it was last handed to.
    pub(super) hop: Option<PeerId>,
    /// When it was last on its way. Notices bring a retry forward, but not at once after the last,
    /// or they could make us shout.
    pub(super) repeated_at: Instant,
}

impl Pending {
    /// A large request: its reply is waited for once all of it has arrived.
    pub(super) fn of_large(wait: Duration, longest: Duration, net: &Net<'_>) -> Self {
        Self {
            data: None,
            sent_at: net.cx.now,
            left_at: net.cx.now,
            dated: net.cx.unix(),
            deadline: net.cx.now + longest,
            retry_at: net.cx.now + longest,
            wait,
            hop: None,
            repeated_at: net.cx.now,
        }
    }

    /// How long its receipt or reply has taken. It does not tell which copy it answers: that it is
    /// the first counts only as far as the last was waited for, so that one message that was held
    /// up for long does not have all others wait.
    pub(super) fn answered_after(&self, now: Instant) -> Duration {
        let took = now.since(self.left_at);
        match self.repeated_at == self.left_at {
            true => took,
            false => took.min(self.wait),
        }
    }

    /// The first copy leaves now, over this neighbour. There is time for a second.
    pub(super) fn leaves(&mut self, hop: Option<PeerId>, now: Instant) {
        (self.left_at, self.repeated_at) = (now, now);
        self.retry_at = now + self.wait.min(self.deadline.since(now) / 2);
        self.hop = hop;
    }

    /// The other end has the request, or a part of its reply has come: so long from now on for it.
    /// Returns when that is over.
    pub(super) fn await_reply(&mut self, deadline: Duration, now: Instant) -> Instant {
        self.deadline = now + deadline;
        self.retry_at = self.deadline;
        self.deadline
    }
}

impl Messages {
    /// A part of the reply to a request of this agent has come.
    pub(super) fn reply_is_coming(
        &mut self,
        from: PeerId,
        (incarnation, sequence): (u64, u64),
        net: &Net<'_>,
    ) {
        let id = MessageId {
            author: net.cx.this,
            incarnation,
            target: Target::Peer(from),
            sequence,
        };
        if let Some(pending) = self.pending.get_mut(&id) {
            let deadline = net.cx.config.deadline;
            if pending.deadline < net.cx.now + deadline {
                let until = pending.await_reply(deadline, net.cx.now);
                self.timers.arm(TimeoutReason::Retry, until);
            }
        }
    }

    /// Tells the author that so many messages from this one on have arrived. The neighbour `back`
    /// has brought them, so it is alive and leads to the author; the shortest path may not.
    pub(super) fn send_receipt(
        &mut self,
        to: PeerId,
        header: &MessageHeader,
        count: u8,
        back: Option<PeerId>,
        net: &mut Net<'_>,
    ) {
        let message = (header.incarnation, header.sequence);
        let receipt = self.sign(Target::Peer(to), Content::Receipt { message, count }, net);
        self.send_back(receipt, Channel::Data, back, net);
    }

    pub(super) fn take_pending(
        &mut self,
        to: PeerId,
        (incarnation, sequence): (u64, u64),
        net: &mut Net<'_>,
    ) -> Option<(MessageId, Pending)> {
        let id = MessageId {
            author: net.cx.this,
            incarnation,
            target: Target::Peer(to),
            sequence,
        };
        let pending = self.pending.remove(&id)?;
        self.streams.settle(to, sequence, 1);
        net.cx.stats.acknowledged += 1;
        self.notify_writable(net);
        Some((id, pending))
    }

    /// So many messages have arrived, from this one on.
    pub(super) fn receipt_received(
        &mut self,
        from: PeerId,
        (incarnation, first): (u64, u64),
        count: u8,
        net: &mut Net<'_>,
    ) {
        for number in 0..u64::from(count) {
            let message = (incarnation, first.saturating_add(number));
            if let Some((id, pending)) = self.take_pending(from, message, net) {
                let took = pending.answered_after(net.cx.now);
                self.streams.answered_after(from, took, net.cx.now);
                net.cx.emit(Event::Delivered {
                    id,
                    to: from,
                    round_trip_ms: net.cx.now.since(pending.sent_at).as_secs_f64() * 1e3,
                });
            }
        }
    }

    /// How long the receipt or reply of a message is waited for that is handed to this neighbour:
    /// as long as receipts took before, and no less than the link to the neighbour takes. An agent
    /// that waits less on a long path sends everything twice.
    pub(super) fn answers_within(
        &self,
        target: Target,
        hop: Option<PeerId>,
        net: &Net<'_>,
    ) -> Duration {
        let known = match target {
            Target::Peer(to) => self.streams.answers_within(to),
            Target::Room => None,
        };
        let link = hop.and_then(|hop| net.links.answers_within(hop));
        let min = net.cx.config.retry_min;
        [known, link].into_iter().flatten().fold(min, Duration::max)
    }

    /// Repeats what is due, gives up what is late.
    pub(crate) fn retry_pending(&mut self, net: &mut Net<'_>) {
        let now = net.cx.now;
        let due = self.pending.iter();
        let due = due.filter(|(_, pending)| pending.retry_at <= now);
        let due: Vec<_> = due.map(|(id, pending)| (*id, pending.deadline)).collect();
        let mut ways = Ways::default();
        for (id, deadline) in due {
            match deadline <= now {
                true => self.fail_late(id, net),
                false => self.repeat_pending(id, &mut ways, net),
            }
        }
        if let Some(at) = self.pending.values().map(|pending| pending.retry_at).min() {
            self.timers.arm(TimeoutReason::Retry, at);
        }
        self.notify_writable(net);
    }

    fn fail_late(&mut self, id: MessageId, net: &mut Net<'_>) {
        self.pending.remove(&id);
        if let Target::Peer(to) = id.target {
            self.streams.settle(to, id.sequence, 1);
        }
        net.cx.stats.lose(LossReason::Deadline);
        delivery_failed(id, LossReason::Deadline, net.cx.this, net.cx);
    }

    fn repeat_pending(&mut self, id: MessageId, ways: &mut Ways, net: &mut Net<'_>) {
        let now = net.cx.now;
        let Some(pending) = self.pending.get_mut(&id) else {
            return;
        };
        if self.drafts.hold(&id) {
            pending.retry_at = (now + pending.wait).min(pending.deadline); // It leaves first.
            return;
        }
        let hop = pending.hop;
        let longest = self.answers_within(id.target, hop, net);
        let longest = longest.max(net.cx.config.retry_max);
        let way = match self.waiting.holds(id.target) {
            true => Some(Way::Behind), // The first copy has not left yet.
            false => ways.of_copy((id.target, id.sequence), hop, net),
        };
        let Some(pending) = self.pending.get_mut(&id) else {
            return;
        };
        pending.repeated_at = now;
        pending.wait = (pending.wait * 2).min(longest);
        pending.retry_at = (now + pending.wait).min(pending.deadline);
        let Some(Way::Over(hop)) = way else {
            return;
        };
        let Some(mut data) = pending.data.clone() else {
            return;
        };
        pending.hop = Some(hop);
        let dated = pending.dated;
        self.streams.update_place(id.target, &mut data.place);
        if let Some(place) = &mut data.place {
            // A request's reply may take long; that it has arrived shall not.
            place.asks = data.wants_reply;
        }
        if let (Target::Peer(to), Some(place)) = (id.target, data.place) {
            self.streams.repeated(to, place.number, hop, now);
        }
        let header = net.header(id, dated);
        let envelope = net.sign(header, Content::Data(data));
        net.cx.stats.retried += 1;
        decided!(net.cx, to = ?id.target, sequence = id.sequence, next = ?hop, "repeat a message");
        let _ = net.hand_to(hop, envelope, Channel::Data);
    }
}
