//! Messages that come in: for this agent, for all, or to be passed on.

use super::{Messages, Net, Seen};
use crate::config::TOPIC_BYTES_MAX;
use crate::error::RejectReason;
use crate::id::{PeerId, Target};
use crate::io::{Channel, Event, Received};
use crate::links::SignalFrom;
use crate::payload::{Delivery, Payload, check_json};
use crate::trust::Signed;
use crate::wire::{
    ClearHeader, Content, Data, Envelope, ITEMS_MAX, Item, MISSING_MAX, Message, MessageHeader,
    Progress, Reply,
};

/// The largest TTL that is taken from others: a message in a loop costs this many hops at most, and
/// the longest paths of a sparse mesh are shorter.
pub(crate) const TTL_MAX: u8 = 64;

impl Messages {
    /// An envelope came over the link to a neighbour.
    pub(crate) fn envelope_received(
        &mut self,
        via: PeerId,
        channel: Channel,
        mut envelope: Envelope,
        net: &mut Net<'_>,
    ) {
        let author = envelope.signed.claimed_author();
        if !(1..=TTL_MAX).contains(&envelope.ttl) {
            net.links
                .reject(Some(via), Some(author), RejectReason::Malformed, net.cx);
            return;
        }
        envelope.ttl -= 1;
        match envelope.target {
            Target::Peer(peer) if peer == net.cx.this => {
                self.direct_received(&envelope.signed, Some(via), envelope.ttl, net);
            }
            // Control takes precedence over data, so data may not travel on it.
            Target::Peer(_) if channel == Channel::Control && !is_control(&envelope.signed) => {
                net.links
                    .reject(Some(via), Some(author), RejectReason::Misrouted, net.cx);
            }
            Target::Peer(_) => {
                net.cx.stats.forwarded += 1;
                if let Err(stuck) = net.forward(envelope, channel, Some(via)) {
                    let (reason, envelope) = *stuck;
                    self.stranded(envelope, reason, net);
                }
            }
            Target::Room if channel != Channel::Data => {
                net.links
                    .reject(Some(via), Some(author), RejectReason::Misrouted, net.cx);
            }
            Target::Room => self.broadcast_received(envelope, via, net),
        }
    }

    /// A message to this agent alone; `via` is the neighbour, or none for the hub.
    pub(crate) fn direct_received(
        &mut self,
        signed: &Signed,
        via: Option<PeerId>,
        ttl: u8,
        net: &mut Net<'_>,
    ) {
        let author = signed.claimed_author();
        let message = match verify(signed, Target::Peer(net.cx.this), net) {
            Ok(message) => message,
            Err(reason) => return net.links.reject(via, Some(author), reason, net.cx),
        };
        let header = message.header;
        if via.is_some() && ttl >= header.ttl {
            return net
                .links
                .reject(via, Some(author), RejectReason::Malformed, net.cx);
        }
        // The hub introduces; it does not carry messages.
        if via.is_none() && !matches!(message.content, Content::Signal { .. }) {
            return net
                .links
                .reject(via, Some(author), RejectReason::Misrouted, net.cx);
        }
        if !self.remembers(author, net) {
            return net
                .links
                .reject(via, Some(author), RejectReason::Limit, net.cx);
        }
        // Of several messages each is looked for alone.
        let is_data = matches!(message.content, Content::Data(_) | Content::Chunk(_));
        let window = &mut self.windows.entry(author).or_default().direct;
        if !is_data && window.accept(&header) != Seen::Never {
            return net
                .links
                .reject(via, Some(author), RejectReason::Replayed, net.cx);
        }
        self.content_received(author, &header, message.content, (via, ttl), net);
    }

    fn content_received(
        &mut self,
        author: PeerId,
        header: &MessageHeader,
        content: Content,
        (via, ttl): (Option<PeerId>, u8),
        net: &mut Net<'_>,
    ) {
        match content {
            Content::Data(mut data) => match data.place.take() {
                Some(place) => {
                    self.placed_received(author, header, (place, data), (via, ttl), net);
                }
                None => self.data_received(author, header, data, via, ttl, net),
            },
            Content::Replies(replies) => {
                for Reply { request, payload } in replies {
                    self.replied(author, request, payload, net);
                }
            }
            Content::Receipt { message, count } => {
                self.receipt_received(author, message, count, net);
            }
            Content::Undelivered {
                message,
                count,
                reason,
            } => {
                self.undelivered(author, message, count, reason, net);
            }
            Content::Signal { attempt, signal } => {
                self.signals.push_back(SignalFrom {
                    message: header.id(author),
                    attempt,
                    signal,
                    via,
                });
            }
            Content::Progress(progress) => self.progress_received(author, &progress, via, net),
            Content::Chunk(chunk) => self.chunk_received(author, header, chunk, (via, ttl), net),
            Content::Stop(stop) => self.stop_received(author, &stop, net),
            Content::LinkQuery { number, about } => {
                self.asked_of_link(author, (number, about), via, net);
            }
            Content::LinkReport {
                number,
                about,
                report,
            } => self.link_reported(author, (number, about), report, net),
            Content::Skip { stream, next } => {
                self.skip_received(author, (header.incarnation, stream), next, net);
            }
        }
    }

    /// Messages for the application of this agent alone, which stand in no stream.
    fn data_received(
        &mut self,
        author: PeerId,
        header: &MessageHeader,
        data: Data,
        via: Option<PeerId>,
        ttl: u8,
        net: &mut Net<'_>,
    ) {
        let Some(count) = data.count() else {
            return net
                .links
                .reject(via, Some(author), RejectReason::Malformed, net.cx);
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
            (1..replays).for_each(|_| net.cx.stats.reject(RejectReason::Replayed));
            net.links
                .reject(via, Some(author), RejectReason::Replayed, net.cx);
        } else if acknowledged && !data.wants_reply {
            self.send_receipt(author, header, count, via, net);
        }
        net.cx.stats.duplicates += again.len() as u64;
        if data.wants_reply {
            again
                .into_iter()
                .for_each(|request| self.reply_again(request, via, net));
        }
        let kind = (data.delivery, data.wants_reply);
        for (header, item) in news {
            self.deliver(author, &header, kind, item, ttl, net);
        }
    }

    fn broadcast_received(&mut self, envelope: Envelope, via: PeerId, net: &mut Net<'_>) {
        let author = envelope.signed.claimed_author();
        // Copies over other links are no news: look before paying for a verification.
        let claim = envelope.signed.peek::<MessageHeader>();
        let window = self.windows.get(&author).map(|windows| &windows.room);
        let seen = claim.and_then(|header| Some(window?.check(&header)));
        if author == net.cx.this || seen == Some(Seen::Before) {
            net.cx.stats.duplicates += 1;
            return;
        }
        if seen == Some(Seen::TooOld) {
            net.links
                .reject(Some(via), Some(author), RejectReason::Replayed, net.cx);
            return;
        }
        let message = match verify(&envelope.signed, Target::Room, net) {
            Ok(message) => message,
            Err(reason) => return net.links.reject(Some(via), Some(author), reason, net.cx),
        };
        let header = message.header;
        if envelope.ttl >= header.ttl {
            return net
                .links
                .reject(Some(via), Some(author), RejectReason::Malformed, net.cx);
        }
        if !self.remembers(author, net) {
            return net
                .links
                .reject(Some(via), Some(author), RejectReason::Limit, net.cx);
        }
        let window = &mut self.windows.entry(author).or_default().room;
        let Content::Data(data) = message.content else {
            window.insert(&header);
            return net
                .links
                .reject(Some(via), Some(author), RejectReason::Misrouted, net.cx);
        };
        if data.count().is_none() {
            return net
                .links
                .reject(Some(via), Some(author), RejectReason::Malformed, net.cx);
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
            net,
        );
        let kind = (data.delivery, data.wants_reply);
        for (header, item) in news {
            let topics = self.topics.as_ref();
            if topics.is_some_and(|topics| !topics.contains(&item.topic)) {
                net.cx.stats.unsubscribed += 1;
            } else {
                self.deliver(author, &header, kind, item, ttl, net);
            }
        }
    }

    pub(super) fn deliver(
        &mut self,
        from: PeerId,
        header: &MessageHeader,
        (delivery, wants_reply): (Delivery, bool),
        item: Item,
        ttl: u8,
        net: &mut Net<'_>,
    ) {
        let id = header.id(from);
        if wants_reply {
            self.remember_request(id, net);
        }
        net.cx.stats.delivered += 1;
        let name = net.overlay.name_of(from, net.routing);
        let latency = net.cx.unix() - header.sent_at;
        net.cx.emit(Event::Message(Received {
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

/// Verifies a message that claims to be for this target: the only way to its content.
fn verify(signed: &Signed, target: Target, net: &mut Net<'_>) -> Result<Message, RejectReason> {
    let verified = match target {
        Target::Room => net.trust.verify_once::<Message>(signed, net.cx)?,
        Target::Peer(_) => net.trust.verify::<Message>(signed, net.cx)?,
    };
    let (author, message) = verified.into_parts();
    if message.header.target != target {
        return Err(RejectReason::Misrouted);
    }
    if author == net.cx.this {
        return Err(RejectReason::Replayed);
    }
    if !is_well_formed(&message) {
        return Err(RejectReason::Malformed);
    }
    if message.header.sent_at.distance(net.cx.unix()) > net.cx.config.clock_skew_max {
        return Err(RejectReason::Expired);
    }
    Ok(message)
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
        Content::Data(data) => {
            let mut items = data.items.iter();
            let is_item = |item: &Item| item.topic.len() <= topic_bytes_max;
            may_have_place(message.header.target, data)
                && items.all(|item| is_item(item) && is_json(&item.payload))
        }
        Content::Replies(replies) => {
            let mut payloads = replies.iter().map(|reply| &reply.payload);
            (1..=ITEMS_MAX).contains(&replies.len()) && payloads.all(is_json)
        }
        Content::Progress(progress) => is_possible(progress),
        Content::LinkReport { report, .. } => report.is_well_formed(),
        Content::Skip { next, .. } => may_be_number(*next),
        Content::Receipt { .. }
        | Content::Undelivered { .. }
        | Content::Signal { .. }
        | Content::Chunk(_)
        | Content::Stop(_)
        | Content::LinkQuery { .. } => true,
    }
}

/// Whether messages stand in a stream only where there is one.
fn may_have_place(target: Target, data: &Data) -> bool {
    let streams = target != Target::Room && data.delivery != Delivery::Datagram;
    data.place
        .is_none_or(|place| streams && may_be_number(place.number) && place.awaited <= place.number)
}

/// Whether the numbers after this one in a stream can be counted.
fn may_be_number(number: u64) -> bool {
    number.checked_add(ITEMS_MAX as u64).is_some()
}

/// Whether what is missing lies, in order, between what has all arrived and what has been seen.
fn is_possible(progress: &Progress) -> bool {
    let mut from = progress.next;
    let mut ranges = progress.missing.iter();
    let in_order = ranges.all(|&(first, count)| {
        let is_next = first >= from && count > 0;
        from = first.saturating_add(count);
        is_next && from <= progress.seen
    });
    in_order && progress.next <= progress.seen && progress.missing.len() <= MISSING_MAX
}

/// Whether a message claims to be of those that keep the mesh together.
fn is_control(signed: &Signed) -> bool {
    let header = signed.peek::<ClearHeader>();
    header.is_some_and(|header| header.kind.is_control())
}
