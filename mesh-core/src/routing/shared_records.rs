//! Link-state records that all agents of a simulated world hold alike, once in memory.

#![expect(
    clippy::disallowed_types,
    reason = "a world hands it to its agents: it decides nothing, and saves memory alone"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Known;

/// Records from which on those are looked for that no agent holds any more: a look at fewer would
/// cost more than they take.
const RECORDS_MIN: usize = 1_000;

/// Records that agents share. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedRecords(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    /// By signature, the record that some agent holds.
    records: BTreeMap<[u8; 64], Arc<Known>>,
    records_max: usize,
}

impl SharedRecords {
    /// The same record as another agent holds it, if one does.
    pub(super) fn shared(&self, known: Arc<Known>) -> Arc<Known> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.records.len() >= held.records_max {
            held.records.retain(|_, held| Arc::strong_count(held) > 1);
            held.records_max = RECORDS_MIN.max(2 * held.records.len());
        }
        let entry = held.records.entry(known.signed.signature());
        let same = entry.or_insert_with(|| known.clone());
        if **same == *known {
            same.clone()
        } else {
            known
        }
    }
}
