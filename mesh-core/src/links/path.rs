//! The way of a link: direct first, and relayed only where that fails.
//!
//! A relay costs its operator each byte twice, and its server a port for each end of each link. So
//! a connection begins with direct candidates alone, and asks TURN servers as STUN servers. If ICE
//! has found no path [`Config::turn_fallback_timeout`](crate::Config::turn_fallback_timeout) after
//! the answer was there, its offerer begins a further round on it, with relayed candidates; the
//! other end, whose link is not open either, adds its own when it answers that round. So only one
//! end decides, and a peer whose hub names no TURN server still takes part.
//!
//! A relayed link looks for a direct path now and then, and at once when the network changes: its
//! lower end offers a successor with direct candidates alone, which takes its place if it opens.
//! The end that has the relay always knows of it; the other may take the relay's address for one of
//! the peer's, so the higher end tells the lower.

use std::time::Duration;

use super::link::{Link, LinkState, Role};
use super::{LinkEvent, Links, Way};
use crate::context::Context;
use crate::ice::{IceConfig, IceServer, IceTransportPolicy, LinkPath};
use crate::id::{LinkId, PeerId};
use crate::io::{Event, Output};
use crate::log::decided;
use crate::rng::{spread, unit};
use crate::time::Instant;
use crate::wire::{PeerSignal, Step};

/// Mean wait of a relayed link before it looks for a direct path; twice as long after each try. The
/// ends were perhaps kept apart by a busy firewall, or by an interface that comes up. So a link is
/// direct within a minute after it can be, and a try takes two signals and some hundred
/// connectivity checks.
const DIRECT_AFTER: Duration = Duration::from_secs(20);

/// The shortest time of a try for a direct path, from the answer on: many round trips.
const DIRECT_PATIENCE: Duration = Duration::from_secs(2);

const _: () = assert!(
    DIRECT_PATIENCE.as_millis() < DIRECT_AFTER.as_millis(),
    "one try for a direct path is over before the next begins"
);

/// Age of a link up to which a peer that asks for a direct path only tells that the link is
/// relayed: the path that has just been looked for in vain is not there yet.
const NEWS: Duration = Duration::from_secs(5);

/// Time within which all relayed links are tried that another network may have made direct: an
/// interface that has its address just now may lack its routes yet.
const SOON: Duration = Duration::from_secs(2);

impl Links {
    /// STUN and TURN servers for links from now on.
    pub(crate) fn set_ice_servers(&mut self, servers: Vec<IceServer>) {
        self.ice_servers = servers;
    }

    /// What a connection gathers candidates with, that may be relayed or not yet.
    pub(super) fn ice(&self, relays: bool, cx: &Context) -> IceConfig {
        match cx.config.ice_transport_policy {
            IceTransportPolicy::All if !relays => IceConfig::direct(&self.ice_servers),
            policy => IceConfig::relayed(&self.ice_servers, policy),
        }
    }

    /// Whether a connection is relayed from its start: nothing else is allowed, or wanted first. A
    /// successor may be what is to bring a direct path.
    pub(super) fn relays_at_once(role: Role, cx: &Context) -> bool {
        let policy = cx.config.ice_transport_policy;
        let at_once = cx.config.turn_fallback_timeout.is_zero() && role != Role::Successor;
        policy == IceTransportPolicy::Relay || at_once
    }

    /// The answer of a link that this end has offered is there: direct candidates have so long from
    /// now on.
    pub(super) fn plan_fallback(&mut self, id: LinkId, cx: &Context) {
        let has_relays = self.ice_servers.iter().any(IceServer::is_turn);
        if let Some(link) = self.table.get_mut(id)
            && (has_relays && !link.negotiation.relays || link.negotiation.direct_only)
        {
            let wait = match link.negotiation.direct_only {
                false => cx.config.turn_fallback_timeout,
                true => cx.config.turn_fallback_timeout.max(DIRECT_PATIENCE),
            };
            link.negotiation.fallback_at = Some(cx.now + wait + cx.grace());
        }
    }

    /// No direct path of a link was found in time: begins a round with relayed candidates.
    pub(super) fn fall_back(&mut self, id: LinkId, cx: &mut Context) {
        let patience = cx.config.open_timeout + cx.grace();
        let Some(link) = self.table.get_mut(id) else {
            return;
        };
        let negotiation = &mut link.negotiation;
        let is_due = negotiation.fallback_at.take_if(|at| *at <= cx.now);
        if is_due.is_none() || negotiation.has_reached() {
            return; // It opens without.
        }
        if negotiation.direct_only {
            return self.give_up(id, "there is no direct path yet", cx);
        }
        negotiation.relays = true;
        negotiation.begin_round(negotiation.round().saturating_add(1));
        link.state = LinkState::Negotiating {
            until: cx.now + patience,
        };
        let peer = link.peer;
        decided!(cx, link = ?id, ?peer, "no direct path: try relays");
        let ice = self.ice(true, cx);
        cx.order(Output::ConfigureLink { link: id, ice });
        cx.order(Output::RestartLink { link: id });
    }
}

/// The better way of a link that is relayed.
impl Links {
    /// The driver tells the way that a link takes.
    pub(crate) fn path_found(&mut self, id: LinkId, path: LinkPath, cx: &mut Context) {
        let Some(link) = self.connection_mut(id) else {
            return;
        };
        link.path = Some(path);
        self.path_known(id, cx);
    }

    /// A link is open, and the way that it takes is known, perhaps since before: tells the
    /// application, and plans to find a better one.
    pub(super) fn path_known(&mut self, id: LinkId, cx: &mut Context) {
        let in_use = |link: &&mut Link| link.is_open() && link.role == Role::Only;
        let Some(link) = self.table.get_mut(id).filter(in_use) else {
            return;
        };
        let (peer, Some(path)) = (link.peer, link.path) else {
            return;
        };
        let before = link.upgrade.told.replace(path);
        if before != Some(path) {
            if before.is_some() {
                link.keepalive.path_changed();
            }
            decided!(cx, link = ?id, ?peer, ?path, "a link's way is known");
            cx.emit(Event::LinkPath { peer, path });
        }
        if !path.relayed {
            link.upgrade.found();
        } else if cx.this < peer {
            let jitter = unit(&mut self.rng);
            self.plan_upgrade(peer, jitter, cx);
        } else {
            self.ask_for(peer, Step::Direct);
        }
    }

    fn ask_for(&mut self, to: PeerId, step: Step) {
        let attempt = self.to(to).map(|link| link.negotiation.attempt());
        self.events.extend(attempt.map(|attempt| LinkEvent::Signal {
            to,
            attempt,
            signal: PeerSignal::Ask(step),
            way: Way::Best,
        }));
    }

    /// The higher end of a link says that it is relayed or has another network now. It is heeded
    /// where the link may be: a relay's address that this end has found out itself, or none.
    pub(crate) fn direct_asked(&mut self, peer: PeerId, attempt: u64, cx: &Context) {
        let (now, jitter) = (cx.now, unit(&mut self.rng));
        let link = self.to(peer).filter(|link| link.is_open());
        let Some(link) = link.filter(|link| link.negotiation.is_attempt(attempt)) else {
            return;
        };
        if !link.path.is_none_or(LinkPath::may_be_relayed) {
            return;
        }
        let is_new = now.since(link.opened_at.unwrap_or(now)) < NEWS;
        self.plan_upgrade(peer, jitter, cx);
        if let Some(link) = self.to_mut(peer).filter(|_| !is_new)
            && let Some(at) = &mut link.upgrade.at
        {
            *at = (*at).min(now + SOON.mul_f64(jitter));
        }
    }

    /// Plans when a direct path is looked for next, unless that is planned.
    pub(super) fn plan_upgrade(&mut self, peer: PeerId, jitter: f64, cx: &Context) {
        let relay_only = cx.config.ice_transport_policy == IceTransportPolicy::Relay;
        let link = self.to_mut(peer).filter(|link| link.is_open());
        if let Some(link) = link
            && !relay_only
            && link.upgrade.at.is_none()
            // A way that was to be direct is relayed all the same: the peer allows no other.
            && !link.negotiation.direct_only
        {
            link.upgrade.at = Some(cx.now + link.upgrade.wait(jitter));
        }
    }

    /// It is time to look for a direct path of a link.
    pub(super) fn check_upgrade(&mut self, id: LinkId, cx: &Context) {
        let is_busy = self.has_successor(id);
        let Some(link) = self.table.get_mut(id).filter(|link| link.is_open()) else {
            return;
        };
        if link.upgrade.at.take_if(|at| *at <= cx.now).is_none() {
            return;
        }
        if is_busy {
            // That was begun before: the network may be another since.
            link.upgrade.at = Some(cx.now + cx.config.redial_min);
            return;
        }
        link.upgrade.begin();
        let peer = link.peer;
        self.events.push_back(LinkEvent::RotationDue(id, peer));
    }

    /// The network is another now: what was learned of paths no longer holds, and there may be
    /// direct ones where there was none.
    pub(crate) fn network_changed(&mut self, cx: &Context) {
        self.packets.forget();
        self.seek_direct(cx);
    }

    pub(super) fn seek_direct(&mut self, cx: &Context) {
        let (this, now) = (cx.this, cx.now);
        if cx.config.ice_transport_policy == IceTransportPolicy::Relay {
            return;
        }
        let relayed = |link: &&Link| {
            let in_use = link.is_open() && link.role == Role::Only;
            in_use && link.path.is_some_and(LinkPath::may_be_relayed)
        };
        let relayed: Vec<LinkId> = self.table.iter().filter(relayed).map(|l| l.id).collect();
        for id in relayed {
            let Some(link) = self.table.get_mut(id) else {
                continue;
            };
            let peer = link.peer;
            if this > peer {
                self.ask_for(peer, Step::Direct);
            } else if link.upgrade.at.is_some() || link.path.is_some_and(|path| path.relayed) {
                link.upgrade.found(); // All tries anew.
                link.upgrade.at = Some(now + SOON.mul_f64(unit(&mut self.rng)));
            }
        }
    }
}

/// How a relayed link looks for a direct path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Upgrade {
    tries: u32,
    /// When it does so next.
    pub(super) at: Option<Instant>,
    /// Its next successor is for that.
    due: bool,
    /// The way that the application was told.
    told: Option<LinkPath>,
}

impl Upgrade {
    /// The wait before the next try.
    fn wait(&self, jitter: f64) -> Duration {
        spread(DIRECT_AFTER * (1 + self.tries.min(1)), jitter)
    }

    fn begin(&mut self) {
        self.tries = self.tries.saturating_add(1);
        self.due = true;
    }

    /// Whether the successor that is offered now is for that.
    pub(super) fn take_due(&mut self) -> bool {
        std::mem::take(&mut self.due)
    }

    /// The link is direct.
    fn found(&mut self) {
        *self = Self {
            told: self.told,
            ..Self::default()
        };
    }

    /// That of the link's successor.
    pub(super) fn succeeded(&self) -> Self {
        Self {
            at: None,
            due: false,
            ..*self
        }
    }
}

impl Link {
    /// Whether an offer is of a round that has not begun yet: on a connection that was open, or the
    /// one round that tries relays.
    pub(super) fn takes_round(&self, round: u16) -> bool {
        let falls_back = self.opened_at.is_none() && self.negotiation.round() == 0 && round == 1;
        (self.opened_at.is_some() || falls_back) && round > self.negotiation.round()
    }
}
