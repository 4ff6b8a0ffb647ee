//! Messages that are larger than a frame: they travel in parts, yield to all others, and are
//! delivered when all of them is there, outside the order of the others.
//!
//! Each is a stream of its own, of parts instead of messages: see [`stream`](super::stream). The
//! target checks the hash of the whole, refuses what is larger than it takes, and says so.

mod assembly;
mod sending;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

#[cfg(doc)]
use crate::config::Config;
use crate::id::{MessageId, PeerId};
use crate::wire::Progress;
use assembly::Assembly;
use sending::Sending;

/// Bytes of large messages that this agent may be sending, one or several: an application must be
/// able to hold them in memory twice. The target has its own limit, [`Config::large_bytes_max`].
pub(super) const SENDING_BYTES_MAX: usize = 256 << 20;

/// Large messages of one author that may be under way to this agent: one travels while the end of
/// another is awaited.
pub(crate) const OF_AUTHOR_MAX: usize = 2;

/// Large messages of all authors that may be under way to this agent, in units of the largest that
/// it takes: what an application has memory for.
const OF_ALL_MAX: usize = 8;

const _: () = assert!(
    OF_AUTHOR_MAX < OF_ALL_MAX,
    "one author leaves room for others"
);

/// Time without a part after which a target gives up a large message: longer than the longest
/// deadline of its author, so that no author still waits.
const IDLE_MAX: Duration = Duration::from_secs(65);

/// Reports of progress that a large message makes at most: steps of 3 %, as fine as a person reads.
const STEPS: u64 = 32;

/// Large messages that are remembered to have come whole, so that a late part is answered so: more
/// than come whole while a part may still be late.
const FINISHED_MAX: usize = 256;

/// A message by its author, or target, and its sequence.
type Key = (PeerId, u64);

/// Large messages that are under way.
#[derive(Debug, Default)]
pub(super) struct Large {
    sending: BTreeMap<Key, Sending>,
    assembling: BTreeMap<Key, Assembly>,
    /// Those that came whole, by author, the oldest first.
    finished: VecDeque<(PeerId, Progress)>,
    /// Messages whose authors are to be told what has come.
    owed: BTreeSet<Key>,
}

impl Large {
    /// Those of this agent.
    pub(super) fn sending_len(&self) -> usize {
        self.sending.len()
    }

    /// Whether none is under way.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn is_idle(&self) -> bool {
        self.sending.is_empty() && self.assembling.is_empty() && self.owed.is_empty()
    }
}

/// Which thirty-second of a message this is.
fn step(bytes: u64, of: u64) -> u64 {
    (bytes * STEPS).checked_div(of).unwrap_or_default()
}

fn key_of(id: &MessageId) -> Option<Key> {
    match id.target {
        crate::id::Target::Peer(to) => Some((to, id.sequence)),
        crate::id::Target::Room => None,
    }
}
