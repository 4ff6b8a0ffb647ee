//! What comes in over a link: frames, records, and messages for this agent.

use super::Mesh;
use crate::config::TOPIC_BYTES_MAX;
use crate::error::RejectReason;
use crate::id::{LinkId, PeerId, Target};
use crate::identity::Signed;
use crate::io::{Channel, Event, Received};
use crate::payload::{Delivery, Payload, check_json};
use crate::rng::unit;
use crate::routing::Seen;
use crate::samples::Sample;
use crate::time::Instant;
use crate::timers::Timer;
use crate::wire::{Content, Data, Envelope, Frame, Item, Message, MessageHeader, Record};

/// The largest TTL that is taken from others.
pub(crate) const TTL_MAX: u8 = 64;

impl Mesh {
    pub(super) fn frame_received(
        &mut self,
        id: LinkId,
        channel: Channel,
        bytes: &[u8],
        now: Instant,
    ) {
        // Drivers report a link open before its first frame.
        let Some(link) = self.links.get_mut(id).filter(|link| link.is_usable()) else {
            if self.revive(id, now) {
                self.frame_received(id, channel, bytes, now);
            }
            return;
        };
        link.keepalive.heard(now);
        self.cx.stats.frames_in += 1;
        self.cx.stats.bytes_in += bytes.len() as u64;
        match Frame::decode(bytes) {
            Ok(frame) => {
                for record in frame.records {
                    self.record_received(id, channel, record, now);
                }
            }
            Err(error) => self.bad_frame(id, error.into(), now),
        }
    }

    fn record_received(&mut self, id: LinkId, channel: Channel, record: Record, now: Instant) {
        let Some(link) = self.links.get_mut(id) else {
            return; // A record before this one had the link closed.
        };
        match record {
            Record::Ping { nonce } => self.queue_control(id, &Record::Pong { nonce }),
            Record::Pong { nonce } => {
                let jitter = self.cx.jitter();
                if let Some(took) = link.keepalive.pong(nonce, jitter, now) {
                    self.cx.samples.add(Sample::RoundTrip(took));
                }
                self.measured(id, now);
            }
            Record::Ack { received } => self.acknowledged(id, received, now),
            Record::Drain => self.drain_requested(id, now),
            Record::Summary { fingerprint } => self.summary_received(id, fingerprint, now),
            Record::Digest {
                low,
                high,
                entries,
                reply,
            } => self.digest_received(id, low..=high, &entries, reply, now),
            Record::Have { names } => self.have_received(id, &names, now),
            Record::Want { names } => self.want_received(id, &names, now),
            Record::LinkState(signed) => self.link_state_received(id, signed, now),
            Record::Envelope(envelope) => {
                let peer = link.peer;
                if channel == Channel::Data {
                    if let Some(since) = link.queue.count_received(now) {
                        self.cx
                            .timers
                            .arm(Timer::Acks, since + self.cx.config.ack_delay);
                    } else {
                        link.queue.acknowledge();
                        self.busy.insert(id);
                    }
                }
                self.envelope_received(peer, channel, envelope, now);
            }
        }
    }

    fn acknowledged(&mut self, id: LinkId, received: u64, now: Instant) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        let peer = link.peer;
        let possible = link.queue.acknowledged(received, now);
        let drained = !link.is_open() && link.queue.is_settled();
        if !possible {
            self.reject(Some(peer), None, RejectReason::Malformed);
        } else if drained {
            self.flush_link(id); // The acknowledgements that it owes in turn.
            self.close_link(id, "no longer wanted", now);
        }
        self.notify_writable(now);
    }

    /// Acknowledges what no frame has carried an acknowledgement of for so long, link by link: all
    /// at once would be a burst, and the whole mesh's at the same time if messages began so.
    pub(super) fn send_acks(&mut self, now: Instant) {
        for link in self.links.iter_mut() {
            let Some(since) = link.queue.owed_since() else {
                continue;
            };
            let due = since + self.cx.config.ack_delay;
            if due <= now {
                link.queue.acknowledge();
                self.busy.insert(link.id);
            } else {
                self.cx.timers.arm(Timer::Acks, due);
            }
        }
    }

    fn envelope_received(
        &mut self,
        via: PeerId,
        channel: Channel,
        mut envelope: Envelope,
        now: Instant,
    ) {
        let author = envelope.signed.claimed_author();
        if !(1..=TTL_MAX).contains(&envelope.ttl) {
            self.reject(Some(via), Some(author), RejectReason::Malformed);
            return;
        }
        envelope.ttl -= 1;
        match envelope.target {
            Target::Peer(peer) if peer == self.cx.this => {
                self.direct_received(&envelope.signed, Some(via), envelope.ttl, now);
            }
            // Control takes precedence over data, so data may not travel on it.
            Target::Peer(_) if channel == Channel::Control && !is_control(&envelope.signed) => {
                self.reject(Some(via), Some(author), RejectReason::Misrouted);
            }
            Target::Peer(_) => {
                self.cx.stats.forwarded += 1;
                if let Err(stuck) = self.forward(envelope, channel, Some(via), now) {
                    let (reason, envelope) = *stuck;
                    self.undeliverable(&envelope, reason, now);
                }
            }
            Target::Room if channel != Channel::Data => {
                self.reject(Some(via), Some(author), RejectReason::Misrouted);
            }
            Target::Room => self.broadcast_received(envelope, via, now),
        }
    }

    /// A message to this agent alone; `via` is the neighbour, or none for the hub.
    pub(super) fn direct_received(
        &mut self,
        signed: &Signed,
        via: Option<PeerId>,
        ttl: u8,
        now: Instant,
    ) {
        let author = signed.claimed_author();
        let message = match self.open(signed, Target::Peer(self.cx.this), now) {
            Ok(message) => message,
            Err(reason) => return self.reject(via, Some(author), reason),
        };
        let header = message.header;
        if via.is_some() && ttl >= header.ttl {
            return self.reject(via, Some(author), RejectReason::Malformed);
        }
        // The hub introduces; it does not carry messages.
        if via.is_none() && !matches!(message.content, Content::Signal { .. }) {
            return self.reject(via, Some(author), RejectReason::Misrouted);
        }
        if !self.remembers(author) {
            return self.reject(via, Some(author), RejectReason::Limit);
        }
        // Of several messages each is looked for alone.
        let is_data = matches!(message.content, Content::Data(_));
        let window = &mut self.windows.entry(author).or_default().direct;
        if !is_data && window.accept(&header) != Seen::Never {
            return self.reject(via, Some(author), RejectReason::Replayed);
        }
        match message.content {
            Content::Data(data) => self.data_received(author, &header, data, via, ttl, now),
            Content::Reply { request, payload } => self.replied(author, request, payload, now),
            Content::Receipt { message, count } => {
                self.receipt_received(author, message, count, now);
            }
            Content::Undelivered {
                message,
                count,
                reason,
            } => {
                self.undelivered(author, message, count, reason, now);
            }
            Content::Signal { attempt, signal } => {
                self.signal_received(header.id(author), (attempt, signal), via, now);
            }
        }
    }

    /// Messages for the application of this agent alone.
    fn data_received(
        &mut self,
        author: PeerId,
        header: &MessageHeader,
        data: Data,
        via: Option<PeerId>,
        ttl: u8,
        now: Instant,
    ) {
        let Some(count) = data.count() else {
            return self.reject(via, Some(author), RejectReason::Malformed);
        };
        let acknowledged = data.delivery == Delivery::Acknowledged;
        let window = &mut self.windows.entry(author).or_default().direct;
        let (mut news, mut again, mut replays) = (Vec::new(), Vec::new(), 0);
        for (number, item) in data.items.into_iter().enumerate() {
            let header = header.after(number);
            match window.accept(&header) {
                Seen::Never => news.push((header, item)),
                Seen::Before if acknowledged => again.push(header.id(author)),
                Seen::Before | Seen::TooOld => replays += 1,
            }
        }
        if replays > 0 {
            // Each counts, one is told.
            (1..replays).for_each(|_| self.cx.stats.reject(RejectReason::Replayed));
            self.reject(via, Some(author), RejectReason::Replayed);
        } else if acknowledged && !data.wants_reply {
            self.send_receipt(author, header, count, via, now);
        }
        self.cx.stats.duplicates += again.len() as u64;
        if data.wants_reply {
            again
                .into_iter()
                .for_each(|request| self.reply_again(request, via, now));
        }
        let kind = (data.delivery, data.wants_reply);
        for (header, item) in news {
            self.deliver(author, &header, kind, item, ttl, now);
        }
    }

    fn broadcast_received(&mut self, envelope: Envelope, via: PeerId, now: Instant) {
        let author = envelope.signed.claimed_author();
        // Copies over other links are no news: look before paying for a verification.
        let claim = envelope.signed.peek::<MessageHeader>();
        let window = self.windows.get(&author).map(|windows| &windows.room);
        let seen = claim.and_then(|header| Some(window?.check(&header)));
        if author == self.cx.this || seen == Some(Seen::Before) {
            self.cx.stats.duplicates += 1;
            return;
        }
        if seen == Some(Seen::TooOld) {
            self.reject(Some(via), Some(author), RejectReason::Replayed);
            return;
        }
        let message = match self.open(&envelope.signed, Target::Room, now) {
            Ok(message) => message,
            Err(reason) => return self.reject(Some(via), Some(author), reason),
        };
        let header = message.header;
        if envelope.ttl >= header.ttl {
            return self.reject(Some(via), Some(author), RejectReason::Malformed);
        }
        if !self.remembers(author) {
            return self.reject(Some(via), Some(author), RejectReason::Limit);
        }
        let window = &mut self.windows.entry(author).or_default().room;
        let Content::Data(data) = message.content else {
            window.insert(&header);
            return self.reject(Some(via), Some(author), RejectReason::Misrouted);
        };
        if data.count().is_none() {
            return self.reject(Some(via), Some(author), RejectReason::Malformed);
        }
        let mut news = Vec::new();
        for (number, item) in data.items.into_iter().enumerate() {
            let header = header.after(number);
            if window.accept(&header) == Seen::Never {
                news.push((header, item));
            }
        }
        // That it was seen ends a broadcast, not the TTL, which is not signed: it only tells hops.
        let ttl = envelope.ttl;
        let ttl_left = ttl.max(1);
        self.pass_on(
            Envelope {
                ttl: ttl_left,
                ..envelope
            },
            Some(via),
            now,
        );
        let kind = (data.delivery, data.wants_reply);
        for (header, item) in news {
            let topics = self.topics.as_ref();
            if topics.is_some_and(|topics| !topics.contains(&item.topic)) {
                self.cx.stats.unsubscribed += 1;
            } else {
                self.deliver(author, &header, kind, item, ttl, now);
            }
        }
    }

    /// Verifies a message that claims to be for this target: the only way to its content.
    fn open(
        &mut self,
        signed: &Signed,
        target: Target,
        now: Instant,
    ) -> Result<Message, RejectReason> {
        let (verifier, room) = (&mut self.verifier, &self.cx.config.room);
        let verified = match target {
            Target::Room => signed.verify_once::<Message>(verifier, room)?,
            Target::Peer(_) => signed.verify_with::<Message>(verifier, room)?,
        };
        let (author, message) = verified.into_parts();
        if message.header.target != target {
            return Err(RejectReason::Misrouted);
        }
        if author == self.cx.this {
            return Err(RejectReason::Replayed);
        }
        if !is_well_formed(&message) {
            return Err(RejectReason::Malformed);
        }
        if message.header.sent_at.distance(self.cx.unix()) > self.cx.config.clock_skew_max {
            return Err(RejectReason::Expired);
        }
        Ok(message)
    }

    fn deliver(
        &mut self,
        from: PeerId,
        header: &MessageHeader,
        (delivery, wants_reply): (Delivery, bool),
        item: Item,
        ttl: u8,
        now: Instant,
    ) {
        let id = header.id(from);
        if wants_reply {
            self.remember_request(id);
        }
        self.cx.stats.delivered += 1;
        let name = self.name_of(from);
        let latency = self.cx.unix() - header.sent_at;
        self.cx.emit(Event::Message(Received {
            id,
            from,
            name,
            topic: (header.target == Target::Room).then_some(item.topic),
            payload: item.payload,
            delivery,
            wants_reply,
            hops: header.ttl.saturating_sub(ttl),
            latency_ms: latency.as_secs_f64() * 1e3,
        }));
    }
}

/// Whether the content is as an honest author makes it.
fn is_well_formed(message: &Message) -> bool {
    let is_json = |payload: &Payload| match payload {
        Payload::Json(json) => check_json(json).is_ok(),
        Payload::Text(_) | Payload::Bytes(_) => true,
    };
    let topic_bytes_max = match message.header.target {
        Target::Room => TOPIC_BYTES_MAX,
        Target::Peer(_) => 0,
    };
    match &message.content {
        Content::Data(data) => data
            .items
            .iter()
            .all(|item| item.topic.len() <= topic_bytes_max && is_json(&item.payload)),
        Content::Reply { payload, .. } => is_json(payload),
        Content::Receipt { .. } | Content::Undelivered { .. } | Content::Signal { .. } => true,
    }
}

/// Whether a message claims to be of those that keep the mesh together.
fn is_control(signed: &Signed) -> bool {
    let content = signed.peek::<Message>().map(|message| message.content);
    matches!(
        content,
        Some(Content::Signal { .. } | Content::Undelivered { .. })
    )
}
