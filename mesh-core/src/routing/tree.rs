//! The tree that a broadcast goes down: from its source, along shortest paths, once to each member.
//!
//! Each agent computes it from the same link-state records, so it need not be built. A member's
//! parent is one of its neighbours that are one link closer to the source, chosen by a hash that
//! differs from source to source, so that no member forwards for all.
//!
//! In a room of several [`Shards`] each has a tree of its own. It is rooted at the end of one of
//! the links from the source's shard, which both shards know and choose by the same hash.

use std::collections::VecDeque;

use super::graph::LinkGraph;
use crate::id::PeerId;
use crate::topology::Shards;

/// The neighbours that `this` passes a broadcast of `source` on to; `None` if no path leads from
/// there to here as far as is known.
pub(crate) fn children(
    source: PeerId,
    this: PeerId,
    graph: &LinkGraph,
    shards: Shards,
) -> Option<Vec<PeerId>> {
    let (home, this) = (shards.of(source), graph.index(this)?);
    let here = graph.shard(this);
    let root = if home == here {
        graph.index(source)?
    } else {
        crossing(source, home, here, graph)?.1
    };
    if graph.edges(root).is_empty() {
        return None; // Its first link is not announced yet.
    }
    let depths = depths(root, graph);
    let depth = depths[this]?;
    let ends = |of: usize| graph.edges(of).iter().map(|edge| edge.to());
    let parent = |child: usize| {
        let above = ends(child).filter(|&peer| depths[peer] == Some(depth));
        above.min_by_key(|&peer| preference(source, graph.peer(peer), graph.peer(child)))
    };
    let below = ends(this).filter(|&peer| depths[peer] == Some(depth + 1));
    let mut children: Vec<_> = below.filter(|&child| parent(child) == Some(this)).collect();
    if home == here {
        // Those out of the shard.
        let abroad = ends(this).filter(|&peer| graph.shard(peer) != here);
        children.extend(abroad.filter(|&peer| {
            crossing(source, home, graph.shard(peer), graph) == Some((this, peer))
        }));
    }
    Some(
        children
            .into_iter()
            .map(|child| graph.peer(child))
            .collect(),
    )
}

/// The link over which broadcasts of a source come from its shard into another.
fn crossing(source: PeerId, home: usize, into: usize, graph: &LinkGraph) -> Option<(usize, usize)> {
    let at_home = (0..graph.len()).filter(|&from| graph.shard(from) == home);
    let links =
        at_home.flat_map(|from| graph.edges(from).iter().map(move |edge| (from, edge.to())));
    links
        .filter(|&(_, to)| graph.shard(to) == into)
        .min_by_key(|&(from, to)| preference(source, graph.peer(from), graph.peer(to)))
}

/// How far each member of the root's shard is from it, in links.
fn depths(root: usize, graph: &LinkGraph) -> Vec<Option<u32>> {
    let mut depths = vec![None; graph.len()];
    depths[root] = Some(0);
    let mut queue = VecDeque::from([(root, 0)]);
    while let Some((via, depth)) = queue.pop_front() {
        for edge in graph.edges(via) {
            if depths[edge.to()].is_none() && graph.shard(edge.to()) == graph.shard(root) {
                depths[edge.to()] = Some(depth + 1);
                queue.push_back((edge.to(), depth + 1));
            }
        }
    }
    depths
}

/// Spreads the load: for each source and child other parents come first (SplitMix64's finalizer,
/// Steele, Lea and Flood, OOPSLA 2014).
pub(super) fn preference(source: PeerId, parent: PeerId, child: PeerId) -> u64 {
    let mut z = source.prefix() ^ parent.prefix().rotate_left(21) ^ child.prefix().rotate_left(42);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::metric::Metric;
    use crate::routing::Database;
    use crate::topology::Topology;
    use crate::trust::Identity;
    use crate::wire::{LinkEntry, LinkState};

    #[test]
    fn everybody_gets_one_copy() {
        let secrets = 1..=60u8;
        let identities: Vec<_> = secrets.map(|s| Identity::from_secret([s; 32])).collect();
        let members: BTreeSet<_> = identities.iter().map(Identity::peer).collect();
        let mesh = Topology::partial_mesh(&members, 6);
        let mut database = Database::default();
        for identity in &identities {
            let neighbours = mesh.neighbours(identity.peer()).into_iter();
            let state = LinkState {
                version: 1,
                name: String::new(),
                departed: false,
                lacks: 0,
                links: neighbours.map(LinkEntry::unmeasured).collect(),
            };
            let signed = identity.sign("room", &state);
            let verified = signed.verify("room").expect("verifies");
            database.insert(signed, verified);
        }
        let graph = LinkGraph::of(&database, &members, Metric::Hops, Shards::WHOLE);
        for &source in members.iter().take(10) {
            let mut copies: BTreeMap<PeerId, usize> = BTreeMap::new();
            for &this in &members {
                for child in children(source, this, &graph, Shards::WHOLE).expect("connected") {
                    assert!(mesh.neighbours(this).contains(&child));
                    *copies.entry(child).or_default() += 1;
                }
            }
            assert_eq!(copies.len(), 59, "everybody but the source");
            assert!(copies.values().all(|&count| count == 1));
        }
        let stranger = Identity::from_secret([99; 32]).peer();
        let none = children(stranger, identities[0].peer(), &graph, Shards::WHOLE);
        assert_eq!(none, None);
    }
}
