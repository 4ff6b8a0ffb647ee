//! A large room is divided into [`Shards`]: an agent knows the members of its own, and their link
//! state, and how to get to the others.
//!
//! The hub says into how many, and lists of every other shard those few members that may be linked
//! with ours; of them the agent holds the records of those that are. While the hub is away that
//! list is remembered, for nothing else tells of them. That somebody else is in the room it does
//! not know: it takes a peer of another shard at its word, and hears if the message gets stuck.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Mesh;
use crate::id::PeerId;
use crate::link::Link;
use crate::rng::unit;
use crate::time::Instant;
use crate::timers::Timer;
use crate::topology::{Shards, Topology};
use crate::wire::LinkState;

/// How soon the database is compared with another neighbour's after the room was divided.
const REPAIRED_WITHIN: Duration = Duration::from_secs(2);

impl Mesh {
    /// How the room is divided.
    pub fn shards(&self) -> Shards {
        self.policy.shards
    }

    /// How many are in the room, this agent among them.
    pub fn room_members(&self) -> usize {
        let here = self.roster.len() + 1;
        if self.shards() == Shards::WHOLE {
            here
        } else {
            here.max(self.room_members)
        }
    }

    /// Whether a member is of another shard.
    pub(super) fn is_abroad(&self, peer: PeerId) -> bool {
        self.abroad()(peer)
    }

    /// The same as a question that outlives a change of this agent.
    pub(super) fn abroad(&self) -> impl Fn(PeerId) -> bool + use<> {
        let (shards, here) = (self.shards(), self.shards().of(self.cx.this));
        move |peer| shards.of(peer) != here
    }

    /// Whether a peer may be in the room, as far as this agent can tell.
    pub(super) fn may_be_here(&self, peer: PeerId) -> bool {
        self.roster.contains(peer) || self.is_abroad(peer)
    }

    /// Whether a record is of use to this shard.
    pub(super) fn concerns_us(&self, author: PeerId, state: &LinkState) -> bool {
        let (shards, here) = (self.shards(), self.shards().of(self.cx.this));
        let mut links = state.links.iter();
        !self.is_abroad(author) || links.any(|link| shards.of_prefix(link.peer_prefix) == here)
    }

    /// Usable links to other shards.
    pub(super) fn links_abroad(&self) -> impl Iterator<Item = &Link> {
        let usable = self.links.iter().filter(|link| link.is_usable());
        usable.filter(|link| self.is_abroad(link.peer))
    }

    /// Which links ought to exist, given who is in the room.
    pub(super) fn plan_links(&mut self, now: Instant) {
        self.follow_room(now);
        let k = self.k_now();
        let (this, shards) = (self.cx.this, self.shards());
        let known = self.roster.members().chain(self.roster.abroad());
        let divided = shards.divide(known.chain([this]));
        let near: BTreeSet<_> = divided[shards.of(this)].iter().copied().collect();
        if k != self.topology_k || !self.topology.members().iter().eq(&near) {
            self.topology = Topology::partial_mesh(&near, k);
            self.topology_k = k;
            self.star = self.topology.star_hub();
            let rings = self.cx.config.gossip_rings;
            self.flood = self.topology.neighbours_in(self.cx.this, rings);
        }
        self.crossings = shards.crossings(this, &divided);
    }

    /// The hub has divided the room.
    pub(super) fn divide(&mut self, shards: Shards, now: Instant) {
        if shards == self.shards() {
            return;
        }
        self.policy.shards = shards;
        let mut database = std::mem::take(&mut self.database);
        database.retain(|author, state| self.concerns_us(author, state));
        self.database = database;
        self.routes_changed(now);
        // Who was abroad may be a neighbour now, whose records are all news. One is asked, for all
        // would answer the same, and another soon: the first may not have followed yet.
        if let Some(&id) = self.gossip_links().first() {
            self.compare_with(id, now);
        }
        if !self.by_peer.is_empty() {
            // Nearly all neighbours change: as when the room formed, all open what the topology
            // names.
            self.formation.begin(now);
            // Everybody's links change now: one record of each tells of them, not all at once.
            let turn = (1.0 + self.cx.jitter()) / 2.0;
            self.announcing
                .hold(now + self.cx.config.opening_delay.mul_f64(turn));
        }
        let soon = REPAIRED_WITHIN.mul_f64(self.cx.jitter());
        self.cx.timers.arm(Timer::Repair, now + soon);
    }

    /// The hub is lost: of members of other shards nothing else tells.
    pub(super) fn remember_members(&mut self) {
        self.roster.unlist_all(self.abroad());
    }

    /// The hub is back: who is still in the room comes back to it too, in some seconds.
    pub(super) fn await_return(&mut self, now: Instant) {
        if self.roster.remembers_any() {
            self.cx
                .timers
                .set(Timer::Return, now + self.cx.config.return_patience);
        }
    }

    /// Whoever has not come back by now has left.
    pub(super) fn give_up_absent(&mut self, now: Instant) {
        if self.client.is_admitted() {
            self.roster.forget_remembered();
            self.members_changed(now);
        }
    }
}
