//! Shortest paths by hops, with equal-cost alternatives (breadth-first search).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::database::Database;
use crate::id::PeerId;

/// Equal-cost next hops kept for each destination: enough to share load and to survive some deaths.
const NEXT_HOPS_MAX: usize = 4;

/// The routing table.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Routes {
    routes: BTreeMap<PeerId, Route>,
}

/// The way to one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) hops: u8,
    /// Neighbours on shortest paths, in the order found; never empty.
    pub(crate) next_hops: Vec<PeerId>,
    /// The member before the destination on the first path found.
    parent: PeerId,
}

impl Routes {
    /// Paths from `this` over its open links and the links that both ends announce.
    pub(crate) fn compute(this: PeerId, links: &BTreeSet<PeerId>, database: &Database) -> Self {
        let mut routes = Self::default();
        let mut queue = VecDeque::new();
        for &peer in links {
            let route = Route {
                hops: 1,
                next_hops: vec![peer],
                parent: this,
            };
            routes.routes.insert(peer, route);
            queue.push_back(peer);
        }
        while let Some(via) = queue.pop_front() {
            let Some(state) = database.state(via).filter(|state| !state.departed) else {
                continue;
            };
            let Some(Route {
                hops, next_hops, ..
            }) = routes.routes.get(&via).cloned()
            else {
                continue;
            };
            for entry in &state.links {
                let peer = entry.peer;
                if peer == this || !announces(database, peer, via) {
                    continue;
                }
                match routes.routes.get_mut(&peer) {
                    None => {
                        let route = Route {
                            hops: hops.saturating_add(1),
                            next_hops: next_hops.clone(),
                            parent: via,
                        };
                        routes.routes.insert(peer, route);
                        queue.push_back(peer);
                    }
                    Some(route) if route.hops == hops.saturating_add(1) => {
                        route.add(&next_hops);
                    }
                    Some(_) => {}
                }
            }
        }
        routes
    }

    pub(crate) fn get(&self, to: PeerId) -> Option<&Route> {
        self.routes.get(&to)
    }

    pub(crate) fn contains(&self, to: PeerId) -> bool {
        self.routes.contains_key(&to)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerId, &Route)> {
        self.routes.iter().map(|(to, route)| (*to, route))
    }

    /// The first path found, from `this` to the destination.
    pub(crate) fn path(&self, this: PeerId, to: PeerId) -> Vec<PeerId> {
        let mut path = vec![to];
        let mut at = to;
        while let Some(route) = self.routes.get(&at) {
            at = route.parent;
            path.push(at);
            if at == this {
                break;
            }
        }
        path.reverse();
        path
    }
}

impl Route {
    /// The neighbour for a flow: the same flow takes the same path, so its order is kept, and
    /// different flows share the equal-cost ones. `usable` filters neighbours whose link is gone.
    pub(crate) fn next_hop(
        &self,
        flow: u64,
        mut usable: impl FnMut(PeerId) -> bool,
    ) -> Option<PeerId> {
        let count = self.next_hops.len() as u64;
        (0..count)
            .map(|i| self.next_hops[(flow.wrapping_add(i) % count) as usize])
            .find(|&peer| usable(peer))
    }

    fn add(&mut self, next_hops: &[PeerId]) {
        for &peer in next_hops {
            if self.next_hops.len() < NEXT_HOPS_MAX && !self.next_hops.contains(&peer) {
                self.next_hops.push(peer);
            }
        }
    }
}

fn announces(database: &Database, author: PeerId, peer: PeerId) -> bool {
    database.state(author).is_some_and(|state| {
        !state.departed && state.links.binary_search_by_key(&peer, |e| e.peer).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;
    use crate::wire::{LinkEntry, LinkState};

    fn peer(secret: u8) -> PeerId {
        Identity::from_secret([secret; 32]).peer()
    }

    /// A database of one-way announcements.
    fn database(links: &[(u8, &[u8])]) -> Database {
        let mut database = Database::default();
        for (author, peers) in links {
            let entry = |secret: &u8| LinkEntry {
                peer: peer(*secret),
                rtt_us: 0,
            };
            let state = LinkState {
                version: 1,
                name: String::new(),
                departed: false,
                links: peers.iter().map(entry).collect(),
            };
            let signed = Identity::from_secret([*author; 32]).sign("room", &state);
            let verified = signed.verify("room").expect("verifies");
            database.insert(signed, verified);
        }
        database
    }

    #[test]
    fn takes_the_fewest_hops_and_keeps_equal_alternatives() {
        // 1–2–4, 1–3–4, 4–5.
        let database = database(&[(2, &[1, 4]), (3, &[1, 4]), (4, &[2, 3, 5]), (5, &[4])]);
        let links = [2, 3].map(peer).into();
        let routes = Routes::compute(peer(1), &links, &database);
        let far = routes.get(peer(5)).expect("reachable");
        assert_eq!(far.hops, 3);
        assert_eq!(
            far.next_hops.iter().copied().collect::<BTreeSet<_>>(),
            links
        );
        let path = routes.path(peer(1), peer(5));
        assert_eq!((path.len(), path[0], path[3]), (4, peer(1), peer(5)));
        let without_two = |hop| hop != peer(2);
        assert_eq!(far.next_hop(0, without_two), Some(peer(3)));
        assert_eq!(far.next_hop(1, without_two), Some(peer(3)));
        assert_eq!(far.next_hop(0, |_| false), None);
    }

    #[test]
    fn a_link_that_only_one_end_announces_is_none() {
        // 3 still announces 2, as a dead agent's last record does; 2 has withdrawn the link.
        let database = database(&[(2, &[1]), (3, &[2])]);
        let routes = Routes::compute(peer(1), &[peer(2)].into(), &database);
        assert!(routes.contains(peer(2)));
        assert!(!routes.contains(peer(3)));
    }
}
