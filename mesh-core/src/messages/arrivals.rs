//! Streams of others: messages are handed over in order, and their authors told what is missing.

use std::collections::{BTreeMap, BTreeSet};

use super::stream::{Arrival, STREAM_BYTES_MAX};
use super::{Messages, Net, Seen};
use crate::error::{LossReason, RejectReason};
use crate::id::{PeerId, Target};
use crate::io::Channel;
use crate::payload::Delivery;
use crate::timeout::TimeoutReason;
use crate::wire::{Content, Data, Item, MessageHeader, Place};

/// Bytes that all streams together hold back for missing messages: as much as four full streams,
/// or the full queues of four links.
const HELD_BYTES_MAX: usize = 4 * STREAM_BYTES_MAX;

/// Bytes that a message which is held back takes beside its payload, about: its place in the map,
/// its topic and its header.
const HELD_OVERHEAD: usize = 160;

/// What streams of others need.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// Authors that are to be told how far their streams have come, and the neighbour that brought
    /// what they are told of.
    owed: BTreeMap<PeerId, Option<PeerId>>,
    /// Authors of which messages are held back.
    holding: BTreeSet<PeerId>,
    /// Bytes that are held back.
    bytes: usize,
}

impl Arrivals {
    /// Whether nothing is held back, and no news is waited for.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn is_calm(&self) -> bool {
        self.owed.is_empty() && self.holding.is_empty()
    }
}

/// A message for the application, its signature verified.
#[derive(Debug)]
pub(super) struct Arrived {
    header: MessageHeader,
    kind: (Delivery, bool),
    item: Item,
    ttl: u8,
}

/// What became of the messages of one envelope.
#[derive(Debug, Default)]
struct Taken {
    ready: Vec<Arrived>,
    /// Came before.
    again: Vec<MessageHeader>,
    /// Not waited for any more.
    late: Vec<MessageHeader>,
    /// Without room to hold it, or too old to be told from what has come before.
    refused: u64,
}

impl Messages {
    /// Messages that stand in a stream. A message comes again if the author does not know that it
    /// has arrived.
    pub(super) fn placed_received(
        &mut self,
        author: PeerId,
        header: &MessageHeader,
        (place, data): (Place, Data),
        (via, ttl): (Option<PeerId>, u8),
        net: &mut Net<'_>,
    ) {
        let Some(count) = data.count() else {
            return net
                .links
                .reject(via, Some(author), RejectReason::Malformed, net.cx);
        };
        let kind = (data.delivery, data.wants_reply);
        let Some(taken) = self.take(author, header, &place, data, ttl, net) else {
            return net
                .links
                .reject(via, Some(author), RejectReason::Replayed, net.cx);
        };
        let (delivery, wants_reply) = kind;
        let is_complete = taken.late.is_empty() && taken.refused == 0;
        if delivery == Delivery::Acknowledged && !wants_reply && is_complete {
            self.send_receipt(author, header, count, via, net);
        }
        // The repeating agent does not know.
        let is_repeated = delivery == Delivery::Reliable && !taken.again.is_empty();
        if place.asks || is_repeated {
            self.arrivals.owed.insert(author, via);
        }
        self.came_late(author, (delivery, via), &taken.late, net);
        net.cx.stats.duplicates += taken.again.len() as u64;
        if wants_reply {
            for header in taken.again {
                self.reply_again(header.id(author), via, net);
            }
        }
        self.hand_over(author, taken.ready, net);
    }

    /// Messages are dropped that were not waited for any more. Their author may have given them up
    /// without knowing what became of them, and its application is to know of reliable ones. There
    /// is one notice for an envelope: what left together is late together.
    fn came_late(
        &mut self,
        author: PeerId,
        (delivery, via): (Delivery, Option<PeerId>),
        late: &[MessageHeader],
        net: &mut Net<'_>,
    ) {
        late.iter()
            .for_each(|_| net.cx.stats.lose(LossReason::Deadline));
        let mut runs =
            late.chunk_by(|one, next| one.sequence.checked_add(1) == Some(next.sequence));
        let run = runs.next().filter(|_| delivery == Delivery::Reliable);
        if let Some(run @ [first, ..]) = run
            && let Ok(count) = u8::try_from(run.len())
        {
            let notice = self.notice(author, (first, count, LossReason::Deadline), net);
            if let Some(notice) = notice {
                self.send_back(notice, Channel::Control, via, net);
            }
        }
    }

    /// Takes what is new; nothing if it is of a former life or stream of its author.
    fn take(
        &mut self,
        author: PeerId,
        header: &MessageHeader,
        place: &Place,
        data: Data,
        ttl: u8,
        net: &mut Net<'_>,
    ) -> Option<Taken> {
        let now = net.cx.now;
        let windows = self.windows.entry(author).or_default();
        if windows.direct.is_of_former_life(header) {
            return None;
        }
        let held_before = windows.stream.bytes();
        let mut taken = Taken::default();
        let life = (header.incarnation, place.stream);
        let inbox = &mut windows.stream;
        net.cx.stats.skipped += inbox.begin(life, place.base(), now, &mut taken.ready)?;
        let kind = (data.delivery, data.wants_reply);
        let others = self.arrivals.bytes - held_before;
        for (count, item) in data.items.into_iter().enumerate() {
            let header = header.after(count);
            let number = place.number + count as u64;
            let seen = windows.direct.check(&header);
            let bytes = item.payload.len() + HELD_OVERHEAD;
            let is_full = others + windows.stream.bytes() + bytes > HELD_BYTES_MAX;
            if is_full && windows.stream.would_hold(number) && place.ordered {
                taken.refused += 1;
                continue;
            }
            let arrived = Arrived {
                header,
                kind,
                item,
                ttl,
            };
            // What is not ordered is handed over at once, and its number noted.
            let (ordered, at_once) = match place.ordered {
                true => (Some((arrived, bytes)), None),
                false => (None, Some(arrived)),
            };
            match windows
                .stream
                .accept(number, ordered, now, &mut taken.ready)
            {
                Arrival::New => {
                    taken.ready.extend(at_once);
                    if seen == Seen::Never {
                        windows.direct.insert(&header);
                    }
                }
                Arrival::Held => taken.again.push(header),
                Arrival::Passed if seen == Seen::Before => taken.again.push(header),
                Arrival::Passed if seen == Seen::Never => {
                    // Of an acknowledged one that comes again there is no receipt either.
                    if data.delivery == Delivery::Reliable {
                        windows.direct.insert(&header);
                    }
                    taken.late.push(header);
                }
                Arrival::Passed | Arrival::NoRoom => taken.refused += 1,
            }
        }
        self.note_held(author, held_before, net);
        Some(taken)
    }

    /// An author has given up what is waited for here.
    pub(super) fn skip_received(
        &mut self,
        author: PeerId,
        life: (u64, u64),
        next: u64,
        net: &mut Net<'_>,
    ) {
        let Some(windows) = self.windows.get_mut(&author) else {
            return;
        };
        let (mut ready, before) = (Vec::new(), windows.stream.bytes());
        net.cx.stats.skipped += windows.stream.skip(life, next, net.cx.now, &mut ready);
        self.note_held(author, before, net);
        self.hand_over(author, ready, net);
    }

    /// Something may be held back of an author's stream, or no longer.
    fn note_held(&mut self, author: PeerId, bytes_before: usize, net: &Net<'_>) {
        let Some(inbox) = self.windows.get(&author).map(|windows| &windows.stream) else {
            return;
        };
        self.arrivals.bytes = self.arrivals.bytes - bytes_before + inbox.bytes();
        match inbox.deadline() {
            Some(at) => {
                self.arrivals.holding.insert(author);
                self.timers.arm(TimeoutReason::Gaps, at.max(net.cx.now));
            }
            None => {
                self.arrivals.holding.remove(&author);
            }
        }
    }

    fn hand_over(&mut self, author: PeerId, ready: Vec<Arrived>, net: &mut Net<'_>) {
        for Arrived {
            header,
            kind,
            item,
            ttl,
        } in ready
        {
            self.deliver(author, &header, kind, item, ttl, net);
        }
    }

    /// Asks for what is missing, or gives it up.
    pub(crate) fn tend_gaps(&mut self, net: &mut Net<'_>) {
        let holding: Vec<_> = self.arrivals.holding.iter().copied().collect();
        for author in holding {
            let Some(windows) = self.windows.get_mut(&author) else {
                self.arrivals.holding.remove(&author);
                continue;
            };
            let (mut ready, before) = (Vec::new(), windows.stream.bytes());
            net.cx.stats.skipped += windows.stream.give_up(net.cx.now, &mut ready);
            if windows.stream.asks(net.cx.now) {
                self.arrivals.owed.entry(author).or_default();
            }
            self.note_held(author, before, net);
            self.hand_over(author, ready, net);
        }
    }

    /// Tells authors how far their streams have come.
    pub(super) fn tell_progress(&mut self, net: &mut Net<'_>) {
        for (author, back) in std::mem::take(&mut self.arrivals.owed) {
            let Some(windows) = self.windows.get_mut(&author) else {
                continue;
            };
            let content = Content::Progress(windows.stream.progress());
            let progress = self.sign(Target::Peer(author), content, net);
            self.send_back(progress, Channel::Data, back, net);
        }
    }
}
