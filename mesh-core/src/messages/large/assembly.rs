//! Large messages of others, until all parts are there.

use sha2::{Digest, Sha256};

use super::super::stream::{Arrival, Inbox};
use super::super::{Messages, Net, Seen};
use super::{FINISHED_MAX, IDLE_MAX, Key, OF_ALL_MAX, OF_AUTHOR_MAX, step};
use crate::error::{LossReason, RejectReason};
use crate::id::{PeerId, Target};
use crate::io::{Channel, Event};
use crate::payload::{Payload, check_json};
use crate::time::Instant;
use crate::timeout::TimeoutReason;
use crate::wire::{Chunk, Content, Form, Head, Item, MessageHeader, Purpose};

/// A large message of which parts are missing.
#[derive(Debug)]
pub(super) struct Assembly {
    head: Head,
    /// Of its first part, with the message's own sequence.
    header: MessageHeader,
    ttl: u8,
    parts: Vec<Option<Vec<u8>>>,
    arrived: u64,
    numbers: Inbox<()>,
    heard_at: Instant,
    /// The neighbour that brought the last part.
    via: Option<PeerId>,
}

impl Assembly {
    /// The payload, if it is what its author said.
    fn payload(self) -> Option<Payload> {
        let parts: Vec<_> = self.parts.into_iter().flatten().collect();
        let bytes = parts.concat();
        if Sha256::digest(&bytes)[..] != self.head.hash {
            return None;
        }
        match self.head.form {
            Form::Bytes => Some(Payload::Bytes(bytes)),
            Form::Text => String::from_utf8(bytes).ok().map(Payload::Text),
            Form::Json => {
                let json = String::from_utf8(bytes).ok();
                json.filter(|json| check_json(json).is_ok())
                    .map(Payload::Json)
            }
        }
    }
}

impl Messages {
    /// A part of a large message has come.
    pub(in crate::messages) fn chunk_received(
        &mut self,
        author: PeerId,
        header: &MessageHeader,
        chunk: Chunk,
        (via, ttl): (Option<PeerId>, u8),
        net: &mut Net<'_>,
    ) {
        let windows = self.windows.entry(author).or_default();
        if windows.direct.is_of_former_life(header) {
            let replayed = RejectReason::Replayed;
            return net.links.reject(via, Some(author), replayed, net.cx);
        }
        if windows.direct.check(header) == Seen::Never {
            windows.direct.insert(header);
        }
        let key = (author, chunk.message);
        let same = |it: &Assembly| it.header.incarnation == header.incarnation;
        if !self.large.assembling.get(&key).is_some_and(same) {
            let whole = MessageHeader {
                sequence: chunk.message,
                ..*header
            };
            self.begin_assembly(author, &whole, &chunk, (via, ttl), net);
        }
        let Some(assembly) = self.large.assembling.get_mut(&key) else {
            return; // The author sends the first part again until it hears of it.
        };
        if assembly.head.bytes_of(chunk.number) != Some(chunk.part.len()) {
            let malformed = RejectReason::Malformed;
            return net.links.reject(via, Some(author), malformed, net.cx);
        }
        assembly.via = via;
        let (number, now) = (chunk.number, net.cx.now);
        let mut ready = Vec::new();
        let arrival = assembly.numbers.accept(number, None, now, &mut ready);
        if chunk.asks || arrival != Arrival::New {
            self.large.owed.insert(key);
        }
        if arrival == Arrival::New {
            assembly.heard_at = now;
            let before = assembly.arrived;
            assembly.arrived += chunk.part.len() as u64;
            assembly.parts[number as usize] = Some(chunk.part);
            let (bytes, whole) = (assembly.arrived, assembly.head.bytes);
            if let Purpose::Reply { request } = assembly.head.purpose {
                self.reply_is_coming(author, request, net);
            } else if step(before, whole) < step(bytes, whole) {
                net.cx.emit(Event::Receiving {
                    id: assembly.header.id(author),
                    from: author,
                    bytes,
                    bytes_total: whole,
                });
            }
        }
        self.assembled(key, net);
        self.arm_assembly(key, net);
    }

    fn begin_assembly(
        &mut self,
        author: PeerId,
        header: &MessageHeader,
        chunk: &Chunk,
        (via, ttl): (Option<PeerId>, u8),
        net: &mut Net<'_>,
    ) {
        let Some(head) = chunk.head.filter(|_| chunk.number == 0) else {
            return;
        };
        let message = (header.incarnation, header.sequence);
        let mut finished = self.large.finished.iter();
        let is_known = |(peer, it): &&(PeerId, crate::wire::Progress)| {
            (*peer, it.incarnation, it.stream) == (author, message.0, message.1)
        };
        if finished.any(|it| is_known(&it)) {
            self.large.owed.insert((author, header.sequence));
            return;
        }
        let windows = self.windows.entry(author).or_default();
        if windows.direct.check(header) == Seen::Before {
            return; // It came whole, long ago.
        }
        let max = net.cx.config.large_bytes_max as u64;
        let of_author = self
            .large
            .assembling
            .range((author, 0)..=(author, u64::MAX));
        let refused = if head.bytes > max {
            Some(LossReason::TooLarge)
        } else if of_author.count() >= OF_AUTHOR_MAX || self.large.assembling.len() >= OF_ALL_MAX {
            Some(LossReason::Refused)
        } else {
            None
        };
        if let Some(reason) = refused {
            return self.tell_stop(author, (message, false, reason), net);
        }
        let mut numbers = Inbox::default();
        numbers.begin(message, 0, net.cx.now, &mut Vec::new());
        let assembly = Assembly {
            head,
            header: *header,
            ttl,
            parts: (0..head.chunks()).map(|_| None).collect(),
            arrived: 0,
            numbers,
            heard_at: net.cx.now,
            via,
        };
        self.large
            .assembling
            .insert((author, header.sequence), assembly);
    }

    /// Delivers a message whose parts are all there.
    fn assembled(&mut self, key: Key, net: &mut Net<'_>) {
        let assembly = self.large.assembling.get(&key);
        if assembly.is_none_or(|it| it.numbers.next() != it.head.chunks()) {
            return;
        }
        let Some(mut assembly) = self.large.assembling.remove(&key) else {
            return;
        };
        let (author, header, ttl) = (key.0, assembly.header, assembly.ttl);
        let (progress, purpose) = (assembly.numbers.progress(), assembly.head.purpose);
        let Some(payload) = assembly.payload() else {
            let message = (header.incarnation, header.sequence);
            self.large.owed.remove(&key);
            self.tell_stop(author, (message, false, LossReason::Refused), net);
            return net
                .links
                .reject(None, Some(author), RejectReason::Malformed, net.cx);
        };
        if self.large.finished.len() == FINISHED_MAX {
            self.large.finished.pop_front();
        }
        self.large.finished.push_back((author, progress));
        self.large.owed.insert(key);
        let windows = self.windows.entry(author).or_default();
        if windows.direct.check(&header) == Seen::Never {
            windows.direct.insert(&header);
        }
        match purpose {
            Purpose::Reply { request } => self.replied(author, request, payload, net),
            Purpose::Message {
                delivery,
                wants_reply,
            } => {
                let topic = String::new();
                let item = Item { topic, payload };
                self.deliver(author, &header, (delivery, wants_reply), item, ttl, net);
            }
        }
    }

    fn arm_assembly(&mut self, key: Key, net: &Net<'_>) {
        if let Some(assembly) = self.large.assembling.get(&key) {
            let idle = assembly.heard_at + IDLE_MAX;
            let gap = assembly.numbers.ask_at();
            let at = gap.map_or(idle, |at| at.min(idle));
            self.timers.arm(TimeoutReason::Large, at.max(net.cx.now));
        }
    }

    pub(super) fn drop_assembly(&mut self, key: Key, incarnation: u64) {
        let assembly = self.large.assembling.get(&key);
        if assembly.is_some_and(|it| it.header.incarnation == incarnation) {
            self.large.assembling.remove(&key);
            self.large.owed.remove(&key);
        }
    }

    /// Asks for missing parts, and gives up messages of which nothing comes.
    fn tend_assemblies(&mut self, net: &mut Net<'_>) {
        let keys: Vec<_> = self.large.assembling.keys().copied().collect();
        for key in keys {
            let Some(assembly) = self.large.assembling.get_mut(&key) else {
                continue;
            };
            if net.cx.now.since(assembly.heard_at) >= IDLE_MAX {
                let message = (assembly.header.incarnation, assembly.header.sequence);
                self.large.assembling.remove(&key);
                net.cx.stats.lose(LossReason::Deadline);
                self.tell_stop(key.0, (message, false, LossReason::Deadline), net);
                continue;
            }
            if assembly.numbers.asks(net.cx.now) {
                self.large.owed.insert(key);
            }
            self.arm_assembly(key, net);
        }
    }

    /// Does what large messages need by now.
    pub(crate) fn tend_large(&mut self, net: &mut Net<'_>) {
        self.tend_sending(net);
        self.tend_assemblies(net);
    }

    /// Tells authors which parts have come.
    pub(in crate::messages) fn tell_parts(&mut self, net: &mut Net<'_>) {
        for key in std::mem::take(&mut self.large.owed) {
            let (author, sequence) = key;
            let (progress, back) = match self.large.assembling.get_mut(&key) {
                Some(assembly) => (Some(assembly.numbers.progress()), assembly.via),
                None => {
                    let finished = self.large.finished.iter().rev();
                    let mut its = finished.filter(|(peer, it)| (*peer, it.stream) == key);
                    (its.next().map(|(_, progress)| progress.clone()), None)
                }
            };
            let Some(progress) = progress else {
                continue;
            };
            debug_assert_eq!(progress.stream, sequence, "the message's name");
            let content = Content::Progress(progress);
            let envelope = self.sign(Target::Peer(author), content, net);
            self.send_back(envelope, Channel::Data, back, net);
        }
    }
}
