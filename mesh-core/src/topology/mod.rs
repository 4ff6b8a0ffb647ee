//! Which links ought to exist: pure functions of the member set, the same at every agent.
//!
//! No agent has to be asked: agents that agree on the members agree on the links. The mesh lives on
//! the [`rings`] of [`Topology::partial_mesh`], in a large room on several of those ([`Shards`]).
//! The other [`TopologyKind`]s are there to compare with, and for rooms where they suit better.
//! [`Analysis`] measures any of them.

mod analysis;
mod flow;
#[cfg(test)]
mod golden;
mod graph;
mod k_neighbours;
mod pairs;
mod rings;
mod shards;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::Serialize;
use thiserror::Error;

use crate::id::PeerId;

pub use analysis::Analysis;
pub use graph::Graph;
pub use shards::Shards;
pub(crate) use shards::{SHARD_MEMBERS, candidates};

/// The links that ought to exist among a set of members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    members: Vec<PeerId>,
    /// By member, its neighbours and the ring that made each link.
    neighbours: Vec<Vec<Neighbour>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Neighbour {
    // Every agent holds this of its whole shard, so halves are worth having.
    index: u32,
    ring: u32,
}

impl Neighbour {
    fn new(index: usize, ring: usize) -> Self {
        let narrow = |n: usize| u32::try_from(n).expect("far fewer members and rings than 2³²");
        Self {
            index: narrow(index),
            ring: narrow(ring),
        }
    }

    fn index(self) -> usize {
        self.index as usize
    }

    fn ring(self) -> usize {
        self.ring as usize
    }
}

/// A way to choose links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TopologyKind {
    /// The union of k/2 rings: what the mesh lives on.
    PartialMesh,
    /// Each member is linked with all others.
    FullMesh,
    /// All members are linked with one.
    HubSpoke,
    /// One ring.
    Ring,
    /// k random neighbours each, repaired and balanced afterwards: an algorithm that sees all
    /// members at once, to compare with.
    KNeighbours,
    /// What the mesh lives on in a room of more than 500: [`Shards`], each a partial mesh, linked
    /// with each other.
    Sharded,
}

/// Text that names no topology.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{0:?} is no topology; there are partial-mesh, full-mesh, hub-spoke, ring, k-neighbours and \
     sharded"
)]
pub struct ParseTopologyKindError(String);

impl TopologyKind {
    /// All kinds, the mesh's own first.
    pub const ALL: [Self; 6] = [
        Self::PartialMesh,
        Self::FullMesh,
        Self::HubSpoke,
        Self::Ring,
        Self::KNeighbours,
        Self::Sharded,
    ];

    /// The name, as it is parsed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PartialMesh => "partial-mesh",
            Self::FullMesh => "full-mesh",
            Self::HubSpoke => "hub-spoke",
            Self::Ring => "ring",
            Self::KNeighbours => "k-neighbours",
            Self::Sharded => "sharded",
        }
    }
}

impl fmt::Display for TopologyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for TopologyKind {
    type Err = ParseTopologyKindError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        named.ok_or_else(|| ParseTopologyKindError(text.to_owned()))
    }
}

impl Topology {
    /// The links of a kind. `k` matters to the partial mesh, sharded or not, and to k neighbours,
    /// `seed` to the latter alone, which is random.
    pub fn build(kind: TopologyKind, members: &BTreeSet<PeerId>, k: usize, seed: u64) -> Self {
        match kind {
            TopologyKind::PartialMesh => Self::partial_mesh(members, k),
            TopologyKind::FullMesh => Self::partial_mesh(members, members.len()),
            TopologyKind::HubSpoke => Self::hub_spoke(members),
            TopologyKind::Ring => Self::partial_mesh(members, 2),
            TopologyKind::KNeighbours => k_neighbours::build(members, k, seed),
            TopologyKind::Sharded => Self::sharded(members, k),
        }
    }

    /// Members to try topologies out with: as many keys as asked for, drawn from `seed`.
    pub fn sample_members(count: usize, seed: u64) -> BTreeSet<PeerId> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut key = || {
            let mut bytes = [0; 32];
            rng.fill_bytes(&mut bytes);
            PeerId::from_bytes(bytes)
        };
        (0..count).map(|_| key()).collect()
    }

    fn unlinked(members: &BTreeSet<PeerId>) -> Self {
        let members: Vec<_> = members.iter().copied().collect();
        Self {
            neighbours: vec![Vec::new(); members.len()],
            members,
        }
    }

    /// A star. Its hub is the first of the first ring: which would serve best is not known.
    fn hub_spoke(members: &BTreeSet<PeerId>) -> Self {
        let mut star = Self::unlinked(members);
        // `star_hub` is the first of this order.
        if let Some((&hub, spokes)) = star.order(0).split_first() {
            for &spoke in spokes {
                star.link(hub, spoke, 0);
            }
        }
        star
    }

    /// The member that a star of these members would have in its middle.
    pub fn star_hub(&self) -> Option<PeerId> {
        let first = self.order(0).first().copied()?;
        Some(self.members[first])
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
            .filter(|neighbour| neighbour.ring() < rings)
            .map(|neighbour| self.members[neighbour.index()])
            .collect()
    }

    /// The members that follow `neighbour` on the ring that links it to `of`, the next first: those
    /// that stands in for it.
    pub fn followers(&self, of: PeerId, neighbour: PeerId) -> Vec<PeerId> {
        let index = |peer: PeerId| self.members.binary_search(&peer).ok();
        let (Some(of), Some(neighbour)) = (index(of), index(neighbour)) else {
            return Vec::new();
        };
        let link = self.neighbours[of].iter().find(|n| n.index() == neighbour);
        let mut order = self.order(link.map_or(0, |link| link.ring()));
        let place = order.iter().position(|&member| member == neighbour);
        order.rotate_left(place.unwrap_or(0));
        let others = order.into_iter().skip(1).filter(|&member| member != of);
        others.map(|member| self.members[member]).collect()
    }

    /// Every link once, the lower end first.
    pub fn links(&self) -> impl Iterator<Item = (PeerId, PeerId)> + '_ {
        self.neighbours
            .iter()
            .enumerate()
            .flat_map(move |(a, all)| {
                all.iter()
                    .filter(move |b| a < b.index())
                    .map(move |b| (self.members[a], self.members[b.index()]))
            })
    }

    /// The links as a graph over the members' indices, to be measured.
    pub fn graph(&self) -> Graph {
        let indices = |of: &Vec<Neighbour>| of.iter().map(|n| n.index()).collect();
        Graph::new(self.neighbours.iter().map(indices).collect())
    }

    fn linked(&self, a: usize, b: usize) -> bool {
        self.neighbours[a].iter().any(|n| n.index() == b)
    }

    fn link(&mut self, a: usize, b: usize, ring: usize) {
        self.neighbours[a].push(Neighbour::new(b, ring));
        self.neighbours[b].push(Neighbour::new(a, ring));
    }

    fn unlink(&mut self, a: usize, b: usize) {
        self.neighbours[a].retain(|n| n.index() != b);
        self.neighbours[b].retain(|n| n.index() != a);
    }
}
