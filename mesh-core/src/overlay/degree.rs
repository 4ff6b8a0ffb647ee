//! More links where the mesh is slow, fewer where it is quick or links do not open, and the star as
//! the last resort.
//!
//! An agent judges by itself: links are wanted by rings, and an agent that wants more of them has
//! the same inner ones as the others, which accept what it opens beyond. Latency must call for a
//! change several times in a row, and after each change there is a pause, so that k never swings.

use std::time::Duration;

use super::Overlay;
use crate::config::Adaptive;
use crate::context::Context;
use crate::id::PeerId;
use crate::links::Links;
use crate::log::decided;
use crate::routing::Routing;
use crate::stats::RepairStep;
use crate::time::Instant;
use crate::timeout::TimeoutReason;

/// Attempts to link since the last look from which on a failure rate is judged: of fewer a single
/// failure would be a tenth.
const ATTEMPTS_MIN: u64 = 10;

/// How the agent has adapted.
#[derive(Debug, Default)]
pub(super) struct Adaptation {
    /// Added to the k of the room's size.
    offset: isize,
    /// What the last looks have asked for, and how often in a row.
    trend: Option<(Change, u32)>,
    changed_at: Option<Instant>,
    /// Links opened and failed at the last look.
    attempts: (u64, u64),
    /// Since when the agent has had no link although there are members.
    alone_since: Option<Instant>,
    /// Whether the star is wanted beside the rings.
    star: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    More,
    Fewer,
    FailingFewer,
}

impl Overlay {
    /// The links that the room's size asks for.
    fn k_of_room(&self, cx: &Context) -> usize {
        let by_size = || cx.config.k_for(self.room_members());
        self.k_room.unwrap_or_else(by_size)
    }

    /// Follows the room's size: a join burst at once, others when it has clearly grown or shrunk,
    /// or in a room whose size wavers all would open and close links all the time.
    pub(super) fn follow_room(&mut self, cx: &Context) {
        let members = self.room_members();
        let sizes = [members, members * 9 / 10, members * 11 / 10];
        let [k, fewer, more] = sizes.map(|members| cx.config.k_for(members));
        let burst = self.burst.is_on(cx.now);
        let fits = |&k_room: &usize| [k, fewer, more].contains(&k_room) && !burst;
        self.k_room = self.k_room.filter(fits).or(Some(k));
    }

    /// The links that this agent keeps.
    pub(super) fn k(&self, cx: &Context) -> usize {
        let k = self.k_of_room(cx);
        let Some(adaptive) = &cx.config.adaptive else {
            return k;
        };
        let adapted = k.saturating_add_signed(self.adaptation.offset);
        // Bounds are for what adapts: a small room, or a k that was asked for, may lie outside.
        adapted.clamp(adaptive.k_min.min(k), adaptive.k_max.max(k))
    }

    /// Links that this agent has at most: others may want some that it does not.
    pub(super) fn links_max(&self, cx: &Context) -> usize {
        let accepted = self.k(cx) + cx.config.links_slack + self.gateways.len();
        if self.is_star_centre() {
            accepted.max(cx.config.star_links_max)
        } else {
            accepted
        }
    }

    /// Whether one link more may be opened by a peer. Where a room forms, the agents that came
    /// first have planned for fewer members: twice as many links may be open until the surplus is
    /// drained.
    pub(crate) fn has_room_for(&self, peer: PeerId, links: &Links, cx: &Context) -> bool {
        let more = match self.burst.is_on(cx.now) {
            true => self.k(cx),
            false => 0,
        };
        self.wanted.contains(&peer) || links.len() < self.links_max(cx) + more
    }

    /// Whether this agent is the centre of the star that a room falls back to.
    pub(crate) fn is_star_centre(&self) -> bool {
        self.star_centre == Some(self.this)
    }

    /// Whether the star is wanted beside the rings.
    pub(super) fn wants_star(&self) -> bool {
        self.adaptation.star
    }

    /// The agent joins: the state of the mesh is looked at from now on.
    pub(crate) fn begin_adapting(&mut self, cx: &Context) {
        // Round trips are measured anew as often, so each look has news.
        self.timers
            .arm(TimeoutReason::Adapt, cx.now + cx.config.ping_interval);
    }

    /// Looks at how the mesh is doing, and follows.
    pub(crate) fn adapt(&mut self, links: &Links, routing: &Routing, cx: &mut Context) {
        self.judge_isolation(links, cx);
        if let Some(adaptive) = cx.config.adaptive.clone() {
            self.judge_links(&adaptive, routing, cx);
        }
        self.begin_adapting(cx);
    }

    fn judge_links(&mut self, adaptive: &Adaptive, routing: &Routing, cx: &Context) {
        let change = self.change_called_for(adaptive, routing, cx);
        let repeated = match self.adaptation.trend {
            Some((last, times)) if Some(last) == change => times + 1,
            _ => 1,
        };
        self.adaptation.trend = change.map(|change| (change, repeated));
        let paused = self.adaptation.changed_at;
        let paused = paused.is_some_and(|at| cx.now.since(at) < adaptive.pause);
        // Failures are judged over many attempts at once, which seldom come twice in a row.
        let patience = match change {
            Some(Change::FailingFewer) => 1,
            _ => adaptive.patience,
        };
        let Some(change) = change.filter(|_| repeated >= patience && !paused) else {
            return;
        };
        let (base, k) = (self.k_of_room(cx), self.k(cx));
        let wanted = match change {
            Change::More => (k + adaptive.k_more).min(adaptive.k_max.max(k)),
            Change::Fewer => k
                .saturating_sub(adaptive.k_fewer)
                .max(adaptive.k_quick.min(k)),
            Change::FailingFewer => k.saturating_sub(adaptive.k_more).max(adaptive.k_min.min(k)),
        };
        self.adaptation.offset = wanted.cast_signed() - base.cast_signed();
        self.adaptation.trend = None;
        if wanted != k {
            decided!(cx, from = k, to = wanted, ?change, "adapt k");
            self.adaptation.changed_at = Some(cx.now);
            self.settle_soon(cx);
        }
    }

    fn change_called_for(
        &mut self,
        adaptive: &Adaptive,
        routing: &Routing,
        cx: &Context,
    ) -> Option<Change> {
        let links = &cx.stats.links;
        // A peer that has no room can be reached all the same.
        let (opened, failed) = (links.opened, links.failed - links.declined);
        let (opened_before, failed_before) = self.adaptation.attempts;
        let (opens, fails) = (opened - opened_before, failed - failed_before);
        if opens + fails >= ATTEMPTS_MIN {
            self.adaptation.attempts = (opened, failed);
            if fails as f64 > adaptive.failure_rate * (opens + fails) as f64 {
                return Some(Change::FailingFewer);
            }
        }
        match routing.routes().mean_latency() {
            Some(latency) if latency > adaptive.latency_high => Some(Change::More),
            Some(latency) if latency < adaptive.latency_low => {
                (self.k(cx) > adaptive.k_quick).then_some(Change::Fewer)
            }
            _ => None,
        }
    }

    /// An agent that cannot link with any of its neighbours links with the one that all can agree
    /// on.
    fn judge_isolation(&mut self, links: &Links, cx: &mut Context) {
        let not_star = |peer: &PeerId| Some(*peer) != self.star_centre;
        let alone = !links.open().any(|link| not_star(&link.peer));
        let anybody = self.roster.members().any(|peer| not_star(&peer));
        let since = &mut self.adaptation.alone_since;
        *since = (alone && anybody).then(|| since.unwrap_or(cx.now));
        let alone_for = since.map_or(Duration::ZERO, |since| cx.now.since(since));
        let star = alone_for >= cx.config.mesh_patience;
        if self.adaptation.star != star {
            self.adaptation.star = star;
            let centre = self.star_centre;
            decided!(
                cx,
                wanted = star,
                ?centre,
                "fall back to the star, or leave it"
            );
            if star {
                cx.stats.repair(RepairStep::Star);
            }
            self.settle_soon(cx);
        }
    }
}
