//! The mesh as it came about: who is linked with whom, and how good the routes are.

use std::collections::BTreeMap;

use mesh_core::{Graph, PeerId, RouteView};
use serde::Serialize;

use super::fleet::Fleet;
use super::tested::Tested;

/// Agents whose routing tables are compared with the true graph: in a large mesh a sample.
const ROUTERS: usize = 50;

/// Rows of the example routing table.
const ROUTES: usize = 10;

/// The mesh as it is, and how good the routes in it are.
pub(super) struct Network {
    pub(super) graph: Graph,
    pub(super) routing: Routing,
}

/// How many routes are as short as can be, and some of one agent.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Routing {
    pub(super) optimal: u64,
    pub(super) one_hop_more: u64,
    pub(super) longer: u64,
    pub(super) example: Vec<ExampleRoute>,
}

/// A row of a routing table.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ExampleRoute {
    pub(super) destination: String,
    pub(super) next_hop: String,
    pub(super) hops: u8,
    pub(super) path: Vec<String>,
}

impl Network {
    pub(super) async fn of(fleet: &Fleet) -> Self {
        let ids = fleet.agents.iter().enumerate();
        let index: BTreeMap<PeerId, usize> = ids.map(|(i, agent)| (agent.id(), i)).collect();
        let mut links = Vec::new();
        for (from, agent) in fleet.agents.iter().enumerate() {
            // What it announces: links to other shards too, whose members are no peers of it.
            let seen = agent.topology().await.map_or(Vec::new(), |view| view.links);
            let ours = seen.iter().filter(|link| link.source == agent.id());
            let others = ours.filter_map(|link| index.get(&link.target));
            links.extend(others.map(|&to| (from, to)));
        }
        let graph = Graph::from_links(fleet.agents.len(), links);
        let mut routing = Routing {
            optimal: 0,
            one_hop_more: 0,
            longer: 0,
            example: Vec::new(),
        };
        for (from, agent) in fleet.agents.iter().enumerate().take(ROUTERS) {
            let distances = graph.distances(from);
            let routes = agent.routes().await.unwrap_or_default();
            for route in &routes {
                let to = index.get(&route.destination);
                let shortest = to.and_then(|&to| distances[to]).unwrap_or_default();
                match usize::from(route.hops).saturating_sub(shortest) {
                    0 => routing.optimal += 1,
                    1 => routing.one_hop_more += 1,
                    _ => routing.longer += 1,
                }
            }
            if from == 0 {
                routing.example = example(&fleet.agents, &index, routes);
            }
        }
        Self { graph, routing }
    }
}

fn example(
    agents: &[Tested],
    index: &BTreeMap<PeerId, usize>,
    mut routes: Vec<RouteView>,
) -> Vec<ExampleRoute> {
    routes.sort_by(|a, b| a.name.cmp(&b.name));
    let step = (routes.len() / ROUTES).max(1);
    let name = |peer: &PeerId| {
        let agent = index.get(peer).map(|&at| agents[at].name());
        agent.map_or_else(|| peer.short(), str::to_owned)
    };
    let rows = routes.iter().step_by(step).take(ROUTES);
    rows.map(|route| ExampleRoute {
        destination: route.name.clone(),
        next_hop: name(&route.next_hop),
        hops: route.hops,
        path: route.path.iter().map(name).collect(),
    })
    .collect()
}
