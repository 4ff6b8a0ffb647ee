//! Databases of link state are compared: with whom a link has opened, with a random neighbour now
//! and then, and when the room was divided anew.
//!
//! A newcomer, or who has come to another shard, lacks the records of everybody, and its links open
//! all at once; every neighbour asked at that moment would send all of them. So they are asked one
//! after another, and each lacks only what those before it lacked too.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::Mesh;
use crate::id::LinkId;
use crate::rng::{index, unit};
use crate::time::Instant;
use crate::timers::Timer;
use crate::wire::{DigestEntry, Record};

/// The time between two comparisons: what the first brings should be here before the second.
const PAUSE: Duration = Duration::from_millis(100);

/// The shortest time between two digests to the same neighbour.
const DIGEST_INTERVAL: Duration = Duration::from_secs(1);

/// Digests of one neighbour that are answered in that time: a large database takes a few, and an
/// answer may be a whole database.
const DIGESTS_ANSWERED_MAX: u32 = 6;

/// Digest entries that fit one frame.
const DIGEST_ENTRIES_MAX: usize = 700;

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
pub(super) struct Comparisons {
    waiting: BTreeMap<LinkId, Comparison>,
    /// When the next may be made.
    next_at: Instant,
}

impl Comparisons {
    fn add(&mut self, link: LinkId, comparison: Comparison) {
        let waiting = self.waiting.entry(link).or_insert(comparison);
        *waiting = comparison.max(*waiting);
    }

    pub(super) fn forget(&mut self, link: LinkId) {
        self.waiting.remove(&link);
    }
}

impl Mesh {
    /// Compares databases with the other end of a link that has just opened, or will answer for
    /// others: at once if nothing else was compared lately, else in its turn.
    pub(super) fn compare_with(&mut self, id: LinkId, now: Instant) {
        let is_first = self.comparisons.waiting.is_empty() && self.comparisons.next_at <= now;
        // Those before it may have brought everything.
        let comparison = match is_first {
            true => Comparison::Digest,
            false => Comparison::Summary,
        };
        self.compare(id, comparison, now);
    }

    fn compare(&mut self, id: LinkId, comparison: Comparison, now: Instant) {
        self.comparisons.add(id, comparison);
        let due = self.comparisons.next_at.max(now);
        self.cx.timers.arm(Timer::Compare, due);
    }

    /// Makes the comparison whose turn it is.
    pub(super) fn compare_next(&mut self, now: Instant) {
        // While links are still to open, so are the records of those that will.
        let pause = match self.is_linked() {
            true => PAUSE,
            false => self.cx.config.opening_delay,
        };
        let next_at = now + pause;
        // What the last one brought is not in the database before it is verified.
        if self.backlog.is_empty()
            && let Some((id, comparison)) = self.comparisons.waiting.pop_first()
        {
            self.comparisons.next_at = next_at;
            match comparison {
                Comparison::Summary => self.send_summary(id),
                Comparison::Digest => self.send_digest(id, true, now),
                Comparison::Reply => self.send_digest(id, false, now),
            }
        }
        if !self.comparisons.waiting.is_empty() {
            self.cx.timers.arm(Timer::Compare, next_at);
        }
    }

    /// Compares databases with a random neighbour.
    pub(super) fn repair(&mut self, now: Instant) {
        let open: Vec<_> = self
            .links
            .iter()
            .filter(|link| link.is_open() && !self.is_abroad(link.peer))
            .map(|link| link.id)
            .collect();
        if !open.is_empty() {
            let id = open[index(&mut self.cx.rng, open.len())];
            self.compare(id, Comparison::Summary, now);
        }
        let wait = self
            .cx
            .config
            .repair_interval
            .mul_f64(0.75 + self.cx.jitter() / 2.0);
        self.cx.timers.arm(Timer::Repair, now + wait);
        // What is old is forgotten on this occasion too.
        self.forget_broadcasts(now);
        self.forget_authors(now);
    }

    fn send_summary(&mut self, id: LinkId) {
        let fingerprint = self.database.fingerprint();
        self.queue_control(id, &Record::Summary { fingerprint });
    }

    pub(super) fn summary_received(&mut self, id: LinkId, fingerprint: u64, now: Instant) {
        let link = self.links.get(id);
        let near = link.is_some_and(|link| !self.is_abroad(link.peer));
        if near && fingerprint != self.database.fingerprint() {
            self.compare(id, Comparison::Digest, now);
        }
    }

    /// Tells a neighbour what we hold; it answers with what is newer there. A digest is large, and
    /// asking for one small: a neighbour gets one a second at most.
    fn send_digest(&mut self, id: LinkId, reply: bool, now: Instant) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        let last = link.digest_sent_at;
        if last.is_some_and(|at| now.since(at) < DIGEST_INTERVAL) {
            return;
        }
        link.digest_sent_at = Some(now);
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
            self.queue_control(id, &record);
            if others.is_empty() {
                return;
            }
            (rest, low) = (others, high.saturating_add(1));
        }
    }

    pub(super) fn digest_received(
        &mut self,
        id: LinkId,
        range: RangeInclusive<u64>,
        entries: &[DigestEntry],
        reply: bool,
        now: Instant,
    ) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        let (since, answered) = &mut link.digests_answered;
        if now.since(*since) >= DIGEST_INTERVAL {
            (*since, *answered) = (now, 0);
        }
        *answered += 1;
        if *answered > DIGESTS_ANSWERED_MAX {
            return; // What it lacks the next comparison will find.
        }
        if reply {
            self.compare(id, Comparison::Reply, now);
        }
        // Gathered, so that asking for the same records many times gets them once.
        let newer = self.database.newer_than(entries, range);
        if !newer.is_empty() {
            self.gossip.entry(id).or_default().extend(newer);
            self.cx
                .timers
                .arm(Timer::Gossip, now + self.cx.config.gossip_delay);
        }
    }
}
