//! The partial mesh: a union of rings.
//!
//! Ring r orders the members by a hash of r and their id, and links each to its successor, so every
//! ring alone connects the room and adds two to each degree. Random rings are expanders with high
//! probability (Law and Siu, *Distributed construction of random expander networks*, INFOCOM 2003):
//! short paths, no bottleneck, and one member more or less only touches its neighbours on each
//! ring.
//!
//! Where two rings want the same link a–b, its ends are one short. The later ring then opens the
//! next of its links c–d for which this works into a–c and b–d: every degree comes out as k, and
//! little changes elsewhere when the collision goes away. The first ring has no collisions and
//! stays whole. The full mesh is simply the k that reaches all members.

use std::collections::BTreeSet;

use super::Topology;
use crate::id::PeerId;

/// A link that a ring wanted and an earlier ring had made.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Collision {
    /// By hash, so that which comes first does not depend on the other members.
    rank: u64,
    ring: usize,
    /// The place of the link's first end in the ring's order.
    place: usize,
}

impl Topology {
    /// The partial mesh of `k` links a member; the full mesh where `k` reaches all.
    pub fn partial_mesh(members: &BTreeSet<PeerId>, k: usize) -> Self {
        let mut mesh = Self::unlinked(members);
        let count = members.len();
        if count < 2 {
            return mesh;
        }
        if k + 1 >= count {
            mesh.link_all();
            return mesh;
        }
        // An odd k takes every second link of one ring more.
        let orders: Vec<_> = (0..k.div_ceil(2)).map(|ring| mesh.order(ring)).collect();
        let mut collisions = Vec::new();
        for (ring, order) in orders.iter().enumerate() {
            let step = if ring < k / 2 { 1 } else { 2 };
            for place in (0..count / step * step).step_by(step) {
                let [a, b] = [place, place + 1].map(|at| order[at % count]);
                if mesh.linked(a, b) {
                    let rank = mix(mesh.members[a].prefix(), k + ring);
                    collisions.push(Collision { rank, ring, place });
                } else {
                    mesh.link(a, b, ring);
                }
            }
        }
        collisions.sort_unstable();
        for Collision { ring, place, .. } in collisions {
            mesh.resolve(&orders[ring], ring, place);
        }
        mesh
    }

    /// Rings enough to reach all members: the n-th links the members that are n places apart.
    fn link_all(&mut self) {
        let order = self.order(0);
        let count = order.len();
        for distance in 1..=count / 2 {
            // Half-way round an even circle the second half would meet the first again.
            let starts = if 2 * distance == count {
                distance
            } else {
                count
            };
            for (i, &a) in order[..starts].iter().enumerate() {
                self.link(a, order[(i + distance) % count], distance - 1);
            }
        }
    }

    /// Members in the order of a ring.
    pub(super) fn order(&self, ring: usize) -> Vec<usize> {
        let mut order: Vec<_> = (0..self.members.len())
            .map(|index| (mix(self.members[index].prefix(), ring), index))
            .collect();
        order.sort_unstable();
        order.into_iter().map(|(_, index)| index).collect()
    }

    /// Makes up for a link of a ring that there was already, if there is a way.
    fn resolve(&mut self, order: &[usize], ring: usize, place: usize) {
        let at = |offset: usize| order[(place + offset) % order.len()];
        let (a, b) = (at(0), at(1));
        for offset in 2..order.len() {
            let (c, d) = (at(offset), at(offset + 1));
            let distinct = ![c, d].iter().any(|end| [a, b].contains(end));
            if distinct && self.linked_by(c, d, ring) && !self.linked(a, c) && !self.linked(b, d) {
                self.unlink(c, d);
                self.link(a, c, ring);
                self.link(b, d, ring);
                return;
            }
        }
    }

    /// Whether two members are linked, and this ring made the link.
    fn linked_by(&self, a: usize, b: usize, ring: usize) -> bool {
        let mut neighbours = self.neighbours[a].iter();
        neighbours.any(|n| n.index() == b && n.ring() == ring)
    }
}

/// A member's place on a ring: SplitMix64's finalizer (Steele, Lea and Flood, OOPSLA 2014) over its
/// id and the ring's number. Keys are uniform already, so this need not resist an adversary: one
/// that grinds keys to choose its neighbours could as well choose which peers to dial.
pub(super) fn mix(prefix: u64, ring: usize) -> u64 {
    let ring = (ring as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut z = prefix ^ ring;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
