//! Messages that wait for one link, in fair shares: each author's in order, the authors in turn.
//!
//! Deficit round robin (Shreedhar and Varghese, *Efficient Fair Queuing Using Deficit Round-Robin*,
//! SIGCOMM 1995), by bytes: an author that sends much waits for its own messages, not others for
//! them.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::id::{PeerId, Target};
use crate::wire::Envelope;

/// Bytes that an author may send over a link in one turn of deficit round robin: some small
/// messages, or a quarter of the largest.
const QUANTUM: usize = 4 * 1024;

/// A message that waits, and its record as it is sent.
#[derive(Debug)]
struct Waiting {
    envelope: Envelope,
    record: Bytes,
}

/// What waits of one author.
#[derive(Debug, Default)]
struct Share {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// Bytes that it may still send in this turn.
    deficit: usize,
}

/// What waits of all authors.
#[derive(Debug, Default)]
pub(super) struct Shares {
    by_author: BTreeMap<PeerId, Share>,
    /// Whose turn it is, and whose is next.
    turns: VecDeque<PeerId>,
    /// The first has begun its turn.
    has_begun: bool,
    len: usize,
}

impl Shares {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Authors of which messages wait.
    pub(super) fn authors(&self) -> usize {
        self.turns.len()
    }

    /// How many messages of an author wait, and the bytes of their bodies.
    pub(super) fn of(&self, author: PeerId) -> (usize, usize) {
        let share = self.by_author.get(&author);
        share.map_or((0, 0), |share| (share.waiting.len(), share.bytes))
    }

    /// Whether one of an author to this target waits.
    pub(super) fn holds(&self, author: PeerId, to: Target) -> bool {
        let share = self.by_author.get(&author);
        let mut waiting = share.into_iter().flat_map(|share| &share.waiting);
        waiting.any(|waiting| waiting.envelope.target == to)
    }

    pub(super) fn push(&mut self, envelope: Envelope, record: Bytes) {
        let author = envelope.signed.claimed_author();
        let share = self.by_author.entry(author).or_default();
        if share.waiting.is_empty() {
            self.turns.push_back(author);
        }
        let bytes = envelope.signed.body_len();
        share.bytes += bytes;
        self.len += 1;
        share.waiting.push_back(Waiting { envelope, record });
    }

    /// The next message in turn, if its record is one that `fits`.
    pub(super) fn pop_if(&mut self, fits: impl Fn(usize) -> bool) -> Option<(Envelope, Bytes)> {
        loop {
            let author = *self.turns.front()?;
            let share = self.by_author.get_mut(&author)?;
            let size = share.waiting.front()?.record.len();
            if !std::mem::replace(&mut self.has_begun, true) {
                share.deficit += QUANTUM;
            }
            if share.deficit < size {
                self.turns.rotate_left(1);
                self.has_begun = false;
                continue;
            }
            if !fits(size) {
                return None;
            }
            share.deficit -= size;
            let Waiting { envelope, record } = share.waiting.pop_front()?;
            let bytes = envelope.signed.body_len();
            share.bytes -= bytes;
            self.len -= 1;
            if share.waiting.is_empty() {
                self.by_author.remove(&author);
                self.turns.pop_front();
                self.has_begun = false;
            }
            return Some((envelope, record));
        }
    }

    /// All that waits, by author.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Envelope> {
        let shares = self.by_author.values();
        shares.flat_map(|share| share.waiting.iter().map(|waiting| &waiting.envelope))
    }

    /// Takes all that waits.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Envelope> {
        let shares = std::mem::take(self).by_author.into_values();
        shares.flat_map(|share| share.waiting.into_iter().map(|waiting| waiting.envelope))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Target;
    use crate::trust::Identity;
    use crate::wire::{FrameWriter, LinkState, Record};

    fn author(n: u8) -> Identity {
        Identity::from_secret([n; 32])
    }

    fn push(shares: &mut Shares, n: u8, ttl: u8, bytes: usize) {
        let body = LinkState {
            version: 1,
            name: "x".repeat(bytes),
            departed: false,
            lacks: 0,
            links: Vec::new(),
        };
        let envelope = Envelope {
            ttl,
            target: Target::Room,
            signed: author(n).sign("room", &body),
        };
        let record = FrameWriter::encode(&Record::Envelope(envelope.clone()));
        shares.push(envelope, record);
    }

    /// Author and ttl of what leaves, in order.
    fn drained(shares: &mut Shares) -> Vec<(PeerId, u8)> {
        let next = || shares.pop_if(|_| true);
        let left = std::iter::from_fn(next);
        left.map(|(envelope, _)| (envelope.signed.claimed_author(), envelope.ttl))
            .collect()
    }

    #[test]
    fn an_author_with_little_to_say_does_not_wait_for_one_with_much() {
        let mut shares = Shares::default();
        (0..200).for_each(|ttl| push(&mut shares, 1, ttl, 1_000));
        push(&mut shares, 2, 0, 100);
        let order = drained(&mut shares);
        let place = order.iter().position(|(peer, _)| *peer == author(2).peer());
        assert!(place.is_some_and(|place| place <= 5), "{place:?}");
        let of_first = order.iter().filter(|(peer, _)| *peer == author(1).peer());
        assert!(of_first.map(|(_, ttl)| *ttl).eq(0..200), "in order");
        assert!(shares.is_empty() && shares.authors() == 0);
    }

    #[test]
    fn authors_get_the_same_bytes_whatever_the_size_of_their_messages() {
        let mut shares = Shares::default();
        (0..100).for_each(|ttl| push(&mut shares, 1, ttl, 10_000));
        (0..250).for_each(|ttl| push(&mut shares, 2, ttl, 300));
        (0..250).for_each(|ttl| push(&mut shares, 3, ttl, 300));
        let mut sent = BTreeMap::<PeerId, usize>::new();
        while shares.authors() == 3 {
            let (envelope, record) = shares.pop_if(|_| true).expect("some wait");
            *sent.entry(envelope.signed.claimed_author()).or_default() += record.len();
        }
        let (least, most) = (sent.values().min(), sent.values().max());
        let (least, most) = (*least.expect("three"), *most.expect("three"));
        assert!(
            most - least < 3 * QUANTUM + 10_000,
            "{least} to {most} bytes"
        );
    }

    #[test]
    fn what_does_not_fit_stays_the_next() {
        let mut shares = Shares::default();
        push(&mut shares, 1, 1, 1_000);
        assert!(shares.pop_if(|bytes| bytes < 1_000).is_none());
        assert_eq!(shares.of(author(1).peer()).0, 1);
        assert_eq!(drained(&mut shares), [(author(1).peer(), 1)]);
        assert_eq!(shares.of(author(1).peer()), (0, 0));
    }

    #[test]
    fn all_that_waits_can_be_taken_for_another_path() {
        let mut shares = Shares::default();
        (0..3).for_each(|ttl| push(&mut shares, 1, ttl, 10));
        push(&mut shares, 2, 9, 10);
        assert_eq!(shares.iter().count(), 4);
        let ttls: Vec<_> = shares.take().map(|envelope| envelope.ttl).collect();
        assert_eq!(ttls.len(), 4);
        assert!(shares.is_empty() && shares.iter().next().is_none());
    }
}
