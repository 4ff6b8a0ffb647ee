//! Links that can be spared: how many an agent tells the others of, and which it gives up.

use std::collections::BTreeSet;

use super::Overlay;
use super::selection::{INNER_RINGS, View, is_of_use, needy_neighbours};
use crate::context::Context;
use crate::id::{LinkId, PeerId};
use crate::links::{LINGER, Links};
use crate::log::decided;
use crate::routing::Routing;
use crate::time::Instant;
use crate::timeout::TimeoutReason;
use crate::topology::Topology;

impl Overlay {
    /// What this agent tells others of its links: how many it lacks, or below zero how many it can
    /// spare.
    pub(crate) fn balance(&self, links: &Links, cx: &Context) -> i8 {
        let narrow = |count: usize| i8::try_from(count).unwrap_or(i8::MAX);
        match self.links_lacking(links, cx) {
            0 => -narrow(self.links_to_spare(links, cx)),
            lacking => narrow(lacking),
        }
    }

    /// Whether others do not know how many links this agent can spare.
    pub(super) fn can_spare_unknown(&self, links: &Links, routing: &Routing, cx: &Context) -> bool {
        let balance = self.balance(links, cx);
        balance < 0 && routing.database().balance(self.this) != Some(balance)
    }

    /// Open links inside the shard beyond those that this agent ought to have.
    pub(super) fn links_to_spare(&self, links: &Links, cx: &Context) -> usize {
        let here = links.open().filter(|link| self.roster.contains(link.peer));
        here.count().saturating_sub(self.links_due(cx))
    }

    /// Links that this agent does not want, whose other ends could link up with neighbours that
    /// lack some. None while a room forms: an agent that lacks links then finds some soon.
    fn links_of_use(&self, view: View<'_>) -> BTreeSet<LinkId> {
        if self.burst.is_on(view.cx.now) {
            return BTreeSet::new();
        }
        let mut needy = needy_neighbours(view);
        needy.retain(|&peer| view.lacks(peer).is_some());
        let lacking = needy.iter().filter_map(|&peer| view.lacks(peer)).sum();
        let unwanted = view.links.open().filter(|l| !self.wanted.contains(&l.peer));
        let of_use = unwanted.filter(|link| is_of_use(link.peer, &needy, view));
        of_use.map(|link| link.id).take(lacking).collect()
    }

    /// The neighbour whose link is given up next: both ends have more links than they want, and of
    /// all such links of either this is the first. Ends that know the same find the same, and no
    /// agent loses two at once: else two neighbours could each give up the one that it can spare.
    /// What the topology names stays, for agents that come or lack links look there first. What
    /// only the other end has wanted is left to it for a while, for views of the room may differ,
    /// and for as long as it lacks a neighbour on the inner rings, for which this agent may stand
    /// in.
    pub(super) fn spare_neighbour(&self, view: View<'_>) -> Option<PeerId> {
        if self.links_to_spare(view.links, view.cx) == 0 {
            return None;
        }
        let database = view.routing.database();
        let hash = |end: PeerId| move |other: &PeerId| Topology::pair_hash(end, *other);
        let named = self.topology.neighbours(self.this);
        let spare = view.links.open().filter(|link| {
            let (peer, is_ours) = (link.peer, self.standing(link.id).ours);
            let is_needed = !is_ours && self.lacks_inner(peer, view);
            let stays = self.inner.contains(&peer) || named.contains(&peer) || is_needed;
            self.roster.contains(peer) && !stays && database.can_spare(peer)
        });
        // Also one that its other end is to give up: else two neighbours of an agent could each
        // give up one.
        let first = spare.min_by_key(|link| Topology::pair_hash(self.this, link.peer))?;
        if !self.standing(first.id).ours && view.is_new(first) {
            return None;
        }
        let peer = first.peer;
        // The neighbour announces a link that its other end has withdrawn: it is about to say what
        // it can spare now.
        let is_here = |other: PeerId| other != self.this && self.roster.contains(other);
        if database.withdrawn(peer).any(is_here) {
            return None;
        }
        let named = self.topology.neighbours(peer);
        let others = self.roster.members().filter(|&other| {
            let may_go = other != peer && !named.contains(&other) && database.can_spare(other);
            may_go && view.are_linked(peer, other)
        });
        let first = others.chain([self.this]).min_by_key(hash(peer));
        (first == Some(self.this)).then_some(peer)
    }

    /// Whether a member announces no link to one of its neighbours on the inner rings.
    fn lacks_inner(&self, peer: PeerId, view: View<'_>) -> bool {
        let inner = self.topology.neighbours_in(peer, INNER_RINGS).into_iter();
        let mut others = inner.filter(|&other| other != self.this);
        others.any(|other| view.routing.database().link(peer, other).is_none())
    }

    /// Links to be drained: those that the topology stopped wanting, once the wanted ones are open.
    /// Only links that both ends can spare: views of the room may differ. Not so where a neighbour
    /// lacks a link that the other end could take: both have as many as they want then.
    pub(crate) fn surplus(
        &mut self,
        links: &Links,
        routing: &Routing,
        cx: &Context,
    ) -> Vec<LinkId> {
        let opened = |peer: &PeerId| links.open_to(*peer)?.opened_at;
        let complete = self.wanted.iter().all(|peer| opened(peer).is_some());
        let replaced_at = self.wanted.iter().filter_map(opened).max();
        let crowded = links.len() > self.links_max(cx);
        let view = View::new(links, routing, cx);
        let (freed, spare) = (self.links_of_use(view), self.spare_neighbour(view));
        let mut again: Option<Instant> = None;
        let mut surplus = Vec::new();
        // Others know of the last replacement by then, however busy this machine is.
        let linger = LINGER + cx.grace() * 2;
        for link in links.open() {
            let standing = self.standings.entry(link.id).or_default();
            if self.wanted.contains(&link.peer) {
                standing.unwanted_since = None;
                continue;
            }
            let since = *standing.unwanted_since.get_or_insert(cx.now);
            let is_gone = standing.ours && !self.roster.contains(link.peer);
            let is_spare = is_gone || freed.contains(&link.id) || spare == Some(link.peer);
            if !(crowded || is_spare) {
                continue;
            }
            let until = replaced_at.map_or(since, |at| at.max(since)) + linger;
            if until > cx.now {
                again = Some(again.map_or(until, |at| at.min(until)));
            } else if complete {
                let peer = link.peer;
                decided!(cx, link = ?link.id, ?peer, crowded, "give up a spare link");
                surplus.push(link.id);
            }
        }
        if let Some(at) = again {
            self.timers.arm(TimeoutReason::Settle, at);
        }
        surplus
    }
}
