//! Link-state records wait their turn to be verified.
//!
//! A signature costs more than all else about a record, and in a mass join thousands come at once.
//! So some are verified in a turn, of each author and link the newest alone; signals and messages
//! overtake them. Every link has its own queue and they take turns: one that floods delays itself.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use super::Mesh;
use crate::error::RejectReason;
use crate::id::{LinkId, PeerId};
use crate::identity::Signed;
use crate::time::Instant;

/// Records verified in a turn: some milliseconds.
const TURN: usize = 32;

/// The pause between turns, in which all else has its own.
const PAUSE: Duration = Duration::from_millis(1);

/// Records that were not verified yet, by the link they came over, and their authors.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    links: BTreeMap<LinkId, BTreeMap<PeerId, Waiting>>,
    /// Whose turn was last.
    last: Option<LinkId>,
    /// When the next are verified, if any wait.
    pub(super) due: Option<Instant>,
}

#[derive(Debug)]
struct Waiting {
    version: u64,
    signed: Signed,
}

impl Backlog {
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

impl Mesh {
    /// A record came over a link.
    pub(super) fn link_state_received(&mut self, id: LinkId, signed: Signed, now: Instant) {
        let Some(peer) = self.links.get(id).map(|link| link.peer) else {
            return;
        };
        let author = signed.claimed_author();
        // Most that comes is known already: a look at the version is enough to tell.
        let Some(version) = signed.peek::<u64>() else {
            self.reject(Some(peer), Some(author), RejectReason::Malformed);
            return;
        };
        let held = self.database.version(author).unwrap_or_default();
        if version > held {
            let most = self.authors_max();
            if self.backlog.add(id, version, signed, most) {
                self.backlog.due.get_or_insert(now);
            } else {
                self.reject(Some(peer), Some(author), RejectReason::Limit);
            }
        } else if version == held
            && let Some(authors) = self.gossip.get_mut(&id)
        {
            authors.remove(&author); // The neighbour has it already: one copy less to send.
        } else if version < held && author == peer {
            // Its clock was set back. Where nobody of its shard is there, nobody else tells it.
            self.send_record(id, author);
        }
    }

    /// Verifies some of what waits, if it is time.
    pub(super) fn verify_some(&mut self, now: Instant) {
        if self.backlog.due.is_none_or(|due| due > now) {
            return;
        }
        self.backlog.due = None;
        for _ in 0..TURN {
            let Some((link, signed)) = self.backlog.take() else {
                return;
            };
            self.verify_link_state(link, signed, now);
        }
        if !self.backlog.is_empty() {
            self.backlog.due = Some(now + PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;
    use crate::wire::Admit;

    #[test]
    fn the_newest_of_an_author_waits_and_links_take_turns() {
        let record = |secret: u8| {
            let (nonce, name) = (String::new(), String::new());
            Identity::from_secret([secret; 32]).sign("room", &Admit { nonce, name })
        };
        let mut backlog = Backlog::default();
        let (flooding, quiet) = (LinkId(1), LinkId(2));
        for secret in 1..=3 {
            assert!(backlog.add(flooding, 5, record(secret), 3));
        }
        assert!(!backlog.add(flooding, 5, record(4), 3), "full");
        assert!(backlog.add(flooding, 6, record(1), 3), "a newer version");
        assert!(backlog.add(flooding, 4, record(1), 3), "not needed");
        assert!(backlog.add(quiet, 1, record(9), 3));
        let order: Vec<_> = std::iter::from_fn(|| backlog.take())
            .map(|(link, _)| link)
            .collect();
        assert_eq!(order, [flooding, quiet, flooding, flooding]);
        assert!(backlog.is_empty());
    }
}
