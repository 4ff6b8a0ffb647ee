//! The k-neighbours algorithm: random neighbours, bridges, balancing.
//!
//! 1. Each agent in turn is linked to random others that are short of k too, until it has k.
//! 2. If the graph is not connected, bridges join its components.
//! 3. A member with more than k loses links, as long as the graph stays connected; one with fewer
//!    gets some.
//!
//! It needs all members at one place, and one member more or less gives quite another graph. It is
//! here to be compared with the rings.

use std::collections::BTreeSet;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::Topology;
use crate::id::PeerId;
use crate::rng::{index, shuffle};

pub(super) fn build(members: &BTreeSet<PeerId>, k: usize, seed: u64) -> Topology {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut mesh = Topology::unlinked(members);
    for agent in 0..mesh.members.len() {
        connect(&mut mesh, agent, k, &mut rng);
    }
    bridge(&mut mesh, &mut rng);
    balance(&mut mesh, k, &mut rng);
    mesh
}

fn degree(mesh: &Topology, of: usize) -> usize {
    mesh.neighbours[of].len()
}

/// Links an agent to random others that are short of k too.
fn connect(mesh: &mut Topology, agent: usize, k: usize, rng: &mut ChaCha8Rng) {
    let need = k.saturating_sub(degree(mesh, agent));
    let mut potential: Vec<_> = (0..mesh.members.len())
        .filter(|&peer| peer != agent && degree(mesh, peer) < k && !mesh.linked(agent, peer))
        .collect();
    shuffle(&mut potential, rng);
    for peer in potential.into_iter().take(need) {
        mesh.link(agent, peer, 0);
    }
}

/// Joins the components in a row, by a link between a random member of each and of the next.
fn bridge(mesh: &mut Topology, rng: &mut ChaCha8Rng) {
    let (component, count) = mesh.graph().components();
    let mut members = vec![Vec::new(); count];
    for (agent, &of) in component.iter().enumerate() {
        members[of].push(agent);
    }
    for pair in members.windows(2) {
        let [a, b] = [&pair[0], &pair[1]].map(|of| of[index(rng, of.len())]);
        mesh.link(a, b, 0);
    }
}

fn balance(mesh: &mut Topology, k: usize, rng: &mut ChaCha8Rng) {
    for agent in 0..mesh.members.len() {
        let mut neighbours: Vec<_> = mesh.neighbours[agent].iter().map(|n| n.index()).collect();
        // The busiest first: a link between two that have too many helps both.
        neighbours.sort_by_key(|&peer| std::cmp::Reverse(degree(mesh, peer)));
        for peer in neighbours {
            if degree(mesh, agent) <= k {
                break;
            }
            mesh.unlink(agent, peer);
            if mesh.graph().components().1 > 1 {
                mesh.link(agent, peer, 0);
            }
        }
    }
    for agent in 0..mesh.members.len() {
        if degree(mesh, agent) < k {
            connect(mesh, agent, k, rng);
        }
    }
}
