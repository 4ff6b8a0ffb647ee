//! The routing table: to each member the cheapest path by the metric, with equal-cost alternatives.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::database::Database;
use super::graph::LinkGraph;
use super::search::search;
use crate::id::PeerId;
use crate::metric::Metric;
use crate::topology::Shards;

/// Next hops of equal cost that are kept for each destination: enough to share load and to survive
/// some deaths.
const NEXT_HOPS_MAX: usize = 4;

/// Round trip of one path, in microseconds, that counts for the mean latency at most: a member that
/// announces absurd round trips does not decide the mean.
const RTT_US_MAX: u32 = 2_000_000;

/// The routing table.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Routes {
    /// To members of our shard, and to those of others that are linked with it.
    routes: BTreeMap<PeerId, Route>,
    /// By shard, those of them that belong to another: the ways to all its members.
    gateways: BTreeMap<usize, Vec<Gateway>>,
    policy: RoutePolicy,
}

/// A member of another shard that a path leads to.
#[derive(Debug, PartialEq, Eq)]
struct Gateway {
    peer: PeerId,
    /// What it takes from there to those of its shard that it has no link to, about: twice what a
    /// link of it costs, for nearly all members of a shard are that near to each other.
    beyond: u32,
}

/// The way to one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) hops: u8,
    pub(crate) cost: u32,
    /// The round trip over the links of the first path, in microseconds, as far as it is known.
    pub(super) rtt_us: u32,
    /// Neighbours on shortest paths, in the order found; never empty.
    pub(crate) next_hops: Vec<PeerId>,
    /// The member before the destination on the first path found.
    pub(super) parent: PeerId,
}

/// How this agent chooses among paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RoutePolicy {
    pub(crate) metric: Metric,
    /// Members that no path should lead through; to them it may.
    pub(crate) avoid: BTreeSet<PeerId>,
    /// How the room is divided. Paths stay inside our shard as long as they can, so that all
    /// members on them knows all of them.
    pub(crate) shards: Shards,
}

impl RoutePolicy {
    /// Paths by this metric, through whomever.
    pub(crate) fn by(metric: Metric) -> Self {
        Self {
            metric,
            ..Self::default()
        }
    }

    /// Whether a path of `this` may lead on from a member that it has reached.
    pub(super) fn passes(&self, this: PeerId, via: PeerId) -> bool {
        self.shards.of(via) == self.shards.of(this) && !self.avoid.contains(&via)
    }
}

impl Routes {
    /// Paths from `this` over its open links and the links that both ends announce.
    pub(crate) fn compute(
        this: PeerId,
        links: &BTreeSet<PeerId>,
        graph: &LinkGraph,
        database: &Database,
        policy: &RoutePolicy,
    ) -> Self {
        let mut routes = Self {
            routes: search(this, links, graph, policy),
            gateways: BTreeMap::new(),
            policy: policy.clone(),
        };
        routes.reach_out(this, database);
        routes
    }

    /// Finds the members of other shards that paths lead to.
    fn reach_out(&mut self, this: PeerId, database: &Database) {
        let RoutePolicy { shards, metric, .. } = self.policy;
        if shards == Shards::WHOLE {
            return;
        }
        let here = shards.of(this);
        for &peer in self.routes.keys() {
            let there = shards.of(peer);
            if there == here || self.policy.avoid.contains(&peer) {
                continue;
            }
            let links = database.state(peer).map_or(&[][..], |state| &state.links);
            let near = links.iter();
            let near = near.filter(|link| shards.of_prefix(link.peer_prefix) == there);
            let costs = near.map(|link| u64::from(metric.cost(link, link)));
            let (count, sum) = costs.fold((0, 0), |(count, sum), cost| (count + 1, sum + cost));
            // Without a link in its shard it is the last resort.
            let mean = (2 * sum).checked_div(count);
            let beyond = mean.and_then(|cost| u32::try_from(cost).ok());
            let beyond = beyond.unwrap_or(u32::MAX);
            let gateways = self.gateways.entry(there).or_default();
            gateways.push(Gateway { peer, beyond });
        }
    }

    /// The neighbour to pass a message on to. A path to a member of another shard is known as far
    /// as its gateways, and those that they announce links with: the cheapest of them is taken.
    pub(crate) fn next_hop(
        &self,
        to: PeerId,
        flow: u64,
        database: &Database,
        mut usable: impl FnMut(PeerId) -> bool,
    ) -> Option<PeerId> {
        if let Some(route) = self.routes.get(&to) {
            return route.next_hop(flow, usable);
        }
        let gateways = self.gateways.get(&self.policy.shards.of(to))?;
        let cost = |gateway: &Gateway| {
            let linked = database.link(gateway.peer, to);
            let beyond = linked.map_or(gateway.beyond, |link| self.policy.metric.cost(link, link));
            self.routes[&gateway.peer].cost.saturating_add(beyond)
        };
        let least = gateways.iter().map(cost).min()?;
        let cheapest = gateways.iter().filter(|gateway| cost(gateway) == least);
        let mut ways: Vec<_> = cheapest.map(|gateway| gateway.peer).collect();
        let shift = flow % ways.len() as u64;
        ways.rotate_left(shift as usize);
        let mut ways = ways.into_iter();
        ways.find_map(|gateway| self.routes[&gateway].next_hop(flow, &mut usable))
    }

    /// Whether there is a way to a member, or else to its shard.
    pub(crate) fn lead_to(&self, to: PeerId) -> bool {
        self.routes.contains_key(&to) || self.gateways.contains_key(&self.policy.shards.of(to))
    }

    /// How far away a member is, or at least its shard; 0 if no path leads there.
    pub(crate) fn hops(&self, to: PeerId) -> u8 {
        if let Some(route) = self.routes.get(&to) {
            return route.hops;
        }
        let gateways = self.gateways.get(&self.policy.shards.of(to));
        let hops = gateways.into_iter().flatten();
        let hops = hops.map(|gateway| self.routes[&gateway.peer].hops);
        hops.max().unwrap_or_default()
    }

    /// The way to a member, if we know all of it.
    pub(crate) fn get(&self, to: PeerId) -> Option<&Route> {
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
    fn next_hop(&self, flow: u64, mut usable: impl FnMut(PeerId) -> bool) -> Option<PeerId> {
        let count = self.next_hops.len() as u64;
        (0..count)
            .map(|i| self.next_hops[(flow.wrapping_add(i) % count) as usize])
            .find(|&peer| usable(peer))
    }

    /// Takes over the next hops of a path as cheap, as far as there is room.
    pub(super) fn add(&mut self, next_hops: &[PeerId]) {
        for &peer in next_hops {
            if self.next_hops.len() < NEXT_HOPS_MAX && !self.next_hops.contains(&peer) {
                self.next_hops.push(peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::Identity;
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
                lacks: 0,
                links: peers.iter().map(entry).collect(),
            };
            let signed = Identity::from_secret([*author; 32]).sign("room", &state);
            let verified = signed.verify("room").expect("verifies");
            database.insert(signed, verified);
        }
        database
    }

    /// The routes of member 1, which has these links.
    fn compute(links: &[u8], database: &Database, policy: &RoutePolicy) -> Routes {
        let links = links.iter().map(|&secret| peer(secret)).collect();
        let graph = LinkGraph::of(database, &links, policy.metric, policy.shards);
        Routes::compute(peer(1), &links, &graph, database, policy)
    }

    #[test]
    fn takes_the_fewest_hops_and_keeps_equal_alternatives() {
        // 1–2–4, 1–3–4, 4–5.
        let database = database(&[(2, &[1, 4]), (3, &[1, 4]), (4, &[2, 3, 5]), (5, &[4])]);
        let links = [2, 3].map(peer).into();
        let routes = compute(&[2, 3], &database, &RoutePolicy::default());
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
        let routes = compute(&[2], &database, &RoutePolicy::default());
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
                lacks: 0,
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
        let by = |metric| {
            let policy = RoutePolicy {
                metric,
                ..RoutePolicy::default()
            };
            compute(&[2, 3], &database, &policy)
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
        let routes = compute(&[2, 3], &database, &policy);
        assert!(routes.contains(peer(2)));
        assert_eq!(routes.path(peer(1), peer(4)), [1, 3, 5, 4].map(peer));
    }

    /// Some members of our shard, the first of them 1, and some of another; and one of a third.
    fn three_shards() -> (RoutePolicy, Vec<u8>, Vec<u8>, u8) {
        let shards = Shards::of_room(9, 3);
        let of = |shard| {
            let all = (1..200u8).filter(move |&secret| shards.of(peer(secret)) == shard);
            all.collect::<Vec<_>>()
        };
        let here = shards.of(peer(1));
        let policy = RoutePolicy {
            shards,
            ..RoutePolicy::default()
        };
        let [ours, theirs, others] = [0, 1, 2].map(|n| of((here + n) % 3));
        (policy, ours, theirs, others[0])
    }

    #[test]
    fn other_shards_are_reached_over_the_nearest_link_and_never_passed() {
        let (policy, ours, theirs, other) = three_shards();
        let [a, b] = [ours[1], ours[2]];
        let [x, x2, y, far] = [theirs[0], theirs[1], theirs[2], theirs[3]];
        // 1–a–b, both linked with the other shard; the way to b over it would be as short.
        let links = [
            (1, a, 1),
            (a, b, 1),
            (1, x, 1),
            (x, x2, 1),
            (x, b, 1),
            (b, y, 1),
            (y, far, 1),
        ];
        let database = timed(&links);
        let routes = compute(&[a, x], &database, &policy);
        let to = |secret| routes.get(peer(secret)).expect("a route");
        assert_eq!(to(b).next_hops, [peer(a)]);
        assert_eq!(to(y).hops, 3);
        assert!(
            routes.get(peer(far)).is_none(),
            "its links are not ours to know"
        );
        let next = |to| routes.next_hop(peer(to), 0, &database, |_| true);
        assert_eq!((next(far), next(other)), (Some(peer(x)), None));
        assert!(routes.lead_to(peer(far)) && !routes.lead_to(peer(other)));
        assert_eq!(routes.hops(peer(far)), 3, "as far as the farthest gateway");
    }

    #[test]
    fn of_gateways_as_near_the_one_linked_with_the_destination_is_taken() {
        let (policy, ours, theirs, _) = three_shards();
        let [a, b] = [ours[1], ours[2]];
        let [x, y, near_x, near_y, far] = [0, 1, 2, 3, 4].map(|n: usize| theirs[n]);
        let links = [
            (1, a, 1),
            (1, b, 1),
            (a, x, 1),
            (b, y, 1),
            (x, near_x, 1),
            (y, near_y, 1),
        ];
        let database = timed(&links);
        let routes = compute(&[a, b], &database, &policy);
        let next = |to, flow| routes.next_hop(peer(to), flow, &database, |_| true);
        for flow in 0..4 {
            assert_eq!(next(near_x, flow), Some(peer(a)));
            assert_eq!(next(near_y, flow), Some(peer(b)));
        }
        let shared: BTreeSet<_> = (0..4).map(|flow| next(far, flow)).collect();
        assert_eq!(shared, [Some(peer(a)), Some(peer(b))].into());
    }
}
