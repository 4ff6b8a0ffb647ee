//! The overlay: the members of the room, and which links there ought to be.
//!
//! The hub alone knows newcomers without links; the mesh alone knows members while the hub is gone.
//! A member is in either. When the hub is lost its list is dropped at once: those that the mesh
//! cannot reach could not be dialled without the hub anyway. Only in a large room those listed of
//! other shards are remembered (see [`shard`]).
//!
//! [`Overlay`] names links, it opens none: see [`links`](crate::links) for what becomes of them.

mod degree;
mod join_burst;
mod report;
mod roster;
mod selection;
mod shard;
mod surplus;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::context::Context;
use crate::error::RejectReason;
use crate::id::{LinkId, PeerId};
use crate::io::Event;
use crate::links::Links;
use crate::name::name_or_id;
use crate::routing::Routing;
use crate::signaling::Member;
use crate::time::Instant;
use crate::timeout::TimeoutReason;
use crate::timers::Timers;
use crate::topology::{Shards, Topology};
use degree::Adaptation;
use join_burst::JoinBurst;
use roster::Roster;
use selection::{SEEK_AFTER, Search};

/// Quiet time of a room until links follow its members: a mass join is one change then, not a
/// hundred. A hub gathers changes for a fourth of it.
pub(crate) const SETTLE: Duration = Duration::from_millis(40);

/// The longest time that further changes put [`SETTLE`] off: a newcomer notices no more.
const SETTLE_MAX: Duration = Duration::from_millis(250);

const _: () = assert!(
    SETTLE.as_millis() < SETTLE_MAX.as_millis() && SETTLE_MAX.as_millis() < SEEK_AFTER.as_millis(),
    "links follow the members before partners beyond them are looked for"
);

/// Authors that are remembered even in a small room: agents that come and go keep their replay
/// windows, of half a kilobyte each.
const AUTHORS_MIN: usize = 2_000;

/// The members of the room, and the links that this agent wants.
#[derive(Debug)]
pub(crate) struct Overlay {
    this: PeerId,
    roster: Roster,
    /// How many are in the room, as the hub last said.
    room_members: usize,
    /// When the hub first did let this agent in.
    admitted_at: Instant,
    /// How the room is divided.
    shards: Shards,
    /// The first of the membership changes that links do not follow yet.
    unsettled_since: Option<Instant>,
    burst: JoinBurst,
    /// The links of this agent's shard.
    topology: Topology,
    /// The k that they were computed for.
    topology_k: usize,
    /// This agent's neighbours on the inner rings, to which link-state records are flooded.
    inner_rings: BTreeSet<PeerId>,
    /// The links to other shards that fall to this agent: for each the peers that it may lead to,
    /// the first choice first.
    gateways: Vec<Vec<PeerId>>,
    /// The centre of a star of the present members.
    star_centre: Option<PeerId>,
    adaptation: Adaptation,
    /// The k of the room's size, before this agent has adapted it.
    k_room: Option<usize>,
    /// Peers that this agent wants to be linked with.
    wanted: BTreeSet<PeerId>,
    /// Those of the inner rings, with others for those that cannot be reached.
    inner: BTreeSet<PeerId>,
    search: Search,
    standings: BTreeMap<LinkId, Standing>,
    timers: Timers,
}

/// What a link is to this agent.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    /// This end wanted the link; the other may only have agreed to it.
    ours: bool,
    /// It is, or was, one of the inner rings.
    inner: bool,
    /// Since when the topology has not wanted this link.
    unwanted_since: Option<Instant>,
}

impl Overlay {
    pub(crate) fn new(this: PeerId, now: Instant) -> Self {
        Self {
            this,
            roster: Roster::default(),
            room_members: 0,
            admitted_at: now,
            shards: Shards::WHOLE,
            unsettled_since: None,
            burst: JoinBurst::default(),
            topology: Topology::partial_mesh(&BTreeSet::new(), 2),
            topology_k: 2,
            inner_rings: BTreeSet::new(),
            gateways: Vec::new(),
            star_centre: None,
            adaptation: Adaptation::default(),
            k_room: None,
            wanted: BTreeSet::new(),
            inner: BTreeSet::new(),
            search: Search::default(),
            standings: BTreeMap::new(),
            timers: Timers::default(),
        }
    }

    /// When a timer of this machine fires next, and which.
    pub(crate) fn deadline(&self) -> Option<(Instant, TimeoutReason)> {
        self.timers.deadline()
    }

    /// A timer has fired.
    pub(crate) fn disarm(&mut self, timer: TimeoutReason) {
        self.timers.disarm(timer);
    }

    /// The members that the application knows: those of this agent's shard.
    pub(crate) fn members(&self) -> impl Iterator<Item = PeerId> {
        self.roster.members()
    }

    /// How many members the application knows.
    pub(crate) fn members_len(&self) -> usize {
        self.roster.len()
    }

    /// Whether a peer is a member that the application knows.
    pub(crate) fn has_member(&self, peer: PeerId) -> bool {
        self.roster.contains(peer)
    }

    /// Whether the hub lists a peer now.
    pub(crate) fn lists(&self, peer: PeerId) -> bool {
        self.roster.lists(peer)
    }

    /// The label of a member: its own signed word before the hub's.
    pub(crate) fn name_of(&self, peer: PeerId, routing: &Routing) -> String {
        let state = routing.database().state(peer);
        let signed = state.map(|state| &*state.name);
        let name = signed.or_else(|| self.roster.name(peer));
        name.map_or_else(|| peer.short(), str::to_owned)
    }

    /// Peers that this agent wants to be linked with.
    pub(crate) fn wanted(&self) -> &BTreeSet<PeerId> {
        &self.wanted
    }

    /// Whether this agent is alone in its room, as far as the hub knows.
    pub(crate) fn is_alone(&self) -> bool {
        self.room_members <= 1
    }

    /// Whether every wanted link is open, and no change of the room is yet to be followed.
    pub(crate) fn is_linked(&self, links: &Links) -> bool {
        let mut wanted = self.wanted.iter();
        wanted.all(|peer| links.open_to(*peer).is_some()) && self.unsettled_since.is_none()
    }

    /// Of how many authors something is remembered at most: of as many as the hub says are in the
    /// room, and as many that were or are about to be here. Anybody can make up authors, so this
    /// does not grow with those that the mesh reaches.
    pub(crate) fn authors_max(&self, cx: &Context) -> usize {
        let authors = self.room_members.saturating_mul(2);
        authors.clamp(AUTHORS_MIN, AUTHORS_MIN.max(cx.config.members_max))
    }

    /// The hub has let this agent in for the first time.
    pub(crate) fn admitted(&mut self, cx: &Context) {
        self.admitted_at = cx.now;
    }

    /// When the hub first did let this agent in.
    pub(crate) fn admitted_at(&self) -> Instant {
        self.admitted_at
    }

    /// The hub's list is void, but not what is remembered of an earlier one.
    pub(crate) fn clear_list(&mut self) {
        self.roster.clear_list();
    }

    /// The hub's list is void, and nothing of it is remembered.
    pub(crate) fn forget_list(&mut self) {
        self.roster.unlist_all(|_| false);
    }

    /// The hub lists a peer. Returns whether that is of use.
    pub(crate) fn list(&mut self, member: Member, links: &mut Links, cx: &mut Context) -> bool {
        let Member { peer, name } = member;
        if peer == self.this {
            return false;
        }
        let name = name_or_id(name, peer);
        let listed = self.roster.list(peer, name, cx.config.members_max);
        if !listed {
            links.reject(None, Some(peer), RejectReason::Limit, cx);
        }
        listed
    }

    /// The hub does not list a peer any more.
    pub(crate) fn unlist(&mut self, peer: PeerId) {
        self.roster.unlist(peer);
    }

    /// Tells the application which members came and went, and lets the links follow when it is
    /// quiet. Returns whether members came or went.
    pub(crate) fn members_changed(
        &mut self,
        links: &mut Links,
        routing: &Routing,
        cx: &mut Context,
    ) -> bool {
        let changes = self.update_roster(routing);
        let told = !changes.joined.is_empty() || !changes.left.is_empty();
        if !told && !changes.remote {
            return false;
        }
        for peer in changes.joined {
            let name = self.name_of(peer, routing);
            cx.emit(Event::PeerJoined { peer, name });
        }
        for (peer, name) in changes.left {
            links.forget_failures(peer);
            cx.emit(Event::PeerLeft { peer, name });
        }
        if told {
            cx.emit(Event::TopologyChanged);
        }
        self.settle_later(cx);
        told
    }

    /// Something has happened that the links may have to follow.
    pub(crate) fn settle_soon(&mut self, cx: &Context) {
        self.timers.arm(TimeoutReason::Settle, cx.now + SETTLE);
    }

    /// Something happens at `at` that the links may have to follow.
    pub(crate) fn settle_at(&mut self, at: Instant) {
        self.timers.arm(TimeoutReason::Settle, at);
    }

    /// Chooses the links that the present members call for.
    pub(crate) fn reconcile(&mut self, links: &Links, routing: &mut Routing, cx: &mut Context) {
        self.unsettled_since = None;
        if self.plan(cx) {
            routing.flood_to(self.inner_rings.clone());
        }
        if self.choose_neighbours(links, routing, cx) {
            routing.announce_soon(cx);
        }
    }

    /// A link is being opened; whether this end wanted it.
    pub(crate) fn link_begun(&mut self, id: LinkId, ours: bool) {
        let standing = self.standings.entry(id).or_default();
        standing.ours = ours;
    }

    /// A link is open, or works again.
    pub(crate) fn link_up(&mut self, id: LinkId, peer: PeerId, cx: &Context) {
        let standing = self.standings.entry(id).or_default();
        standing.unwanted_since = None;
        if self.wanted.contains(&peer) {
            self.burst.changed(cx.now);
        }
    }

    /// Another connection has taken the place of a link.
    pub(crate) fn link_replaced(&mut self, former: LinkId, link: LinkId) {
        if let Some(standing) = self.standings.remove(&former) {
            self.standings.insert(link, standing);
        }
    }

    /// The agent leaves. The members stay known until another hub tells otherwise.
    pub(crate) fn leave(&mut self) {
        self.burst.leave();
        self.k_room = None;
        self.search = Search::default();
        self.timers.clear();
    }
}
