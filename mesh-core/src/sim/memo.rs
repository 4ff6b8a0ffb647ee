//! Link-state records, which all agents of a world hold alike, once in memory. It exists while a
//! [`World`](super::World) does, on that world's thread.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::routing::Known;

/// Records beyond which those that nobody holds any more are looked for.
const RECORDS_MIN: usize = 1_000;

thread_local! {
    static MEMO: Cell<Option<Memo>> = const { Cell::new(None) };
}

#[derive(Default)]
struct Memo {
    /// By signature, the record that somebody holds.
    records: BTreeMap<[u8; 64], Arc<Known>>,
    records_max: usize,
}

/// A world begins.
pub(super) fn begin() {
    MEMO.set(Some(Memo::default()));
}

/// It ends.
pub(super) fn end() {
    MEMO.set(None);
}

/// The same record as another agent holds it, if one does.
pub(crate) fn shared(known: Arc<Known>) -> Arc<Known> {
    let Some(mut memo) = MEMO.take() else {
        return known;
    };
    if memo.records.len() >= memo.records_max {
        memo.records.retain(|_, held| Arc::strong_count(held) > 1);
        memo.records_max = RECORDS_MIN.max(2 * memo.records.len());
    }
    let held = memo.records.entry(known.signed.signature());
    let held = held.or_insert_with(|| known.clone());
    let same = if **held == *known {
        held.clone()
    } else {
        known
    };
    MEMO.set(Some(memo));
    same
}
