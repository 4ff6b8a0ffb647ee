//! Whom this agent wants to be linked with.
//!
//! The inner rings, over which link state is flooded, always follow the members: they alone connect
//! the room. The other links stay as they are while both ends live, though the topology of today's
//! members might name others: it is where they come from when a room forms, not what they must be.
//! So a member more or less touches few links, as in Law and Siu's graphs, which are as random:
//! whoever lost one says so in its link state, and any two that lack one link up. A newcomer, who
//! lacks many and finds nobody who lacks any, opens half of them to members that have enough: each
//! then gives up another link, whose other end takes the newcomer for it.
//!
//! A crowd does not wait for that: those who come together, and everybody else where they are
//! concerned, open what the topology names.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Mesh;
use crate::id::PeerId;
use crate::link::Link;
use crate::stats::RepairStep;
use crate::time::Instant;
use crate::timers::Timer;
use crate::topology::Topology;

/// How long links may be lacking until others are looked for: all that lost one to the same member
/// know of each other by then, and choose the same pairs.
const SEEK_AFTER: Duration = Duration::from_secs(1);

/// How long members with enough links may take to give one up for a newcomer.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// How long a link that the other end opened counts as new, and is not the one to be given up; and
/// a member, who may belong to a crowd.
const NEW_FOR: Duration = Duration::from_secs(10);

/// How long members of a crowd follow the topology after the last of it came and their last link
/// opened.
const CALM_AFTER: Duration = Duration::from_secs(15);

/// How long the others open links to newcomers, after a crowd was seen, though they have enough.
const CROWD_FOR: Duration = Duration::from_secs(5);

/// Whether links follow the topology, as they do when many come at once.
#[derive(Debug, Default)]
pub(super) struct Formation {
    /// This agent is one of the crowd, or its room was divided anew.
    forming: bool,
    /// When a link that is wanted opened last, or somebody of the crowd came.
    stirred_at: Instant,
    /// Until when newcomers belong to a crowd.
    crowd_until: Instant,
}

impl Formation {
    /// This agent opens what the topology names, until that has been done for a while.
    pub(super) fn begin(&mut self, now: Instant) {
        self.forming = true;
        self.stirred_at = now;
    }

    pub(super) fn stirred(&mut self, now: Instant) {
        self.stirred_at = now;
    }

    /// Ends when it has been calm for long enough; returns when that will be, if it is not.
    fn calm_down(&mut self, now: Instant) -> Option<Instant> {
        let calm_at = self.stirred_at + CALM_AFTER;
        self.forming &= calm_at > now;
        self.forming.then_some(calm_at)
    }

    /// Whether newcomers belong to a crowd, whoever sees them.
    fn sees_crowd(&self, now: Instant) -> bool {
        self.crowd_until > now
    }

    pub(super) fn is_on(&self, now: Instant) -> bool {
        self.forming || self.sees_crowd(now)
    }
}

/// Partners beyond the topology's.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// When they are looked for, while links are lacking.
    due: Option<Instant>,
    /// How many were lacking when it was last looked at.
    lacking: usize,
    /// Whom it found last.
    found: BTreeSet<PeerId>,
}

impl Mesh {
    /// Wants the inner rings, what is open beside them up to k links, and others for what lacks.
    pub(super) fn choose_partners(&mut self, now: Instant) {
        let mut wanted = self.inner_partners(now);
        let others = wanted.difference(&self.flood);
        let news = others.filter(|peer| !self.inner.contains(peer)).count();
        (0..news).for_each(|_| self.cx.stats.repair(RepairStep::Replacement));
        self.inner.clone_from(&wanted);
        if let Some(calm_at) = self.formation.calm_down(now) {
            self.cx.timers.arm(Timer::Settle, calm_at);
        }
        let named = self.topology.neighbours(self.cx.this);
        let planned = self.planned_partners(&named, &wanted, now);
        if self.formation.is_on(now) {
            // Newcomers want what the topology names, whoever has enough.
            wanted.extend(planned.iter().copied());
        }
        let room = self.links_due().saturating_sub(wanted.len());
        let kept = self.kept_partners(&named, &wanted, room, now);
        let lacking = room - kept.len();
        wanted.extend(kept);
        if !self.formation.forming {
            let planned = planned.into_iter().filter(|peer| !wanted.contains(peer));
            let planned: Vec<_> = planned.take(lacking).collect();
            let lacking = lacking - planned.len();
            wanted.extend(planned);
            wanted.extend(self.sought_partners(&wanted, lacking, now));
        }
        for crossing in &self.crossings {
            let in_reach = |peer: &PeerId| !self.out_of_reach(*peer, now);
            wanted.extend(crossing.iter().copied().find(in_reach));
        }
        if self.wants_star() {
            wanted.extend(self.star.filter(|&hub| hub != self.cx.this));
        }
        self.wanted = wanted;
        self.mark_links(&named, now);
    }

    /// Notes whether a crowd is joining, and whether this agent is one of it.
    pub(super) fn note_crowd(&mut self, now: Instant) {
        if self.crowd.is_there(self.room_members, now) {
            self.formation.crowd_until = now + CROWD_FOR;
            self.formation.stirred(now);
            if now.since(self.admitted_at) < NEW_FOR {
                self.formation.begin(now);
            }
        }
    }

    /// Links inside the shard that this agent ought to have.
    fn links_due(&self) -> usize {
        self.k_now().min(self.roster.len())
    }

    /// How many of them, beside the inner ones, are neither open nor being opened. The inner ones
    /// are nobody's choice: which they are once somebody is gone is known without asking.
    pub(super) fn links_lacking(&self) -> usize {
        let alive = self.links.iter().filter(|link| !link.is_draining());
        let here = alive.filter(|link| !self.is_abroad(link.peer));
        let others = here.filter(|link| !self.inner.contains(&link.peer)).count();
        self.links_due().saturating_sub(self.inner.len() + others)
    }

    fn out_of_reach(&self, peer: PeerId, now: Instant) -> bool {
        !self.by_peer.contains_key(&peer) && self.dialer.unreachable(peer, &self.cx.config, now)
    }

    /// The neighbours on the inner rings, and for each that cannot be reached the next on the same
    /// ring. All agents agree on the rings whomever they can reach, so that one broken path
    /// concerns its two ends alone.
    fn inner_partners(&self, now: Instant) -> BTreeSet<PeerId> {
        let lost = |peer: &PeerId| self.out_of_reach(*peer, now);
        let (lost, mut inner): (BTreeSet<_>, BTreeSet<_>) =
            self.flood.iter().copied().partition(lost);
        for partner in lost {
            let followers = self.topology.followers(self.cx.this, partner);
            let free = |peer: &PeerId| !inner.contains(peer) && !self.out_of_reach(*peer, now);
            if let Some(substitute) = followers.into_iter().find(free) {
                inner.insert(substitute);
            }
        }
        inner
    }

    /// Whose links stay, besides those that are wanted anyway: so many at most.
    fn kept_partners(
        &mut self,
        named: &BTreeSet<PeerId>,
        wanted: &BTreeSet<PeerId>,
        room: usize,
        now: Instant,
    ) -> Vec<PeerId> {
        let here = |link: &&Link| !link.is_draining() && self.roster.contains(link.peer);
        let others = self.links.iter().filter(here);
        let others: Vec<_> = others.filter(|link| !wanted.contains(&link.peer)).collect();
        if others.len() <= room {
            return others.into_iter().map(|link| link.peer).collect();
        }
        let needy = self.needy_neighbours();
        let is_new = |link: &Link| is_new(link, now);
        let mut ranked: Vec<_> = others
            .into_iter()
            .map(|link| {
                // Who gives a link up for somebody who needs it leaves an end that can take it.
                let mut takers = needy.iter();
                let is_of_use = takers.any(|&taker| !self.are_linked(taker, link.peer));
                let preference = (
                    !needy.contains(&link.peer) && is_of_use,
                    link.inner,
                    link.ours && !is_new(link),
                    is_new(link) && !named.contains(&link.peer),
                    Topology::pair_hash(self.cx.this, link.peer),
                );
                (preference, link.peer)
            })
            .collect();
        ranked.sort_unstable();
        ranked.truncate(room);
        // What is new now is not always.
        self.cx.timers.arm(Timer::Settle, now + NEW_FOR);
        ranked.into_iter().map(|(_, peer)| peer).collect()
    }

    /// Notes of open links what matters should there be too many one day.
    fn mark_links(&mut self, named: &BTreeSet<PeerId>, now: Instant) {
        let kept = |link: &&mut Link| self.wanted.contains(&link.peer);
        for link in self.links.iter_mut().filter(kept) {
            link.inner |= self.inner.contains(&link.peer);
            // What one end has opened and the other has kept for a while is wanted by both.
            link.ours |= named.contains(&link.peer) || !is_new(link, now);
        }
    }

    /// Neighbours that lack links.
    fn needy_neighbours(&self) -> Vec<PeerId> {
        let open = self.links.iter().filter(|link| link.is_open());
        let peers = open.map(|link| link.peer);
        peers
            .filter(|&peer| self.database.lacks(peer) != Some(0))
            .collect()
    }

    fn are_linked(&self, a: PeerId, b: PeerId) -> bool {
        if [a, b].contains(&self.cx.this) {
            return self
                .by_peer
                .contains_key(if a == self.cx.this { &b } else { &a });
        }
        self.database.link(a, b).is_some() || self.database.link(b, a).is_some()
    }

    /// Those whom the topology names, all of them for one of a crowd: nearly all links come from
    /// here when a room forms. Else those who are new, for of the others is known whether they
    /// lack links; a newcomer to a mesh first hears who does.
    fn planned_partners(
        &self,
        named: &BTreeSet<PeerId>,
        wanted: &BTreeSet<PeerId>,
        now: Instant,
    ) -> Vec<PeerId> {
        let all = self.formation.forming || named.len() == self.roster.len();
        if !all && !self.is_informed(now) {
            return Vec::new();
        }
        let is_new = |peer: PeerId| match self.database.lacks(peer) {
            None => true,
            Some(0) => false,
            Some(_) => self.formation.sees_crowd(now) || self.dialer.failures(peer) > 0,
        };
        let free = named.difference(wanted).copied();
        free.filter(|&peer| (all || is_new(peer)) && !self.out_of_reach(peer, now))
            .collect()
    }

    /// Whether the link state of the members is here, as far as there is any.
    fn is_informed(&self, now: Instant) -> bool {
        let members = self.roster.members();
        let known = members.filter(|&peer| self.database.lacks(peer).is_some());
        known.count() * 2 >= self.roster.len() || now.since(self.admitted_at) >= NEW_FOR
    }

    /// There is news: whoever was not found may be now.
    pub(super) fn search_on(&mut self, now: Instant) {
        if let Some(due) = &mut self.search.due {
            if self.search.found.is_empty() {
                *due = (*due).min(now + SEEK_AFTER);
            }
            self.cx
                .timers
                .arm(Timer::Settle, now + self.cx.config.settle);
        }
    }

    /// Whether a peer was found to be asked, who may not know of it.
    pub(super) fn seeks(&self, peer: PeerId) -> bool {
        self.search.found.contains(&peer)
    }

    /// Others, for links that the topology has nobody for.
    fn sought_partners(
        &mut self,
        wanted: &BTreeSet<PeerId>,
        lacking: usize,
        now: Instant,
    ) -> Vec<PeerId> {
        if lacking == 0 {
            self.search = Search::default();
            return Vec::new();
        }
        let before = std::mem::replace(&mut self.search.lacking, lacking);
        let due = self.search.due.filter(|_| lacking <= before);
        let mut due = due.unwrap_or(now + SEEK_AFTER);
        if due <= now {
            due = now + self.seek(wanted, lacking, now);
        }
        self.search.due = Some(due);
        self.cx.timers.arm(Timer::Settle, due);
        let found = self.search.found.iter().copied();
        let free = found.filter(|peer| !wanted.contains(peer) && self.roster.contains(*peer));
        free.filter(|peer| !self.out_of_reach(*peer, now))
            .take(lacking)
            .collect()
    }

    /// Looks for those who lack links too, or else for half as many as are lacking among those who
    /// have enough. Returns after how long it may look again.
    fn seek(&mut self, wanted: &BTreeSet<PeerId>, lacking: usize, now: Instant) -> Duration {
        if self.database.lacks(self.cx.this) != Some(self.links_lacking()) {
            self.announce_soon(now);
        }
        self.search.found = self.pairs();
        self.search.found.retain(|peer| !wanted.contains(peer));
        if !self.search.found.is_empty() || !self.is_informed(now) {
            return SEEK_AFTER * 2;
        }
        let full = self.roster.members().filter(|peer| !wanted.contains(peer));
        let full = full.filter(|&peer| self.database.lacks(peer) == Some(0));
        let mut full: Vec<_> = full
            .filter(|&peer| !self.out_of_reach(peer, now))
            .map(|peer| (Topology::pair_hash(self.cx.this, peer), peer))
            .collect();
        full.sort_unstable();
        let full = full.into_iter().map(|(_, peer)| peer);
        self.search.found = match lacking {
            1 => full
                .filter(|&peer| self.helps_stuck(peer))
                .take(1)
                .collect(),
            _ => full.take(lacking / 2).collect(),
        };
        ASK_AGAIN_AFTER
    }

    /// Whether a link to this member lets this agent and another have all their links, if both lack
    /// one and are linked already: the member is a neighbour of the other one, and has a link to
    /// give up to a third with whom the other can link up. The first of the two asks.
    fn helps_stuck(&self, peer: PeerId) -> bool {
        let members = self.roster.members();
        let mut stuck = members.filter(|&peer| self.database.lacks(peer) > Some(0));
        let Some(other) = stuck.next().filter(|&other| self.cx.this < other) else {
            return false;
        };
        let inner = self
            .topology
            .neighbours_in(peer, self.cx.config.gossip_rings);
        let can_link_up = |third: PeerId| {
            ![self.cx.this, other].contains(&third)
                && self.database.lacks(third) == Some(0)
                && !inner.contains(&third)
                && self.are_linked(peer, third)
                && !self.are_linked(other, third)
        };
        self.are_linked(peer, other) && self.roster.members().any(can_link_up)
    }

    /// This agent's partners among those who lack links, as all of these who know the same choose
    /// them: the topology's first.
    fn pairs(&self) -> BTreeSet<PeerId> {
        let known = self
            .roster
            .members()
            .map(|peer| (peer, self.database.lacks(peer)));
        let lacking = known.filter_map(|(peer, lacks)| Some((peer, lacks.filter(|&n| n > 0)?)));
        let lacking: BTreeMap<_, _> = lacking
            .chain([(self.cx.this, self.links_lacking())])
            .collect();
        let pairs = self.topology.pairs(lacking, |a, b| self.are_linked(a, b));
        let ours = pairs.into_iter().filter_map(|(a, b)| match self.cx.this {
            this if this == a => Some(b),
            this if this == b => Some(a),
            _ => None,
        });
        ours.collect()
    }
}

fn is_new(link: &Link, now: Instant) -> bool {
    link.opened_at.is_none_or(|at| now.since(at) < NEW_FOR)
}
