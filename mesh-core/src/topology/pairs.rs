//! Which members link up with each other, of those that lack links.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::Topology;
use super::rings::mix;
use crate::id::PeerId;

/// Tells the hashes of pairs from those of rings, whose numbers are below, and of gateways.
pub(super) const PAIR: usize = 1 << 17;

impl Topology {
    /// A number of two members, the same from both ends, to choose among pairs by.
    pub(crate) fn pair_hash(a: PeerId, b: PeerId) -> u64 {
        mix(a.prefix(), PAIR) ^ mix(b.prefix(), PAIR)
    }

    /// Pairs up members, each of whom lacks so many links, none of them `linked` yet: first as the
    /// topology has it, then those that lack most. Agents that know the same find the same pairs.
    pub(crate) fn pairs(
        &self,
        mut lacking: BTreeMap<PeerId, usize>,
        linked: impl Fn(PeerId, PeerId) -> bool,
    ) -> Vec<(PeerId, PeerId)> {
        let planned = lacking.keys().flat_map(|&a| {
            let theirs = self.neighbours(a).into_iter().filter(move |b| a < *b);
            theirs.map(move |b| (a, b))
        });
        let planned: BTreeSet<_> = planned.filter(|(_, b)| lacking.contains_key(b)).collect();
        let mut order: Vec<_> = lacking.keys().copied().collect();
        // A member that lacks many needs all the others.
        order.sort_unstable_by_key(|peer| (Reverse(lacking[peer]), mix(peer.prefix(), PAIR)));
        let others = order.iter().enumerate().flat_map(|(place, &a)| {
            let later = order[place + 1..].iter();
            later.map(move |&b| (a.min(b), a.max(b)))
        });
        let others = others.filter(|pair| !planned.contains(pair));
        let mut pairs = Vec::new();
        for (a, b) in planned.iter().copied().chain(others) {
            if lacking[&a] > 0 && lacking[&b] > 0 && !linked(a, b) {
                pairs.push((a, b));
                for end in [a, b] {
                    *lacking.get_mut(&end).expect("one of them") -= 1;
                }
            }
        }
        pairs
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nobody_gets_more_than_it_lacks_and_no_two_who_could_link_up_are_left(
            lacks in prop::collection::vec(0usize..6, 2..40),
            seed in 0u64..100,
        ) {
            let members = Topology::sample_members(lacks.len(), seed);
            let mesh = Topology::partial_mesh(&members, 6);
            let lacking: BTreeMap<_, _> = members.iter().copied().zip(lacks).collect();
            // Some of them are linked already, as the topology has it or otherwise.
            let linked = |a: PeerId, b: PeerId| Topology::pair_hash(a, b).is_multiple_of(3);
            let pairs = mesh.pairs(lacking.clone(), linked);
            let mut left = lacking;
            for (a, b) in &pairs {
                prop_assert!(a != b && !linked(*a, *b));
                for end in [a, b] {
                    let lacks = left.get_mut(end).expect("a member");
                    prop_assert!(*lacks > 0, "more than it lacks");
                    *lacks -= 1;
                }
            }
            let paired: BTreeSet<_> = pairs.iter().copied().collect();
            prop_assert_eq!(paired.len(), pairs.len(), "no pair twice");
            left.retain(|_, lacks| *lacks > 0);
            for &a in left.keys() {
                for (&b, _) in left.range(a..).skip(1) {
                    prop_assert!(linked(a, b) || paired.contains(&(a, b)));
                }
            }
        }
    }
}
