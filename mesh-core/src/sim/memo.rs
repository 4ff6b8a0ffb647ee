//! What all agents of a world would do or hold alike, once: signatures that were found valid, and
//! link-state records.
//!
//! Verifying is most of what a simulated mesh would do: everybody checks every link-state record,
//! and here all of everybody is one thread. A signature is known again only if its author and
//! every byte that it covers are the same, so a world with the memo and one without are the same to
//! the last frame. It exists while a [`World`](super::World) does, on that world's thread.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::PeerId;
use crate::routing::Known;

/// Signatures remembered at most: more than are news at any one time.
const VALID_MAX: usize = 50_000;

/// Records beyond which those that nobody holds any more are looked for.
const RECORDS_MIN: usize = 1_000;

thread_local! {
    static MEMO: Cell<Option<Memo>> = const { Cell::new(None) };
}

#[derive(Default)]
struct Memo {
    /// By signature, whose it is and the bytes that it covers.
    valid: BTreeMap<[u8; 64], (PeerId, Vec<u8>)>,
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

/// Whether a signature is valid: as remembered, or as `verify` says.
pub(crate) fn is_valid(
    author: PeerId,
    signature: &[u8; 64],
    covered: &[u8],
    verify: impl FnOnce() -> bool,
) -> bool {
    let Some(mut memo) = MEMO.take() else {
        return verify();
    };
    let known = memo.valid.get(signature);
    let known = known.is_some_and(|(whose, bytes)| *whose == author && bytes == covered);
    let valid = known || verify();
    if valid && !known {
        if memo.valid.len() >= VALID_MAX {
            memo.valid.clear();
        }
        memo.valid.insert(*signature, (author, covered.to_vec()));
    }
    MEMO.set(Some(memo));
    valid
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;
    use crate::wire::LinkState;

    #[test]
    fn what_differs_in_any_byte_is_verified() {
        let (author, other) = (PeerId::from_bytes([1; 32]), PeerId::from_bytes([2; 32]));
        let ask = |author, signature, covered: &[u8]| {
            let mut asked = false;
            let valid = is_valid(author, &[signature; 64], covered, || {
                asked = true;
                true
            });
            assert!(valid);
            asked
        };
        assert!(
            ask(author, 1, b"body") && ask(author, 1, b"body"),
            "no world, no memo"
        );
        begin();
        assert!(ask(author, 1, b"body"));
        assert!(!ask(author, 1, b"body"));
        assert!(ask(author, 1, b"bodY"));
        assert!(ask(other, 1, b"bodY"));
        assert!(ask(other, 2, b"bodY"));
        assert!(!is_valid(author, &[9; 64], b"", || false));
        assert!(!is_valid(author, &[9; 64], b"", || false));
        end();
        assert!(ask(author, 1, b"bodY"));
    }

    #[test]
    fn a_forged_copy_of_a_known_record_is_rejected() {
        begin();
        let state = LinkState {
            version: 1,
            name: "a".into(),
            departed: false,
            links: Vec::new(),
        };
        let signed = Identity::from_secret([1; 32]).sign("room", &state);
        assert!(signed.verify::<LinkState>("room").is_ok());
        assert!(signed.verify::<LinkState>("another").is_err());
        let forged = signed.claimed_by(Identity::from_secret([2; 32]).peer());
        assert!(forged.verify::<LinkState>("room").is_err());
        end();
    }
}
