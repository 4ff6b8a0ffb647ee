//! Messages on their way: the next hop, receipts, retries, losses.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Mesh;
use crate::error::LossReason;
use crate::id::{MessageId, PeerId, Target};
use crate::io::{Channel, Event};
use crate::payload::{Delivery, Payload};
use crate::routing::Routes;
use crate::time::{Instant, UnixTime};
use crate::timers::Timer;
use crate::wire::{Content, Data, Envelope, Message, MessageHeader};

/// Neighbours around which paths are computed in one turn, at most: each costs as much as all paths
/// do, a millisecond in a large room.
const DETOURS_MAX: usize = 4;

/// An envelope that cannot be passed on, and why.
pub(super) type Stuck = Box<(LossReason, Envelope)>;

/// A message that is repeated until its receipt or reply comes.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) data: Data,
    pub(super) sent_at: Instant,
    /// The same by the civil clock, as the message is dated.
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

impl Mesh {
    /// The neighbour to pass a message on to: on a shortest path, open, not full, and not the one
    /// that it came from, which would be a loop.
    pub(super) fn next_hop(
        &mut self,
        to: PeerId,
        from: Option<PeerId>,
        channel: Channel,
    ) -> Result<PeerId, LossReason> {
        let flow = to.prefix() ^ self.cx.this.prefix();
        let mut full = false;
        for fresh in [false, true] {
            if fresh {
                if !self.routes_stale {
                    break;
                }
                self.refresh_routes();
            }
            let mut usable = |peer| {
                let link = self.open_link_to(peer).filter(|_| Some(peer) != from);
                let takes = link.is_some_and(|link| !link.queue.is_full(channel, &self.cx.config));
                full |= link.is_some() && !takes;
                takes
            };
            let next = self.routes.next_hop(to, flow, &self.database, &mut usable);
            if let Some(peer) = next {
                return Ok(peer);
            }
        }
        if self.still_leads_to(to, channel) && Some(to) != from {
            return Ok(to);
        }
        Err(if full {
            LossReason::QueueFull
        } else {
            LossReason::NoRoute
        })
    }

    /// Whether there is a link to the destination itself that is being drained. While links are
    /// replaced, two neighbours may each believe the way to be over the other.
    fn still_leads_to(&self, to: PeerId, channel: Channel) -> bool {
        let link = self.by_peer.get(&to).and_then(|&id| self.links.get(id));
        link.is_some_and(|link| link.is_usable() && !link.queue.is_full(channel, &self.cx.config))
    }

    /// Passes an envelope on, one hop; gives it back with the reason if it is stuck.
    pub(super) fn forward(
        &mut self,
        envelope: Envelope,
        channel: Channel,
        from: Option<PeerId>,
        now: Instant,
    ) -> Result<(), Stuck> {
        let Target::Peer(to) = envelope.target else {
            return Err(Box::new((LossReason::NoRoute, envelope)));
        };
        if envelope.ttl == 0 {
            return Err(Box::new((LossReason::TtlExpired, envelope)));
        }
        let peer = match self.next_hop(to, from, channel) {
            Ok(peer) => peer,
            Err(reason) => return Err(Box::new((reason, envelope))),
        };
        self.hand_to(peer, envelope, channel, now)
    }

    /// Passes an envelope on to this neighbour, however much waits for it.
    pub(super) fn hand_to(
        &mut self,
        peer: PeerId,
        envelope: Envelope,
        channel: Channel,
        now: Instant,
    ) -> Result<(), Stuck> {
        let link = self
            .by_peer
            .get(&peer)
            .and_then(|&id| self.links.get_mut(id));
        let Some(link) = link else {
            return Err(Box::new((LossReason::NoRoute, envelope)));
        };
        link.queue.envelope(channel, envelope, now);
        self.busy.insert(link.id);
        self.cx
            .timers
            .arm(Timer::Suspect, now + self.cx.config.suspect_after);
        Ok(())
    }

    /// The link that these were sent over died before they were acknowledged: another path, or a
    /// notice. Broadcasts are mended by those who have them.
    pub(super) fn reroute(&mut self, envelopes: Vec<Envelope>, now: Instant) {
        for envelope in envelopes {
            if envelope.target == Target::Room {
                continue;
            }
            if envelope.signed.claimed_author() == self.cx.this {
                self.cx.stats.rerouted += 1;
                let patience = self.patience_left(&envelope, now);
                self.dispatch(envelope, Channel::Data, None, patience, now);
                continue;
            }
            match self
                .forward(envelope, Channel::Data, None, now)
                .map_err(|stuck| *stuck)
            {
                Ok(()) => self.cx.stats.rerouted += 1,
                Err((LossReason::NoRoute, envelope)) => {
                    self.undeliverable(&envelope, LossReason::PeerDisconnected, now);
                }
                Err((reason, envelope)) => self.undeliverable(&envelope, reason, now),
            }
        }
    }

    /// How long a message of this agent may still wait for a way.
    fn patience_left(&self, envelope: &Envelope, now: Instant) -> Duration {
        let header = envelope.signed.peek::<MessageHeader>();
        let age = header.map_or(Duration::ZERO, |header| self.cx.unix() - header.sent_at);
        self.cx.config.deadline.saturating_sub(age)
    }

    /// Counts messages lost here and tells their author, who may be this agent.
    pub(super) fn undeliverable(&mut self, envelope: &Envelope, reason: LossReason, now: Instant) {
        let author = envelope.signed.claimed_author();
        let Some(message) = envelope.signed.peek::<Message>() else {
            self.cx.stats.lose(reason);
            return;
        };
        let Content::Data(data) = message.content else {
            return; // Signals, receipts and notices are repeated or dispensable.
        };
        let header = message.header;
        if author == self.cx.this {
            for number in 0..data.items.len() {
                let id = header.after(number).id(author);
                let is_news = match (data.delivery, id.target) {
                    (Delivery::Acknowledged, _) => false, // Told when its deadline has passed.
                    (Delivery::Reliable, Target::Peer(to)) => self.outcomes.close(to, id.sequence),
                    (Delivery::Datagram, _) | (_, Target::Room) => true,
                };
                if is_news {
                    self.cx.stats.lose(reason);
                    self.delivery_failed(id, reason, author);
                }
            }
            return;
        }
        let Some(count) = data.count() else {
            return; // Nobody would take it.
        };
        // An acknowledged message is not lost yet: its author repeats it.
        if data.delivery != Delivery::Acknowledged {
            (0..count).for_each(|_| self.cx.stats.lose(reason));
        }
        // Nobody has verified the author: a notice goes to members only, not to whoever is named.
        if data.delivery != Delivery::Datagram && self.may_be_here(author) {
            let content = Content::Undelivered {
                message: (header.incarnation, header.target, header.sequence),
                count,
                reason,
            };
            let notice = self.sign(Target::Peer(author), content, now);
            // This agent may just have lost all its links, with what was to be passed on.
            self.dispatch(
                notice,
                Channel::Control,
                None,
                self.cx.config.deadline_max,
                now,
            );
        }
    }

    /// Somebody on the way could not pass so many messages of this agent on, from this one.
    pub(super) fn undelivered(
        &mut self,
        at: PeerId,
        (incarnation, target, first): (u64, Target, u64),
        count: u8,
        reason: LossReason,
        now: Instant,
    ) {
        for number in 0..u64::from(count) {
            let id = MessageId {
                author: self.cx.this,
                incarnation,
                target,
                sequence: first.saturating_add(number),
            };
            self.one_undelivered(at, id, reason, now);
        }
    }

    fn one_undelivered(&mut self, at: PeerId, id: MessageId, reason: LossReason, now: Instant) {
        if let Some(pending) = self.pending.get_mut(&id) {
            // Routes are about to change: once more, soon. A full queue needs time instead.
            if reason != LossReason::QueueFull {
                let earliest = pending.repeated_at + self.cx.config.retry_min;
                let soon = earliest.max(now + self.cx.config.settle);
                pending.retry_at = pending.retry_at.min(soon);
                self.cx.timers.arm(Timer::Retry, soon);
            }
        } else if let Target::Peer(to) = id.target
            && id.incarnation == self.incarnation
            && self.outcomes.close(to, id.sequence)
        {
            self.delivery_failed(id, reason, at);
        }
    }

    fn delivery_failed(&mut self, id: MessageId, reason: LossReason, at: PeerId) {
        let to = match id.target {
            Target::Peer(peer) => Some(peer),
            Target::Room => None,
        };
        self.cx.emit(Event::DeliveryFailed { id, to, reason, at });
    }

    /// Tells the author that so many messages from this one on have arrived. The neighbour `back`
    /// has brought them, so it is alive and leads to the author; the shortest path may not.
    pub(super) fn send_receipt(
        &mut self,
        to: PeerId,
        header: &MessageHeader,
        count: u8,
        back: Option<PeerId>,
        now: Instant,
    ) {
        let message = (header.incarnation, header.sequence);
        let receipt = self.sign(Target::Peer(to), Content::Receipt { message, count }, now);
        let back = back.filter(|&peer| self.takes_data(peer));
        self.dispatch(receipt, Channel::Data, back, self.cx.config.deadline, now);
    }

    pub(super) fn remember_request(&mut self, id: MessageId) {
        if self.requests.len() >= self.cx.config.pending_max {
            self.requests.pop_front();
        }
        self.requests.push_back((id, None));
    }

    /// A request came again: so does its reply, if there is one yet.
    pub(super) fn reply_again(&mut self, request: MessageId, back: Option<PeerId>, now: Instant) {
        let known = self.requests.iter().rev().find(|(id, _)| *id == request);
        if let Some((_, Some(reply))) = known {
            let reply = reply.clone();
            if !self.waiting.holds(reply.target) {
                let back = back.filter(|&peer| self.takes_data(peer));
                self.dispatch(reply, Channel::Data, back, self.cx.config.deadline, now);
            }
        }
    }

    fn take_pending(
        &mut self,
        to: PeerId,
        (incarnation, sequence): (u64, u64),
        now: Instant,
    ) -> Option<(MessageId, Pending)> {
        let id = MessageId {
            author: self.cx.this,
            incarnation,
            target: Target::Peer(to),
            sequence,
        };
        let pending = self.pending.remove(&id)?;
        self.cx.stats.acknowledged += 1;
        self.notify_writable(now);
        Some((id, pending))
    }

    /// So many messages have arrived, from this one on.
    pub(super) fn receipt_received(
        &mut self,
        from: PeerId,
        (incarnation, first): (u64, u64),
        count: u8,
        now: Instant,
    ) {
        for number in 0..u64::from(count) {
            let message = (incarnation, first.saturating_add(number));
            if let Some((id, pending)) = self.take_pending(from, message, now) {
                self.cx.emit(Event::Delivered {
                    id,
                    to: from,
                    round_trip_ms: now.since(pending.sent_at).as_secs_f64() * 1e3,
                });
            }
        }
    }

    pub(super) fn replied(
        &mut self,
        from: PeerId,
        request: (u64, u64),
        payload: Payload,
        now: Instant,
    ) {
        if let Some((id, pending)) = self.take_pending(from, request, now) {
            self.cx.emit(Event::Replied {
                id,
                from,
                payload,
                round_trip_ms: now.since(pending.sent_at).as_secs_f64() * 1e3,
            });
        }
    }

    /// Repeats what is due, gives up what is late.
    pub(super) fn retry_pending(&mut self, now: Instant) {
        let due = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.retry_at <= now);
        let due: Vec<_> = due.map(|(id, _)| *id).collect();
        let mut detours = BTreeMap::new();
        for id in due {
            let Some(pending) = self.pending.get_mut(&id) else {
                continue;
            };
            if pending.deadline <= now {
                self.pending.remove(&id);
                self.cx.stats.lose(LossReason::Deadline);
                self.delivery_failed(id, LossReason::Deadline, self.cx.this);
                continue;
            }
            pending.repeated_at = now;
            pending.wait = (pending.wait * 2).min(self.cx.config.retry_max);
            pending.retry_at = (now + pending.wait).min(pending.deadline);
            if self.waiting.holds(id.target) {
                continue; // The first copy has not left yet.
            }
            let (dated, last) = (pending.dated, pending.hop);
            let content = Content::Data(pending.data.clone());
            let header = self.header(id, dated);
            let envelope = self.sign_as(header, content);
            self.cx.stats.retried += 1;
            let Some(hop) = self.hop_for_retry(id.target, last, &mut detours) else {
                continue;
            };
            if let Some(pending) = self.pending.get_mut(&id) {
                pending.hop = Some(hop);
            }
            let _ = self.hand_to(hop, envelope, Channel::Data, now);
        }
        if let Some(at) = self.pending.values().map(|pending| pending.retry_at).min() {
            self.cx.timers.arm(Timer::Retry, at);
        }
        self.notify_writable(now);
    }

    /// Whether there is an open link to a neighbour, with room for messages.
    fn takes_data(&self, peer: PeerId) -> bool {
        let link = self.open_link_to(peer);
        link.is_some_and(|link| !link.queue.is_full(Channel::Data, &self.cx.config))
    }

    /// The neighbour for a repetition: another than the last, which may be dead or behind somebody
    /// dead, if any leads to the target at all. `detours` are the paths without a neighbour,
    /// computed once for all that is repeated in a turn.
    fn hop_for_retry(
        &mut self,
        target: Target,
        last: Option<PeerId>,
        detours: &mut BTreeMap<PeerId, Routes>,
    ) -> Option<PeerId> {
        let Target::Peer(to) = target else {
            return None;
        };
        let usual = self.next_hop(to, None, Channel::Data).ok();
        let Some(last) = last.filter(|last| usual == Some(*last)) else {
            return usual;
        };
        let takes = |peer| peer != last && self.takes_data(peer);
        let flow = to.prefix() ^ self.cx.this.prefix();
        let equal = self.routes.next_hop(to, flow, &self.database, takes);
        if equal.is_some() {
            return equal;
        }
        if detours.len() >= DETOURS_MAX && !detours.contains_key(&last) {
            return usual;
        }
        let paths = detours.entry(last).or_insert_with(|| {
            let open = self.links.iter().filter(|link| link.is_open());
            let open = open.map(|link| link.peer).filter(|&peer| peer != last);
            let (graph, policy) = (&self.graph, &self.policy);
            Routes::compute(self.cx.this, &open.collect(), graph, &self.database, policy)
        });
        paths.next_hop(to, flow, &self.database, takes).or(usual)
    }

    /// The agent leaves: nobody will hear the answers, and what waits for a way stays here.
    pub(super) fn fail_pending(&mut self, now: Instant) {
        for envelope in self.waiting.take_all() {
            self.undeliverable(&envelope, LossReason::Left, now);
        }
        for (id, _) in std::mem::take(&mut self.pending) {
            self.cx.stats.lose(LossReason::Left);
            self.delivery_failed(id, LossReason::Left, self.cx.this);
        }
    }
}
