//! `mesh topology`: which links a mesh would have, measured, compared and drawn.

mod drawing;
mod report;

use clap::{Args, ValueEnum};
use mesh_core::{Analysis, Topology, TopologyKind, default_k, sparse_k};
use serde_json::json;

use super::print;

/// Above this the other topologies are not built for comparison: measuring the half million links
/// of a full mesh of a thousand takes seconds.
const COMPARED_MAX: u16 = 500;

/// Prints which links a mesh would have: figures and a comparison, or the graph itself.
///
/// Example: mesh topology --agents 20 --k 4 --format dot | neato -Tsvg > mesh.svg
#[derive(Debug, Args)]
pub(crate) struct TopologyCommand {
    /// partial-mesh, full-mesh, hub-spoke, ring, k-neighbours or sharded.
    #[arg(long, default_value_t = TopologyKind::PartialMesh)]
    kind: TopologyKind,
    /// How many agents.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=20_000))]
    agents: u16,
    /// Links an agent [default: by the number of agents].
    #[arg(long, value_parser = clap::value_parser!(u16).range(2..=64))]
    k: Option<u16>,
    /// Take about twice the logarithm of the number of agents: fewer links, longer paths.
    #[arg(long, conflicts_with = "k")]
    sparse: bool,
    /// Where the agents' keys, and the links of k-neighbours, are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Figures for people, compared with other topologies.
    Text,
    /// The same for programs, with every link.
    Json,
    /// The graph for Graphviz.
    Dot,
    /// A picture.
    Svg,
}

/// A topology of numbered agents.
struct Drawn {
    kind: TopologyKind,
    k: usize,
    seed: u64,
    topology: Topology,
}

impl Drawn {
    /// By their place among the members.
    fn links(&self) -> Vec<(usize, usize)> {
        let graph = self.topology.graph();
        let from = |a: usize| {
            let ends = graph.neighbours(a).iter().copied();
            ends.filter(move |&b| a < b).map(move |b| (a, b))
        };
        (0..graph.nodes()).flat_map(from).collect()
    }

    fn agents(&self) -> usize {
        self.topology.members().len()
    }
}

/// What an agent is called.
fn name(index: usize) -> String {
    format!("agent-{index:03}")
}

impl TopologyCommand {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let agents = usize::from(self.agents);
        let by_size = if self.sparse { sparse_k } else { default_k };
        let k = self.k.map_or_else(|| by_size(agents), usize::from);
        let members = Topology::sample_members(agents, self.seed);
        let build = |kind| Topology::build(kind, &members, k, self.seed);
        let drawn = Drawn {
            kind: self.kind,
            k,
            seed: self.seed,
            topology: build(self.kind),
        };
        match self.format {
            Format::Dot => return print(&drawing::dot(&drawn)),
            Format::Svg => return print(&drawing::svg(&drawn)),
            Format::Text | Format::Json => {}
        }
        let analysis = Analysis::of(&drawn.topology.graph());
        let compared = if self.agents <= COMPARED_MAX {
            let others = TopologyKind::ALL.into_iter();
            others
                .map(|kind| (kind, Analysis::of(&build(kind).graph())))
                .collect()
        } else {
            Vec::new()
        };
        print(&match self.format {
            Format::Json => json(&drawn, &analysis, &compared),
            _ => report::text(&drawn, &analysis, &compared),
        })
    }
}

fn json(drawn: &Drawn, analysis: &Analysis, compared: &[(TopologyKind, Analysis)]) -> String {
    let compared: serde_json::Map<_, _> = compared
        .iter()
        .map(|(kind, analysis)| (kind.to_string(), json!(analysis)))
        .collect();
    let report = json!({
        "kind": drawn.kind,
        "agents": drawn.agents(),
        "k": drawn.k,
        "seed": drawn.seed,
        "analysis": analysis,
        "compared": compared,
        "links": drawn.links(),
    });
    format!("{report}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn() -> Drawn {
        let members = Topology::sample_members(6, 1);
        Drawn {
            kind: TopologyKind::Ring,
            k: 2,
            seed: 1,
            topology: Topology::build(TopologyKind::Ring, &members, 2, 1),
        }
    }

    #[test]
    fn a_ring_of_six_is_told_in_every_format() {
        let drawn = drawn();
        let analysis = Analysis::of(&drawn.topology.graph());
        let compared = [(TopologyKind::Ring, analysis.clone())];
        let text = report::text(&drawn, &analysis, &compared);
        assert!(text.contains("diameter                 3 hops"), "{text}");
        let json: serde_json::Value =
            serde_json::from_str(&json(&drawn, &analysis, &compared)).expect("is JSON");
        assert_eq!(json["analysis"]["edges"], 6);
        assert_eq!(json["links"].as_array().map(Vec::len), Some(6));
        assert_eq!(json["compared"]["ring"]["diameter"], 3);
        assert_eq!(drawing::dot(&drawn).matches(" -- ").count(), 6);
        let svg = drawing::svg(&drawn);
        assert_eq!(svg.matches("<line").count(), 6);
        assert_eq!(svg.matches("<circle").count(), 6);
    }
}
