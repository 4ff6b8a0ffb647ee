//! The links that both ends announce, as a graph over numbered members: what paths and trees are
//! computed on, several times faster than on the records themselves.

use std::collections::BTreeSet;

use super::database::Database;
use crate::id::PeerId;
use crate::metric::Metric;
use crate::topology::Shards;

/// Members by number, in the order of their ids, and the links among them.
#[derive(Debug, Default)]
pub(crate) struct LinkGraph {
    peers: Vec<PeerId>,
    shards: Vec<usize>,
    /// All links from both ends, those of one member after those of another.
    edges: Vec<Edge>,
    /// Where the links of each member start, and where the last one's end.
    starts: Vec<usize>,
}

/// One link, as seen from one of its ends.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Edge {
    to: u32,
    pub(super) cost: u32,
    /// The longer of the two announced round trips, in microseconds.
    pub(super) rtt_us: u32,
}

impl Edge {
    /// An edge to a member of the graph.
    pub(super) fn new(to: usize, cost: u32, rtt_us: u32) -> Self {
        let to = u32::try_from(to).expect("far fewer members than 2³²");
        Self { to, cost, rtt_us }
    }

    /// The other end.
    pub(super) fn to(self) -> usize {
        self.to as usize
    }
}

impl LinkGraph {
    /// The graph of all announced links; `others` are members too, whichever agent announces them.
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
            peers,
            ..Self::default()
        };
        let mut links = Vec::new();
        for (a, state) in states.iter().enumerate() {
            for ours in state.iter().flat_map(|state| &state.links) {
                // Each link once, from its lower end.
                let Some(b) = graph.by_prefix(ours.peer_prefix).filter(|&b| a < b) else {
                    continue;
                };
                let theirs = states[b].and_then(|state| state.link_to(graph.peers[a]));
                if let Some(theirs) = theirs {
                    let rtt_us = ours.rtt_us.max(theirs.rtt_us);
                    links.push((a, Edge::new(b, metric.cost(ours, theirs), rtt_us)));
                }
            }
        }
        graph.fill(&links);
        graph
    }

    /// Takes the links, each from its lower end, and sorts both ends of them by member.
    fn fill(&mut self, links: &[(usize, Edge)]) {
        let mut starts = vec![0; self.peers.len() + 1];
        for (a, edge) in links {
            starts[a + 1] += 1;
            starts[edge.to() + 1] += 1;
        }
        for member in 1..starts.len() {
            starts[member] += starts[member - 1];
        }
        self.edges = vec![Edge::default(); 2 * links.len()];
        let mut next = starts.clone();
        for &(a, edge) in links {
            let back = Edge::new(a, edge.cost, edge.rtt_us);
            for (from, edge) in [(a, edge), (edge.to(), back)] {
                self.edges[next[from]] = edge;
                next[from] += 1;
            }
        }
        self.starts = starts;
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

    /// The links of a member.
    pub(super) fn edges(&self, index: usize) -> &[Edge] {
        &self.edges[self.starts[index]..self.starts[index + 1]]
    }
}
