//! What agents say of how their room was divided, when they come back to a hub that has restarted.
//!
//! One by one they come, and the first of them are no small room. But any client may claim
//! anything: a claim counts for the claimant alone, which is told of the others as if it were true,
//! until so many claim the same that the room is divided so for all.

use std::collections::BTreeMap;

use crate::id::PeerId;
use crate::topology::Shards;

/// Members that must have come back for each shard that they claim: a shard had hundreds, so two
/// are soon there, and a few clients cannot claim many shards.
const RETURNED_A_SHARD: usize = 2;

/// The claims of members that are here.
#[derive(Debug, Default)]
pub(super) struct Claims {
    by_member: BTreeMap<PeerId, Shards>,
}

impl Claims {
    pub(super) fn insert(&mut self, member: PeerId, shards: Shards) {
        self.by_member.insert(member, shards);
    }

    pub(super) fn remove(&mut self, member: PeerId) {
        self.by_member.remove(&member);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_member.is_empty()
    }

    /// What this member claims.
    pub(super) fn of(&self, member: PeerId) -> Option<Shards> {
        self.by_member.get(&member).copied()
    }

    /// Forgets all, and returns whose they were.
    pub(super) fn clear(&mut self) -> Vec<PeerId> {
        std::mem::take(&mut self.by_member).into_keys().collect()
    }

    /// The most shards that more than half of so many members claim, if they are enough of them.
    /// A member that claims more shards is for fewer too: a room that grew is remembered in both
    /// ways.
    pub(super) fn agreed(&self, members: usize) -> Shards {
        let mut claims: Vec<_> = self.by_member.values().copied().collect();
        claims.sort_unstable_by(|a, b| b.cmp(a));
        let backed = claims.iter().enumerate().find(|(index, shards)| {
            let claimants = index + 1;
            claimants * 2 > members && claimants >= shards.count() * RETURNED_A_SHARD
        });
        backed.map_or(Shards::WHOLE, |(_, shards)| *shards)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(shards: &[u32]) -> Claims {
        let mut claims = Claims::default();
        for (n, count) in shards.iter().enumerate() {
            let peer = PeerId::from_bytes([u8::try_from(n).expect("few"); 32]);
            claims.insert(peer, Shards::try_from(*count).expect("valid"));
        }
        claims
    }

    #[test]
    fn a_claim_counts_when_enough_members_make_it() {
        for (shards, members, agreed) in [
            (&[80][..], 1, 1),
            (&[80; 40], 40, 1),
            (&[2, 2], 2, 1),
            (&[2, 2, 2], 3, 1),
            (&[2, 2, 2, 2], 4, 2),
            (&[2, 2, 2, 2], 7, 2),
            (&[2, 2, 2, 2], 8, 1),
            (&[3, 2, 2, 2], 4, 2),
            (&[80, 80, 80, 2, 2, 2, 2], 7, 2),
        ] {
            let count = claims(shards).agreed(members).count();
            assert_eq!(count, agreed, "{shards:?} of {members}");
        }
    }
}
