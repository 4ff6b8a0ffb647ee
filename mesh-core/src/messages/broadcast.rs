//! Broadcasts: down the source's tree, and mended where the tree was broken.
//!
//! Each agent passes a broadcast on to its children in the tree of the source ([`tree`]): in a mesh
//! at rest each member gets one copy. While views differ, or a forwarder dies with a message, the
//! tree misses some. So a moment later each agent tells its neighbours on the first rings what it
//! has, and they ask for what they lack (Leitão, Pereira and Rodrigues, *Epidemic Broadcast Trees*,
//! SRDS 2007: eager push, lazy push, graft).
//!
//! [`tree`]: crate::routing::children

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::{Messages, Net};
use crate::context::Context;
use crate::error::LossReason;
use crate::id::{LinkId, PeerId};
use crate::io::Channel;
use crate::links::{Lane, Links};
use crate::log::decided;
use crate::time::Instant;
use crate::timeout::TimeoutReason;
use crate::wire::{Envelope, FRAME_BYTES_MAX, NUMBER_BYTES_MAX, Record};

/// Neighbours that are remembered to offer a broadcast which another was asked for: one of five
/// sends it.
const OFFERS_MAX: usize = 4;

/// Wait after a broadcast has come until neighbours are told of it: by then it has come to them
/// too, where views of the mesh agree.
const TELL_DELAY: Duration = Duration::from_millis(250);

/// Wait for a broadcast that a neighbour was asked for until another is: longer than the round trip
/// of most links, and short enough to ask all that offer it in time.
const WANT_PATIENCE: Duration = Duration::from_millis(500);

/// Broadcasts that are kept for neighbours that may lack them, that are asked for, and that are
/// named in one record: ten seconds of a room with a hundred a second.
const KEPT_MAX: usize = 1_000;

/// Bytes of the broadcasts that are kept: 250 of the largest.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// Time that broadcasts are kept: longer than views of the mesh differ.
const KEPT_FOR: Duration = Duration::from_secs(30);

const _: () = assert!(KEPT_MAX * NUMBER_BYTES_MAX < FRAME_BYTES_MAX);

const _: () = assert!(TELL_DELAY.as_millis() < NEWS_FOR.as_millis());

const _: () = assert!(
    WANT_PATIENCE.as_millis() * (OFFERS_MAX as u128 + 1) < KEPT_FOR.as_millis(),
    "whoever offers a broadcast still has it when it is asked"
);

/// On link-up, broadcasts younger than this are offered. By then a newcomer has found neighbours on
/// the inner rings, and those offered it the older ones.
const NEWS_FOR: Duration = Duration::from_secs(2);

/// What an agent keeps of broadcasts.
#[derive(Debug, Default)]
pub(super) struct Broadcasts {
    /// Those received lately, by name.
    kept: BTreeMap<u64, Kept>,
    /// Their names, the oldest first.
    order: VecDeque<u64>,
    kept_bytes: usize,
    /// Those that the neighbours have not been told of.
    untold: BTreeSet<u64>,
    /// Those that were asked for.
    asked: BTreeMap<u64, Asked>,
    /// By source, the neighbours that its broadcasts are passed on to.
    trees: BTreeMap<PeerId, Option<Vec<PeerId>>>,
    /// The generation of routes that the trees come from.
    generation: u64,
}

#[derive(Debug)]
struct Asked {
    at: Instant,
    /// Others that have it, to be asked if it does not come.
    offers: Vec<LinkId>,
}

#[derive(Debug)]
struct Kept {
    envelope: Envelope,
    since: Instant,
    /// Links whose other end has it, or is about to.
    known_to: BTreeSet<LinkId>,
}

impl Broadcasts {
    fn drop_oldest(&mut self) {
        let Some(name) = self.order.pop_front() else {
            return;
        };
        self.untold.remove(&name);
        if let Some(kept) = self.kept.remove(&name) {
            self.kept_bytes -= kept.envelope.signed.body_len();
        }
    }

    fn oldest(&self) -> Option<&Kept> {
        self.kept.get(self.order.front()?)
    }
}

impl Messages {
    /// Passes a broadcast on, and remembers it for those that the tree misses.
    pub(crate) fn pass_on(&mut self, envelope: Envelope, via: Option<PeerId>, net: &mut Net<'_>) {
        let source = envelope.signed.claimed_author();
        let mut known_to = BTreeSet::new();
        known_to.extend(via.and_then(|peer| net.links.id_of(peer)));
        let children = self.children_of(source, net);
        let others = net.links.open().filter(|link| Some(link.peer) != via);
        // Without a tree it goes everywhere.
        let is_child = |peer| children.as_ref().is_none_or(|to| to.contains(&peer));
        let children = others.filter(|link| is_child(link.peer));
        let children: Vec<_> = children.map(|link| link.id).collect();
        for id in children {
            if !net.links.queue_copy(id, &envelope, net.cx) {
                net.cx.stats.lose(LossReason::QueueFull);
                continue;
            }
            known_to.insert(id);
            net.cx.stats.broadcast_copies += 1;
            net.cx.stats.forwarded += u64::from(via.is_some());
        }
        self.keep(envelope, known_to, net);
    }

    fn children_of(&mut self, source: PeerId, net: &Net<'_>) -> Option<Vec<PeerId>> {
        let generation = net.routing.generation();
        if self.broadcasts.generation != generation {
            self.broadcasts.generation = generation;
            self.broadcasts.trees.clear();
        }
        let tree = self.broadcasts.trees.entry(source);
        let children = || net.routing.children(source, net.cx);
        tree.or_insert_with(children).clone()
    }

    fn keep(&mut self, envelope: Envelope, known_to: BTreeSet<LinkId>, net: &Net<'_>) {
        let name = envelope.signed.fingerprint();
        self.broadcasts.asked.remove(&name);
        if self.broadcasts.kept.contains_key(&name) {
            return; // Its author was forgotten, and it came again.
        }
        self.broadcasts.kept_bytes += envelope.signed.body_len();
        self.broadcasts.untold.insert(name);
        self.broadcasts.order.push_back(name);
        let kept = Kept {
            envelope,
            since: net.cx.now,
            known_to,
        };
        self.broadcasts.kept.insert(name, kept);
        while self.broadcasts.kept.len() > KEPT_MAX || self.broadcasts.kept_bytes > KEPT_BYTES_MAX {
            self.broadcasts.drop_oldest();
        }
        self.timers
            .arm(TimeoutReason::Tell, net.cx.now + TELL_DELAY);
    }

    /// Forgets broadcasts that are so old that no agent asks for them any more.
    pub(crate) fn forget_broadcasts(&mut self, cx: &Context) {
        while let Some(kept) = self.broadcasts.oldest() {
            if cx.now.since(kept.since) < KEPT_FOR {
                break;
            }
            self.broadcasts.drop_oldest();
        }
    }

    /// Tells the neighbours on the first rings, and those in other shards, what they may lack.
    pub(crate) fn tell_broadcasts(&mut self, net: &mut Net<'_>) {
        let untold = std::mem::take(&mut self.broadcasts.untold);
        let mut links = net.routing.flood_links(net.links, net.cx);
        let remote = net.routing.remote_links(net.links, net.cx);
        links.extend(remote.map(|link| link.id));
        for id in links {
            let lacks = |name: &&u64| {
                let kept = self.broadcasts.kept.get(name);
                kept.is_some_and(|kept| !kept.known_to.contains(&id))
            };
            let names: Vec<_> = untold.iter().filter(lacks).copied().collect();
            for names in names.chunks(KEPT_MAX) {
                let names = names.to_vec();
                net.links.queue_control(id, &Record::Have { names });
            }
        }
    }

    /// A new neighbour may have been between two sets of neighbours when the others were told.
    pub(crate) fn tell_news(&self, id: LinkId, links: &mut Links, cx: &Context) {
        let kept = &self.broadcasts.kept;
        let newest = self.broadcasts.order.iter().rev();
        let news = newest.take_while(|name| cx.now.since(kept[name].since) < NEWS_FOR);
        let names: Vec<_> = news.take(KEPT_MAX).copied().collect();
        if !names.is_empty() {
            links.queue_control(id, &Record::Have { names });
        }
    }

    /// A neighbour has these; what is missing here is asked for, of one at a time.
    pub(crate) fn have_received(
        &mut self,
        id: LinkId,
        names: &[u64],
        links: &mut Links,
        cx: &Context,
    ) {
        let mut missing = Vec::new();
        for &name in names.iter().take(KEPT_MAX) {
            if let Some(kept) = self.broadcasts.kept.get_mut(&name) {
                kept.known_to.insert(id);
                continue;
            }
            if let Some(asked) = self.broadcasts.asked.get_mut(&name) {
                if asked.offers.len() < OFFERS_MAX && !asked.offers.contains(&id) {
                    asked.offers.push(id);
                }
                continue;
            }
            if self.broadcasts.asked.len() >= KEPT_MAX {
                // An agent that made up so many names shall not keep others from being heard.
                self.broadcasts.asked.clear();
            }
            let offers = Vec::new();
            self.broadcasts
                .asked
                .insert(name, Asked { at: cx.now, offers });
            missing.push(name);
        }
        if !missing.is_empty() {
            decided!(cx, link = ?id, count = missing.len(), "ask for broadcasts");
            links.queue_control(id, &Record::Want { names: missing });
            self.timers.arm(TimeoutReason::Ask, cx.now + WANT_PATIENCE);
        }
    }

    /// Asks the next neighbour for what the last one has not sent.
    pub(crate) fn ask_again(&mut self, net: &mut Net<'_>) {
        let mut wants: BTreeMap<LinkId, Vec<u64>> = BTreeMap::new();
        let patience = WANT_PATIENCE;
        self.broadcasts.asked.retain(|&name, asked| {
            if net.cx.now.since(asked.at) < patience {
                return true;
            }
            asked.at = net.cx.now;
            let next = asked.offers.pop();
            if let Some(id) = next {
                wants.entry(id).or_default().push(name);
            }
            next.is_some()
        });
        for (id, names) in wants {
            net.links.queue_control(id, &Record::Want { names });
        }
        if let Some(earliest) = self.broadcasts.asked.values().map(|asked| asked.at).min() {
            self.timers.arm(TimeoutReason::Ask, earliest + patience);
        }
    }

    /// A neighbour lacks these. Each link gets a broadcast once.
    pub(crate) fn want_received(
        &mut self,
        id: LinkId,
        names: &[u64],
        links: &mut Links,
        cx: &mut Context,
    ) {
        for &name in names.iter().take(KEPT_MAX) {
            let Some(link) = links.get(id).filter(|link| link.is_open()) else {
                return;
            };
            let Some(kept) = self.broadcasts.kept.get_mut(&name) else {
                continue;
            };
            let lane = Lane::of(&kept.envelope, Channel::Data);
            if !link.takes(lane, &cx.config) {
                continue;
            }
            if kept.known_to.insert(id) {
                links.queue_copy(id, &kept.envelope, cx);
                cx.stats.broadcast_copies += 1;
                cx.stats.broadcasts_mended += 1;
            }
        }
    }
}

#[cfg(test)]
impl Messages {
    /// How many broadcasts are kept, and the bytes that they count.
    pub(crate) fn broadcasts_kept(&self) -> (usize, usize) {
        (self.broadcasts.order.len(), self.broadcasts.kept_bytes)
    }

    /// The name of the newest broadcast that is kept.
    pub(crate) fn newest_broadcast(&self) -> Option<u64> {
        self.broadcasts.order.back().copied()
    }
}
