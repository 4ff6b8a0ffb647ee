//! The tree that a broadcast goes down: from its source, along shortest paths, once to everybody.
//!
//! Everybody computes it from the same link-state records, so nobody has to build it. A member's
//! parent is one of its neighbours that are one link closer to the source, chosen by a hash that
//! differs from source to source, so that no member forwards for all.
//!
//! In a room of several [`Shards`] each has a tree of its own. It is rooted at the end of one of
//! the links from the source's shard, which both shards know and choose by the same hash.

use std::collections::{BTreeMap, VecDeque};

use super::database::Database;
use super::routes::announced;
use crate::id::PeerId;
use crate::topology::Shards;

/// Whom `this` passes a broadcast of `source` on to; `None` if no path leads from there to here as
/// far as is known.
pub(crate) fn children(
    source: PeerId,
    this: PeerId,
    database: &Database,
    shards: Shards,
) -> Option<Vec<PeerId>> {
    let (home, here) = (shards.of(source), shards.of(this));
    let root = if home == here {
        source
    } else {
        crossing(source, here, database, shards)?.1
    };
    let distances = distances(root, database, shards);
    if distances.len() == 1 {
        return None; // Its first link is not announced yet.
    }
    let depth = *distances.get(&this)?;
    let at = |peer: &PeerId, depth: u32| distances.get(peer) == Some(&depth);
    let below = neighbours(this, database).filter(|peer| at(peer, depth + 1));
    let parent = |child: PeerId| {
        let above = neighbours(child, database).filter(|peer| at(peer, depth));
        above.min_by_key(|peer| preference(source, *peer, child))
    };
    let mut children: Vec<_> = below.filter(|&child| parent(child) == Some(this)).collect();
    if home == here {
        // Those out of the shard.
        let abroad = neighbours(this, database).filter(|&peer| shards.of(peer) != here);
        children.extend(abroad.filter(|&peer| {
            crossing(source, shards.of(peer), database, shards) == Some((this, peer))
        }));
    }
    Some(children)
}

/// The link over which broadcasts of a source come from its shard into another.
fn crossing(
    source: PeerId,
    into: usize,
    database: &Database,
    shards: Shards,
) -> Option<(PeerId, PeerId)> {
    let home = shards.of(source);
    let authors = database.states().map(|(author, _)| author);
    let links = authors
        .filter(|&author| shards.of(author) == home)
        .flat_map(|author| neighbours(author, database).map(move |peer| (author, peer)));
    links
        .filter(|&(_, peer)| shards.of(peer) == into)
        .min_by_key(|&(from, to)| (preference(source, from, to), from, to))
}

/// How far everybody in the root's shard is from it, in links.
fn distances(root: PeerId, database: &Database, shards: Shards) -> BTreeMap<PeerId, u32> {
    let here = shards.of(root);
    let mut distances = BTreeMap::from([(root, 0)]);
    let mut queue = VecDeque::from([(root, 0)]);
    while let Some((via, distance)) = queue.pop_front() {
        for peer in neighbours(via, database).filter(|&peer| shards.of(peer) == here) {
            distances.entry(peer).or_insert_with(|| {
                queue.push_back((peer, distance + 1));
                distance + 1
            });
        }
    }
    distances
}

/// Peers that a member announces a link to, and that announce it too.
fn neighbours(of: PeerId, database: &Database) -> impl Iterator<Item = PeerId> {
    let state = database.state(of).filter(|state| !state.departed);
    let peers = state.into_iter().flat_map(|state| &state.links);
    let peers = peers.map(|entry| entry.peer);
    peers.filter(move |&peer| announced(database, peer, of).is_some())
}

/// Spreads the load: for each source and child other parents come first (SplitMix64's finalizer,
/// Steele, Lea and Flood, OOPSLA 2014).
fn preference(source: PeerId, parent: PeerId, child: PeerId) -> u64 {
    let mut z = source.prefix() ^ parent.prefix().rotate_left(21) ^ child.prefix().rotate_left(42);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::identity::Identity;
    use crate::topology::Topology;
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
                links: neighbours.map(LinkEntry::unmeasured).collect(),
            };
            let signed = identity.sign("room", &state);
            let verified = signed.verify("room").expect("verifies");
            database.insert(signed, verified);
        }
        for &source in members.iter().take(10) {
            let mut copies: BTreeMap<PeerId, usize> = BTreeMap::new();
            for &this in &members {
                for child in children(source, this, &database, Shards::WHOLE).expect("connected") {
                    assert!(mesh.neighbours(this).contains(&child));
                    *copies.entry(child).or_default() += 1;
                }
            }
            assert_eq!(copies.len(), 59, "everybody but the source");
            assert!(copies.values().all(|&count| count == 1));
        }
        let stranger = Identity::from_secret([99; 32]).peer();
        let none = children(stranger, identities[0].peer(), &database, Shards::WHOLE);
        assert_eq!(none, None);
    }
}
