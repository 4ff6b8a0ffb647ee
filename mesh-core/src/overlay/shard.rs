//! A large room is divided into [`Shards`]: an agent knows the members of its own, and their link
//! state, and how to get to the others.
//!
//! The hub says into how many, and lists of every other shard those few members that may be linked
//! with ours; of them the agent holds the records of those that are. While the hub is away that
//! list is remembered, for nothing else tells of them. That another member is in the room it does
//! not know: it takes a peer of another shard at its word, and hears if the message gets stuck.

use std::collections::BTreeSet;

use super::Overlay;
use super::roster::Changes;
use super::selection::INNER_RINGS;
use crate::context::Context;
use crate::id::PeerId;
use crate::routing::Routing;
use crate::timeout::TimeoutReason;
use crate::topology::{Shards, Topology};

impl Overlay {
    /// How the room is divided.
    pub(crate) fn shards(&self) -> Shards {
        self.shards
    }

    /// How many are in the room, this agent among them.
    pub(crate) fn room_members(&self) -> usize {
        let here = self.roster.len() + 1;
        if self.shards == Shards::WHOLE {
            here
        } else {
            here.max(self.room_members)
        }
    }

    /// Whether a member is of another shard.
    pub(crate) fn is_remote(&self, peer: PeerId) -> bool {
        !self.shards.same(peer, self.this)
    }

    /// The same as a question that outlives a change of this agent.
    fn remote(&self) -> impl Fn(PeerId) -> bool + use<> {
        let (shards, this) = (self.shards, self.this);
        let here = shards.of(this);
        move |peer| shards.of(peer) != here
    }

    /// Whether a peer may be in the room, as far as this agent can tell.
    pub(crate) fn may_be_here(&self, peer: PeerId) -> bool {
        self.roster.contains(peer) || self.is_remote(peer)
    }

    /// Which links ought to exist, given the members of the room. Returns whether others are named
    /// than before.
    pub(super) fn plan(&mut self, cx: &Context) -> bool {
        self.follow_room(cx);
        let k = self.k(cx);
        let (this, shards) = (self.this, self.shards);
        let known = self.roster.members().chain(self.roster.remote());
        let divided = shards.divide(known.chain([this]));
        let near: BTreeSet<_> = divided[shards.of(this)].iter().copied().collect();
        let changed = k != self.topology_k || !self.topology.members().iter().eq(&near);
        if changed {
            self.topology = Topology::partial_mesh(&near, k);
            self.topology_k = k;
            self.star_centre = self.topology.star_hub();
            self.inner_rings = self.topology.neighbours_in(this, INNER_RINGS);
        }
        self.gateways = shards.crossings(this, &divided);
        changed
    }

    /// The hub has divided the room. Returns whether that is news.
    pub(crate) fn divide(&mut self, shards: Shards) -> bool {
        let news = shards != self.shards;
        self.shards = shards;
        news
    }

    /// The hub is lost: of members of other shards nothing else tells.
    pub(crate) fn remember_members(&mut self) {
        self.roster.unlist_all(self.remote());
    }

    /// Another hub has taken over: its list may lack those that have yet to move to it.
    pub(crate) fn remember_list(&mut self) {
        self.roster.unlist_all(|_| true);
    }

    /// The hub is back: members that are still in the room come back to it too, in some seconds.
    pub(crate) fn await_return(&mut self, cx: &Context) {
        if self.roster.remembers_any() {
            let at = cx.now + cx.config.return_patience;
            self.timers.set(TimeoutReason::Return, at);
        }
    }

    /// Members that have not come back by now have left.
    pub(crate) fn give_up_absent(&mut self) {
        self.roster.forget_remembered();
    }

    /// Takes over the members that the mesh reaches, and tells what is new.
    pub(super) fn update_roster(&mut self, routing: &Routing) -> Changes {
        self.roster.forget(|peer| routing.has_departed(peer));
        let (database, routes) = (routing.database(), routing.routes());
        let name = |peer| database.state(peer).map_or("", |state| &*state.name);
        let reached = routes.iter().map(|(peer, _)| (peer, name(peer)));
        let reaches = |peer| routes.contains(peer);
        let is_remote = self.remote();
        self.roster.update(reached, reaches, is_remote)
    }
}
