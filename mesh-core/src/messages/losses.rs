//! What becomes of messages that get stuck: another way, a notice to the author, an outcome.

use std::time::Duration;

use super::{Messages, Net};
use crate::context::Context;
use crate::error::LossReason;
use crate::id::{MessageId, PeerId, Target};
use crate::io::{Channel, Event};
use crate::log::decided;
use crate::overlay::SETTLE;
use crate::payload::Delivery;
use crate::timeout::TimeoutReason;
use crate::wire::{ClearHeader, Content, Envelope, Kind, MessageHeader};

impl Messages {
    /// The link that these were sent over died before they were acknowledged: another path, or a
    /// notice. Broadcasts are mended by agents that have them.
    pub(crate) fn reroute(&mut self, envelopes: Vec<Envelope>, net: &mut Net<'_>) {
        if !envelopes.is_empty() {
            decided!(
                net.cx,
                count = envelopes.len(),
                "send on what a lost link may not have passed"
            );
        }
        for envelope in envelopes {
            if envelope.target == Target::Room {
                continue;
            }
            if envelope.signed.claimed_author() == net.cx.this {
                net.cx.stats.rerouted += 1;
                let patience = patience_left(&envelope, net);
                self.dispatch(envelope, Channel::Data, None, patience, net);
                continue;
            }
            let forwarded = net.forward(envelope, Channel::Data, None);
            match forwarded.map_err(|stuck| *stuck) {
                Ok(()) => net.cx.stats.rerouted += 1,
                Err((LossReason::NoRoute, envelope)) => {
                    self.stranded(envelope, LossReason::PeerDisconnected, net);
                }
                Err((reason, envelope)) => self.stranded(envelope, reason, net),
            }
        }
    }

    /// Counts messages lost here and tells their author, which may be this agent.
    pub(super) fn undeliverable(
        &mut self,
        envelope: &Envelope,
        reason: LossReason,
        net: &mut Net<'_>,
    ) {
        let author = envelope.signed.claimed_author();
        let Some(header) = envelope.signed.peek::<ClearHeader>() else {
            net.cx.stats.lose(reason);
            return;
        };
        let delivery = match header.kind {
            Kind::Data(delivery) => delivery,
            Kind::Chunk => Delivery::Acknowledged, // Its author repeats it.
            _ => return, // Signals, receipts and notices are repeated or dispensable.
        };
        let (header, count) = (header.message, header.count);
        let (to, sequence) = (header.target, header.sequence);
        decided!(
            net.cx,
            ?author,
            ?to,
            sequence,
            count,
            ?delivery,
            ?reason,
            "no way for messages"
        );
        if author == net.cx.this {
            if self.is_repeated(&header.id(author), (reason, author), net) {
                return;
            }
            if let Target::Peer(to) = header.target {
                self.streams.settle(to, header.sequence, u64::from(count));
            }
            for number in 0..usize::from(count) {
                let id = header.after(number).id(author);
                let is_news = match (delivery, id.target) {
                    (Delivery::Acknowledged, _) => false, // Told when its deadline has passed.
                    (Delivery::Reliable, Target::Peer(to)) => self.outcomes.close(to, id.sequence),
                    (Delivery::Datagram, _) | (_, Target::Room) => true,
                };
                if is_news {
                    net.cx.stats.lose(reason);
                    delivery_failed(id, reason, author, net.cx);
                }
            }
            return;
        }
        if count == 0 {
            return; // No agent would take it.
        }
        // An acknowledged message is not lost yet: its author repeats it.
        if delivery != Delivery::Acknowledged {
            (0..count).for_each(|_| net.cx.stats.lose(reason));
        }
        // The author is not verified: a notice goes to members only, not to any peer that is named.
        if delivery != Delivery::Datagram {
            // This agent may just have lost all its links, with what was to be passed on.
            let patience = net.cx.config.deadline_max;
            if let Some(notice) = self.notice(author, (&header, count, reason), net) {
                self.dispatch(notice, Channel::Control, None, patience, net);
            }
        }
    }

    /// Tells an author, if it may be a member, that so many messages, from this one on, do not
    /// arrive.
    pub(super) fn notice(
        &mut self,
        author: PeerId,
        (first, count, reason): (&MessageHeader, u8, LossReason),
        net: &mut Net<'_>,
    ) -> Option<Envelope> {
        if !net.overlay.may_be_here(author) {
            return None;
        }
        let content = Content::Undelivered {
            message: (first.incarnation, first.target, first.sequence),
            count,
            reason,
        };
        Some(self.sign(Target::Peer(author), content, net))
    }

    /// A forwarder could not pass so many messages of this agent on, from this one, or their target
    /// does not wait for them any more.
    pub(super) fn undelivered(
        &mut self,
        at: PeerId,
        (incarnation, target, first): (u64, Target, u64),
        count: u8,
        reason: LossReason,
        net: &mut Net<'_>,
    ) {
        let first_id = MessageId {
            author: net.cx.this,
            incarnation,
            target,
            sequence: first,
        };
        if target == Target::Peer(at) && incarnation == net.trust.incarnation() {
            self.streams.settle(at, first, count.into());
        } else if self.is_repeated(&first_id, (reason, at), net) {
            return;
        }
        for number in 0..u64::from(count) {
            let id = MessageId {
                sequence: first.saturating_add(number),
                ..first_id
            };
            self.one_undelivered(at, id, reason, net);
        }
    }

    fn one_undelivered(
        &mut self,
        at: PeerId,
        id: MessageId,
        reason: LossReason,
        net: &mut Net<'_>,
    ) {
        if let Some(pending) = self.pending.get_mut(&id) {
            // Routes are about to change: once more, soon. A full queue needs time instead.
            if reason != LossReason::QueueFull {
                let earliest = pending.repeated_at + net.cx.config.retry_min;
                let soon = earliest.max(net.cx.now + SETTLE);
                pending.retry_at = pending.retry_at.min(soon);
                self.timers.arm(TimeoutReason::Retry, soon);
            }
        } else if let Target::Peer(to) = id.target
            && id.incarnation == net.trust.incarnation()
            && self.outcomes.close(to, id.sequence)
        {
            delivery_failed(id, reason, at, net.cx);
        }
    }

    /// The agent leaves: answers will not be heard, and what waits for a way stays here.
    pub(super) fn fail_pending(&mut self, net: &mut Net<'_>) {
        self.stop_all_sending(net);
        self.fail_questions(net);
        let notices: Vec<_> = self.notices.take_all().collect();
        for envelope in self.waiting.take_all().into_iter().chain(notices) {
            self.undeliverable(&envelope, LossReason::Left, net);
        }
        for (id, _) in std::mem::take(&mut self.pending) {
            net.cx.stats.lose(LossReason::Left);
            delivery_failed(id, LossReason::Left, net.cx.this, net.cx);
        }
    }
}

/// How long a message of this agent may still wait for a way.
fn patience_left(envelope: &Envelope, net: &Net<'_>) -> Duration {
    let header = envelope.signed.peek::<MessageHeader>();
    let age = header.map_or(Duration::ZERO, |header| net.cx.unix() - header.sent_at);
    net.cx.config.deadline.saturating_sub(age)
}

/// A message of this agent is lost: tells the application.
pub(super) fn delivery_failed(id: MessageId, reason: LossReason, at: PeerId, cx: &mut Context) {
    decided!(cx, to = ?id.target, sequence = id.sequence, ?reason, ?at, "give a message up");
    let to = match id.target {
        Target::Peer(peer) => Some(peer),
        Target::Room => None,
    };
    cx.emit(Event::DeliveryFailed { id, to, reason, at });
}
