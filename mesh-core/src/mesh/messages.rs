//! The application's commands: what is sent, checked and signed here, travels in `delivery`.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Mesh;
use super::delivery::Pending;
use super::drafts::channel_of;
use super::inbox::TTL_MAX;
use crate::config::{PAYLOAD_BYTES_MAX, TOPIC_BYTES_MAX};
use crate::error::{LossReason, SendError};
use crate::id::{MessageId, PeerId, Target};
use crate::io::Channel;
use crate::link::Link;
use crate::payload::{Delivery, Payload, check_json};
use crate::time::Instant;
use crate::timers::Timer;
use crate::wire::{Content, Data};

impl Mesh {
    /// Sends a message to one member. Until the deadline it waits for a way to lead there, and an
    /// acknowledged one is repeated.
    ///
    /// # Errors
    /// [`SendError`] for what the caller should know now; what happens later is an
    /// [`Event`](crate::Event).
    pub fn send(
        &mut self,
        to: PeerId,
        payload: Payload,
        delivery: Delivery,
        deadline: Option<Duration>,
        now: Instant,
    ) -> Result<MessageId, SendError> {
        self.send_data(to, Data::one(payload, delivery), deadline, now)
    }

    /// Sends a request: a message that is repeated until its reply comes
    /// ([`Event::Replied`](crate::Event::Replied)) or the deadline passes
    /// ([`Event::DeliveryFailed`](crate::Event::DeliveryFailed)).
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
            wants_reply: true,
            ..Data::one(payload, Delivery::Acknowledged)
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
        let now = self.enter(now);
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
        let target = Target::Peer(request.author);
        self.seal(target, now); // In the order of sending.
        let envelope = self.sign(target, content, now);
        self.requests[slot].1 = Some(envelope.clone());
        self.dispatch(envelope, Channel::Data, None, self.cx.config.deadline, now);
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
        let now = self.enter(now);
        self.check(&payload, topic)?;
        if !self.has_way_to_room() && self.waiting.is_full(&self.cx.config) {
            self.starved = true;
            return Err(SendError::Backpressure);
        }
        let open = || self.links.iter().filter(|link| link.is_open());
        // One neighbour that takes nothing must not silence this agent: others pass it on.
        let is_full = |link: &Link| link.queue.is_full(Channel::Data, &self.cx.config);
        if open().next().is_some() && open().all(is_full) {
            self.starved = true;
            return Err(SendError::Backpressure);
        }
        let mut data = Data::one(payload, Delivery::Reliable);
        topic.clone_into(&mut data.items[0].topic);
        self.cx.stats.broadcasts += 1;
        Ok(self.draft(Target::Room, data, None, self.cx.config.deadline, now))
    }

    /// Whether what is sent now leaves now: a first link is open, or the agent is alone in its
    /// room.
    ///
    /// # Errors
    /// [`SendError::Backpressure`] until then: wait for
    /// [`Output::Writable`](crate::Output::Writable) and ask again. [`SendError::NotJoined`] before
    /// joining and after leaving.
    pub fn ready(&mut self) -> Result<(), SendError> {
        if !self.cx.joined {
            return Err(SendError::NotJoined);
        }
        let linked = self.links.iter().any(Link::is_open);
        let alone = self.client.is_admitted() && self.room_members <= 1;
        if linked || alone {
            return Ok(());
        }
        self.starved = true;
        Err(SendError::Backpressure)
    }

    /// Hands the application broadcasts of these topics alone from now on; `None` for all, as at
    /// first. Others are passed on as before: everybody carries every broadcast of a room.
    ///
    /// # Errors
    /// [`SendError::TopicTooLong`] if no broadcast can have one of the topics; the subscription is
    /// then as it was.
    pub fn subscribe(&mut self, topics: Option<BTreeSet<String>>) -> Result<(), SendError> {
        for topic in topics.iter().flatten() {
            check_topic(topic)?;
        }
        self.topics = topics;
        Ok(())
    }

    fn check(&self, payload: &Payload, topic: &str) -> Result<(), SendError> {
        if !self.cx.joined {
            return Err(SendError::NotJoined);
        }
        check_topic(topic)?;
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(SendError::TooLarge {
                bytes: payload.len(),
                bytes_max: PAYLOAD_BYTES_MAX,
            });
        }
        if let Payload::Json(json) = payload {
            check_json(json).map_err(SendError::Json)?;
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
        let now = self.enter(now);
        self.check(&data.items[0].payload, "")?;
        if to == self.cx.this {
            return Err(SendError::ToSelf);
        }
        if !self.may_be_here(to) {
            return Err(SendError::UnknownPeer(to));
        }
        let deadline = deadline.unwrap_or(self.cx.config.deadline);
        if deadline.is_zero() || deadline > self.cx.config.deadline_max {
            return Err(SendError::Deadline(self.cx.config.deadline_max));
        }
        let acknowledged = data.delivery == Delivery::Acknowledged;
        if acknowledged && self.pending.len() >= self.cx.config.pending_max {
            self.starved = true;
            return Err(SendError::TooManyPending(self.cx.config.pending_max));
        }
        let next = match self.next_hop(to, None, channel_of(data.delivery)) {
            Ok(peer) => Some(peer),
            Err(LossReason::QueueFull) => {
                self.starved = true;
                return Err(SendError::Backpressure);
            }
            // There may be a route before the deadline.
            Err(_) if self.waiting.is_full(&self.cx.config) => {
                self.starved = true;
                return Err(SendError::Backpressure);
            }
            Err(_) => None,
        };
        let copy = acknowledged.then(|| data.clone());
        let id = self.draft(Target::Peer(to), data, next, deadline, now);
        self.cx.stats.sent += 1;
        if let Some(data) = copy {
            let wait = self.cx.config.retry_min;
            let pending = Pending {
                data,
                sent_at: now,
                dated: self.cx.unix(),
                deadline: now + deadline,
                retry_at: now + wait.min(deadline),
                wait,
                hop: next,
                repeated_at: now,
            };
            self.cx.timers.arm(Timer::Retry, pending.retry_at);
            self.pending.insert(id, pending);
        }
        Ok(id)
    }

    /// Enough for a detour twice as long as the present path; a broadcast is cut by its duplicates
    /// and may go as far as it must.
    pub(super) fn ttl_for(&self, target: Target) -> u8 {
        match target {
            Target::Room => TTL_MAX,
            Target::Peer(peer) => {
                let hops = self.routes.hops(peer);
                hops.saturating_mul(2).clamp(self.cx.config.ttl, TTL_MAX)
            }
        }
    }
}

const fn check_topic(topic: &str) -> Result<(), SendError> {
    if topic.len() > TOPIC_BYTES_MAX {
        return Err(SendError::TopicTooLong {
            bytes: topic.len(),
            bytes_max: TOPIC_BYTES_MAX,
        });
    }
    Ok(())
}
