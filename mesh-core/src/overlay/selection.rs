//! Neighbour selection: the peers that this agent wants to be linked with.
//!
//! The inner rings, over which link state is flooded, always follow the members: they alone connect
//! the room. The other links stay as they are while both ends live, though the topology of today's
//! members might name others: it is where they come from when a room forms, not what they must be.
//! So a member more or less touches few links, as in Law and Siu's graphs, which are as random:
//! an agent that lost one says so in its link state, and any two that lack one link up. A newcomer
//! that lacks many and finds no member that lacks any opens half of them to members with enough:
//! each then gives up another link, whose other end takes the newcomer for it.
//!
//! A join burst does not wait for that: agents that come together, and all others where these are
//! concerned, open what the topology names.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Overlay, Standing};
use crate::context::Context;
use crate::id::{LinkId, PeerId};
use crate::links::{Link, Links};
use crate::log::decided;
use crate::routing::Routing;
use crate::stats::RepairStep;
use crate::time::Instant;
use crate::timeout::TimeoutReason;
use crate::topology::Topology;

/// Rings that always follow the members, and over which link-state records are flooded: two keep
/// every member reachable when one link is down, and cost four copies of a record instead of k.
pub(super) const INNER_RINGS: usize = 2;

/// Time for which links may be lacking until other partners are looked for: all that lost a link to
/// the same member know of each other by then, and choose the same pairs.
pub(super) const SEEK_AFTER: Duration = Duration::from_secs(1);

/// Time that members with enough links have to give one up for a newcomer, until others are asked:
/// several of their looks.
const ASK_AGAIN_AFTER: Duration = SEEK_AFTER.saturating_mul(5);

/// Age up to which a link that the other end opened is new, and not the one to be given up; up to
/// which a member is new, and may be one of a join burst; and up to which an agent is, and does not
/// know all links of others. A room has formed within it.
pub(super) const NEW_FOR: Duration = Duration::from_secs(10);

/// Neighbours beyond those that the topology names.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// When they are looked for, while links are lacking.
    due: Option<Instant>,
    /// How many were lacking when it was last looked at.
    lacking: usize,
    /// Those that it found last.
    found: BTreeSet<PeerId>,
}

/// What neighbour selection looks at beside its own state.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) links: &'a Links,
    pub(super) routing: &'a Routing,
    pub(super) cx: &'a Context,
}

impl<'a> View<'a> {
    pub(super) fn new(links: &'a Links, routing: &'a Routing, cx: &'a Context) -> Self {
        Self { links, routing, cx }
    }

    fn out_of_reach(self, peer: PeerId) -> bool {
        self.links.out_of_reach(peer, self.cx)
    }

    fn is_away(self, peer: PeerId) -> bool {
        self.links.is_away(peer, self.cx)
    }

    /// How many links a member says that it lacks.
    pub(super) fn lacks(self, peer: PeerId) -> Option<usize> {
        self.routing.database().lacks(peer)
    }

    pub(super) fn are_linked(self, a: PeerId, b: PeerId) -> bool {
        if a == self.cx.this {
            return self.links.leads_to(b);
        }
        if b == self.cx.this {
            return self.links.leads_to(a);
        }
        let database = self.routing.database();
        database.link(a, b).is_some() || database.link(b, a).is_some()
    }

    pub(super) fn is_new(self, link: &Link) -> bool {
        let opened_at = link.opened_at;
        opened_at.is_none_or(|at| self.cx.now.since(at) < NEW_FOR)
    }
}

impl Overlay {
    /// Wants the inner rings, what is open beside them up to k links, and others for what lacks.
    /// Returns whether other members do not know yet how many links this agent lacks.
    pub(super) fn choose_neighbours(
        &mut self,
        links: &Links,
        routing: &Routing,
        cx: &mut Context,
    ) -> bool {
        let mut wanted = self.inner_neighbours(View::new(links, routing, cx));
        let others = wanted.difference(&self.inner_rings);
        for peer in others.filter(|peer| !self.inner.contains(peer)) {
            decided!(cx, ?peer, "replace a neighbour that cannot be reached");
            cx.stats.repair(RepairStep::Replacement);
        }
        self.inner.clone_from(&wanted);
        if let Some(calm_at) = self.burst.expire(cx.now) {
            self.timers.arm(TimeoutReason::Settle, calm_at);
        }
        let view = View::new(links, routing, cx);
        let named = self.topology.neighbours(self.this);
        let planned = self.planned_neighbours(&named, &wanted, view);
        if self.burst.is_on(cx.now) {
            // Newcomers want what the topology names, whether it has enough links or not.
            wanted.extend(planned.iter().copied());
        }
        let room = self.links_due(cx).saturating_sub(wanted.len());
        let (kept, given_up) = self.kept_neighbours(&named, &wanted, room, view);
        if given_up {
            // What is new now is not always.
            self.timers.arm(TimeoutReason::Settle, cx.now + NEW_FOR);
        }
        let lacking = room - kept.len();
        wanted.extend(kept);
        let mut unknown = self.can_spare_unknown(links, routing, cx);
        let is_linked = wanted.iter().all(|peer| links.open_to(*peer).is_some());
        if !self.burst.takes_part() || is_linked {
            let planned = planned.into_iter().filter(|peer| !wanted.contains(peer));
            let planned: Vec<_> = planned.take(lacking).collect();
            let lacking = lacking - planned.len();
            wanted.extend(planned);
            let (sought, deficit_unknown) =
                self.sought_neighbours(&wanted, lacking, links, routing, cx);
            wanted.extend(sought);
            unknown |= deficit_unknown;
        }
        let view = View::new(links, routing, cx);
        // A peer that another stands in for is dialled on, until it has failed too often.
        for gateway in &self.gateways {
            let is_there = |peer: &PeerId| !view.is_away(*peer);
            let in_reach = |peer: &PeerId| !view.out_of_reach(*peer);
            wanted.extend(gateway.iter().copied().find(is_there));
            wanted.extend(gateway.iter().copied().find(in_reach));
        }
        let in_reach = |peer: &&PeerId| !view.out_of_reach(**peer);
        wanted.extend(self.inner_rings.iter().filter(in_reach));
        if self.wants_star() {
            wanted.extend(self.star_centre.filter(|&centre| centre != self.this));
        }
        if self.wanted != wanted {
            let (before, now) = (self.wanted.len(), wanted.len());
            decided!(cx, before, now, "choose neighbours");
        }
        self.wanted = wanted;
        self.mark_links(&named, view);
        unknown
    }

    /// Links inside the shard that this agent ought to have.
    pub(super) fn links_due(&self, cx: &Context) -> usize {
        self.k(cx).min(self.roster.len())
    }

    /// How many of them, beside the inner ones, are neither open nor being opened. The inner ones
    /// are not chosen: which they are once a member is gone is known without asking.
    pub(crate) fn links_lacking(&self, links: &Links, cx: &Context) -> usize {
        let here = links.lasting(cx).filter(|link| !self.is_remote(link.peer));
        let others = here.filter(|link| !self.inner.contains(&link.peer)).count();
        self.links_due(cx).saturating_sub(self.inner.len() + others)
    }

    /// The neighbours on the inner rings, and for each that cannot be reached the next on the same
    /// ring. All agents agree on the rings whomever they can reach, so that one broken path
    /// concerns its two ends alone.
    fn inner_neighbours(&self, view: View<'_>) -> BTreeSet<PeerId> {
        let lost = |peer: &PeerId| view.is_away(*peer);
        let (lost, mut inner): (BTreeSet<_>, BTreeSet<_>) =
            self.inner_rings.iter().copied().partition(lost);
        for neighbour in lost {
            let followers = self.topology.followers(self.this, neighbour);
            let free = |peer: &PeerId| !inner.contains(peer) && !view.is_away(*peer);
            if let Some(substitute) = followers.into_iter().find(free) {
                inner.insert(substitute);
            }
        }
        inner
    }

    /// The neighbours whose links stay, besides those that are wanted anyway: so many at most.
    /// Returns whether there were more.
    fn kept_neighbours(
        &self,
        named: &BTreeSet<PeerId>,
        wanted: &BTreeSet<PeerId>,
        room: usize,
        view: View<'_>,
    ) -> (Vec<PeerId>, bool) {
        let lasting = view.links.lasting(view.cx);
        let here = lasting.filter(|link| self.roster.contains(link.peer));
        let others: Vec<_> = here.filter(|link| !wanted.contains(&link.peer)).collect();
        if others.len() <= room {
            return (others.into_iter().map(|link| link.peer).collect(), false);
        }
        let needy = needy_neighbours(view);
        let spare = self.spare_neighbour(view);
        let mut ranked: Vec<_> = others
            .into_iter()
            .map(|link| {
                // An agent that gives a link up for a needy one leaves an end that can take it.
                let is_of_use = is_of_use(link.peer, &needy, view);
                let standing = self.standing(link.id);
                let is_new = view.is_new(link);
                let preference = (
                    // An attempt may come to nothing: its other end may have given it up long ago.
                    link.is_negotiating(),
                    spare == Some(link.peer),
                    is_of_use,
                    standing.inner,
                    standing.ours && !is_new,
                    is_new && !named.contains(&link.peer),
                    Topology::pair_hash(self.this, link.peer),
                );
                (preference, link.peer)
            })
            .collect();
        ranked.sort_unstable();
        ranked.truncate(room);
        (ranked.into_iter().map(|(_, peer)| peer).collect(), true)
    }

    /// Notes of open links what matters should there be too many one day.
    fn mark_links(&mut self, named: &BTreeSet<PeerId>, view: View<'_>) {
        self.standings.retain(|&id, _| view.links.knows(id));
        let wanted = |link: &&Link| self.wanted.contains(&link.peer);
        for link in view.links.iter().filter(wanted) {
            let standing = self.standings.entry(link.id).or_default();
            standing.inner |= self.inner.contains(&link.peer);
            // What one end has opened and the other has kept for a while is wanted by both.
            standing.ours |= named.contains(&link.peer) || !view.is_new(link);
        }
    }

    pub(super) fn standing(&self, link: LinkId) -> Standing {
        self.standings.get(&link).copied().unwrap_or_default()
    }

    /// Those that the topology names, all of them for one of a join burst: nearly all links come
    /// from here when a room forms. Else those that are new, for of the others is known whether
    /// they lack links; a newcomer to a mesh first hears which do.
    fn planned_neighbours(
        &self,
        named: &BTreeSet<PeerId>,
        wanted: &BTreeSet<PeerId>,
        view: View<'_>,
    ) -> Vec<PeerId> {
        let everyone = named.len() == self.roster.len();
        let in_burst = self.burst.takes_part();
        if !everyone && !in_burst && !self.is_informed(view) {
            return Vec::new();
        }
        let is_new = |peer: PeerId| match view.lacks(peer) {
            None => true,
            Some(0) => false,
            Some(_) => self.burst.is_seen(view.cx.now) || view.links.failures(peer) > 0,
        };
        let free = named.difference(wanted).copied();
        let to_be_dialled = |&peer: &PeerId| match everyone {
            // There is no other in its place.
            true => !view.out_of_reach(peer),
            false => (in_burst || is_new(peer)) && !view.is_away(peer),
        };
        free.filter(to_be_dialled).collect()
    }

    /// Whether the link state of the members is here, as far as there is any.
    fn is_informed(&self, view: View<'_>) -> bool {
        let members = self.roster.members();
        let known = members.filter(|&peer| view.lacks(peer).is_some());
        known.count() * 2 >= self.roster.len() || view.cx.now.since(self.admitted_at) >= NEW_FOR
    }

    /// There is news: members that were not found may be now, or a link can be given up.
    pub(crate) fn search_on(&mut self, links: &Links, cx: &Context) {
        if let Some(due) = &mut self.search.due {
            if self.search.found.is_empty() {
                *due = (*due).min(cx.now + SEEK_AFTER);
            }
        } else if self.links_to_spare(links, cx) == 0 {
            return;
        }
        self.settle_soon(cx);
    }

    /// Whether a peer is to be asked for a link at once: it was found by a search, or stands in for
    /// one that cannot be reached, of which it may know nothing.
    pub(crate) fn seeks(&self, peer: PeerId) -> bool {
        let on_ring = self.inner.contains(&peer) && !self.inner_rings.contains(&peer);
        let in_place_of_first =
            |gateway: &Vec<PeerId>| gateway.first() != Some(&peer) && gateway.contains(&peer);
        let stands_in = on_ring || self.gateways.iter().any(in_place_of_first);
        stands_in || self.search.found.contains(&peer)
    }

    /// Others, for links that the topology names no member for. Returns too whether other members
    /// do not know yet how many links this agent lacks.
    fn sought_neighbours(
        &mut self,
        wanted: &BTreeSet<PeerId>,
        lacking: usize,
        links: &Links,
        routing: &Routing,
        cx: &Context,
    ) -> (Vec<PeerId>, bool) {
        if lacking == 0 {
            self.search = Search::default();
            return (Vec::new(), false);
        }
        let view = View::new(links, routing, cx);
        let before = std::mem::replace(&mut self.search.lacking, lacking);
        let due = self.search.due.filter(|_| lacking <= before);
        let mut due = due.unwrap_or(view.cx.now + SEEK_AFTER);
        let mut unknown = false;
        if due <= view.cx.now {
            unknown = view.lacks(self.this) != Some(self.links_lacking(links, cx));
            due = view.cx.now + self.seek(wanted, lacking, view);
        }
        self.search.due = Some(due);
        let found = self.search.found.iter().copied();
        let free = found.filter(|peer| !wanted.contains(peer) && self.roster.contains(*peer));
        let sought = free.filter(|peer| !view.is_away(*peer)).take(lacking);
        let sought = sought.collect();
        self.timers.arm(TimeoutReason::Settle, due);
        (sought, unknown)
    }

    /// Looks for members that lack links too, or else for half as many as are lacking among those
    /// that have enough. Returns after how long it may look again.
    fn seek(&mut self, wanted: &BTreeSet<PeerId>, lacking: usize, view: View<'_>) -> Duration {
        self.search.found = self.pairs(view);
        // Two that lack a link for they cannot reach each other are no help to each other.
        let may_link = |peer: &PeerId| !wanted.contains(peer) && !view.is_away(*peer);
        self.search.found.retain(may_link);
        if !self.search.found.is_empty() || !self.is_informed(view) {
            return SEEK_AFTER * 2;
        }
        let full = self.roster.members().filter(may_link);
        let full = full.filter(|&peer| view.lacks(peer) == Some(0));
        let mut full: Vec<_> = full
            .map(|peer| {
                let database = view.routing.database();
                let is_doubted = database.withdrawn(peer).next().is_some();
                let has_many = database.can_spare(peer);
                let hash = Topology::pair_hash(self.this, peer);
                let preference = (is_doubted, view.links.failures(peer), has_many, hash);
                (preference, peer)
            })
            .collect();
        full.sort_unstable();
        let full = full.into_iter().map(|(_, peer)| peer);
        self.search.found = match lacking {
            1 => {
                let full: Vec<_> = full.collect();
                let helps = full.iter().find(|&&peer| self.helps_stuck(peer, view));
                // One link too many somewhere is better than one too few here.
                helps.or(full.first()).copied().into_iter().collect()
            }
            _ => full.take(lacking / 2).collect(),
        };
        ASK_AGAIN_AFTER
    }

    /// Whether a link to this member lets this agent and another have all their links, if both lack
    /// one and are linked already: the member is a neighbour of the other one, and has a link to
    /// give up to a third that the other can link up with. The first of the two asks.
    fn helps_stuck(&self, peer: PeerId, view: View<'_>) -> bool {
        let members = self.roster.members();
        let mut stuck = members.filter(|&peer| view.lacks(peer) > Some(0));
        let Some(other) = stuck.next().filter(|&other| self.this < other) else {
            return false;
        };
        let inner = self.topology.neighbours_in(peer, INNER_RINGS);
        let can_link_up = |third: PeerId| {
            ![self.this, other].contains(&third)
                && view.lacks(third) == Some(0)
                && !inner.contains(&third)
                && view.are_linked(peer, third)
                && !view.are_linked(other, third)
        };
        view.are_linked(peer, other) && self.roster.members().any(can_link_up)
    }

    /// This agent's neighbours among those that lack links, as all of these that know the same
    /// choose them: the topology's first.
    fn pairs(&self, view: View<'_>) -> BTreeSet<PeerId> {
        let known = self.roster.members().map(|peer| (peer, view.lacks(peer)));
        let lacking = known.filter_map(|(peer, lacks)| Some((peer, lacks.filter(|&n| n > 0)?)));
        let ours = self.links_lacking(view.links, view.cx);
        let lacking: BTreeMap<_, _> = lacking.chain([(self.this, ours)]).collect();
        let pairs = self.topology.pairs(lacking, |a, b| view.are_linked(a, b));
        let ours = pairs.into_iter().filter_map(|(a, b)| match self.this {
            this if this == a => Some(b),
            this if this == b => Some(a),
            _ => None,
        });
        ours.collect()
    }
}

/// Whether a neighbour that has enough links could link up with a needy one, had it one less.
pub(super) fn is_of_use(peer: PeerId, needy: &[PeerId], view: View<'_>) -> bool {
    let mut takers = needy.iter();
    !needy.contains(&peer) && takers.any(|&taker| !view.are_linked(taker, peer))
}

/// Neighbours that lack links.
pub(super) fn needy_neighbours(view: View<'_>) -> Vec<PeerId> {
    let peers = view.links.open().map(|link| link.peer);
    peers.filter(|&peer| view.lacks(peer) != Some(0)).collect()
}
