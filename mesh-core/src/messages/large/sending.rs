//! Large messages of this agent.

use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::super::copies::{Way, Ways};
use super::super::losses::delivery_failed;
use super::super::pending::Pending;
use super::super::stream::{Asks, Outbox, Patience, Repeat};
use super::super::{Messages, Net};
use super::{Key, SENDING_BYTES_MAX, key_of, step};
use crate::error::{LossReason, RejectReason, SendError};
use crate::id::{MessageId, PeerId, Target};
use crate::io::{Channel, Event};
use crate::links::Lane;
use crate::overlay::SETTLE;
use crate::payload::{Payload, SendOptions};
use crate::time::Instant;
use crate::timeout::TimeoutReason;
use crate::wire::{CHUNK_BYTES, Chunk, Content, Form, Head, Progress, Purpose, Stop};

/// Deadline of a part, beyond any: a part is kept until it has arrived or the message has ended,
/// which has a deadline of its own.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3_600);

/// A large message of this agent.
#[derive(Debug)]
pub(super) struct Sending {
    id: MessageId,
    head: Head,
    bytes: Bytes,
    /// Parts that have left, and the state of those.
    parts: Outbox,
    left: u64,
    /// Bytes that have arrived.
    arrived: u64,
    /// How long nothing may arrive.
    patience: Duration,
    /// When something has arrived.
    heard_at: Instant,
    began_at: Instant,
}

impl Sending {
    fn gives_up_at(&self) -> Instant {
        self.heard_at + self.patience
    }

    fn is_reply(&self) -> bool {
        matches!(self.head.purpose, Purpose::Reply { .. })
    }
}

fn split(payload: Payload) -> (Form, Bytes) {
    match payload {
        Payload::Text(text) => (Form::Text, text.into_bytes().into()),
        Payload::Json(json) => (Form::Json, json.into_bytes().into()),
        Payload::Bytes(bytes) => (Form::Bytes, bytes.into()),
    }
}

fn patience(net: &Net<'_>) -> Patience {
    Patience {
        min: net.cx.config.retry_min,
        max: net.cx.config.retry_max,
    }
}

impl Messages {
    /// Begins to send a large message, whose deadline is the time in which nothing of it arrives.
    pub(in crate::messages) fn start_large(
        &mut self,
        to: PeerId,
        payload: Payload,
        purpose: Purpose,
        deadline: Duration,
        net: &mut Net<'_>,
    ) -> Result<MessageId, SendError> {
        let under_way: usize = self.large.sending.values().map(|it| it.bytes.len()).sum();
        if under_way + payload.len() > SENDING_BYTES_MAX {
            return Err(self.backpressure());
        }
        let (form, bytes) = split(payload);
        let head = Head {
            bytes: bytes.len() as u64,
            hash: Sha256::digest(&bytes).into(),
            form,
            purpose,
        };
        let header = self.next_header(Target::Peer(to), net);
        let id = header.id(net.cx.this);
        let sending = Sending {
            id,
            head,
            bytes,
            parts: Outbox::new(header.incarnation, header.sequence),
            left: 0,
            arrived: 0,
            patience: deadline,
            heard_at: net.cx.now,
            began_at: net.cx.now,
        };
        let key = (to, header.sequence);
        self.large.sending.insert(key, sending);
        self.send_parts(key, net);
        Ok(id)
    }

    /// As [`Messages::start_large`], for the application.
    pub(in crate::messages) fn send_large(
        &mut self,
        to: PeerId,
        payload: Payload,
        wants_reply: bool,
        (options, deadline): (SendOptions, Duration),
        net: &mut Net<'_>,
    ) -> Result<MessageId, SendError> {
        let purpose = Purpose::Message {
            delivery: options.delivery,
            wants_reply,
        };
        let id = self.start_large(to, payload, purpose, deadline, net)?;
        net.cx.stats.sent += 1;
        if wants_reply {
            // Its reply is waited for from when all of it has arrived.
            let pending = Pending::of_large(deadline, KEPT_FOR, net);
            self.pending.insert(id, pending);
        }
        Ok(id)
    }

    /// Sends as many parts as may be under way.
    fn send_parts(&mut self, key: Key, net: &mut Net<'_>) {
        let (this, now) = (net.cx.this, net.cx.now);
        while let Some(sending) = self.large.sending.get_mut(&key)
            && sending.left < sending.head.chunks()
            && sending.parts.has_room()
        {
            let number = sending.left;
            let begin = number as usize * CHUNK_BYTES;
            let len = sending.head.bytes_of(number).unwrap_or_default();
            let part = sending.bytes.slice(begin..begin + len);
            let head = (number == 0).then_some(sending.head);
            let header = self.next_header(Target::Peer(key.0), net);
            let Some(sending) = self.large.sending.get_mut(&key) else {
                return;
            };
            sending.left += 1;
            let times = (now, now + KEPT_FOR);
            // The last has all of it told.
            let asks = match sending.left == sending.head.chunks() {
                true => Asks::Always,
                false => Asks::OfHalf,
            };
            let (number, asks) = sending.parts.push(header.sequence, len, asks, times);
            let content = Content::Chunk(Chunk {
                message: key.1,
                number,
                asks,
                head,
                part: part.to_vec(),
            });
            let envelope = net.sign(header, content);
            let hop = net.next_hop(Lane::bulk(this), key.0, None);
            let neighbour = hop.as_ref().ok().copied();
            sending.parts.keep(number, envelope.clone(), neighbour);
            let stuck = match hop {
                Ok(hop) => net
                    .hand_to(hop, envelope, Channel::Data)
                    .err()
                    .map(|it| it.0),
                Err(reason) => Some(reason),
            };
            if let Some(reason) = stuck {
                sending.parts.stuck(header.sequence, (reason, this), now);
            }
        }
        self.arm_large(key, net);
    }

    fn arm_large(&mut self, key: Key, net: &Net<'_>) {
        if let Some(sending) = self.large.sending.get(&key) {
            let at = sending.parts.deadline(patience(net));
            let at = at.map_or(sending.gives_up_at(), |at| at.min(sending.gives_up_at()));
            let soonest = net.cx.now + SETTLE;
            self.timers.arm(TimeoutReason::Large, at.max(soonest));
        }
    }

    /// Repeats parts that are lost, and gives up messages of which nothing arrives.
    pub(super) fn tend_sending(&mut self, net: &mut Net<'_>) {
        let keys: Vec<_> = self.large.sending.keys().copied().collect();
        let mut ways = Ways::default();
        for key in keys {
            let Some(sending) = self.large.sending.get_mut(&key) else {
                continue;
            };
            if sending.gives_up_at() <= net.cx.now {
                self.stop_sending(key, LossReason::Deadline, net.cx.this, net);
                continue;
            }
            let lane = Lane::bulk(net.cx.this);
            let is_held = |hop| net.holds(lane, Target::Peer(key.0), hop);
            let due = sending.parts.due(patience(net), net.cx.now, is_held);
            for repeat in due {
                self.repeat_part(key, repeat, &mut ways, net);
            }
            self.send_parts(key, net);
        }
    }

    fn repeat_part(&mut self, key: Key, repeat: Repeat, ways: &mut Ways, net: &mut Net<'_>) {
        let (this, now) = (net.cx.this, net.cx.now);
        let part = (Target::Peer(key.0), repeat.sequence);
        let way = ways.of_copy(part, repeat.hop, net);
        let Some(sending) = self.large.sending.get_mut(&key) else {
            return;
        };
        match way {
            Some(Way::Over(hop)) => {
                let _ = net.hand_to(hop, repeat.envelope, Channel::Data);
                sending.parts.repeated(repeat.number, hop, now);
                net.cx.stats.retried += 1;
            }
            Some(Way::Behind) => sending.parts.hold(&repeat, now),
            None => sending.parts.put_off(repeat.number, this, now),
        }
    }

    /// Whether a part that a forwarder could not pass on is repeated.
    pub(in crate::messages) fn is_part_repeated(
        &mut self,
        (to, id): (PeerId, &MessageId),
        cause: (LossReason, PeerId),
        net: &Net<'_>,
    ) -> bool {
        let to_it = (to, 0)..=(to, u64::MAX);
        let found = self.large.sending.range_mut(to_it).find_map(|(key, it)| {
            let is_its = it.parts.incarnation() == id.incarnation
                && it.parts.stuck(id.sequence, cause, net.cx.now);
            is_its.then_some(*key)
        });
        if let Some(key) = found {
            self.arm_large(key, net);
        }
        found.is_some()
    }

    /// The target tells which parts have come. Returns whether it is of a large message.
    pub(in crate::messages) fn parts_received(
        &mut self,
        from: PeerId,
        progress: &Progress,
        via: Option<PeerId>,
        net: &mut Net<'_>,
    ) -> bool {
        let (key, now) = ((from, progress.stream), net.cx.now);
        let Some(sending) = self.large.sending.get_mut(&key) else {
            return false;
        };
        if sending.parts.incarnation() != progress.incarnation {
            return false;
        }
        let Some(news) = sending.parts.progress(progress, from, now) else {
            let malformed = RejectReason::Malformed;
            net.links.reject(via, Some(from), malformed, net.cx);
            return true;
        };
        if !news.arrived.is_empty() {
            sending.heard_at = now;
        }
        let parts: u64 = news.arrived.iter().map(|(_, count)| count).sum();
        let before = sending.arrived;
        let whole = sending.head.bytes;
        sending.arrived = (before + parts * CHUNK_BYTES as u64).min(whole);
        let is_whole = sending.left == sending.head.chunks() && sending.parts.is_empty();
        if is_whole {
            sending.arrived = whole;
        }
        if !sending.is_reply() && (is_whole || step(before, whole) < step(sending.arrived, whole)) {
            net.cx.emit(Event::Sending {
                id: sending.id,
                to: from,
                bytes: sending.arrived,
                bytes_total: whole,
            });
        }
        match is_whole {
            true => self.sent_whole(key, net),
            false => self.send_parts(key, net),
        }
        true
    }

    fn sent_whole(&mut self, key: Key, net: &mut Net<'_>) {
        let Some(sending) = self.large.sending.remove(&key) else {
            return;
        };
        if let Some(pending) = self.pending.get_mut(&sending.id) {
            let until = pending.await_reply(sending.patience, net.cx.now);
            self.timers.arm(TimeoutReason::Retry, until);
        } else if !sending.is_reply() {
            net.cx.emit(Event::Delivered {
                id: sending.id,
                to: key.0,
                round_trip_ms: net.cx.now.since(sending.began_at).as_secs_f64() * 1e3,
            });
        }
        self.notify_writable(net);
    }

    /// A large message of this agent ends before all of it has arrived.
    fn stop_sending(&mut self, key: Key, reason: LossReason, at: PeerId, net: &mut Net<'_>) {
        let Some(sending) = self.large.sending.remove(&key) else {
            return;
        };
        if at == net.cx.this && reason != LossReason::Left {
            let message = (sending.id.incarnation, sending.id.sequence);
            self.tell_stop(key.0, (message, true, reason), net);
        }
        self.pending.remove(&sending.id);
        net.cx.stats.lose(reason);
        if !sending.is_reply() {
            delivery_failed(sending.id, reason, at, net.cx);
        }
        self.notify_writable(net);
    }

    pub(super) fn tell_stop(
        &mut self,
        to: PeerId,
        (message, is_own, reason): ((u64, u64), bool, LossReason),
        net: &mut Net<'_>,
    ) {
        let stop = Stop {
            message,
            is_own,
            reason,
        };
        let envelope = self.sign(Target::Peer(to), Content::Stop(stop), net);
        let patience = net.cx.config.deadline;
        self.dispatch(envelope, Channel::Data, None, patience, net);
    }

    /// See [`Mesh::cancel`](crate::Mesh::cancel).
    pub(crate) fn cancel(&mut self, id: &MessageId, net: &mut Net<'_>) -> bool {
        let key = key_of(id).filter(|key| self.large.sending.contains_key(key));
        if let Some(key) = key {
            self.stop_sending(key, LossReason::Cancelled, net.cx.this, net);
        }
        key.is_some()
    }

    /// The other end of a large message has ended it.
    pub(in crate::messages) fn stop_received(
        &mut self,
        from: PeerId,
        stop: &Stop,
        net: &mut Net<'_>,
    ) {
        let (incarnation, sequence) = stop.message;
        let key = (from, sequence);
        if stop.is_own {
            self.drop_assembly(key, incarnation);
        } else if self
            .large
            .sending
            .get(&key)
            .is_some_and(|sending| sending.id.incarnation == incarnation)
        {
            self.stop_sending(key, stop.reason, from, net);
        }
    }

    /// The agent leaves.
    pub(in crate::messages) fn stop_all_sending(&mut self, net: &mut Net<'_>) {
        let keys: Vec<_> = self.large.sending.keys().copied().collect();
        for key in keys {
            self.stop_sending(key, LossReason::Left, net.cx.this, net);
        }
    }
}
