//! The links that both ends announce, as a graph over numbered members: what paths and trees are
//! computed on, several times faster than on the records themselves.

use std::collections::BTreeSet;

use super::cost::Metric;
use super::database::Database;
use crate::id::PeerId;
use crate::topology::Shards;
use crate::wire::{LinkEntry, LinkState};

/// Members by number, in the order of their ids, and the links among them.
#[derive(Debug, Default)]
pub(crate) struct LinkGraph {
    peers: Vec<PeerId>,
    shards: Vec<usize>,
    edges: Vec<Vec<Edge>>,
}

/// One link, as seen from one of its ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    pub(super) to: usize,
    pub(super) cost: u32,
    /// The longer of the two announced round trips, in microseconds.
    pub(super) rtt_us: u32,
}

impl LinkGraph {
    /// The graph of all announced links; `others` are members too, whoever announces them.
    pub(crate) fn of(
        database: &Database,
        others: &BTreeSet<PeerId>,
        metric: Metric,
        shards: Shards,
    ) -> Self {
        let authors = database.states().map(|(author, _)| author);
        let peers: BTreeSet<_> = authors.chain(others.iter().copied()).collect();
        let peers: Vec<_> = peers.into_iter().collect();
        let present = |peer| database.state(peer).filter(|state| !state.departed);
        let states: Vec<_> = peers.iter().map(|&peer| present(peer)).collect();
        let mut graph = Self {
            shards: peers.iter().map(|&peer| shards.of(peer)).collect(),
            edges: vec![Vec::new(); peers.len()],
            peers,
        };
        for (a, state) in states.iter().enumerate() {
            for ours in state.iter().flat_map(|state| &state.links) {
                // Each link once, from its lower end.
                let Some(b) = graph.by_prefix(ours.peer_prefix).filter(|&b| a < b) else {
                    continue;
                };
                if let Some(theirs) = announced(states[b], graph.peers[a]) {
                    graph.link(a, b, ours, &theirs, metric);
                }
            }
        }
        graph
    }

    fn link(&mut self, a: usize, b: usize, ours: &LinkEntry, theirs: &LinkEntry, metric: Metric) {
        let edge = |to| Edge {
            to,
            cost: metric.cost(ours, theirs),
            rtt_us: ours.rtt_us.max(theirs.rtt_us),
        };
        self.edges[a].push(edge(b));
        self.edges[b].push(edge(a));
    }

    /// Members.
    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    pub(super) fn index(&self, peer: PeerId) -> Option<usize> {
        self.peers.binary_search(&peer).ok()
    }

    fn by_prefix(&self, prefix: u64) -> Option<usize> {
        let found = self.peers.binary_search_by_key(&prefix, PeerId::prefix);
        found.ok()
    }

    pub(super) fn peer(&self, index: usize) -> PeerId {
        self.peers[index]
    }

    pub(super) fn shard(&self, index: usize) -> usize {
        self.shards[index]
    }

    /// The links of a member, by their other ends.
    pub(super) fn edges(&self, index: usize) -> &[Edge] {
        &self.edges[index]
    }
}

/// What an author says of its link to a peer.
fn announced(author: Option<&LinkState>, peer: PeerId) -> Option<LinkEntry> {
    let links = &author?.links;
    let place = links.binary_search_by_key(&peer.prefix(), |entry| entry.peer_prefix);
    Some(links[place.ok()?])
}
