//! What a graph is worth: its size, its distances, and what it survives.

use std::collections::BTreeMap;

use serde::Serialize;

use super::flow::edge_connectivity;
use super::graph::Graph;

/// The figures of a graph.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Analysis {
    /// Agents.
    pub nodes: usize,
    /// Links.
    pub edges: usize,
    /// Links an agent, on average.
    pub average_degree: f64,
    /// The longest of all shortest paths, in hops, among those that can reach each other.
    pub diameter: usize,
    /// The mean of all shortest paths, in hops.
    pub average_path_length: f64,
    /// How likely two neighbours of an agent are linked with each other: the mean over all agents
    /// (Watts and Strogatz, *Collective dynamics of small-world networks*, Nature 1998).
    pub clustering_coefficient: f64,
    /// Parts without a path between them; 1 if all agents can reach each other.
    pub components: usize,
    /// Agents by their number of links.
    pub degree_distribution: BTreeMap<usize, usize>,
    /// Ordered pairs of agents by the hops between them.
    pub hop_distribution: BTreeMap<usize, u64>,
    /// Links saved against the full mesh, from 0 to 1.
    pub reduction: f64,
    /// Agents whose loss alone would cut others off, by index.
    pub articulation_points: Vec<usize>,
    /// The least number of links whose loss cuts an agent off.
    pub edge_connectivity: usize,
}

impl Analysis {
    /// Measures a graph.
    pub fn of(graph: &Graph) -> Self {
        let (nodes, edges) = (graph.nodes(), graph.links());
        let pairs = graph.pairs_by_distance();
        let reachable: u64 = pairs.iter().sum();
        let hops = (1..).zip(&pairs).map(|(hops, pairs)| hops * pairs);
        let mut degree_distribution = BTreeMap::new();
        for node in 0..nodes {
            *degree_distribution.entry(graph.degree(node)).or_default() += 1;
        }
        let full = nodes * nodes.saturating_sub(1) / 2;
        Self {
            nodes,
            edges,
            average_degree: ratio(2 * edges as u64, nodes as u64),
            diameter: pairs.len(),
            average_path_length: ratio(hops.sum(), reachable),
            clustering_coefficient: clustering(graph),
            components: graph.components().1,
            degree_distribution,
            hop_distribution: (1..).zip(pairs.iter().copied()).collect(),
            reduction: if full == 0 {
                0.0
            } else {
                1.0 - ratio(edges as u64, full as u64)
            },
            articulation_points: graph.articulation_points(),
            edge_connectivity: edge_connectivity(graph),
        }
    }

    /// The share of agents with exactly `degree` links.
    pub fn share_with_degree(&self, degree: usize) -> f64 {
        let with = self.degree_distribution.get(&degree).copied();
        ratio(with.unwrap_or_default() as u64, self.nodes as u64)
    }
}

fn clustering(graph: &Graph) -> f64 {
    let local = |node: usize| {
        let neighbours = graph.neighbours(node);
        let pairs = neighbours.len() * neighbours.len().saturating_sub(1) / 2;
        let linked = neighbours.iter().enumerate().map(|(i, &a)| {
            let others = neighbours[i + 1..].iter();
            others.filter(|&&b| graph.linked(a, b)).count()
        });
        ratio(linked.sum::<usize>() as u64, pairs as u64)
    };
    let sum: f64 = (0..graph.nodes()).map(local).sum();
    if graph.nodes() == 0 {
        0.0
    } else {
        sum / graph.nodes() as f64
    }
}

/// A quotient; 0 of nothing.
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}
