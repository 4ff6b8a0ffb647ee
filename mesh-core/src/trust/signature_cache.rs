//! What signatures are verified with: keys ready for use, and what is known to be valid already.

#![expect(
    clippy::disallowed_types,
    reason = "agents may share what is known to be valid: it decides nothing, so who found it when \
              does not show"
)]

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ed25519_dalek::VerifyingKey;
use sha2::{Digest, Sha256};

use crate::error::VerifyError;
use crate::id::PeerId;
use crate::samples::Samples;
use crate::topology::SHARD_MEMBERS;

/// Keys that are kept ready at most: those of the largest shard, which has twice the usual members,
/// and as many others.
const KEYS_MAX: usize = 4 * SHARD_MEMBERS;

/// Signatures that are remembered at most, of 96 bytes each: more than are news at any one time.
const SIGNATURES_MAX: usize = 32_768;

/// What one agent verifies with.
#[derive(Debug, Default)]
pub(crate) struct Verifier {
    /// Keys ready for use: what an id says of a point has to be computed, and takes an eighth of
    /// the time of checking a signature.
    keys: BTreeMap<PeerId, VerifyingKey>,
    /// Shared with others, if there are any.
    pub(crate) signatures: Option<KnownSignatures>,
    /// What it took to verify.
    pub(crate) samples: Samples,
}

impl Verifier {
    pub(crate) fn key(&mut self, author: PeerId) -> Result<&VerifyingKey, VerifyError> {
        // Ids that anybody made up may fill it: then it starts anew.
        if self.keys.len() >= KEYS_MAX && !self.keys.contains_key(&author) {
            self.keys.clear();
        }
        match self.keys.entry(author) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(new) => {
                let key = VerifyingKey::from_bytes(author.as_bytes());
                Ok(new.insert(key.map_err(|_| VerifyError::Key)?))
            }
        }
    }
}

/// Signatures that were found valid, of what all agents hear: link-state records and broadcasts.
///
/// Agents that share one ([`Mesh::share_signatures`](crate::Mesh::share_signatures)) check such a
/// signature once between them; to check is most of what it costs to hear something. A signature
/// is known again only if its author and every byte that it covers are the same, so whatever an
/// agent accepts or rejects, it does so with and without. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct KnownSignatures {
    /// By signature, the SHA-256 of whose it is and what it covers.
    valid: Arc<Mutex<BTreeMap<[u8; 64], [u8; 32]>>>,
}

impl KnownSignatures {
    pub(crate) fn contains(&self, signature: &[u8; 64], author: PeerId, covered: &[u8]) -> bool {
        let known = self.valid().get(signature).copied();
        known.is_some_and(|digest| digest == digest_of(author, covered))
    }

    /// Only for what was checked.
    pub(crate) fn insert(&self, signature: [u8; 64], author: PeerId, covered: &[u8]) {
        let digest = digest_of(author, covered);
        let mut valid = self.valid();
        if valid.len() >= SIGNATURES_MAX {
            valid.clear();
        }
        valid.insert(signature, digest);
    }

    fn valid(&self) -> MutexGuard<'_, BTreeMap<[u8; 64], [u8; 32]>> {
        self.valid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn digest_of(author: PeerId, covered: &[u8]) -> [u8; 32] {
    let digest = Sha256::new().chain_update(author.as_bytes());
    digest.chain_update(covered).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::{Identity, Signed};
    use crate::wire::LinkState;

    fn signed(secret: u8) -> Signed {
        let state = LinkState {
            version: 1,
            name: "a".into(),
            departed: false,
            lacks: 0,
            links: Vec::new(),
        };
        Identity::from_secret([secret; 32]).sign("room", &state)
    }

    #[test]
    fn a_known_key_changes_nothing_about_what_is_valid() {
        let mut verifier = Verifier::default();
        for secret in [7, 8, 7] {
            let signed = signed(secret);
            assert!(
                signed
                    .verify_with::<LinkState>(&mut verifier, "room")
                    .is_ok()
            );
            assert!(
                signed
                    .verify_with::<LinkState>(&mut verifier, "other")
                    .is_err()
            );
            let forged = signed.claimed_by(Identity::from_secret([15 - secret; 32]).peer());
            assert!(
                forged
                    .verify_with::<LinkState>(&mut verifier, "room")
                    .is_err()
            );
        }
        for secret in 0..=KEYS_MAX {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&secret.to_le_bytes());
            verifier
                .key(Identity::from_secret(bytes).peer())
                .expect("a key");
        }
        assert!(verifier.keys.len() <= KEYS_MAX);
    }

    #[test]
    fn only_the_very_same_is_known_again() {
        let signatures = KnownSignatures::default();
        let (author, other) = (PeerId::from_bytes([1; 32]), PeerId::from_bytes([2; 32]));
        signatures.insert([1; 64], author, b"body");
        assert!(signatures.clone().contains(&[1; 64], author, b"body"));
        assert!(!signatures.contains(&[1; 64], author, b"bodY"));
        assert!(!signatures.contains(&[1; 64], other, b"body"));
        assert!(!signatures.contains(&[2; 64], author, b"body"));
        for n in 0..SIGNATURES_MAX {
            let mut signature = [0; 64];
            signature[..8].copy_from_slice(&n.to_le_bytes());
            signatures.insert(signature, author, b"body");
        }
        assert!(signatures.valid().len() <= SIGNATURES_MAX);
    }

    #[test]
    fn a_forged_copy_of_a_known_record_is_rejected() {
        let mut verifier = Verifier {
            signatures: Some(KnownSignatures::default()),
            ..Verifier::default()
        };
        let signed = signed(1);
        for _ in 0..2 {
            assert!(
                signed
                    .verify_once::<LinkState>(&mut verifier, "room")
                    .is_ok()
            );
            let elsewhere = signed.verify_once::<LinkState>(&mut verifier, "another");
            assert_eq!(elsewhere, Err(VerifyError::Signature));
        }
        let forged = signed.claimed_by(Identity::from_secret([2; 32]).peer());
        let forged = forged.verify_once::<LinkState>(&mut verifier, "room");
        assert_eq!(forged, Err(VerifyError::Signature));
    }
}
