//! Shortest paths from one member to all others (Dijkstra).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::graph::{Edge, LinkGraph};
use super::routes::{Route, RoutePolicy};
use crate::id::PeerId;
use crate::wire::LinkEntry;

/// The paths of `this` over its open links and the announced ones.
pub(super) fn search(
    this: PeerId,
    links: &BTreeSet<PeerId>,
    graph: &LinkGraph,
    policy: &RoutePolicy,
) -> BTreeMap<PeerId, Route> {
    let mut search = Search {
        this,
        graph,
        found: (0..graph.len()).map(|_| None).collect(),
        done: vec![false; graph.len()],
        queue: BinaryHeap::new(),
    };
    search.begin(links, policy);
    while let Some(Reverse((_, _, via))) = search.queue.pop() {
        let done = std::mem::replace(&mut search.done[via], true);
        if !done && policy.passes(this, graph.peer(via)) {
            search.pass(via);
        }
    }
    let found = search.found.into_iter().enumerate();
    let routes = found.filter_map(|(index, route)| Some((graph.peer(index), route?)));
    routes.collect()
}

/// A search on its way outwards.
struct Search<'a> {
    this: PeerId,
    graph: &'a LinkGraph,
    found: Vec<Option<Route>>,
    /// Whose best path is known.
    done: Vec<bool>,
    /// The agents that have been reached: the cheapest first, then the nearest, then by id.
    queue: BinaryHeap<Reverse<(u32, u8, usize)>>,
}

impl Search<'_> {
    fn begin(&mut self, links: &BTreeSet<PeerId>, policy: &RoutePolicy) {
        let graph = self.graph;
        let this = graph.index(self.this);
        let announced = this.map_or(&[][..], |this| graph.edges(this));
        for &peer in links {
            let Some(to) = graph.index(peer) else {
                continue;
            };
            // A link that has just opened is not announced yet, and costs what is not measured.
            let unknown = LinkEntry::unmeasured(peer);
            let edge = announced.iter().find(|edge| edge.to() == to).copied();
            let edge = edge.unwrap_or_else(|| {
                let cost = policy.metric.cost(&unknown, &unknown);
                Edge::new(to, cost, 0)
            });
            self.offer(edge, 1, self.this, &[peer]);
        }
        if let Some(this) = this {
            self.done[this] = true;
        }
    }

    /// Follows the links of a member whose best path is known.
    fn pass(&mut self, via: usize) {
        let graph = self.graph;
        let Some(route) = self.found[via].take() else {
            return;
        };
        for edge in graph.edges(via) {
            if !self.done[edge.to()] {
                let cost = route.cost.saturating_add(edge.cost);
                let rtt_us = route.rtt_us.saturating_add(edge.rtt_us);
                let whole = Edge::new(edge.to(), cost, rtt_us);
                let hops = route.hops.saturating_add(1);
                self.offer(whole, hops, graph.peer(via), &route.next_hops);
            }
        }
        self.found[via] = Some(route);
    }

    /// Takes a path, summed up as one edge, if it is better than the one known, or an alternative
    /// if it is as good.
    fn offer(&mut self, path: Edge, hops: u8, parent: PeerId, next_hops: &[PeerId]) {
        match &mut self.found[path.to()] {
            Some(known) if known.cost < path.cost => {}
            Some(known) if known.cost == path.cost => known.add(next_hops),
            known => {
                *known = Some(Route {
                    hops,
                    cost: path.cost,
                    rtt_us: path.rtt_us,
                    next_hops: next_hops.to_vec(),
                    parent,
                });
                self.queue.push(Reverse((path.cost, hops, path.to())));
            }
        }
    }
}
