//! Which links ought to exist: a pure function of the member set and k, the same at every agent.
//!
//! The partial mesh is the union of k/2 rings. Ring r orders the members by a hash of r and their
//! id, and links each to its successor, so every ring alone connects the room and adds two to each
//! degree. Random rings are expanders with high probability (Law and Siu, *Distributed construction
//! of random expander networks*, INFOCOM 2003): short paths, no bottleneck, and one member more or
//! less only touches its neighbours on each ring. Nobody has to be asked: agents that agree on the
//! members agree on the links.
//!
//! Where two rings want the same link, its ends are one short; members that are short are paired
//! among themselves, and where even that collides, some link is opened and both ends of the gap are
//! closed through it. So every degree comes out as exactly k (but for one member if k and the
//! number of members are both odd), and the full mesh is simply the k that reaches everybody.

use std::collections::BTreeSet;

use crate::id::PeerId;

/// The links that ought to exist among a set of members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    members: Vec<PeerId>,
    /// By member, its neighbours and the ring that made each link.
    neighbours: Vec<Vec<Neighbour>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Neighbour {
    index: usize,
    ring: usize,
}

impl Topology {
    /// The partial mesh of `k` links a member; the full mesh where `k` reaches everybody.
    pub fn partial_mesh(members: &BTreeSet<PeerId>, k: usize) -> Self {
        let members: Vec<_> = members.iter().copied().collect();
        let count = members.len();
        let mut mesh = Self {
            neighbours: vec![Vec::with_capacity(k.min(count) + 1); count],
            members,
        };
        if count < 2 {
            return mesh;
        }
        for ring in 0..k / 2 {
            mesh.add_ring(ring);
        }
        if k % 2 == 1 {
            mesh.add_pairs(k / 2);
        }
        mesh.fill_up(k.min(count - 1));
        mesh
    }

    /// The members, in order.
    pub fn members(&self) -> &[PeerId] {
        &self.members
    }

    /// The peers that `of` should be linked to; empty if it is no member.
    pub fn neighbours(&self, of: PeerId) -> BTreeSet<PeerId> {
        self.neighbours_in(of, usize::MAX)
    }

    /// Those of the first `rings` rings: a sparser graph that is still connected.
    pub fn neighbours_in(&self, of: PeerId, rings: usize) -> BTreeSet<PeerId> {
        let Ok(index) = self.members.binary_search(&of) else {
            return BTreeSet::new();
        };
        self.neighbours[index]
            .iter()
            .filter(|neighbour| neighbour.ring < rings)
            .map(|neighbour| self.members[neighbour.index])
            .collect()
    }

    /// Every link once, the lower end first.
    pub fn links(&self) -> impl Iterator<Item = (PeerId, PeerId)> + '_ {
        self.neighbours
            .iter()
            .enumerate()
            .flat_map(move |(a, all)| {
                all.iter()
                    .filter(move |b| a < b.index)
                    .map(move |b| (self.members[a], self.members[b.index]))
            })
    }

    /// Members in the order of a ring.
    fn order(&self, ring: usize) -> Vec<usize> {
        let mut order: Vec<_> = (0..self.members.len())
            .map(|index| (mix(self.members[index].prefix(), ring), index))
            .collect();
        order.sort_unstable();
        order.into_iter().map(|(_, index)| index).collect()
    }

    fn add_ring(&mut self, ring: usize) {
        let order = self.order(ring);
        for (i, &a) in order.iter().enumerate() {
            let b = order[(i + 1) % order.len()];
            if !self.linked(a, b) {
                self.link(a, b, ring);
            }
        }
    }

    /// Gives every member the links that it lost where rings collided. Members are paired in the
    /// order of a hash of the pair, so that who is paired with whom hardly depends on the others.
    fn fill_up(&mut self, k: usize) {
        let lacking: Vec<_> = (0..self.members.len())
            .filter(|&m| self.neighbours[m].len() < k)
            .collect();
        let mut pairs = Vec::new();
        for (i, &a) in lacking.iter().enumerate() {
            for &b in &lacking[i + 1..] {
                let [x, y] = [a, b].map(|m| self.members[m].prefix());
                pairs.push((mix(mix(x, k) ^ y, k), a, b));
            }
        }
        pairs.sort_unstable();
        for (_, a, b) in pairs {
            let lack = |m: usize| self.neighbours[m].len() < k;
            if lack(a) && lack(b) && !self.linked(a, b) {
                self.link(a, b, k);
            }
        }
        let lacks = |mesh: &Self, m: usize| k - mesh.neighbours[m].len();
        let left = lacking
            .iter()
            .flat_map(|&m| std::iter::repeat_n(m, lacks(self, m)));
        let left: Vec<_> = left.collect();
        for pair in left.chunks_exact(2) {
            self.splice(pair[0], pair[1]);
        }
    }

    /// Gives `a` and `b` one link more each, by opening some link x–y into a–y and x–b. They may be
    /// the same member, which then gets two.
    fn splice(&mut self, a: usize, b: usize) {
        for x in 0..self.members.len() {
            for Neighbour { index: y, ring } in self.neighbours[x].clone() {
                let distinct = x != a && x != b && y != a && y != b;
                // The first ring alone connects the room: it stays whole.
                if ring > 0 && distinct && !self.linked(a, y) && !self.linked(x, b) {
                    self.unlink(x, y);
                    self.link(a, y, ring);
                    self.link(x, b, ring);
                    return;
                }
            }
        }
    }

    /// Half a ring: every second link of its order, which adds one to each degree.
    fn add_pairs(&mut self, ring: usize) {
        let order = self.order(ring);
        for pair in order.chunks_exact(2) {
            if !self.linked(pair[0], pair[1]) {
                self.link(pair[0], pair[1], ring);
            }
        }
    }

    fn linked(&self, a: usize, b: usize) -> bool {
        self.neighbours[a].iter().any(|n| n.index == b)
    }

    fn link(&mut self, a: usize, b: usize, ring: usize) {
        self.neighbours[a].push(Neighbour { index: b, ring });
        self.neighbours[b].push(Neighbour { index: a, ring });
    }

    fn unlink(&mut self, a: usize, b: usize) {
        self.neighbours[a].retain(|n| n.index != b);
        self.neighbours[b].retain(|n| n.index != a);
    }
}

/// A member's place on a ring: SplitMix64's finalizer (Steele, Lea and Flood, OOPSLA 2014) over its
/// id and the ring's number. Keys are uniform already, so this need not resist an adversary: who
/// grinds keys to choose its neighbours could as well choose whom to dial.
fn mix(prefix: u64, ring: usize) -> u64 {
    let ring = (ring as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut z = prefix ^ ring;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members(seed: u64, count: usize) -> BTreeSet<PeerId> {
        (0..count)
            .map(|i| {
                let mut bytes = [0; 32];
                let id = mix(seed.wrapping_mul(1_000_003), i);
                bytes[..8].copy_from_slice(&id.to_be_bytes());
                PeerId::from_bytes(bytes)
            })
            .collect()
    }

    fn reached(mesh: &Topology, rings: usize) -> usize {
        let mut seen = BTreeSet::new();
        let mut queue: Vec<_> = mesh.members().first().copied().into_iter().collect();
        while let Some(peer) = queue.pop() {
            if seen.insert(peer) {
                queue.extend(mesh.neighbours_in(peer, rings));
            }
        }
        seen.len()
    }

    #[test]
    fn a_hundred_at_twenty_is_regular_over_many_member_sets() {
        for seed in 0..100 {
            let mesh = Topology::partial_mesh(&members(seed, 100), 20);
            assert_eq!(mesh.links().count(), 1_000, "seed {seed}");
            for &member in mesh.members() {
                assert_eq!(mesh.neighbours(member).len(), 20, "seed {seed}");
            }
            assert_eq!(reached(&mesh, 1), 100, "the first ring connects the room");
        }
    }

    #[test]
    fn a_join_touches_few_links() {
        let mut total = 0;
        for seed in 0..50 {
            let mut room = members(seed, 101);
            let after: BTreeSet<_> = Topology::partial_mesh(&room, 20).links().collect();
            let newcomer = *room.iter().nth(seed as usize).expect("101 members");
            room.remove(&newcomer);
            let before: BTreeSet<_> = Topology::partial_mesh(&room, 20).links().collect();
            let touched = before.symmetric_difference(&after).count();
            assert!(touched <= 60, "seed {seed}: {touched} links touched");
            total += touched;
        }
        assert!(total <= 50 * 48, "{} links touched on average", total / 50);
    }

    proptest! {
        #[test]
        fn always_connected_simple_and_bounded(seed: u64, count in 1usize..80, k in 2usize..24) {
            let mesh = Topology::partial_mesh(&members(seed, count), k);
            prop_assert_eq!(reached(&mesh, usize::MAX), count);
            for &member in mesh.members() {
                let neighbours = mesh.neighbours(member);
                prop_assert!(!neighbours.contains(&member), "no self-link");
                prop_assert!(neighbours.len() <= k.min(count - 1), "degree {}", neighbours.len());
                for other in neighbours {
                    prop_assert!(mesh.neighbours(other).contains(&member), "symmetric");
                }
            }
            let links: Vec<_> = mesh.links().collect();
            let distinct: BTreeSet<_> = links.iter().collect();
            prop_assert_eq!(links.len(), distinct.len());
            if k + 1 >= count {
                prop_assert_eq!(links.len(), count * (count - 1) / 2);
            }
        }
    }
}
