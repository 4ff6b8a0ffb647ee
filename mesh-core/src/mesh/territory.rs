//! A large room is divided into [`Shards`]: an agent knows the link state of its own, and how to
//! get to the others.
//!
//! It holds the records of its shard's members, and of members of other shards that are linked with
//! it. Of all others it knows that they are in the room, by the hub's list alone; so that list is
//! remembered while the hub is away.

use std::collections::BTreeSet;

use super::Mesh;
use super::timers::Timer;
use crate::id::PeerId;
use crate::link::Link;
use crate::time::Instant;
use crate::topology::{Shards, Topology};
use crate::wire::LinkState;

impl Mesh {
    fn shards(&self) -> Shards {
        self.policy.shards
    }

    /// Whether a member is of another shard.
    pub(super) fn is_abroad(&self, peer: PeerId) -> bool {
        let shards = self.shards();
        shards.of(peer) != shards.of(self.this)
    }

    /// Whether a record is of use to this shard.
    pub(super) fn concerns_us(&self, author: PeerId, state: &LinkState) -> bool {
        let (shards, here) = (self.shards(), self.shards().of(self.this));
        let mut links = state.links.iter();
        !self.is_abroad(author) || links.any(|link| shards.of_prefix(link.peer_prefix) == here)
    }

    /// Usable links to other shards.
    pub(super) fn links_abroad(&self) -> impl Iterator<Item = &Link> {
        let usable = self.links.values().filter(|link| link.is_usable());
        usable.filter(|link| self.is_abroad(link.peer))
    }

    /// Which links ought to exist, given who is in the room.
    pub(super) fn plan_links(&mut self, now: Instant) {
        let members = self.roster.len() + 1;
        let k = self.k_now(members);
        // Without the hub's list nobody knows how large the room is; and whom only the mesh reaches
        // other shards do not know, who must come to the same number.
        let listed = self.roster.listed() + 1;
        let stale = self.client.is_admitted() && self.divide(listed, now);
        let stale = stale | std::mem::take(&mut self.topology_stale);
        let (this, shards) = (self.this, self.shards());
        let divided = shards.divide(self.roster.members().chain([this]));
        let near: BTreeSet<_> = divided[shards.of(this)].iter().copied().collect();
        if stale || !self.topology.members().iter().eq(&near) {
            self.topology = Topology::partial_mesh(&near, k);
            self.star = self.topology.star_hub();
            let rings = self.config.gossip_rings;
            self.flood = self.topology.neighbours_in(self.this, rings);
        }
        self.crossings = shards.crossings(this, &divided);
    }

    /// Divides the room as its size asks for; returns whether that is new.
    fn divide(&mut self, members: usize, now: Instant) -> bool {
        let shards = Shards::of_room(members, self.config.shard_members);
        if shards == self.shards() {
            return false;
        }
        self.policy.shards = shards;
        let mut database = std::mem::take(&mut self.database);
        database.retain(|author, state| self.concerns_us(author, state));
        self.database = database;
        self.routes_changed(now);
        // Who was abroad may be a neighbour now, whose records are all news. Both ends ask, for the
        // other may not have followed yet.
        for id in self.gossip_links() {
            self.send_digest(id, true, now);
        }
        true
    }

    /// The hub is lost: of members of other shards nothing else tells.
    pub(super) fn remember_members(&mut self) {
        let (shards, here) = (self.shards(), self.shards().of(self.this));
        self.roster.unlist_all(|peer| shards.of(peer) != here);
    }

    /// The hub is back: who is still in the room comes back to it too, in some seconds.
    pub(super) fn await_return(&mut self, now: Instant) {
        if self.roster.remembers_any() {
            self.timers
                .set(Timer::Return, now + self.config.return_patience);
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
