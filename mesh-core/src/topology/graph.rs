//! An undirected graph over indices: what is measured, and how far apart its nodes are.

use std::collections::VecDeque;

/// An undirected graph without self-links or parallel ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    neighbours: Vec<Vec<usize>>,
}

impl Graph {
    /// Takes each node's neighbours; every link stands with both its ends.
    pub(super) fn new(mut neighbours: Vec<Vec<usize>>) -> Self {
        for of in &mut neighbours {
            of.sort_unstable();
        }
        Self { neighbours }
    }

    /// The graph of `nodes` nodes with these links. Links to oneself or to nodes that are not there
    /// are left out, and so are repeated ones.
    pub fn from_links(nodes: usize, links: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut neighbours = vec![Vec::new(); nodes];
        for (a, b) in links {
            if a != b && a < nodes && b < nodes {
                neighbours[a].push(b);
                neighbours[b].push(a);
            }
        }
        for of in &mut neighbours {
            of.sort_unstable();
            of.dedup();
        }
        Self { neighbours }
    }

    /// The number of nodes.
    pub fn nodes(&self) -> usize {
        self.neighbours.len()
    }

    /// The number of links.
    pub fn links(&self) -> usize {
        self.neighbours.iter().map(Vec::len).sum::<usize>() / 2
    }

    /// The neighbours of a node, in order.
    pub fn neighbours(&self, of: usize) -> &[usize] {
        &self.neighbours[of]
    }

    /// The number of links of a node.
    pub fn degree(&self, of: usize) -> usize {
        self.neighbours[of].len()
    }

    /// Whether two nodes are linked.
    pub fn linked(&self, a: usize, b: usize) -> bool {
        self.neighbours[a].binary_search(&b).is_ok()
    }

    /// How many links each node is from one of them; none where there is no path.
    pub fn distances(&self, from: usize) -> Vec<Option<usize>> {
        let mut distances = vec![None; self.nodes()];
        distances[from] = Some(0);
        let mut queue = VecDeque::from([from]);
        while let Some(node) = queue.pop_front() {
            let next = distances[node].map(|distance| distance + 1);
            for &neighbour in &self.neighbours[node] {
                if distances[neighbour].is_none() {
                    distances[neighbour] = next;
                    queue.push_back(neighbour);
                }
            }
        }
        distances
    }

    /// How many ordered pairs of nodes are 1, 2, 3, … links apart; pairs without a path are not
    /// counted.
    ///
    /// Breadth-first search from 64 sources at once, one bit each, so that all look at a link
    /// together (Then et al., *The More the Merrier: Efficient Multi-Source Graph Traversal*, VLDB
    /// 2014).
    pub fn pairs_by_distance(&self) -> Vec<u64> {
        let nodes: Vec<_> = (0..self.nodes()).collect();
        let mut pairs = Vec::new();
        for sources in nodes.chunks(64) {
            let reached = self.reached_by_distance(sources);
            pairs.resize(pairs.len().max(reached.len()), 0);
            for (pairs, reached) in pairs.iter_mut().zip(reached) {
                *pairs += reached;
            }
        }
        pairs
    }

    fn reached_by_distance(&self, sources: &[usize]) -> Vec<u64> {
        let mut seen = vec![0u64; self.nodes()];
        let mut front = Vec::new();
        for (bit, &source) in sources.iter().enumerate() {
            seen[source] = 1 << bit;
            front.push((source, 1 << bit));
        }
        let mut arriving = vec![0u64; self.nodes()];
        let mut touched = Vec::new();
        let mut reached = Vec::new();
        while !front.is_empty() {
            for (node, bits) in front.drain(..) {
                for &neighbour in &self.neighbours[node] {
                    if arriving[neighbour] == 0 {
                        touched.push(neighbour);
                    }
                    arriving[neighbour] |= bits;
                }
            }
            for node in touched.drain(..) {
                let new = std::mem::take(&mut arriving[node]) & !seen[node];
                if new != 0 {
                    seen[node] |= new;
                    front.push((node, new));
                }
            }
            let count = front.iter().map(|(_, new)| u64::from(new.count_ones()));
            reached.push(count.sum());
        }
        reached.pop(); // The last step found nobody new.
        reached
    }

    /// By node, which component it is in, counted from 0; and how many there are.
    pub fn components(&self) -> (Vec<usize>, usize) {
        let mut component = vec![usize::MAX; self.nodes()];
        let mut count = 0;
        for start in 0..self.nodes() {
            if component[start] != usize::MAX {
                continue;
            }
            let mut stack = vec![start];
            component[start] = count;
            while let Some(node) = stack.pop() {
                for &neighbour in &self.neighbours[node] {
                    if component[neighbour] == usize::MAX {
                        component[neighbour] = count;
                        stack.push(neighbour);
                    }
                }
            }
            count += 1;
        }
        (component, count)
    }

    /// Nodes without which the rest of their component falls apart, in order (Hopcroft and Tarjan,
    /// *Efficient algorithms for graph manipulation*, 1973).
    pub fn articulation_points(&self) -> Vec<usize> {
        let mut search = DepthFirst {
            entered: vec![0; self.nodes()],
            low: vec![0; self.nodes()],
            clock: 0,
        };
        let mut points = Vec::new();
        for root in 0..self.nodes() {
            if search.entered[root] == 0 {
                search.run(self, root, &mut points);
            }
        }
        points.sort_unstable();
        points.dedup();
        points
    }
}

/// The state of a depth-first search: when each node was entered, counted from 1, and the earliest
/// node that its subtree has a link to.
struct DepthFirst {
    entered: Vec<usize>,
    low: Vec<usize>,
    clock: usize,
}

impl DepthFirst {
    fn enter(&mut self, node: usize) {
        self.clock += 1;
        self.entered[node] = self.clock;
        self.low[node] = self.clock;
    }

    /// Without recursion, for a ring of ten thousand is as deep.
    fn run(&mut self, graph: &Graph, root: usize, points: &mut Vec<usize>) {
        let mut root_children = 0;
        let mut stack = vec![(root, usize::MAX, 0)];
        self.enter(root);
        while let Some((node, parent, next)) = stack.last_mut() {
            let (node, parent) = (*node, *parent);
            if let Some(&neighbour) = graph.neighbours[node].get(*next) {
                *next += 1;
                if self.entered[neighbour] == 0 {
                    self.enter(neighbour);
                    stack.push((neighbour, node, 0));
                } else if neighbour != parent {
                    self.low[node] = self.low[node].min(self.entered[neighbour]);
                }
                continue;
            }
            stack.pop();
            if parent == root {
                root_children += 1;
            } else if parent != usize::MAX && self.low[node] >= self.entered[parent] {
                points.push(parent);
            }
            if parent != usize::MAX {
                self.low[parent] = self.low[parent].min(self.low[node]);
            }
        }
        if root_children > 1 {
            points.push(root);
        }
    }
}
