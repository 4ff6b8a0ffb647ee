//! The application's commands: what is sent, checked and signed here, travels in `delivery`.

use std::collections::BTreeSet;
use std::time::Duration;

use super::large::SENDING_BYTES_MAX;
use super::outgoing::channel_of;
use super::pending::Pending;
use super::{Messages, Net};
use crate::config::{PAYLOAD_BYTES_MAX, TOPIC_BYTES_MAX};
use crate::error::{LossReason, SendError};
use crate::id::{MessageId, PeerId, Target};
use crate::io::Channel;
use crate::links::{Lane, Link};
use crate::payload::{Delivery, Payload, SendOptions, check_json};
use crate::timeout::TimeoutReason;
use crate::wire::Data;

impl Messages {
    /// See [`Mesh::send`](crate::Mesh::send).
    pub(crate) fn send(
        &mut self,
        to: PeerId,
        payload: Payload,
        options: SendOptions,
        net: &mut Net<'_>,
    ) -> Result<MessageId, SendError> {
        self.send_data(to, Data::one(payload, options.delivery), options, net)
    }

    /// See [`Mesh::request`](crate::Mesh::request).
    pub(crate) fn request(
        &mut self,
        to: PeerId,
        payload: Payload,
        deadline: Option<Duration>,
        net: &mut Net<'_>,
    ) -> Result<MessageId, SendError> {
        let options = SendOptions {
            deadline,
            ..Delivery::Acknowledged.into()
        };
        let data = Data {
            wants_reply: true,
            ..Data::one(payload, options.delivery)
        };
        self.send_data(to, data, options, net)
    }

    /// See [`Mesh::broadcast`](crate::Mesh::broadcast).
    pub(crate) fn broadcast(
        &mut self,
        topic: &str,
        payload: Payload,
        net: &mut Net<'_>,
    ) -> Result<MessageId, SendError> {
        check(&payload, topic, PAYLOAD_BYTES_MAX, net)?;
        self.rate.check(&net.cx.config, net.cx.now)?;
        if !net.has_way_to_room() && self.waiting.is_full(&net.cx.config) {
            return Err(self.backpressure());
        }
        let open = || net.links.open();
        // One neighbour that takes nothing must not silence this agent: others pass it on.
        let is_full =
            |link: &Link| !link.takes(Lane::new(net.cx.this, Channel::Data), &net.cx.config);
        if open().next().is_some() && open().all(is_full) {
            return Err(self.backpressure());
        }
        let mut data = Data::one(payload, Delivery::Reliable);
        topic.clone_into(&mut data.items[0].topic);
        net.cx.stats.broadcasts += 1;
        self.rate.count(&net.cx.config, net.cx.now);
        Ok(self.draft(Target::Room, data, None, net.cx.config.deadline, net))
    }

    /// Tells a caller to wait until the mesh is writable.
    pub(crate) fn backpressure(&mut self) -> SendError {
        self.backpressured = true;
        SendError::Backpressure
    }

    /// See [`Mesh::subscribe`](crate::Mesh::subscribe).
    pub(crate) fn subscribe(&mut self, topics: Option<BTreeSet<String>>) -> Result<(), SendError> {
        for topic in topics.iter().flatten() {
            check_topic(topic)?;
        }
        self.topics = topics;
        Ok(())
    }

    fn send_data(
        &mut self,
        to: PeerId,
        mut data: Data,
        options: SendOptions,
        net: &mut Net<'_>,
    ) -> Result<MessageId, SendError> {
        let bytes_max = match data.delivery {
            Delivery::Datagram => PAYLOAD_BYTES_MAX,
            Delivery::Reliable | Delivery::Acknowledged => SENDING_BYTES_MAX,
        };
        check(&data.items[0].payload, "", bytes_max, net)?;
        if to == net.cx.this {
            return Err(SendError::ToSelf);
        }
        if !net.overlay.may_be_here(to) {
            return Err(SendError::UnknownPeer(to));
        }
        let deadline = options.deadline.unwrap_or(net.cx.config.deadline);
        if deadline.is_zero() || deadline > net.cx.config.deadline_max {
            return Err(SendError::Deadline(net.cx.config.deadline_max));
        }
        self.rate.check(&net.cx.config, net.cx.now)?;
        let acknowledged = data.delivery == Delivery::Acknowledged;
        if acknowledged && self.pending.len() >= net.cx.config.pending_max {
            self.backpressured = true;
            return Err(SendError::TooManyPending(net.cx.config.pending_max));
        }
        if data.items[0].payload.is_large() {
            let (payload, wants_reply) = (data.items.remove(0).payload, data.wants_reply);
            let id = self.send_large(to, payload, wants_reply, (options, deadline), net)?;
            self.rate.count(&net.cx.config, net.cx.now);
            return Ok(id);
        }
        let in_stream = data.delivery != Delivery::Datagram;
        if in_stream && !self.stream_has_room(to, net) {
            return Err(self.backpressure());
        }
        let lane = Lane::new(net.cx.this, channel_of(data.delivery));
        let next = match net.next_hop(lane, to, None) {
            Ok(peer) => Some(peer),
            Err(LossReason::QueueFull) => {
                return Err(self.backpressure());
            }
            // There may be a route before the deadline.
            Err(_) if self.waiting.is_full(&net.cx.config) => {
                return Err(self.backpressure());
            }
            Err(_) => None,
        };
        self.rate.count(&net.cx.config, net.cx.now);
        let header = self.next_header(Target::Peer(to), net);
        if in_stream {
            data.place = Some(self.place(&header, &data, (options.ordered, deadline), net));
        }
        let copy = acknowledged.then(|| data.clone());
        let id = self.draft_as(header, data, next, deadline, net);
        net.cx.stats.sent += 1;
        if let Some(data) = copy {
            self.await_receipt(id, data, next, deadline, net);
        }
        Ok(id)
    }

    /// Has an acknowledged message repeated until its receipt or reply comes.
    fn await_receipt(
        &mut self,
        id: MessageId,
        data: Data,
        hop: Option<PeerId>,
        deadline: Duration,
        net: &Net<'_>,
    ) {
        let wait = self.answers_within(id.target, hop, net);
        let pending = Pending {
            data: Some(data),
            sent_at: net.cx.now,
            left_at: net.cx.now,
            dated: net.cx.unix(),
            deadline: net.cx.now + deadline,
            // There is time for a second copy.
            retry_at: net.cx.now + wait.min(deadline / 2),
            wait,
            hop,
            repeated_at: net.cx.now,
        };
        self.timers.arm(TimeoutReason::Retry, pending.retry_at);
        self.pending.insert(id, pending);
    }
}

pub(super) fn check(
    payload: &Payload,
    topic: &str,
    bytes_max: usize,
    net: &Net<'_>,
) -> Result<(), SendError> {
    if !net.cx.joined {
        return Err(SendError::NotJoined);
    }
    check_topic(topic)?;
    if payload.len() > bytes_max {
        return Err(SendError::TooLarge {
            bytes: payload.len(),
            bytes_max,
        });
    }
    if let Payload::Json(json) = payload {
        check_json(json).map_err(SendError::Json)?;
    }
    Ok(())
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
