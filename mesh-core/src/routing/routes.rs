//! Shortest paths by the metric, with equal-cost alternatives (Dijkstra).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use super::cost::Metric;
use super::database::Database;
use crate::id::PeerId;
use crate::topology::Shards;
use crate::wire::LinkEntry;

/// Equal-cost next hops kept for each destination: enough to share load and to survive some deaths.
const NEXT_HOPS_MAX: usize = 4;

/// What one path counts at most for the mean latency, in microseconds: a member that announces
/// absurd round trips shall not decide for all.
const RTT_US_MAX: u32 = 2_000_000;

/// The routing table.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Routes {
    /// To members of our shard, and to those of others that are linked with it.
    routes: BTreeMap<PeerId, Route>,
    /// To the nearest member of each other shard: the way to all of them.
    abroad: BTreeMap<usize, Route>,
    shards: Shards,
}

/// The way to one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) hops: u8,
    pub(crate) cost: u32,
    /// The round trip over the links of the first path, in microseconds, as far as it is known.
    rtt_us: u32,
    /// Neighbours on shortest paths, in the order found; never empty.
    pub(crate) next_hops: Vec<PeerId>,
    /// The member before the destination on the first path found.
    parent: PeerId,
}

/// How this agent chooses among paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RoutePolicy {
    pub(crate) metric: Metric,
    /// Members that no path should lead through; to them it may.
    pub(crate) avoid: BTreeSet<PeerId>,
    /// How the room is divided. Paths stay inside our shard as long as they can, so that everybody
    /// on them knows all of them.
    pub(crate) shards: Shards,
}

impl RoutePolicy {
    /// Whether a path of `this` may lead on from a member that it has reached.
    fn passes(&self, this: PeerId, via: PeerId) -> bool {
        self.shards.of(via) == self.shards.of(this) && !self.avoid.contains(&via)
    }
}

impl Routes {
    /// Paths from `this` over its open links and the links that both ends announce.
    pub(crate) fn compute(
        this: PeerId,
        links: &BTreeSet<PeerId>,
        database: &Database,
        policy: &RoutePolicy,
    ) -> Self {
        let mut search = Search {
            database,
            policy,
            routes: Self::default(),
            queue: BinaryHeap::new(),
        };
        for &peer in links {
            // A link that has just opened is not announced yet, and costs what is not measured.
            let nothing = LinkEntry::unmeasured;
            let ours = announced(database, this, peer).unwrap_or_else(|| nothing(peer));
            let theirs = announced(database, peer, this).unwrap_or_else(|| nothing(this));
            search.offer(Step {
                to: peer,
                via: this,
                hops: 1,
                cost: policy.metric.cost(&ours, &theirs),
                rtt_us: ours.rtt_us.max(theirs.rtt_us),
                next_hops: &[peer],
            });
        }
        let mut done = BTreeSet::from([this]);
        while let Some(Reverse((_, _, via))) = search.queue.pop() {
            if done.insert(via) && policy.passes(this, via) {
                search.pass(via, &done);
            }
        }
        let mut routes = search.routes;
        routes.shards = policy.shards;
        routes.reach_out(this, policy);
        routes
    }

    /// Of the members of other shards that paths lead to, the nearest are the ways there.
    fn reach_out(&mut self, this: PeerId, policy: &RoutePolicy) {
        if policy.shards == Shards::WHOLE {
            return;
        }
        let here = policy.shards.of(this);
        for (&peer, route) in &self.routes {
            let there = policy.shards.of(peer);
            if there == here || policy.avoid.contains(&peer) {
                continue;
            }
            match self.abroad.get_mut(&there) {
                Some(best) if best.cost < route.cost => {}
                Some(best) if best.cost == route.cost => best.add(&route.next_hops),
                _ => {
                    self.abroad.insert(there, route.clone());
                }
            }
        }
    }

    /// The way to a member, or else to its shard.
    pub(crate) fn get(&self, to: PeerId) -> Option<&Route> {
        let route = self.routes.get(&to);
        route.or_else(|| self.abroad.get(&self.shards.of(to)))
    }

    /// The way to a member, if we know all of it.
    pub(crate) fn whole(&self, to: PeerId) -> Option<&Route> {
        self.routes.get(&to)
    }

    pub(crate) fn contains(&self, to: PeerId) -> bool {
        self.routes.contains_key(&to)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerId, &Route)> {
        self.routes.iter().map(|(to, route)| (*to, route))
    }

    /// How long a message takes to another member on average, by the announced round trips; none
    /// while nothing is measured.
    pub(crate) fn mean_latency(&self) -> Option<Duration> {
        let rtts = self.routes.values().map(|route| route.rtt_us);
        let measured = rtts.filter(|rtt_us| *rtt_us > 0);
        let (count, sum) = measured.fold((0, 0), |(count, sum), rtt_us| {
            (count + 1, sum + u64::from(rtt_us.min(RTT_US_MAX)))
        });
        (count > 0).then(|| Duration::from_micros(sum / count / 2))
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

/// A search on its way outwards.
struct Search<'a> {
    database: &'a Database,
    policy: &'a RoutePolicy,
    routes: Routes,
    /// Who has been reached, the cheapest first, then the nearest, then by id.
    queue: BinaryHeap<Reverse<(u32, u8, PeerId)>>,
}

/// A path that leads to a member.
struct Step<'a> {
    to: PeerId,
    via: PeerId,
    hops: u8,
    cost: u32,
    rtt_us: u32,
    next_hops: &'a [PeerId],
}

impl Search<'_> {
    /// Follows the links of a member whose best path is known.
    fn pass(&mut self, via: PeerId, done: &BTreeSet<PeerId>) {
        let Some(state) = self.database.state(via).filter(|state| !state.departed) else {
            return;
        };
        let Some(route) = self.routes.routes.get(&via).cloned() else {
            return;
        };
        for ours in state
            .links
            .iter()
            .filter(|entry| !done.contains(&entry.peer))
        {
            if let Some(theirs) = announced(self.database, ours.peer, via) {
                self.offer(Step {
                    to: ours.peer,
                    via,
                    hops: route.hops.saturating_add(1),
                    cost: route
                        .cost
                        .saturating_add(self.policy.metric.cost(ours, &theirs)),
                    rtt_us: route.rtt_us.saturating_add(ours.rtt_us.max(theirs.rtt_us)),
                    next_hops: &route.next_hops,
                });
            }
        }
    }

    /// Takes a path if it is better than the one known, or an alternative if it is as good.
    fn offer(&mut self, step: Step<'_>) {
        match self.routes.routes.get_mut(&step.to) {
            Some(route) if route.cost < step.cost => {}
            Some(route) if route.cost == step.cost => {
                route.add(step.next_hops);
            }
            _ => {
                let route = Route {
                    hops: step.hops,
                    cost: step.cost,
                    rtt_us: step.rtt_us,
                    next_hops: step.next_hops.to_vec(),
                    parent: step.via,
                };
                self.routes.routes.insert(step.to, route);
                self.queue.push(Reverse((step.cost, step.hops, step.to)));
            }
        }
    }
}

/// What an author says of its link to a peer.
pub(super) fn announced(database: &Database, author: PeerId, peer: PeerId) -> Option<LinkEntry> {
    let state = database.state(author).filter(|state| !state.departed)?;
    let place = state.links.binary_search_by_key(&peer, |e| e.peer).ok()?;
    Some(state.links[place])
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
            let entry = |secret: &u8| LinkEntry::unmeasured(peer(*secret));
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
        let routes = Routes::compute(peer(1), &links, &database, &RoutePolicy::default());
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
        let routes = Routes::compute(
            peer(1),
            &[peer(2)].into(),
            &database,
            &RoutePolicy::default(),
        );
        assert!(routes.contains(peer(2)));
        assert!(!routes.contains(peer(3)));
    }

    /// As [`database`], with a round trip for each link, both ways.
    fn timed(links: &[(u8, u8, u32)]) -> Database {
        let mut states: BTreeMap<u8, Vec<LinkEntry>> = BTreeMap::new();
        for &(a, b, rtt_us) in links {
            for (from, to) in [(a, b), (b, a)] {
                let entry = LinkEntry {
                    rtt_us,
                    ..LinkEntry::unmeasured(peer(to))
                };
                states.entry(from).or_default().push(entry);
            }
        }
        let mut database = Database::default();
        for (author, links) in states {
            let state = LinkState {
                version: 1,
                name: String::new(),
                departed: false,
                links,
            };
            let signed = Identity::from_secret([author; 32]).sign("room", &state);
            database.insert(signed.clone(), signed.verify("room").expect("verifies"));
        }
        database
    }

    #[test]
    fn by_latency_a_slow_link_is_gone_around() {
        let database = timed(&[(1, 2, 200_000), (1, 3, 10_000), (3, 2, 10_000)]);
        let links = [2, 3].map(peer).into();
        let by = |metric| {
            let policy = RoutePolicy {
                metric,
                ..RoutePolicy::default()
            };
            Routes::compute(peer(1), &links, &database, &policy)
        };
        assert_eq!(by(Metric::Hops).get(peer(2)).expect("a route").hops, 1);
        let routes = by(Metric::Latency);
        let route = routes.get(peer(2)).expect("a route");
        assert_eq!((route.hops, &route.next_hops[..]), (2, &[peer(3)][..]));
        assert_eq!(routes.path(peer(1), peer(2)), [1, 3, 2].map(peer));
    }

    #[test]
    fn who_is_avoided_is_reached_but_not_passed() {
        let database = timed(&[(1, 2, 1), (2, 4, 1), (1, 3, 1), (3, 5, 1), (5, 4, 1)]);
        let policy = RoutePolicy {
            avoid: [peer(2)].into(),
            ..RoutePolicy::default()
        };
        let routes = Routes::compute(peer(1), &[2, 3].map(peer).into(), &database, &policy);
        assert!(routes.contains(peer(2)));
        assert_eq!(routes.path(peer(1), peer(4)), [1, 3, 5, 4].map(peer));
    }
}
