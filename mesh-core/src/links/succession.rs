//! Key rotation: a connection with fresh keys takes the place of a link, make before break.
//!
//! DTLS keys last as long as their connection, and neither WebRTC stack can change the certificate
//! of a live one. So the lower end of a link offers a second connection, whose two ends have fresh
//! certificates; the link goes on. Once the second is open each end sends over it, and the first
//! closes when what it carried has arrived. What did not arrive leaves again over another path, and
//! its target tells copies apart: nothing is lost or doubled.

use std::time::Duration;

use rand_chacha::rand_core::Rng;

use super::link::{LinkState, Role};
use super::negotiation::Negotiation;
use super::{LINGER, LinkEvent, Links};
use crate::context::Context;
use crate::id::{LinkId, PeerId};
use crate::io::Event;
use crate::log::decided;
use crate::rng::{spread, unit};

/// The least age of a link whose keys are rotated: a neighbour that asks for one rotation after the
/// other is obeyed no more often. To generate a certificate takes 0.1 ms.
const AGE_MIN: Duration = Duration::from_secs(1);

/// Mean wait after a rotation that failed, or found no way for its signals: the link works
/// meanwhile, with keys that are a minute older.
const RETRY: Duration = Duration::from_secs(60);

const _: () = assert!(
    AGE_MIN.as_millis() < RETRY.as_millis(),
    "a link is old enough for a retry"
);

impl Links {
    /// Plans when an open link gets fresh keys; the lower end sees to that.
    pub(super) fn plan_rotation(&mut self, id: LinkId, cx: &Context) {
        let interval = cx.config.rotate_interval;
        let this = cx.this;
        let jitter = unit(&mut self.rng);
        let link = self.table.get_mut(id);
        let Some(link) = link.filter(|link| this < link.peer && !interval.is_zero()) else {
            return;
        };
        // Links that opened together need not rotate together.
        link.rotate_at = Some(cx.now + spread(interval, jitter));
    }

    /// All links get fresh keys now. Returns the peers that have to offer, and the attempts that
    /// have opened the links to them: they are to be asked.
    pub(crate) fn rotate_all(&mut self, cx: &Context) -> Vec<(PeerId, u64)> {
        let mut to_ask = Vec::new();
        for link in self.table.iter_mut().filter(|link| link.is_open()) {
            if cx.this < link.peer {
                link.rotate_at = Some(cx.now);
            } else {
                to_ask.push((link.peer, link.negotiation.attempt()));
            }
        }
        to_ask
    }

    /// The higher end of a link asks for fresh keys.
    pub(crate) fn rotation_asked(&mut self, peer: PeerId, attempt: u64, cx: &Context) {
        let link = self.to_mut(peer).filter(|link| link.is_open());
        if let Some(link) = link.filter(|link| link.negotiation.is_attempt(attempt)) {
            link.rotate_at = Some(cx.now);
        }
    }

    /// The keys of an open link are to be rotated, if it is time.
    pub(super) fn check_rotation(&mut self, id: LinkId, cx: &Context) {
        let is_busy = self.has_successor(id);
        let Some(link) = self.table.get_mut(id) else {
            return;
        };
        if link.rotate_at.take_if(|at| *at <= cx.now).is_none() {
            return;
        }
        if is_busy {
            // It has fresh keys too, if it opens.
            link.rotate_at = Some(cx.now + cx.config.redial_min);
            return;
        }
        let may_at = link.negotiation.started_at() + AGE_MIN;
        if may_at > cx.now {
            link.rotate_at = Some(may_at);
            return;
        }
        let peer = link.peer;
        self.events.push_back(LinkEvent::RotationDue(id, peer));
    }

    /// Whether a connection is being opened that is to take the place of a link.
    pub(super) fn has_successor(&self, id: LinkId) -> bool {
        let link = self.table.get(id);
        link.is_some_and(|link| self.table.successor_of(link.peer).is_some())
    }

    /// Offers a successor of a link, or puts that off: too many links are being negotiated, or no
    /// way leads to the peer. Returns the successor.
    pub(crate) fn rotate(
        &mut self,
        id: LinkId,
        (can_signal, via_hub): (bool, bool),
        cx: &mut Context,
    ) -> Option<LinkId> {
        let negotiating = self.table.iter().filter(|link| link.is_negotiating());
        let is_crowded = negotiating.count() >= cx.config.negotiating_max;
        let retry = spread(RETRY, unit(&mut self.rng));
        let link = self.table.get_mut(id).filter(|link| link.is_open())?;
        let seeks_direct = link.upgrade.take_due();
        if is_crowded || !can_signal {
            // One of many links that are being negotiated has opened or failed soon.
            let wait = if is_crowded {
                cx.config.redial_min
            } else {
                retry
            };
            if seeks_direct {
                link.upgrade.at = Some(cx.now + wait);
            } else {
                link.rotate_at = Some(cx.now + wait);
            }
            return None;
        }
        let peer = link.peer;
        let attempt = self.rng.next_u64();
        let mut negotiation = Negotiation::new(attempt, via_hub, cx.now);
        negotiation.direct_only = seeks_direct;
        let patience = cx.config.open_timeout;
        Some(self.negotiate(peer, Role::Successor, negotiation, patience, None, cx))
    }

    /// The lower end of a link offers a successor of the link that the attempt `predecessor` has
    /// opened.
    pub(crate) fn answer_successor(
        &mut self,
        peer: PeerId,
        (predecessor, via_hub): (u64, bool),
        offer: (u64, String),
        cx: &mut Context,
    ) -> Succession {
        if self.of_attempt(peer, offer.0).is_some() {
            return Succession::Ignored; // It has come over another path before.
        }
        let link = self.to(peer).filter(|link| link.is_open());
        let Some(link) = link.filter(|link| link.negotiation.is_attempt(predecessor)) else {
            return Succession::Strange;
        };
        if cx.now.since(link.negotiation.started_at()) < AGE_MIN / 2 {
            return Succession::Ignored; // It rotates too often.
        }
        if let Some(given_up) = self.table.successor_of(peer) {
            self.close(given_up, "replaced by a new offer of the peer", cx);
        }
        Succession::Begun(self.answer_as(Role::Successor, peer, offer, via_hub, cx))
    }

    /// A successor is open, and takes the place of the link.
    pub(super) fn take_place(&mut self, id: LinkId, cx: &mut Context) {
        let Some(peer) = self.table.get(id).map(|link| link.peer) else {
            return;
        };
        let Some(former) = self.table.succeed(peer) else {
            return;
        };
        let Some(old) = self.table.get_mut(former) else {
            return;
        };
        old.state = LinkState::Draining {
            until: cx.now + LINGER,
        };
        old.rotate_at = None;
        let keepalive = old.keepalive.succeeded(cx.now);
        let (opened_at, misdeeds, kbps) = (old.opened_at, old.misdeeds, old.queue.kbps());
        let carried = old.carried;
        let (upgrade, media) = (old.upgrade.succeeded(), old.media.succeeded(cx.now));
        let Some(link) = self.table.get_mut(id) else {
            return;
        };
        // To all other agents it is the same link.
        link.keepalive = keepalive;
        link.opened_at = opened_at;
        link.misdeeds = misdeeds;
        link.carried = carried;
        link.upgrade = upgrade;
        link.media = media;
        link.queue.set_kbps(kbps);
        self.packets.succeeded(peer);
        let took = cx.now.since(link.negotiation.started_at());
        decided!(cx, link = ?id, ?former, ?peer, "go on over a link with fresh keys");
        cx.stats.links.rotated += 1;
        cx.emit(Event::LinkRotated {
            peer,
            took_ms: took.as_secs_f64() * 1e3,
        });
        self.path_known(id, cx);
        let link = id;
        self.events.push_back(LinkEvent::Replaced { former, link });
    }

    /// A successor did not open: the link goes on, and its lower end tries again.
    pub(super) fn succession_failed(
        &mut self,
        peer: PeerId,
        sought_direct: bool,
        jitter: f64,
        cx: &mut Context,
    ) {
        if let Some(link) = self.to_mut(peer).filter(|link| link.is_open()) {
            link.media.resume(cx.now);
        }
        if sought_direct {
            return self.plan_upgrade(peer, jitter, cx);
        }
        decided!(
            cx,
            ?peer,
            "go on with the keys of a link: its successor failed"
        );
        cx.stats.links.rotations_failed += 1;
        let this = cx.this;
        let link = self.to_mut(peer);
        if let Some(link) = link.filter(|link| this < link.peer && link.is_open()) {
            link.rotate_at = Some(cx.now + spread(RETRY, jitter));
        }
    }
}

/// What becomes of an offer to take the place of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Succession {
    /// This successor answers it, beside the link.
    Begun(LinkId),
    /// It goes unanswered.
    Ignored,
    /// There is no such link here: an offer like any other.
    Strange,
}
