//! Link-state records wait their turn to be verified.
//!
//! A signature costs more than all else about a record, and in a mass join thousands come at once.
//! So some are verified in a turn, of each author and link the newest alone; signals and messages
//! overtake them. Every link has its own queue and they take turns: one that floods delays itself.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use super::Routing;
use crate::context::Context;
use crate::error::RejectReason;
use crate::id::{LinkId, PeerId};
use crate::links::Links;
use crate::time::Instant;
use crate::trust::{Signed, Trust};

/// Records that are verified in one batch: some milliseconds, for which an agent answers no ping.
const BATCH: usize = 32;

/// The pause between two batches, in which all other work has its turn: the finest step of most
/// timers.
const PAUSE: Duration = Duration::from_millis(1);

/// Records that were not verified yet, by the link they came over, and their authors.
#[derive(Debug, Default)]
pub(super) struct VerifyQueue {
    links: BTreeMap<LinkId, BTreeMap<PeerId, Waiting>>,
    /// Whose turn was last.
    last: Option<LinkId>,
    /// When the next are verified, if any wait.
    due: Option<Instant>,
}

#[derive(Debug)]
struct Waiting {
    version: u64,
    signed: Signed,
}

impl VerifyQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Adds a record, unless a newer one of its author waits. Returns false if too many wait.
    fn add(&mut self, link: LinkId, version: u64, signed: Signed, most: usize) -> bool {
        let waiting = self.links.entry(link).or_default();
        let author = signed.claimed_author();
        let newest = waiting.get(&author).map_or(0, |known| known.version);
        if version > newest && (newest > 0 || waiting.len() < most) {
            waiting.insert(author, Waiting { version, signed });
            return true;
        }
        version <= newest
    }

    /// One record of the link whose turn it is.
    fn take(&mut self) -> Option<(LinkId, Signed)> {
        let first = (Bound::Unbounded, Bound::Unbounded);
        let after = self
            .last
            .map_or(first, |last| (Bound::Excluded(last), Bound::Unbounded));
        let next = self.links.range(after).next();
        let (&link, _) = next.or_else(|| self.links.first_key_value())?;
        self.last = Some(link);
        let waiting = self.links.get_mut(&link)?;
        let taken = waiting.pop_first();
        if waiting.is_empty() {
            self.links.remove(&link);
        }
        taken.map(|(_, record)| (link, record.signed))
    }
}

impl Routing {
    /// A record came over a link. Of authors it has so many at most.
    pub(crate) fn link_state_received(
        &mut self,
        (id, signed): (LinkId, Signed),
        authors_max: usize,
        links: &mut Links,
        cx: &mut Context,
    ) {
        let Some(peer) = links.get(id).map(|link| link.peer) else {
            return;
        };
        let author = signed.claimed_author();
        // Most that comes is known already: a look at the version is enough to tell.
        let Some(version) = signed.peek::<u64>() else {
            links.reject(Some(peer), Some(author), RejectReason::Malformed, cx);
            return;
        };
        let held = self.database.version(author).unwrap_or_default();
        if version > held {
            if self.verify_queue.add(id, version, signed, authors_max) {
                self.verify_queue.due.get_or_insert(cx.now);
            } else {
                links.reject(Some(peer), Some(author), RejectReason::Limit, cx);
            }
        } else if version == held {
            self.flooding.neighbour_has(id, author);
        } else if author == peer {
            // Its clock was set back. Where no other agent of its shard is there, no agent tells
            // it.
            self.send_record(id, author, links);
        }
    }

    /// When some of what waits is to be verified.
    pub(crate) fn verify_at(&self) -> Option<Instant> {
        self.verify_queue.due
    }

    /// Verifies some of what waits, if it is time.
    pub(crate) fn verify_some(
        &mut self,
        authors_max: usize,
        links: &mut Links,
        trust: &mut Trust,
        cx: &mut Context,
    ) {
        if self.verify_queue.due.is_none_or(|due| due > cx.now) {
            return;
        }
        self.verify_queue.due = None;
        for _ in 0..BATCH {
            let Some(record) = self.verify_queue.take() else {
                return;
            };
            self.verify_link_state(record, authors_max, links, trust, cx);
        }
        if !self.verify_queue.is_empty() {
            self.verify_queue.due = Some(cx.now + PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::Identity;
    use crate::wire::Admit;

    #[test]
    fn the_newest_of_an_author_waits_and_links_take_turns() {
        let record = |secret: u8| {
            let (nonce, name) = (String::new(), String::new());
            Identity::from_secret([secret; 32]).sign("room", &Admit { nonce, name })
        };
        let mut queue = VerifyQueue::default();
        let (flooding, quiet) = (LinkId(1), LinkId(2));
        for secret in 1..=3 {
            assert!(queue.add(flooding, 5, record(secret), 3));
        }
        assert!(!queue.add(flooding, 5, record(4), 3), "full");
        assert!(queue.add(flooding, 6, record(1), 3), "a newer version");
        assert!(queue.add(flooding, 4, record(1), 3), "not needed");
        assert!(queue.add(quiet, 1, record(9), 3));
        let order: Vec<_> = std::iter::from_fn(|| queue.take())
            .map(|(link, _)| link)
            .collect();
        assert_eq!(order, [flooding, quiet, flooding, flooding]);
        assert!(queue.is_empty());
    }
}
