//! Join bursts: when many agents come at once, links follow the topology.

use std::time::Duration;

use super::selection::NEW_FOR;
use super::{Overlay, SETTLE, SETTLE_MAX};
use crate::context::Context;
use crate::log::decided;
use crate::signaling::{Crowd, notice_delay};
use crate::time::Instant;
use crate::timeout::TimeoutReason;

/// Time that members of a join burst follow the topology after its last member came and their last
/// link opened: attempts that failed once have been repeated by then.
const CALM_AFTER: Duration = Duration::from_secs(15);

/// Time for which other members open links to newcomers beyond their own k, after a join burst was
/// seen: most links of a newcomer are open by then.
const SEEN_FOR: Duration = Duration::from_secs(5);

const _: () = assert!(
    SEEN_FOR.as_millis() <= NEW_FOR.as_millis() && NEW_FOR.as_millis() <= CALM_AFTER.as_millis(),
    "an agent that is new when a burst is seen takes part until it is not new any more"
);

/// Whether links follow the topology, as they do when many come at once.
#[derive(Debug, Default)]
pub(super) struct JoinBurst {
    /// Those that came lately, as the hub counts them.
    newcomers: Crowd,
    /// This agent is one of the burst, or its room was divided anew.
    takes_part: bool,
    /// When a link that is wanted opened last, or an agent of the burst came.
    last_change_at: Instant,
    /// Until when newcomers belong to a burst.
    seen_until: Instant,
}

impl JoinBurst {
    /// This agent opens what the topology names, until that has been done for a while.
    fn begin(&mut self, now: Instant) {
        self.takes_part = true;
        self.last_change_at = now;
    }

    pub(super) fn changed(&mut self, now: Instant) {
        self.last_change_at = now;
    }

    /// Ends when it has been calm for long enough; returns when that will be, if it is not.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Instant> {
        let calm_at = self.last_change_at + CALM_AFTER;
        self.takes_part &= calm_at > now;
        self.takes_part.then_some(calm_at)
    }

    /// Whether this agent is one of a burst.
    pub(super) fn takes_part(&self) -> bool {
        self.takes_part
    }

    /// Whether newcomers belong to a burst, whichever agent sees them.
    pub(super) fn is_seen(&self, now: Instant) -> bool {
        self.seen_until > now
    }

    pub(super) fn is_on(&self, now: Instant) -> bool {
        self.takes_part || self.is_seen(now)
    }

    /// The agent has left. What the hub counted stands until it counts again.
    pub(super) fn leave(&mut self) {
        *self = Self {
            newcomers: std::mem::take(&mut self.newcomers),
            ..Self::default()
        };
    }
}

impl Overlay {
    /// The hub has counted the members of the room, and the newcomers among them.
    pub(crate) fn room_counted(&mut self, members: usize, newcomers: usize, cx: &Context) {
        self.room_members = members;
        let burst = &mut self.burst;
        burst.newcomers = Crowd::new(newcomers, cx.now);
        if burst.newcomers.is_there(members, cx.now) {
            burst.seen_until = cx.now + SEEN_FOR;
            burst.changed(cx.now);
            if cx.now.since(self.admitted_at) < NEW_FOR {
                decided!(cx, members, newcomers, "take part in a join burst");
                burst.begin(cx.now);
            }
        }
    }

    /// The room is divided anew, so that nearly all neighbours change: as when it formed, all open
    /// what the topology names.
    pub(crate) fn form_anew(&mut self, cx: &Context) {
        self.burst.begin(cx.now);
    }

    /// Whether a burst is seen or this agent is one of it.
    pub(crate) fn is_forming(&self, cx: &Context) -> bool {
        self.burst.is_on(cx.now)
    }

    fn awaits_burst(&self, cx: &Context) -> bool {
        self.burst.newcomers.is_coming(self.room_members, cx.now)
    }

    /// Members have come or gone: lets links follow if they wait, and nothing more is awaited.
    pub(crate) fn settle_waiting(&mut self, cx: &Context) {
        if self.unsettled_since.is_some() && !self.awaits_burst(cx) {
            self.settle_soon(cx);
        }
    }

    /// Lets the links follow the members: at once when one comes, later when a burst does.
    pub(super) fn settle_later(&mut self, cx: &Context) {
        let (mut notices, mut patience) = (Duration::ZERO, 1);
        if self.awaits_burst(cx) {
            // The hub gathers what it tells: there is more until it has told twice.
            let newcomers = &self.burst.newcomers;
            let members = newcomers.members_soon(self.room_members, cx.now);
            notices = notice_delay(members) * 2;
            patience = 4; // So much longer for the next, and the square of that in all.
        }
        let settle = SETTLE.max(notices * patience) + cx.lag() * patience;
        let latest = (SETTLE_MAX.max(notices * 2) + cx.lag()) * patience.pow(2);
        let since = *self.unsettled_since.get_or_insert(cx.now);
        let settled = (cx.now + settle).min(since + latest);
        self.timers.set(TimeoutReason::Settle, settled);
    }
}
