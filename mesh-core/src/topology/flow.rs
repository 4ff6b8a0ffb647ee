//! Edge connectivity: how many links must fail before the graph falls apart.

use std::collections::VecDeque;

use super::graph::Graph;

/// The smallest number of links whose loss disconnects the graph; 0 if it is not connected.
///
/// By Menger's theorem this is the least maximum flow between two nodes. A cut smaller than every
/// degree leaves, on either side, a node that none of its links touch; so a dominating set has a
/// node on either side, and flows between its nodes find the cut (Esfahanian and Hakimi, *On
/// computing the connectivities of graphs and digraphs*, Networks 1984). A node whose flow is known
/// can be taken for one with those before it, so the way to them becomes ever shorter.
pub(super) fn edge_connectivity(graph: &Graph) -> usize {
    let (_, components) = graph.components();
    let least_degree = (0..graph.nodes()).map(|node| graph.degree(node)).min();
    let Some(mut least) = least_degree.filter(|_| components == 1 && graph.nodes() > 1) else {
        return 0;
    };
    let mut flow = Flow::new(graph);
    let mut nodes = dominating_set(graph).into_iter();
    if let Some(first) = nodes.next() {
        flow.merged[first] = true;
    }
    for node in nodes {
        least = flow.from(node, least);
        flow.merged[node] = true;
    }
    least
}

/// Nodes such that each other has a neighbour among them: greedily, the first not yet covered.
fn dominating_set(graph: &Graph) -> Vec<usize> {
    let mut covered = vec![false; graph.nodes()];
    let mut set = Vec::new();
    for node in 0..graph.nodes() {
        if covered[node] {
            continue;
        }
        set.push(node);
        covered[node] = true;
        for &neighbour in graph.neighbours(node) {
            covered[neighbour] = true;
        }
    }
    set
}

/// Unit flows over the links, by augmenting paths (Edmonds and Karp).
struct Flow<'a> {
    graph: &'a Graph,
    /// The nodes that count as one: where flows lead.
    merged: Vec<bool>,
    /// Where each node's links begin in `used`.
    offset: Vec<usize>,
    /// Whether a unit flows along a link, from the node that it stands with.
    used: Vec<bool>,
    /// The search that saw a node last, and from where it came.
    seen: Vec<(usize, usize)>,
    searches: usize,
}

impl<'a> Flow<'a> {
    fn new(graph: &'a Graph) -> Self {
        let mut offset = Vec::with_capacity(graph.nodes());
        let mut ends = 0;
        for node in 0..graph.nodes() {
            offset.push(ends);
            ends += graph.degree(node);
        }
        Self {
            graph,
            merged: vec![false; graph.nodes()],
            offset,
            used: vec![false; ends],
            seen: vec![(0, 0); graph.nodes()],
            searches: 0,
        }
    }

    /// The maximum flow from a node to the merged ones, or `enough` if it is no less.
    fn from(&mut self, source: usize, enough: usize) -> usize {
        self.used.fill(false);
        (0..enough)
            .find(|_| !self.augment(source))
            .unwrap_or(enough)
    }

    fn slot(&self, from: usize, to: usize) -> usize {
        let place = self.graph.neighbours(from).binary_search(&to);
        self.offset[from] + place.expect("links stand with both their ends")
    }

    fn augment(&mut self, source: usize) -> bool {
        self.searches += 1;
        self.seen[source] = (self.searches, source);
        let mut queue = VecDeque::from([source]);
        while let Some(node) = queue.pop_front() {
            for (i, &next) in self.graph.neighbours(node).iter().enumerate() {
                if self.seen[next].0 == self.searches || self.used[self.offset[node] + i] {
                    continue;
                }
                self.seen[next] = (self.searches, node);
                if self.merged[next] {
                    self.flow_along(source, next);
                    return true;
                }
                queue.push_back(next);
            }
        }
        false
    }

    fn flow_along(&mut self, source: usize, target: usize) {
        let mut to = target;
        while to != source {
            let (_, from) = self.seen[to];
            let (forth, back) = (self.slot(from, to), self.slot(to, from));
            // Against a unit that flows back, both cancel out.
            if self.used[back] {
                self.used[back] = false;
            } else {
                self.used[forth] = true;
            }
            to = from;
        }
    }
}
