//! The signals of an attempt that the hub was given: it may be too busy to pass them on, and is
//! given them again then.

use std::time::Duration;

use super::link::{Link, LinkState};
use super::negotiation::CANDIDATES_MAX;
use super::{LinkEvent, Links};
use crate::context::Context;
use crate::id::{LinkId, PeerId};
use crate::log::decided;
use crate::time::Instant;
use crate::trust::Signed;

/// Signals of one attempt that are kept for a busy hub: an offer or an answer, and the candidates
/// of a host with some interfaces.
const SIGNALS_MAX: usize = 16;

const _: () = assert!(SIGNALS_MAX < CANDIDATES_MAX as usize);

/// Times that a busy hub is given the signals of an attempt again: for about half a minute, which
/// is longer than a hub is without the others while one of them is promoted.
const REPEATS_MAX: u32 = 30;

/// What the hub was given of one attempt.
#[derive(Debug, Default)]
pub(super) struct Relayed {
    signals: Vec<Signed>,
    given_at: Instant,
    repeat_at: Option<Instant>,
    repeats: u32,
}

impl Relayed {
    /// The hub is given a signal.
    pub(super) fn gave(&mut self, signal: &Signed, now: Instant) {
        if self.signals.len() < SIGNALS_MAX {
            self.signals.push(signal.clone());
        }
        self.given_at = now;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.signals.is_empty()
    }

    /// The hub was too busy. Returns how much later than at first it is given the signals again,
    /// `pause` from now; `None` if that is planned already, or was done often enough.
    pub(super) fn refused(&mut self, pause: Duration, now: Instant) -> Option<Duration> {
        if self.repeat_at.is_some() || self.repeats >= REPEATS_MAX || self.is_empty() {
            return None;
        }
        self.repeats += 1;
        let at = now + pause;
        self.repeat_at = Some(at);
        Some(at.since(self.given_at))
    }

    /// When the hub is, or was, given them again, if it was ever too busy.
    pub(super) fn repeated_at(&self) -> Option<Instant> {
        let repeated = (self.repeats > 0).then_some(self.given_at);
        self.repeat_at.or(repeated)
    }

    /// When the hub is given them again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.repeat_at
    }

    /// The signals, if it is time to give them again.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Signed> {
        if self.repeat_at.take_if(|at| *at <= now).is_none() {
            return Vec::new();
        }
        self.given_at = now;
        self.signals.clone()
    }

    /// The attempt is over.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Signals that go through the hub.
impl Links {
    /// The hub is given a signal of an attempt.
    pub(crate) fn gave_hub(&mut self, to: PeerId, attempt: u64, signal: &Signed, cx: &Context) {
        let found = self.in_negotiation(to, attempt);
        if let Some(link) = found.and_then(|id| self.table.get_mut(id)) {
            link.negotiation.relayed.gave(signal, cx.now);
        }
    }

    /// The hub was too busy to pass on what it was given for a peer, and is given it again after
    /// this pause. Where there is no link yet, the peer was asked for an offer; then this returns
    /// false, and the peer may be asked again.
    pub(crate) fn hub_was_busy(&mut self, to: PeerId, pause: Duration, cx: &Context) -> bool {
        let Some(link) = self.negotiating_with(to) else {
            if self.leads_to(to) {
                return true;
            }
            self.dialer.undelivered(to, cx.now + pause);
            return false;
        };
        // The time that passes until then is none in which the attempt could have failed.
        if let LinkState::Negotiating { until } = &mut link.state
            && let Some(later) = link.negotiation.relayed.refused(pause, cx.now)
        {
            *until = *until + later;
        }
        true
    }

    /// The hub of a peer is out of reach: other peers are linked with instead, until `pause` has
    /// passed. Returns false if this agent is not the one to begin, or has a link with the peer:
    /// then the signals matter to the peer too, and are given again as to a busy hub.
    pub(crate) fn hub_reaches_not(
        &mut self,
        to: PeerId,
        pause: Duration,
        cx: &mut Context,
    ) -> bool {
        let begun = match self.to(to) {
            None => None,
            Some(link) if link.is_negotiating() && cx.this < to => Some(link.id),
            Some(_) => return false,
        };
        if let Some(id) = begun {
            self.close(id, "the hub of the peer is out of reach", cx);
        }
        self.dialer
            .hub_out_of_reach(to, begun.is_some(), cx.now + pause);
        true
    }

    /// What is being opened to a peer: the link or its successor.
    fn negotiating_with(&mut self, peer: PeerId) -> Option<&mut Link> {
        let ids = [self.table.id_of(peer), self.table.successor_of(peer)];
        let mut ids = ids.into_iter().flatten();
        let id = ids.find(|&id| self.get(id).is_some_and(Link::is_negotiating))?;
        self.table.get_mut(id)
    }

    /// The hub does not know a peer that it was given a signal for.
    pub(crate) fn hub_knows_none(&mut self, to: PeerId, cx: &mut Context) {
        let given = self.negotiating_with(to);
        let given = given.filter(|link| !link.negotiation.relayed.is_empty());
        if let Some(id) = given.map(|link| link.id) {
            self.close(id, "the hub does not know the peer", cx);
        }
    }

    /// Gives the hub the signals of an attempt again that it was too busy for, if it is time.
    pub(super) fn give_again(&mut self, id: LinkId, cx: &Context) {
        if let Some(link) = self.table.get_mut(id) {
            let to = link.peer;
            let due = link.negotiation.relayed.take_due(cx.now);
            if !due.is_empty() {
                decided!(cx, link = ?id, peer = ?to, "give a busy hub its signals again");
            }
            let events = due
                .into_iter()
                .map(|message| LinkEvent::ForHub { to, message });
            self.events.extend(events);
        }
    }
}
