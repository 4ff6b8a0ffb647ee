//! More links where the mesh is slow, fewer where it is quick or links do not open, and the star as
//! the last resort.
//!
//! An agent judges by itself: links are wanted by rings, and whoever wants more of them has the
//! same inner ones as the others, who accept what it opens beyond. Latency must call for a change
//! several times in a row, and after each change there is a pause, so that k never swings.

use std::time::Duration;

use super::Mesh;
use crate::config::Adaptive;
use crate::id::PeerId;
use crate::stats::RepairStep;
use crate::time::Instant;
use crate::timers::Timer;

/// Attempts to link since the last look that make a failure rate worth judging by.
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

impl Mesh {
    /// The links that the room's size asks for.
    fn k_of_room(&self) -> usize {
        let by_size = || self.cx.config.k_for(self.room_members());
        self.k_room.unwrap_or_else(by_size)
    }

    /// Follows the room's size: a crowd at once, others when it has clearly grown or shrunk, or a
    /// room whose size wavers would have everybody open and close links all the time.
    pub(super) fn follow_room(&mut self, now: Instant) {
        let members = self.room_members();
        let sizes = [members, members * 9 / 10, members * 11 / 10];
        let [k, fewer, more] = sizes.map(|members| self.cx.config.k_for(members));
        let crowd = self.formation.is_on(now);
        let fits = |&k_room: &usize| [k, fewer, more].contains(&k_room) && !crowd;
        self.k_room = self.k_room.filter(fits).or(Some(k));
    }

    /// The links that this agent keeps.
    pub(super) fn k_now(&self) -> usize {
        let k = self.k_of_room();
        let Some(adaptive) = &self.cx.config.adaptive else {
            return k;
        };
        let adapted = k.saturating_add_signed(self.adaptation.offset);
        // Bounds are for what adapts: a small room, or a k that was asked for, may lie outside.
        adapted.clamp(adaptive.k_min.min(k), adaptive.k_max.max(k))
    }

    /// Whether the star is wanted beside the rings.
    pub(super) fn wants_star(&self) -> bool {
        self.adaptation.star
    }

    /// Looks at how the mesh is doing, and follows.
    pub(super) fn adapt(&mut self, now: Instant) {
        self.judge_isolation(now);
        if let Some(adaptive) = self.cx.config.adaptive.clone() {
            self.judge_links(&adaptive, now);
        }
        self.cx
            .timers
            .arm(Timer::Adapt, now + self.cx.config.adapt_interval);
    }

    fn judge_links(&mut self, adaptive: &Adaptive, now: Instant) {
        let change = self.change_called_for(adaptive);
        let repeated = match self.adaptation.trend {
            Some((last, times)) if Some(last) == change => times + 1,
            _ => 1,
        };
        self.adaptation.trend = change.map(|change| (change, repeated));
        let paused = self.adaptation.changed_at;
        let paused = paused.is_some_and(|at| now.since(at) < adaptive.pause);
        // Failures are judged over many attempts at once, which seldom come twice in a row.
        let patience = match change {
            Some(Change::FailingFewer) => 1,
            _ => adaptive.patience,
        };
        let Some(change) = change.filter(|_| repeated >= patience && !paused) else {
            return;
        };
        let (base, k) = (self.k_of_room(), self.k_now());
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
            self.adaptation.changed_at = Some(now);
            self.cx
                .timers
                .arm(Timer::Settle, now + self.cx.config.settle);
        }
    }

    fn change_called_for(&mut self, adaptive: &Adaptive) -> Option<Change> {
        let links = &self.cx.stats.links;
        // Whoever has no room can be reached all the same.
        let (opened, failed) = (links.opened, links.failed - links.declined);
        let (opened_before, failed_before) = self.adaptation.attempts;
        let (opens, fails) = (opened - opened_before, failed - failed_before);
        if opens + fails >= ATTEMPTS_MIN {
            self.adaptation.attempts = (opened, failed);
            if fails as f64 > adaptive.failure_rate * (opens + fails) as f64 {
                return Some(Change::FailingFewer);
            }
        }
        match self.routes.mean_latency() {
            Some(latency) if latency > adaptive.latency_high => Some(Change::More),
            Some(latency) if latency < adaptive.latency_low => {
                (self.k_now() > adaptive.k_quick).then_some(Change::Fewer)
            }
            _ => None,
        }
    }

    /// Who cannot link with any of its partners links with the one that all can agree on.
    fn judge_isolation(&mut self, now: Instant) {
        let not_star = |peer: &PeerId| Some(*peer) != self.star;
        let mut links = self.links.iter().filter(|link| link.is_open());
        let alone = !links.any(|link| not_star(&link.peer));
        let anybody = self.roster.members().any(|peer| not_star(&peer));
        let since = &mut self.adaptation.alone_since;
        *since = (alone && anybody).then(|| since.unwrap_or(now));
        let alone_for = since.map_or(Duration::ZERO, |since| now.since(since));
        let star = alone_for >= self.cx.config.mesh_patience;
        if self.adaptation.star != star {
            self.adaptation.star = star;
            if star {
                self.cx.stats.repair(RepairStep::Star);
            }
            self.cx
                .timers
                .arm(Timer::Settle, now + self.cx.config.settle);
        }
    }
}
