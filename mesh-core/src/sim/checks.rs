//! What must hold: at every moment, and when everything has healed.

use std::collections::{BTreeMap, BTreeSet};

use super::World;
use crate::id::{MessageId, PeerId, Target};
use crate::io::Event;
use crate::mesh::Mesh;
use crate::metric::Metric;
use crate::payload::Delivery;
use crate::stats::LinkCounts;
use crate::topology::{Graph, Shards};

impl World {
    /// Whether every living agent has the links it wants and a route to every other living agent,
    /// and to nobody else.
    pub fn is_converged(&self) -> bool {
        let (shards, divided) = self.divided();
        self.all(&self.living(), |mesh| {
            mesh.is_settled() && mesh.knows(shards, &divided)
        })
    }

    /// How the room is divided, and the living of each shard.
    fn divided(&self) -> (Shards, Vec<Vec<PeerId>>) {
        let ids: BTreeSet<_> = self.living().iter().map(|&i| self.agents[i].id()).collect();
        let shards = self.shards();
        (shards, shards.divide(ids))
    }

    /// Whether something holds for each of these agents. Worlds wait for such things, mostly in
    /// vain, so the one that failed the last time is asked first.
    fn all(&self, agents: &[usize], holds: impl Fn(&Mesh) -> bool) -> bool {
        let suspect = self.suspect.get();
        let fails = |agent: &usize| !holds(&self.agents[*agent].mesh);
        if agents.contains(&suspect) && fails(&suspect) {
            return false;
        }
        let failed = agents.iter().copied().find(fails);
        self.suspect.set(failed.unwrap_or(suspect));
        failed.is_none()
    }

    /// What must hold at every moment, whatever goes wrong.
    pub(super) fn check(&self, agent: usize) {
        let mesh = &self.agents[agent].mesh;
        let config = mesh.config();
        let accepted = config.k_for(self.agents.len()) + config.links_slack;
        let accepted = if mesh.is_star() {
            accepted.max(config.star_links_max)
        } else {
            accepted
        };
        let links_max = accepted + config.negotiating_max;
        let links = mesh.link_count();
        assert!(links <= links_max, "{}: {links} links", self.whoami(agent));
        assert!(
            mesh.link_to(mesh.id()).is_none(),
            "{}: a link to itself",
            self.whoami(agent)
        );
        assert!(
            !mesh.seems_late() || self.agents[agent].was_late,
            "{}: it takes its driver for late, which never was",
            self.whoami(agent)
        );
        let queued = mesh.queued_max();
        // Of control records some are sent whatever waits: pings, acknowledgements, gossip. A full
        // queue still has room for authors that have less than their share of it.
        let queued_max = config.link_queue_max * 2 + self.agents.len() + 64;
        assert!(
            queued <= queued_max,
            "{}: {queued} records wait on one link",
            self.whoami(agent)
        );
    }

    /// What must hold when nothing has gone wrong for a while.
    ///
    /// # Panics
    /// If it does not.
    pub fn check_settled(&self) {
        let seed = self.config.seed;
        assert!(
            self.is_converged(),
            "seed {seed}: not converged: {}",
            self.troubles()
        );
        for &agent in &self.living() {
            let mesh = &self.agents[agent].mesh;
            assert!(mesh.is_idle(), "{}: not idle", self.whoami(agent));
        }
        if self.config.metric == Metric::Hops && self.shards() == Shards::WHOLE {
            let (optimal, routes) = self.optimal_routes();
            assert_eq!(optimal, routes, "seed {seed}: routes that are detours");
        }
        self.check_accounts();
    }

    /// Whether every living agent has the links it wants, and they want the same room.
    pub fn is_linked(&self) -> bool {
        let (shards, divided) = self.divided();
        self.all(&self.living(), |mesh| {
            mesh.is_linked() && mesh.knows(shards, &divided)
        })
    }

    /// Whether each agent that lives has so many links to others that do, or as many as there are.
    #[cfg(test)]
    pub(super) fn has_links(&self, wanted: usize) -> bool {
        self.has_links_among(&self.living(), wanted)
    }

    /// Whether each of these agents has so many links to others of them, or as many as there are.
    #[cfg(test)]
    pub(super) fn has_links_among(&self, agents: &[usize], wanted: usize) -> bool {
        let ids: Vec<_> = agents.iter().map(|&i| self.agents[i].id()).collect();
        self.all(agents, |mesh| {
            let links = mesh.open_peers().filter(|peer| ids.contains(peer));
            links.count() >= wanted.min(ids.len() - 1)
        })
    }

    /// Whether nothing waits to be sent, acknowledged, answered or gossiped.
    pub fn is_idle(&self) -> bool {
        self.all(&self.living(), Mesh::is_idle)
    }

    /// Links now and so far, by agent.
    pub(super) fn link_counts(&self) -> Vec<LinkCounts> {
        let agents = self.agents.iter();
        agents.map(|agent| agent.mesh.stats().links).collect()
    }

    /// What keeps the world from having converged, for people.
    pub fn troubles(&self) -> String {
        let (shards, divided) = self.divided();
        let mut troubles = Vec::new();
        for &agent in &self.living() {
            let mesh = &self.agents[agent].mesh;
            let peers = mesh.peers();
            let lacking = peers.iter().filter(|peer| peer.next_hop.is_none()).count();
            let known: BTreeSet<_> = peers.iter().map(|peer| peer.id).collect();
            let there = divided[shards.of(mesh.id())].iter().copied();
            let there = there.filter(|&peer| peer != mesh.id()).collect();
            let strangers = known.symmetric_difference(&there).count();
            let (settled, idle) = (mesh.is_settled(), mesh.is_idle());
            if lacking + strangers > 0 || !settled || !idle {
                let (name, links) = (&mesh.config().name, mesh.link_count());
                troubles.push(format!(
                    "{name}: {} of {} shards, {links} links, {lacking} without a route, \
                     {strangers} wrongly known or unknown, settled {settled}, idle {idle}",
                    mesh.shards().count(),
                    shards.count()
                ));
            }
        }
        troubles.truncate(6);
        troubles.join("; ")
    }

    /// The true graph of the living: links that are open at both ends.
    pub fn true_graph(&self) -> (Vec<PeerId>, Graph) {
        let living = self.living();
        let ids: Vec<_> = living.iter().map(|&i| self.agents[i].id()).collect();
        let index: BTreeMap<_, _> = ids.iter().enumerate().map(|(i, id)| (*id, i)).collect();
        let open = |agent: &usize| -> BTreeSet<usize> {
            let peers = self.agents[*agent].mesh.open_peers();
            peers.filter_map(|peer| index.get(&peer).copied()).collect()
        };
        let open: Vec<_> = living.iter().map(open).collect();
        let both = (0..ids.len()).flat_map(|from| {
            let there = open[from].iter().copied();
            let back = there.filter(|&to| open[to].contains(&from));
            back.map(|to| (from, to)).collect::<Vec<_>>()
        });
        let graph = Graph::from_links(ids.len(), both);
        (ids, graph)
    }

    /// How many routes are as short as the true graph allows, and how many there are.
    pub fn optimal_routes(&self) -> (u64, u64) {
        let (ids, graph) = self.true_graph();
        let index: BTreeMap<_, _> = ids.iter().enumerate().map(|(i, id)| (*id, i)).collect();
        let (mut optimal, mut all) = (0, 0);
        for (from, &agent) in self.living().iter().enumerate() {
            let distances = graph.distances(from);
            for route in self.agents[agent].mesh.routes() {
                let to = index.get(&route.destination);
                let shortest = to.and_then(|&to| distances[to]);
                all += 1;
                optimal += u64::from(shortest == Some(usize::from(route.hops)));
            }
        }
        (optimal, all)
    }

    /// Every message to one member was delivered, or its author was told, or somebody counted it
    /// as lost, or it died with a process. Counters do not name messages: this compares sums.
    fn check_accounts(&self) {
        let mut settled: BTreeSet<MessageId> = BTreeSet::new();
        let mut lost = self.died_with_forwarders;
        for agent in &self.agents {
            settled.extend(agent.received().iter().map(|message| message.id));
            settled.extend(agent.events().iter().filter_map(|event| match event {
                Event::DeliveryFailed { id, .. } => Some(*id),
                _ => None,
            }));
            lost += agent.lost();
        }
        let lives = |author: PeerId| {
            let mut agents = self.agents.iter();
            agents.any(|agent| agent.alive && agent.life == 0 && agent.id() == author)
        };
        let kept = self
            .sent
            .iter()
            .filter(|(id, sent)| id.target != Target::Room && sent.delivery != Delivery::Datagram);
        let missing = kept.filter(|(id, _)| lives(id.author) && !settled.contains(id));
        let missing: Vec<_> = missing.map(|(id, _)| id.to_string()).collect();
        assert!(
            missing.len() as u64 <= lost,
            "seed {}: messages lost without a trace, {lost} accounted for: {}",
            self.config.seed,
            missing.join(", ")
        );
    }
}
