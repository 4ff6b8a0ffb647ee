//! Streams of this agent: room for one more message, copies of what is lost, news of what arrived.

use std::collections::BTreeMap;
use std::time::Duration;

use super::copies::{Way, Ways};
use super::losses::delivery_failed;
use super::stream::{Asks, Ended, News, Outbox, Patience, Repeat, SPAN_MAX};
use super::{Messages, Net};
use crate::config::Config;
use crate::error::{LossReason, RejectReason};
use crate::id::{MessageId, PeerId, Target};
use crate::io::Channel;
use crate::links::Lane;
use crate::log::decided;
use crate::overlay::SETTLE;
use crate::payload::Delivery;
use crate::time::Instant;
use crate::timeout::TimeoutReason;
use crate::wire::{Content, Data, Envelope, MessageHeader, Place, Progress};

/// Slots that the streams of this agent have under way together: as many as 8 full ones, or 16 MiB
/// of copies.
const STREAMS_SLOTS_MAX: usize = 16 * SPAN_MAX as usize;

/// Streams of this agent, by target.
#[derive(Debug, Default)]
pub(super) struct Streams {
    by_target: BTreeMap<PeerId, Outbox>,
    /// What is under way in all of them.
    slots: usize,
}

impl Streams {
    /// Whether nothing is known to be missing, and no news is awaited.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn is_calm(&self) -> bool {
        self.by_target.values().all(Outbox::is_calm)
    }

    /// Messages of streams that await news.
    pub(super) fn unsettled(&self) -> usize {
        let streams = self.by_target.values().filter(|outbox| !outbox.is_calm());
        streams.map(|outbox| outbox.len() as usize).sum()
    }

    /// Forgets targets that are no longer here.
    pub(super) fn retain(&mut self, is_here: impl Fn(PeerId) -> bool) {
        self.by_target
            .retain(|&peer, outbox| is_here(peer) || !outbox.is_empty());
    }

    fn with<T>(&mut self, to: PeerId, act: impl FnOnce(&mut Outbox) -> T) -> Option<T> {
        let outbox = self.by_target.get_mut(&to)?;
        let before = outbox.slots();
        let done = act(outbox);
        self.slots = self.slots - before + outbox.slots();
        Some(done)
    }

    /// These messages have arrived, or their outcome is told.
    pub(super) fn settle(&mut self, to: PeerId, sequence: u64, count: u64) {
        self.with(to, |outbox| outbox.settle(sequence, count));
    }

    /// A receipt has come so long after its message left.
    pub(super) fn answered_after(&mut self, to: PeerId, took: Duration, now: Instant) {
        self.with(to, |outbox| outbox.answered_after(took, now));
    }

    /// A reply has come so long after its request left.
    pub(super) fn replied_after(&mut self, to: PeerId, took: Duration, now: Instant) {
        self.with(to, |outbox| outbox.replied_after(took, now));
    }

    /// How long a message to this member that will be answered waits for others, to share a
    /// signature.
    pub(super) fn gathering(&self, to: PeerId) -> Duration {
        let outbox = self.by_target.get(&to);
        outbox.map_or(Duration::ZERO, Outbox::gathering)
    }

    /// The longest that a receipt of this member is likely to take, if any has come.
    pub(super) fn answers_within(&self, to: PeerId) -> Option<Duration> {
        self.by_target.get(&to)?.answers_within()
    }

    /// Messages that stood in no envelope yet leave in this one.
    pub(super) fn keep(
        &mut self,
        to: PeerId,
        number: u64,
        envelope: Envelope,
        hop: Option<PeerId>,
    ) {
        self.with(to, |outbox| outbox.keep(number, envelope, hop));
    }

    /// A copy has left, over this neighbour.
    pub(super) fn repeated(&mut self, to: PeerId, number: u64, hop: PeerId, now: Instant) {
        self.with(to, |outbox| outbox.repeated(number, hop, now));
    }

    /// Says in a message which of those before it may still come.
    pub(super) fn update_place(&self, target: Target, place: &mut Option<Place>) {
        if let (Target::Peer(to), Some(place)) = (target, place)
            && let Some(outbox) = self.by_target.get(&to)
            && outbox.stream() == place.stream
        {
            place.awaited = place.number.saturating_sub(outbox.base());
        }
    }
}

fn patience(config: &Config) -> Patience {
    Patience {
        min: config.retry_min,
        max: config.retry_max,
    }
}

impl Messages {
    /// A stream has something due then, or at the soonest.
    fn arm_streams(&mut self, at: Option<Instant>, soonest: Instant) {
        if let Some(at) = at {
            self.timers.arm(TimeoutReason::Streams, at.max(soonest));
        }
    }

    /// Whether one more message to this member may be under way.
    pub(super) fn stream_has_room(&mut self, to: PeerId, net: &mut Net<'_>) -> bool {
        self.expire_stream(to, net);
        if self.streams.slots >= STREAMS_SLOTS_MAX {
            // What is old in other streams is given up soon, and asked for from half of this on.
            self.timers.arm(TimeoutReason::Streams, net.cx.now + SETTLE);
            return false;
        }
        let outbox = self.streams.by_target.get(&to);
        outbox.is_none_or(Outbox::has_room)
    }

    /// Gives a message its place in the stream to its target.
    pub(super) fn place(
        &mut self,
        header: &MessageHeader,
        data: &Data,
        (ordered, deadline): (bool, Duration),
        net: &Net<'_>,
    ) -> Place {
        let Target::Peer(to) = header.target else {
            unreachable!("broadcasts stand in no stream");
        };
        let (incarnation, now) = (header.incarnation, net.cx.now);
        let new = || Outbox::new(incarnation, header.sequence);
        let outbox = self.streams.by_target.entry(to).or_insert_with(new);
        // A receipt tells of the others.
        let awaits_news = data.delivery == Delivery::Reliable || data.wants_reply;
        let bytes = data.items.iter().map(|item| item.payload.len()).sum();
        let stream = outbox.stream();
        let is_pressed = self.streams.slots * 2 >= STREAMS_SLOTS_MAX;
        let asks = match (awaits_news, is_pressed) {
            (false, _) => Asks::Never,
            (true, false) => Asks::OfHalf,
            (true, true) => Asks::Always,
        };
        let pushed = self.streams.with(to, |outbox| {
            let pushed = outbox.push(header.sequence, bytes, asks, (now, now + deadline));
            (pushed, outbox.deadline(patience(&net.cx.config)))
        });
        let ((number, asks), at) = pushed.unwrap_or_default();
        self.arm_streams(at, now);
        Place {
            stream,
            number,
            awaited: 0,
            ordered,
            asks,
        }
    }

    /// Whether these messages, which a forwarder could not pass on, are repeated.
    pub(super) fn is_repeated(
        &mut self,
        id: &MessageId,
        cause: (LossReason, PeerId),
        net: &Net<'_>,
    ) -> bool {
        let Target::Peer(to) = id.target else {
            return false;
        };
        if cause.0 == LossReason::Left {
            return false;
        }
        let (incarnation, now) = (id.incarnation, net.cx.now);
        let patience = patience(&net.cx.config);
        let stuck = self.streams.with(to, |outbox| {
            let is_repeated =
                outbox.incarnation() == incarnation && outbox.stuck(id.sequence, cause, now);
            (is_repeated, outbox.deadline(patience))
        });
        let (is_repeated, at) = stuck.unwrap_or_default();
        self.arm_streams(at, now);
        is_repeated || self.is_part_repeated((to, id), cause, net)
    }

    /// The target of a stream tells how far it has come.
    pub(super) fn progress_received(
        &mut self,
        from: PeerId,
        progress: &Progress,
        via: Option<PeerId>,
        net: &mut Net<'_>,
    ) {
        if self.parts_received(from, progress, via, net) {
            return;
        }
        let now = net.cx.now;
        let told = self.streams.with(from, |outbox| {
            let is_ours =
                (outbox.incarnation(), outbox.stream()) == (progress.incarnation, progress.stream);
            is_ours.then(|| outbox.progress(progress, from, now))
        });
        let news = match told.flatten() {
            None => return, // Of a stream that has ended.
            Some(None) => {
                let malformed = RejectReason::Malformed;
                return net.links.reject(via, Some(from), malformed, net.cx);
            }
            Some(Some(news)) => news,
        };
        self.hear(from, news, net);
        self.skip_given_up(from, progress, via, net);
        self.tend_stream(from, &mut Ways::default(), net);
        self.notify_writable(net);
    }

    /// A target that holds messages back for others which this agent has given up need not wait.
    fn skip_given_up(
        &mut self,
        target: PeerId,
        progress: &Progress,
        via: Option<PeerId>,
        net: &mut Net<'_>,
    ) {
        let outbox = self.streams.by_target.get(&target);
        let next = outbox.map_or(0, Outbox::base);
        let stream = progress.stream;
        if !progress.missing.is_empty() && progress.next < next {
            decided!(net.cx, to = ?target, stream, next, "say what does not come any more");
            let skip = self.sign(Target::Peer(target), Content::Skip { stream, next }, net);
            self.send_back(skip, Channel::Data, via, net);
        }
    }

    fn hear(&mut self, from: PeerId, news: News, net: &Net<'_>) {
        for (sequence, count) in news.arrived {
            for number in 0..count {
                self.outcomes.close(from, sequence + number);
            }
        }
        for sequence in news.missing {
            let id = MessageId {
                author: net.cx.this,
                incarnation: net.trust.incarnation(),
                target: Target::Peer(from),
                sequence,
            };
            if let Some(pending) = self.pending.get_mut(&id) {
                pending.retry_at = net.cx.now;
                self.timers.arm(TimeoutReason::Retry, net.cx.now);
            }
        }
    }

    /// Sends what is due of every stream.
    pub(crate) fn tend_streams(&mut self, net: &mut Net<'_>) {
        if self.streams.slots >= STREAMS_SLOTS_MAX {
            self.expire_streams(net);
        }
        let busy = self.streams.by_target.iter();
        let busy = busy.filter(|(_, outbox)| !outbox.is_calm());
        let busy: Vec<_> = busy.map(|(to, _)| *to).collect();
        let mut ways = Ways::default();
        for to in busy {
            self.tend_stream(to, &mut ways, net);
        }
        self.notify_writable(net);
    }

    /// An agent has fallen out of reach, perhaps with messages that it was to pass on: what is not
    /// known to have arrived is asked for, of targets that are in reach.
    pub(crate) fn ask_for_news(&mut self, net: &mut Net<'_>) {
        let (patience, now) = (patience(&net.cx.config), net.cx.now);
        let (waiting, routes) = (&self.waiting, net.routing.routes());
        let calm = self.streams.by_target.iter_mut().filter(|(to, outbox)| {
            let first_copies_left = !waiting.holds(Target::Peer(**to));
            outbox.is_calm() && routes.contains(**to) && first_copies_left
        });
        let asked = calm.filter_map(|(_, outbox)| {
            outbox.ask_of_rest(now);
            outbox.deadline(patience)
        });
        let at = asked.min();
        self.arm_streams(at, now);
    }

    fn tend_stream(&mut self, to: PeerId, ways: &mut Ways, net: &mut Net<'_>) {
        self.expire_stream(to, net);
        let (patience, now) = (patience(&net.cx.config), net.cx.now);
        let due = match self.waiting.holds(Target::Peer(to)) {
            true => Vec::new(), // The first copies have not left yet.
            false => {
                let lane = Lane::new(net.cx.this, Channel::Data);
                let is_held = |hop| net.holds(lane, Target::Peer(to), hop);
                let due = self
                    .streams
                    .with(to, |outbox| outbox.due(patience, now, is_held));
                due.unwrap_or_default()
            }
        };
        for repeat in due {
            self.repeat(to, repeat, ways, net);
        }
        let outbox = self.streams.by_target.get(&to);
        let at = outbox.and_then(|outbox| outbox.deadline(patience));
        self.arm_streams(at, now + SETTLE);
    }

    fn repeat(&mut self, to: PeerId, repeat: Repeat, ways: &mut Ways, net: &mut Net<'_>) {
        let (number, this, now) = (repeat.number, net.cx.this, net.cx.now);
        let way = ways.of_copy((Target::Peer(to), repeat.sequence), repeat.hop, net);
        match way.filter(|_| repeat.deadline > now) {
            Some(Way::Over(hop)) => {
                net.cx.stats.retried += repeat.envelope.messages() as u64;
                decided!(net.cx, ?to, number, ?hop, "repeat a message of a stream");
                let _ = net.hand_to(hop, repeat.envelope, Channel::Data);
                self.streams.repeated(to, number, hop, now);
            }
            Some(Way::Behind) => {
                self.streams.with(to, |outbox| outbox.hold(&repeat, now));
            }
            None => {
                self.streams
                    .with(to, |outbox| outbox.put_off(number, this, now));
            }
        }
    }

    /// Gives up what is late, in every stream.
    pub(crate) fn expire_streams(&mut self, net: &mut Net<'_>) {
        let targets: Vec<_> = self.streams.by_target.keys().copied().collect();
        for to in targets {
            self.expire_stream(to, net);
        }
        self.notify_writable(net);
    }

    fn expire_stream(&mut self, to: PeerId, net: &mut Net<'_>) {
        let (this, now) = (net.cx.this, net.cx.now);
        let ended = self.streams.with(to, |outbox| {
            (outbox.incarnation(), outbox.expire(this, now))
        });
        let (incarnation, ended) = ended.unwrap_or_default();
        for Ended {
            sequence,
            count,
            lost,
        } in ended
        {
            let Some((reason, at)) = lost else {
                continue;
            };
            for number in 0..count {
                let id = MessageId {
                    author: this,
                    incarnation,
                    target: Target::Peer(to),
                    sequence: sequence + number,
                };
                if self.outcomes.close(to, id.sequence) {
                    net.cx.stats.lose(reason);
                    delivery_failed(id, reason, at, net.cx);
                }
            }
        }
    }
}
