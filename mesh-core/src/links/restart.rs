//! ICE restarts: a link whose path is away looks for another, on the same connection.
//!
//! What was sent and not acknowledged stays in the connection, and no keys are negotiated anew: a
//! restart is done after one offer, one answer and the checks of new candidates
//! ([RFC 8445], section 2.4). Natively the sockets are bound anew, to the addresses that the
//! machine has by then.
//!
//! [RFC 8445]: https://www.rfc-editor.org/rfc/rfc8445
//!
//! A restart gives the old path up before there is another. A path that is only away, with no way
//! for signals either, would never be found again. So an end whose link is silent asks the other,
//! and the lower end, which offers, does so when it is asked: then signals travel. Nor does it
//! where it hears the link: after a partition all links between the halves come back within
//! seconds, and carry the signals. But it asks for an answer then: the path may lead one way alone,
//! and the end that hears would go on to send over it. An address that is gone does not come back,
//! so then it restarts at once.
//!
//! The next step of repair, a second connection, follows after [`RESTART_PATIENCE`].

use std::time::Duration;

use super::Links;
use super::keepalive::Suspicion;
use super::link::Link;
use crate::context::Context;
use crate::id::{LinkId, PeerId};
use crate::io::Output;
use crate::log::decided;
use crate::stats::RepairStep;
use crate::time::Instant;
use crate::wire::Step;

/// Time that an ICE restart has until the peer is dialled anew as well. With hub and hosts in one
/// country the two signals and the checks take 0.2 s.
pub(super) const RESTART_PATIENCE: Duration = Duration::from_secs(1);

/// ICE restarts of one link until it is heard again. The third begins 4.5 s after the first. A path
/// that is away for longer comes back by itself, or that of another connection does.
const RESTARTS_MAX: u32 = 3;

/// The pause after the first restart of a link, doubled after each: signals and checks of a slow
/// path take this long.
const PAUSE_MIN: Duration = Duration::from_millis(1_500);

/// The least time between two restarts at the other end's request: an answer takes a round trip,
/// and the same request comes over the mesh and through the hub.
const ASKED_APART: Duration = Duration::from_millis(500);

const _: () = assert!(
    ASKED_APART.as_millis() < RESTART_PATIENCE.as_millis(),
    "a second request is heeded before the peer is dialled anew"
);
const _: () = assert!(
    RESTART_PATIENCE.as_millis() < PAUSE_MIN.as_millis(),
    "a peer is dialled anew before its link is restarted again"
);

/// Restarts of one link: those since it was heard, and when the next may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Restarts {
    tries: u32,
    next_at: Instant,
    /// When the other end's asking is heeded again.
    obeyed_until: Instant,
    /// The address that the link left from is gone.
    stranded: bool,
    /// No way led to the peer when it was to be asked.
    held_up: bool,
    /// When the path is given up, as the other end asks, unless it answers before.
    given_up_at: Option<Instant>,
}

impl Restarts {
    /// When the next restart is due, if there may be one.
    pub(super) fn due_at(&self) -> Option<Instant> {
        (self.tries < RESTARTS_MAX).then_some(self.next_at)
    }

    /// Takes one restart. Returns false if it may not be, or not yet. If signals travel again after
    /// they did not, so may the link.
    fn take(&mut self, now: Instant) -> bool {
        if std::mem::take(&mut self.held_up) && !self.stranded {
            self.next_at = now + PAUSE_MIN;
            return false;
        }
        let may = self.due_at().is_some_and(|at| at <= now);
        if may {
            self.next_at = now + PAUSE_MIN * 2u32.pow(self.tries);
            self.tries += 1;
        }
        may
    }

    /// No restart is left.
    #[cfg(test)]
    pub(super) fn used_up() -> Self {
        Self {
            tries: RESTARTS_MAX,
            ..Self::default()
        }
    }

    /// The link is silent from now on.
    pub(super) fn begin(&mut self, now: Instant) {
        self.next_at = self.next_at.max(now);
    }

    /// The next restart need not wait.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.next_at = self.next_at.min(now);
    }

    /// The other end asks. Returns false if it has asked a moment ago.
    fn obey(&mut self, now: Instant) -> bool {
        let may = self.obeyed_until <= now;
        if may {
            self.obeyed_until = now + ASKED_APART;
        }
        may
    }

    /// The path is given up then, unless it answers before.
    fn give_up_at(&mut self, at: Instant) {
        self.given_up_at.get_or_insert(at);
    }

    /// When the path is given up.
    pub(super) fn given_up_at(&self) -> Option<Instant> {
        self.given_up_at
    }

    /// A restart that was due could not be told the peer: it is due again a little later.
    fn postpone(&mut self, now: Instant) {
        self.held_up = true;
        self.next_at = now + PAUSE_MIN;
    }
}

impl Links {
    /// The path of a link may be away: takes one of its restarts, and returns the peer, the attempt
    /// and the step for which it is to be asked. Without a way for signals it waits.
    pub(crate) fn restart(
        &mut self,
        id: LinkId,
        can_signal: bool,
        cx: &mut Context,
    ) -> Option<(PeerId, u64, Step)> {
        let now = cx.now;
        let link = self.connection_mut(id)?;
        link.opened_at?; // Else it is being opened: another attempt follows.
        let (peer, attempt) = (link.peer, link.negotiation.attempt());
        let rebind = link.restarts.stranded;
        let mut asked = None;
        if !can_signal {
            link.restarts.postpone(now);
        } else if link.restarts.take(now) {
            decided!(cx, link = ?id, ?peer, rebind, "ask for a restart");
            cx.stats.repair(RepairStep::Restart);
            let step = if rebind { Step::Rebind } else { Step::Restart };
            asked = Some((peer, attempt, step));
        } else {
            self.ask_one(id, cx);
        }
        self.arm_silent();
        asked
    }

    /// The other end of a link asks for a restart, so signals travel. The lower end begins a round,
    /// if the path is still silent; the higher asks in turn, which this returns.
    pub(crate) fn restart_asked(
        &mut self,
        peer: PeerId,
        (attempt, step): (u64, Step),
        cx: &mut Context,
    ) -> bool {
        let (this, now) = (cx.this, cx.now);
        let Some(id) = self.of_attempt(peer, attempt) else {
            return false;
        };
        let is_silent = self.silent.contains(id);
        // Heard later than pings could find it silent, a path leads here at least.
        let silence_min = cx.config.pong_timeout_min * cx.config.pings_max;
        let Some(link) = self.connection_mut(id) else {
            return false;
        };
        let is_heard = now.since(link.keepalive.last_heard()) < silence_min;
        let works = is_heard && !is_silent && step != Step::Rebind;
        if works && link.opened_at.is_some() {
            link.keepalive.probe(Suspicion::Unheard, now);
        }
        if works || link.opened_at.is_none() || !link.restarts.obey(now) {
            return false;
        }
        match step {
            _ if this > peer => return true,
            Step::Rebind => self.begin_restart(id, cx),
            _ if is_silent => {
                // Delayed signals may ask for a restart that is no longer needed, and a path that
                // works again answers within a round trip.
                link.restarts.give_up_at(now + ASKED_APART / 2);
                self.ask_one(id, cx);
                self.arm_silent();
            }
            // This end has heard nothing of that yet.
            _ => link.keepalive.probe(Suspicion::Unanswered, now),
        }
        false
    }

    /// The lower end offers a further round, with fresh ICE credentials.
    pub(super) fn begin_restart(&mut self, link: LinkId, cx: &mut Context) {
        let Some(Link {
            negotiation,
            restarts,
            peer,
            ..
        }) = self.connection_mut(link)
        else {
            return;
        };
        restarts.given_up_at = None;
        negotiation.begin_round(negotiation.round().saturating_add(1));
        let relays = negotiation.relays;
        decided!(cx, ?link, ?peer, "restart ICE");
        let ice = self.ice(relays, cx);
        cx.order(Output::ConfigureLink { link, ice });
        cx.order(Output::RestartLink { link });
    }

    /// Signals can travel again: restarts need not wait.
    pub(crate) fn restart_silent(&mut self, cx: &Context) {
        self.silent.hurry_restarts(cx.now);
        self.arm_silent();
    }

    /// All addresses that a connection leaves from are gone: nothing passes over it until it is
    /// restarted, and nothing else will ever say so.
    pub(crate) fn stranded(&mut self, id: LinkId, cx: &mut Context) {
        /// The reason for which a link of an address that is gone closes.
        const GONE: &str = "its address is gone";
        let Some(link) = self.table.get_mut(id) else {
            return;
        };
        if link.is_open() {
            link.restarts.stranded = true;
            self.fall_silent(id, GONE, cx);
        } else {
            self.close(id, GONE, cx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_are_few_and_ever_further_apart() {
        let (mut restarts, mut now) = (Restarts::default(), Instant::default());
        let mut waits = Vec::new();
        while let Some(at) = restarts.due_at() {
            waits.push(at.since(now).as_millis());
            now = at;
            assert!(restarts.take(now));
            assert!(!restarts.take(now), "not at once again");
        }
        assert_eq!(waits, [0, 1_500, 3_000]);
        assert!(!restarts.take(now + Duration::from_secs(60)));
    }
}
