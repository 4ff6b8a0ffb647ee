//! The link-state database: the newest signed record of each author.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

#[cfg(any(test, feature = "sim"))]
use super::SharedRecords;
use crate::id::PeerId;
use crate::time::Instant;
use crate::trust::{Signed, Verified};
use crate::wire::{DigestEntry, LinkEntry, LinkState};

/// The newest record of each author.
#[derive(Debug, Default)]
pub(crate) struct Database {
    records: BTreeMap<PeerId, Entry>,
    fingerprint: u64,
    /// Those that the other agents of a simulated world hold.
    #[cfg(any(test, feature = "sim"))]
    shared: Option<SharedRecords>,
}

/// A record, and what it says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) signed: Signed,
    state: LinkState,
}

#[derive(Debug)]
struct Entry {
    /// Shared by all agents of a simulated world: they hold the same.
    known: Arc<Known>,
    /// Since when no path has led to the author.
    unreachable_since: Option<Instant>,
    /// Out of reach for so long that the author is surely gone. Such a record is kept, but neither
    /// counted in the fingerprint nor passed on: agents forget it at different times, and would
    /// remind each other. Until then it is: in a forming mesh most are out of reach for a moment.
    dormant: bool,
}

/// Time out of reach after which the record of an author is dormant, and counts no more in
/// comparisons: a link that broke has healed by then, or the author is gone.
const DORMANT_AFTER: Duration = Duration::from_secs(10);

/// Time out of reach after which the record of an author is forgotten. Until then an old copy of
/// it, from a part of the room that was cut off, is not taken for news.
const FORGET_AFTER: Duration = Duration::from_secs(60);

const _: () = assert!(DORMANT_AFTER.as_millis() < FORGET_AFTER.as_millis());

impl Database {
    /// Takes a record over if it is newer than the one held.
    pub(crate) fn insert(&mut self, signed: Signed, verified: Verified<LinkState>) {
        let (author, mut state) = verified.into_parts();
        if self
            .version(author)
            .is_some_and(|held| held >= state.version)
        {
            return;
        }
        state.links.sort_unstable_by_key(|entry| entry.peer_prefix);
        state.links.dedup_by_key(|entry| entry.peer_prefix);
        self.remove(author);
        self.fingerprint ^= fingerprint(author, state.version);
        let known = Arc::new(Known { signed, state });
        #[cfg(any(test, feature = "sim"))]
        let known = match &self.shared {
            Some(records) => records.shared(known),
            None => known,
        };
        let entry = Entry {
            known,
            unreachable_since: None,
            dormant: false,
        };
        self.records.insert(author, entry);
    }

    /// Holds records once together with others.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn share(&mut self, records: SharedRecords) {
        self.shared = Some(records);
    }

    /// Forgets the records that are not of use.
    pub(crate) fn retain(&mut self, useful: impl Fn(PeerId, &LinkState) -> bool) {
        let records = self.records.iter();
        let useless = records.filter(|(author, entry)| !useful(**author, &entry.known.state));
        let useless: Vec<_> = useless.map(|(author, _)| *author).collect();
        for author in useless {
            self.remove(author);
        }
    }

    fn remove(&mut self, author: PeerId) -> Option<Entry> {
        let entry = self.records.remove(&author)?;
        if !entry.dormant {
            self.fingerprint ^= fingerprint(author, entry.known.state.version);
        }
        Some(entry)
    }

    pub(crate) fn version(&self, author: PeerId) -> Option<u64> {
        Some(self.records.get(&author)?.known.state.version)
    }

    pub(crate) fn state(&self, author: PeerId) -> Option<&LinkState> {
        Some(&self.records.get(&author)?.known.state)
    }

    /// How many links an author says it lacks, if it is known.
    pub(crate) fn lacks(&self, author: PeerId) -> Option<usize> {
        let lacks = self.state(author)?.lacks;
        Some(usize::try_from(lacks).unwrap_or_default())
    }

    /// Whether an author says that it has more links than it wants.
    pub(crate) fn can_spare(&self, author: PeerId) -> bool {
        self.balance(author).is_some_and(|balance| balance < 0)
    }

    /// How many links an author says it lacks, or below zero can spare.
    pub(crate) fn balance(&self, author: PeerId) -> Option<i8> {
        Some(self.state(author)?.lacks)
    }

    /// What an author says of its link to a peer.
    pub(crate) fn link(&self, author: PeerId, peer: PeerId) -> Option<&LinkEntry> {
        self.state(author)?.link_to(peer)
    }

    /// Peers whose records announce no link to an author that announces one to them: the link is
    /// new, or the peer has lost or withdrawn it.
    pub(crate) fn withdrawn(&self, author: PeerId) -> impl Iterator<Item = PeerId> {
        let links = self.state(author).map(|state| &state.links);
        let ends = links.into_iter().flatten();
        let known = ends.filter_map(|entry| self.by_prefix(entry.peer_prefix));
        let withdrawn = known.filter(move |(_, state)| state.link_to(author).is_none());
        withdrawn.map(|(peer, _)| peer)
    }

    pub(crate) fn signed(&self, author: PeerId) -> Option<&Signed> {
        Some(&self.records.get(&author)?.known.signed)
    }

    /// The author with this prefix, and its record.
    pub(crate) fn by_prefix(&self, prefix: u64) -> Option<(PeerId, &LinkState)> {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&prefix.to_be_bytes());
        let mut from = self.records.range(PeerId::from_bytes(bytes)..);
        let (author, entry) = from.next()?;
        (author.prefix() == prefix).then_some((*author, &entry.known.state))
    }

    /// All records, by author.
    pub(crate) fn states(&self) -> impl Iterator<Item = (PeerId, &LinkState)> {
        self.records
            .iter()
            .map(|(author, entry)| (*author, &entry.known.state))
    }

    /// Records that others should have.
    fn current(&self) -> impl Iterator<Item = (PeerId, &LinkState)> {
        let current = self.records.iter().filter(|(_, entry)| !entry.dormant);
        current.map(|(author, entry)| (*author, &entry.known.state))
    }

    /// Makes room for one record more by forgetting an author that is out of reach, if need be.
    /// Returns false if there is none.
    pub(crate) fn make_room(&mut self, records_max: usize) -> bool {
        if self.records.len() < records_max {
            return true;
        }
        let gone = self
            .records
            .iter()
            .find(|(_, entry)| entry.unreachable_since.is_some());
        let gone = gone.map(|(author, _)| *author);
        gone.is_some_and(|author| self.remove(author).is_some())
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Equal databases have equal fingerprints; others differ but for one in 2⁶⁴.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The versions held, by author prefix.
    pub(crate) fn digest(&self) -> Vec<DigestEntry> {
        self.current()
            .map(|(author, state)| DigestEntry::new(author, state.version))
            .collect()
    }

    /// Authors with a prefix in the range, of which this database has a newer record than the
    /// digest, or one that the digest lacks.
    pub(crate) fn newer_than(
        &self,
        digest: &[DigestEntry],
        range: RangeInclusive<u64>,
    ) -> Vec<PeerId> {
        let theirs: BTreeMap<_, _> = digest
            .iter()
            .map(|e| (e.author_prefix, e.version))
            .collect();
        self.current()
            .filter(|(author, _)| range.contains(&author.prefix()))
            .filter(|(author, state)| {
                let version = theirs.get(&author.prefix());
                version.is_none_or(|version| *version < state.version)
            })
            .map(|(author, _)| author)
            .collect()
    }

    /// Notes which authors can be reached, and forgets those that were not for [`FORGET_AFTER`].
    pub(crate) fn expire(&mut self, reachable: impl Fn(PeerId) -> bool, now: Instant) {
        let mut forgotten = Vec::new();
        for (author, entry) in &mut self.records {
            let since = match reachable(*author) {
                true => None,
                false => Some(entry.unreachable_since.unwrap_or(now)),
            };
            entry.unreachable_since = since;
            let gone_for = since.map_or(Duration::ZERO, |since| now.since(since));
            let dormant = gone_for >= DORMANT_AFTER;
            if std::mem::replace(&mut entry.dormant, dormant) != dormant {
                self.fingerprint ^= fingerprint(*author, entry.known.state.version);
            }
            if gone_for >= FORGET_AFTER {
                forgotten.push(*author);
            }
        }
        for author in forgotten {
            self.remove(author);
        }
    }
}

fn fingerprint(author: PeerId, version: u64) -> u64 {
    let mut x = author.prefix() ^ version.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    x ^ (x >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::Identity;

    fn insert(database: &mut Database, secret: u8, version: u64) {
        insert_linked(database, secret, version, &[]);
    }

    /// A record whose author announces links to others.
    fn insert_linked(database: &mut Database, secret: u8, version: u64, to: &[u8]) {
        let peers = to.iter().map(|to| Identity::from_secret([*to; 32]).peer());
        let state = LinkState {
            version,
            name: "n".into(),
            departed: false,
            lacks: 0,
            links: peers.map(LinkEntry::unmeasured).collect(),
        };
        let signed = Identity::from_secret([secret; 32]).sign("room", &state);
        let verified = signed.verify("room").expect("verifies");
        database.insert(signed, verified);
    }

    #[test]
    fn only_newer_records_count() {
        let mut database = Database::default();
        let author = Identity::from_secret([1; 32]).peer();
        insert(&mut database, 1, 5);
        insert(&mut database, 1, 4);
        assert_eq!(database.version(author), Some(5));
        insert(&mut database, 1, 6);
        assert_eq!(database.version(author), Some(6));
    }

    #[test]
    fn a_link_that_its_other_end_does_not_announce_is_withdrawn() {
        let mut database = Database::default();
        let [author, other] = [1, 2].map(|secret| Identity::from_secret([secret; 32]).peer());
        insert_linked(&mut database, 1, 1, &[2, 9]);
        let withdrawn = |database: &Database, of| database.withdrawn(of).collect::<Vec<_>>();
        assert_eq!(withdrawn(&database, author), [], "others are not known");
        insert_linked(&mut database, 2, 1, &[1]);
        assert_eq!(withdrawn(&database, author), []);
        assert_eq!(withdrawn(&database, other), []);
        insert_linked(&mut database, 2, 2, &[]);
        assert_eq!(withdrawn(&database, author), [other]);
        assert_eq!(withdrawn(&database, other), []);
    }

    #[test]
    fn digests_find_what_the_other_lacks() {
        let (mut ours, mut theirs) = (Database::default(), Database::default());
        for secret in 1..=3 {
            insert(&mut ours, secret, 1);
            insert(&mut theirs, secret, 1);
        }
        assert_eq!(ours.fingerprint(), theirs.fingerprint());
        insert(&mut ours, 2, 2);
        insert(&mut ours, 4, 1);
        assert_ne!(ours.fingerprint(), theirs.fingerprint());
        let mut expected = [2, 4].map(|secret| Identity::from_secret([secret; 32]).peer());
        expected.sort();
        assert_eq!(ours.newer_than(&theirs.digest(), 0..=u64::MAX), expected);
        assert!(theirs.newer_than(&ours.digest(), 0..=u64::MAX).is_empty());
    }

    #[test]
    fn unreachable_authors_are_forgotten_in_time() {
        let mut database = Database::default();
        insert(&mut database, 1, 1);
        let empty = Database::default().fingerprint();
        database.expire(|_| false, Instant::from_micros(0));
        database.expire(|_| true, Instant::from_micros(59_000_000));
        database.expire(|_| false, Instant::from_micros(61_000_000));
        assert_eq!(database.len(), 1);
        database.expire(|_| false, Instant::from_micros(121_000_000));
        assert_eq!((database.len(), database.fingerprint()), (0, empty));
    }
}
