//! Messages on their way: the application's commands, forwarding, receipts, retries, losses.

use std::time::Duration;

use super::Mesh;
use super::timers::Timer;
use crate::config::{PAYLOAD_BYTES_MAX, TOPIC_BYTES_MAX};
use crate::error::{LossReason, SendError};
use crate::id::{MessageId, PeerId, Target};
use crate::io::{Channel, Event, Output};
use crate::link::LinkState;
use crate::payload::{Delivery, Payload};
use crate::time::Instant;
use crate::wire::{Content, Data, Envelope, Message, MessageHeader};

/// An envelope that cannot be passed on, and why.
pub(super) type Stuck = Box<(LossReason, Envelope)>;

/// A message that is repeated until its receipt or reply comes.
#[derive(Debug)]
pub(super) struct Pending {
    envelope: Envelope,
    sent_at: Instant,
    deadline: Instant,
    retry_at: Instant,
    wait: Duration,
}

impl Mesh {
    /// Sends a message to one member. `deadline` counts for [`Delivery::Acknowledged`] only.
    ///
    /// # Errors
    /// [`SendError`] for what the caller should know now; what happens later is an [`Event`].
    pub fn send(
        &mut self,
        to: PeerId,
        payload: Payload,
        delivery: Delivery,
        deadline: Option<Duration>,
        now: Instant,
    ) -> Result<MessageId, SendError> {
        let data = Data {
            topic: String::new(),
            payload,
            delivery,
            wants_reply: false,
        };
        self.send_data(to, data, deadline, now)
    }

    /// Sends a request: a message that is repeated until its reply comes ([`Event::Replied`]) or
    /// the deadline passes ([`Event::DeliveryFailed`]).
    ///
    /// # Errors
    /// As [`Mesh::send`].
    pub fn request(
        &mut self,
        to: PeerId,
        payload: Payload,
        deadline: Option<Duration>,
        now: Instant,
    ) -> Result<MessageId, SendError> {
        let data = Data {
            topic: String::new(),
            payload,
            delivery: Delivery::Acknowledged,
            wants_reply: true,
        };
        self.send_data(to, data, deadline, now)
    }

    /// Answers a request.
    ///
    /// # Errors
    /// [`SendError::UnknownRequest`] if there is none with this id, or too long ago.
    pub fn reply(
        &mut self,
        request: MessageId,
        payload: Payload,
        now: Instant,
    ) -> Result<(), SendError> {
        self.check(&payload, "")?;
        let slot = self
            .requests
            .iter()
            .rposition(|(id, reply)| *id == request && reply.is_none());
        let slot = slot.ok_or(SendError::UnknownRequest)?;
        let content = Content::Reply {
            request: (request.incarnation, request.sequence),
            payload,
        };
        let envelope = self.sign(Target::Peer(request.author), content, now);
        self.requests[slot].1 = Some(envelope.clone());
        // If it gets stuck here, the request comes again and so does the reply.
        let _ = self.forward(envelope, Channel::Data, None);
        Ok(())
    }

    /// Sends a message to every member of the room, under a topic (may be empty).
    ///
    /// # Errors
    /// As [`Mesh::send`]; an empty room is no error.
    pub fn broadcast(
        &mut self,
        topic: &str,
        payload: Payload,
        now: Instant,
    ) -> Result<MessageId, SendError> {
        self.check(&payload, topic)?;
        let full = |link: &crate::link::Link| link.queue.is_full(Channel::Data, &self.config);
        if self.links.values().filter(|link| link.is_open()).any(full) {
            self.starved = true;
            return Err(SendError::Backpressure);
        }
        let content = Content::Data(Data {
            topic: topic.to_owned(),
            payload,
            delivery: Delivery::Reliable,
            wants_reply: false,
        });
        let envelope = self.sign(Target::Room, content, now);
        let id = self.id_of(&envelope);
        self.stats.broadcasts += 1;
        self.flood(&envelope, Channel::Data, None);
        Ok(id)
    }

    fn check(&self, payload: &Payload, topic: &str) -> Result<(), SendError> {
        if !self.joined {
            return Err(SendError::NotJoined);
        }
        if topic.len() > TOPIC_BYTES_MAX {
            return Err(SendError::TopicTooLong {
                bytes: topic.len(),
                bytes_max: TOPIC_BYTES_MAX,
            });
        }
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(SendError::TooLarge {
                bytes: payload.len(),
                bytes_max: PAYLOAD_BYTES_MAX,
            });
        }
        Ok(())
    }

    fn send_data(
        &mut self,
        to: PeerId,
        data: Data,
        deadline: Option<Duration>,
        now: Instant,
    ) -> Result<MessageId, SendError> {
        self.check(&data.payload, &data.topic)?;
        if to == self.this {
            return Err(SendError::ToSelf);
        }
        if !self.is_member(to) {
            return Err(SendError::UnknownPeer(to));
        }
        let deadline = deadline.unwrap_or(self.config.deadline);
        if deadline.is_zero() || deadline > self.config.deadline_max {
            return Err(SendError::Deadline(self.config.deadline_max));
        }
        let acknowledged = data.delivery == Delivery::Acknowledged;
        if acknowledged && self.pending.len() >= self.config.pending_max {
            self.starved = true;
            return Err(SendError::TooManyPending(self.config.pending_max));
        }
        let channel = match data.delivery {
            Delivery::Datagram => Channel::Stream,
            Delivery::Reliable | Delivery::Acknowledged => Channel::Data,
        };
        match self.next_hop(to, None, channel) {
            Ok(_) => {}
            Err(LossReason::QueueFull) => {
                self.starved = true;
                return Err(SendError::Backpressure);
            }
            Err(_) if acknowledged => {} // There may be a route before the deadline.
            Err(_) => return Err(SendError::NoRoute(to)),
        }
        let envelope = self.sign(Target::Peer(to), Content::Data(data), now);
        let id = self.id_of(&envelope);
        self.stats.sent += 1;
        if acknowledged {
            let wait = self.config.retry_min;
            let pending = Pending {
                envelope: envelope.clone(),
                sent_at: now,
                deadline: now + deadline,
                retry_at: now + wait.min(deadline),
                wait,
            };
            self.timers.arm(Timer::Retry, pending.retry_at);
            self.pending.insert(id, pending);
        }
        // The way was free a moment ago, or the message is pending and will be tried again.
        let _ = self.forward(envelope, channel, None);
        Ok(id)
    }

    /// Numbers, dates and signs.
    pub(super) fn sign(&mut self, target: Target, content: Content, now: Instant) -> Envelope {
        let sequence = self.sequences.entry(target).or_default();
        *sequence += 1;
        let header = MessageHeader {
            incarnation: self.incarnation,
            sequence: *sequence,
            target,
            sent_at: self.unix(now),
            ttl: self.config.ttl,
        };
        let message = Message { header, content };
        Envelope {
            ttl: self.config.ttl,
            target,
            signed: self.identity.sign(&self.config.room, &message),
        }
    }

    fn id_of(&self, envelope: &Envelope) -> MessageId {
        let header = envelope.signed.peek::<MessageHeader>();
        header.expect("our own message decodes").id(self.this)
    }

    /// The neighbour to pass a message on to: on a shortest path, open, not full, and not the one
    /// that it came from, which would be a loop.
    fn next_hop(
        &mut self,
        to: PeerId,
        from: Option<PeerId>,
        channel: Channel,
    ) -> Result<PeerId, LossReason> {
        let flow = to.prefix() ^ self.this.prefix();
        for fresh in [false, true] {
            if fresh {
                if !self.routes_stale {
                    break;
                }
                self.refresh_routes();
            }
            let usable = |peer| Some(peer) != from && self.open_link_to(peer).is_some();
            let hop = self
                .routes
                .get(to)
                .and_then(|route| route.next_hop(flow, usable));
            if let Some(peer) = hop {
                let link = self.open_link_to(peer).ok_or(LossReason::NoRoute)?;
                return if link.queue.is_full(channel, &self.config) {
                    Err(LossReason::QueueFull)
                } else {
                    Ok(peer)
                };
            }
        }
        Err(LossReason::NoRoute)
    }

    /// Passes an envelope on, one hop; gives it back with the reason if it is stuck.
    pub(super) fn forward(
        &mut self,
        envelope: Envelope,
        channel: Channel,
        from: Option<PeerId>,
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
        let link = self
            .by_peer
            .get(&peer)
            .and_then(|id| self.links.get_mut(id));
        let Some(link) = link else {
            return Err(Box::new((LossReason::NoRoute, envelope)));
        };
        link.queue.envelope(channel, envelope);
        self.busy.insert(link.id);
        Ok(())
    }

    /// Sends copies over every open link but the one it came over; returns how many.
    pub(super) fn flood(
        &mut self,
        envelope: &Envelope,
        channel: Channel,
        from: Option<PeerId>,
    ) -> usize {
        let mut copies = 0;
        for link in self.links.values_mut() {
            if link.state != LinkState::Open || Some(link.peer) == from {
                continue;
            }
            if link.queue.is_full(channel, &self.config) {
                self.stats.lose(LossReason::QueueFull);
                continue;
            }
            link.queue.envelope(channel, envelope.clone());
            self.busy.insert(link.id);
            copies += 1;
        }
        copies
    }

    /// The link that these were sent over died before they were acknowledged: another path, or a
    /// notice. Broadcast copies went over every other link already.
    pub(super) fn reroute(&mut self, envelopes: Vec<Envelope>, now: Instant) {
        for envelope in envelopes {
            if envelope.target == Target::Room {
                continue;
            }
            match self
                .forward(envelope, Channel::Data, None)
                .map_err(|stuck| *stuck)
            {
                Ok(()) => self.stats.rerouted += 1,
                Err((LossReason::NoRoute, envelope)) => {
                    self.undeliverable(&envelope, LossReason::PeerDisconnected, now);
                }
                Err((reason, envelope)) => self.undeliverable(&envelope, reason, now),
            }
        }
    }

    /// Counts a message lost here and tells its author, who may be this agent.
    pub(super) fn undeliverable(&mut self, envelope: &Envelope, reason: LossReason, now: Instant) {
        let author = envelope.signed.claimed_author();
        let Some(message) = envelope.signed.peek::<Message>() else {
            self.stats.lose(reason);
            return;
        };
        let Content::Data(data) = message.content else {
            return; // Signals, receipts and notices are repeated or dispensable.
        };
        let header = message.header;
        if author == self.this {
            if !self.pending.contains_key(&header.id(author)) {
                self.stats.lose(reason);
                self.delivery_failed(header.id(author), reason, author);
            }
            return;
        }
        // An acknowledged message is not lost yet: its author repeats it.
        if data.delivery != Delivery::Acknowledged {
            self.stats.lose(reason);
        }
        if data.delivery != Delivery::Datagram {
            let message = (header.incarnation, header.target, header.sequence);
            let content = Content::Undelivered { message, reason };
            let notice = self.sign(Target::Peer(author), content, now);
            let _ = self.forward(notice, Channel::Control, None);
        }
    }

    /// Somebody on the way could not pass a message of this agent on.
    pub(super) fn undelivered(
        &mut self,
        at: PeerId,
        (incarnation, target, sequence): (u64, Target, u64),
        reason: LossReason,
        now: Instant,
    ) {
        let id = MessageId {
            author: self.this,
            incarnation,
            target,
            sequence,
        };
        if let Some(pending) = self.pending.get_mut(&id) {
            // Routes are about to change: once more, soon.
            let soon = now + self.config.settle;
            pending.retry_at = pending.retry_at.min(soon);
            self.timers.arm(Timer::Retry, soon);
        } else if incarnation == self.incarnation {
            self.delivery_failed(id, reason, at);
        }
    }

    fn delivery_failed(&mut self, id: MessageId, reason: LossReason, at: PeerId) {
        let to = match id.target {
            Target::Peer(peer) => Some(peer),
            Target::Room => None,
        };
        self.emit(Event::DeliveryFailed { id, to, reason, at });
    }

    pub(super) fn send_receipt(&mut self, to: PeerId, header: &MessageHeader, now: Instant) {
        let message = (header.incarnation, header.sequence);
        let receipt = self.sign(Target::Peer(to), Content::Receipt { message }, now);
        // If it gets stuck, the message comes again and so does the receipt.
        let _ = self.forward(receipt, Channel::Data, None);
    }

    pub(super) fn remember_request(&mut self, id: MessageId) {
        if self.requests.len() >= self.config.pending_max {
            self.requests.pop_front();
        }
        self.requests.push_back((id, None));
    }

    /// A message that was delivered before came again. Returns false if it had no reason to.
    pub(super) fn answer_again(&mut self, from: PeerId, message: &Message, now: Instant) -> bool {
        let Content::Data(data) = &message.content else {
            return false;
        };
        if data.delivery != Delivery::Acknowledged {
            return false;
        }
        self.stats.duplicates += 1;
        if !data.wants_reply {
            self.send_receipt(from, &message.header, now);
            return true;
        }
        let id = message.header.id(from);
        let known = self
            .requests
            .iter()
            .rev()
            .find(|(request, _)| *request == id);
        if let Some((_, Some(reply))) = known {
            let reply = reply.clone();
            let _ = self.forward(reply, Channel::Data, None);
        }
        true
    }

    fn take_pending(
        &mut self,
        to: PeerId,
        (incarnation, sequence): (u64, u64),
    ) -> Option<(MessageId, Pending)> {
        let id = MessageId {
            author: self.this,
            incarnation,
            target: Target::Peer(to),
            sequence,
        };
        let pending = self.pending.remove(&id)?;
        self.stats.acknowledged += 1;
        self.tell_writable();
        Some((id, pending))
    }

    pub(super) fn receipt_received(&mut self, from: PeerId, message: (u64, u64), now: Instant) {
        if let Some((id, pending)) = self.take_pending(from, message) {
            self.emit(Event::Delivered {
                id,
                to: from,
                round_trip_ms: now.since(pending.sent_at).as_secs_f64() * 1e3,
            });
        }
    }

    pub(super) fn replied(
        &mut self,
        from: PeerId,
        request: (u64, u64),
        payload: Payload,
        now: Instant,
    ) {
        if let Some((id, pending)) = self.take_pending(from, request) {
            self.emit(Event::Replied {
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
        for id in due {
            let Some(pending) = self.pending.get_mut(&id) else {
                continue;
            };
            if pending.deadline <= now {
                self.pending.remove(&id);
                self.stats.lose(LossReason::Deadline);
                self.delivery_failed(id, LossReason::Deadline, self.this);
                continue;
            }
            pending.wait *= 2;
            pending.retry_at = (now + pending.wait).min(pending.deadline);
            let envelope = pending.envelope.clone();
            self.stats.retried += 1;
            let _ = self.forward(envelope, Channel::Data, None);
        }
        if let Some(at) = self.pending.values().map(|pending| pending.retry_at).min() {
            self.timers.arm(Timer::Retry, at);
        }
        self.tell_writable();
    }

    /// The agent leaves: nobody will hear the answers.
    pub(super) fn fail_pending(&mut self) {
        for (id, _) in std::mem::take(&mut self.pending) {
            self.stats.lose(LossReason::Left);
            self.delivery_failed(id, LossReason::Left, self.this);
        }
    }

    /// Wakes callers that were told to wait; those for whom it is too early ask again.
    pub(super) fn tell_writable(&mut self) {
        if std::mem::take(&mut self.starved) {
            self.outbox.push_back(Output::Writable);
        }
    }
}
