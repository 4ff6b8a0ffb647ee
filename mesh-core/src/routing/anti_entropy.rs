//! Databases of link state are compared: with the other end of a new link, with a random neighbour
//! now and then, and when the room was divided anew.
//!
//! A newcomer, to the room or to a shard, lacks the records of all others, and its links open
//! all at once; every neighbour asked at that moment would send all of them. So they are asked one
//! after another, and each lacks only what those before it lacked too.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::flooding::OPENING_DELAY;
use super::{GATHERED, Routing};
use crate::context::Context;
use crate::id::LinkId;
use crate::links::Links;
use crate::rng::{index, spread, unit};
use crate::time::Instant;
use crate::timeout::TimeoutReason;
use crate::wire::{DigestEntry, FRAME_BYTES_MAX, NUMBER_BYTES_MAX, Record};

/// Mean time between comparisons of the link-state database with a random neighbour, in case a
/// record was lost. Each costs two small frames if none was.
const REPAIR_INTERVAL: Duration = Duration::from_secs(10);

/// Pause between two comparisons: the records that the first brings are here before the second
/// asks.
const PAUSE: Duration = Duration::from_millis(100);

/// The shortest time between two digests to the same neighbour: a digest of a large shard takes 8
/// KiB.
const DIGEST_INTERVAL: Duration = Duration::from_secs(1);

/// Digest records of one neighbour that are answered in [`DIGEST_INTERVAL`]: a large database takes
/// a few, and one answer may be a whole database.
const DIGESTS_ANSWERED_MAX: u32 = 6;

const _: () = assert!(
    PAUSE.as_millis() < DIGEST_INTERVAL.as_millis()
        && DIGEST_INTERVAL.as_millis() < REPAIR_INTERVAL.as_millis(),
    "every comparison may be one by digests"
);

/// Entries of one digest record, so that it fits a frame.
const DIGEST_ENTRIES_MAX: usize = 700;

const _: () = assert!(DIGEST_ENTRIES_MAX * 2 * NUMBER_BYTES_MAX < FRAME_BYTES_MAX);

/// What a neighbour is sent to compare databases; a later one can do for an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Comparison {
    /// One number: it asks for more if it holds anything else.
    Summary,
    /// All that we hold: it answers with what is newer there, and with its own.
    Digest,
    /// The same, where it has sent its own already.
    Reply,
}

/// Comparisons that wait their turn.
#[derive(Debug, Default)]
pub(super) struct AntiEntropy {
    waiting: BTreeMap<LinkId, Comparison>,
    /// When the next may be made.
    next_at: Instant,
    /// The digests exchanged over each link.
    digests: BTreeMap<LinkId, Digests>,
}

/// Digests exchanged with a neighbour.
#[derive(Debug, Default)]
struct Digests {
    sent_at: Option<Instant>,
    /// Since when those of the neighbour are counted, and how many were answered.
    answered: Option<(Instant, u32)>,
}

impl AntiEntropy {
    fn add(&mut self, link: LinkId, comparison: Comparison) {
        let waiting = self.waiting.entry(link).or_insert(comparison);
        *waiting = comparison.max(*waiting);
    }

    pub(super) fn forget(&mut self, link: LinkId) {
        self.waiting.remove(&link);
    }

    /// Another connection has taken the place of a link.
    pub(super) fn replace(&mut self, former: LinkId, link: LinkId) {
        if let Some(comparison) = self.waiting.remove(&former) {
            self.waiting.insert(link, comparison);
        }
        if let Some(digests) = self.digests.remove(&former) {
            self.digests.insert(link, digests);
        }
    }
}

impl Routing {
    /// Compares databases with the other end of a link that has just opened, or will answer for
    /// others: at once if nothing else was compared lately, else in its turn.
    pub(crate) fn compare_with(&mut self, id: LinkId, cx: &Context) {
        let anti_entropy = &self.anti_entropy;
        let is_first = anti_entropy.waiting.is_empty() && anti_entropy.next_at <= cx.now;
        // Those before it may have brought everything.
        let comparison = match is_first {
            true => Comparison::Digest,
            false => Comparison::Summary,
        };
        self.compare(id, comparison, cx);
    }

    fn compare(&mut self, id: LinkId, comparison: Comparison, cx: &Context) {
        self.anti_entropy.add(id, comparison);
        let due = self.anti_entropy.next_at.max(cx.now);
        self.timers.arm(TimeoutReason::Compare, due);
    }

    /// Makes the comparison whose turn it is. While links are still to open, so are the records of
    /// those that will.
    pub(crate) fn compare_next(&mut self, is_linked: bool, links: &mut Links, cx: &Context) {
        let pause = match is_linked {
            true => PAUSE,
            false => OPENING_DELAY,
        };
        let next_at = cx.now + pause;
        // What the last one brought is not in the database before it is verified.
        if self.verify_queue.is_empty()
            && let Some((id, comparison)) = self.anti_entropy.waiting.pop_first()
        {
            self.anti_entropy.next_at = next_at;
            match comparison {
                Comparison::Summary => self.send_summary(id, links),
                Comparison::Digest => self.send_digest(id, true, links, cx),
                Comparison::Reply => self.send_digest(id, false, links, cx),
            }
        }
        if !self.anti_entropy.waiting.is_empty() {
            self.timers.arm(TimeoutReason::Compare, next_at);
        }
    }

    /// The agent joins: databases are compared from now on, whether anything was lost or not.
    pub(crate) fn begin_repairing(&mut self, cx: &Context) {
        self.timers
            .arm(TimeoutReason::Repair, cx.now + REPAIR_INTERVAL);
    }

    /// The room was divided otherwise: databases are compared when the new links are announced, not
    /// by all members at once.
    pub(crate) fn repair_soon(&mut self, cx: &Context) {
        let soon = (OPENING_DELAY * 2).mul_f64(unit(&mut self.rng));
        self.timers.arm(TimeoutReason::Repair, cx.now + soon);
    }

    /// Compares databases with a random neighbour, and forgets what is old.
    pub(crate) fn repair(&mut self, links: &Links, cx: &Context) {
        let local = links.open().filter(|link| !self.is_remote(link.peer, cx));
        let open: Vec<_> = local.map(|link| link.id).collect();
        if !open.is_empty() {
            let id = open[index(&mut self.rng, open.len())];
            self.compare(id, Comparison::Summary, cx);
        }
        self.anti_entropy.digests.retain(|&id, _| links.knows(id));
        let wait = spread(REPAIR_INTERVAL, unit(&mut self.rng));
        self.timers.arm(TimeoutReason::Repair, cx.now + wait);
        self.expire(cx);
    }

    fn send_summary(&self, id: LinkId, links: &mut Links) {
        let fingerprint = self.database.fingerprint();
        links.queue_control(id, &Record::Summary { fingerprint });
    }

    /// A neighbour tells what its database comes to.
    pub(crate) fn summary_received(
        &mut self,
        id: LinkId,
        fingerprint: u64,
        links: &Links,
        cx: &Context,
    ) {
        let link = links.get(id);
        let is_local = link.is_some_and(|link| !self.is_remote(link.peer, cx));
        if is_local && fingerprint != self.database.fingerprint() {
            self.compare(id, Comparison::Digest, cx);
        }
    }

    /// Tells a neighbour what we hold; it answers with what is newer there. A digest is large, and
    /// asking for one small: a neighbour gets one a second at most.
    fn send_digest(&mut self, id: LinkId, reply: bool, links: &mut Links, cx: &Context) {
        if links.get(id).is_none() {
            return;
        }
        let digests = self.anti_entropy.digests.entry(id).or_default();
        let last = digests.sent_at;
        if last.is_some_and(|at| cx.now.since(at) < DIGEST_INTERVAL) {
            return;
        }
        digests.sent_at = Some(cx.now);
        let entries = self.database.digest();
        let (mut rest, mut low) = (&entries[..], 0);
        loop {
            let (chunk, others) = rest.split_at(rest.len().min(DIGEST_ENTRIES_MAX));
            let last = chunk.last().filter(|_| !others.is_empty());
            let high = last.map_or(u64::MAX, |entry| entry.author_prefix);
            let record = Record::Digest {
                low,
                high,
                entries: chunk.to_vec(),
                reply,
            };
            links.queue_control(id, &record);
            if others.is_empty() {
                return;
            }
            (rest, low) = (others, high.saturating_add(1));
        }
    }

    /// A neighbour tells what it holds of the authors in a range.
    pub(crate) fn digest_received(
        &mut self,
        id: LinkId,
        range: RangeInclusive<u64>,
        entries: &[DigestEntry],
        reply: bool,
        cx: &Context,
    ) {
        let digests = self.anti_entropy.digests.entry(id).or_default();
        let (since, answered) = digests.answered.get_or_insert((cx.now, 0));
        if cx.now.since(*since) >= DIGEST_INTERVAL {
            (*since, *answered) = (cx.now, 0);
        }
        *answered += 1;
        if *answered > DIGESTS_ANSWERED_MAX {
            return; // What it lacks the next comparison will find.
        }
        if reply {
            self.compare(id, Comparison::Reply, cx);
        }
        // Gathered, so that asking for the same records many times gets them once.
        let newer = self.database.newer_than(entries, range);
        if !newer.is_empty() {
            self.flooding.add(id, newer);
            self.timers.arm(TimeoutReason::Gossip, cx.now + GATHERED);
        }
    }
}
