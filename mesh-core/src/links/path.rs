//! The way of a link: direct first, and relayed only where that fails.
//!
//! A relay costs its operator each byte twice, and its server a port for each end of each link. So
//! a connection begins with direct candidates alone, and asks TURN servers as STUN servers. If ICE
//! has found no path [`Config::turn_fallback_timeout`](crate::Config::turn_fallback_timeout) after
//! the answer was there, its offerer begins a further round on it, with relayed candidates; the
//! other end, whose link is not open either, adds its own when it answers that round. So only one
//! end decides, and a peer whose hub names no TURN server still takes part.

use super::Links;
use super::link::{Link, LinkState};
use crate::context::Context;
use crate::ice::{IceConfig, IceServer, IceTransportPolicy};
use crate::id::LinkId;
use crate::io::Output;
use crate::log::decided;

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

    /// Whether a connection is relayed from its start: nothing else is allowed, or wanted first.
    pub(super) fn relays_at_once(cx: &Context) -> bool {
        let policy = cx.config.ice_transport_policy;
        policy == IceTransportPolicy::Relay || cx.config.turn_fallback_timeout.is_zero()
    }

    /// The answer of a link that this end has offered is there: direct candidates have so long from
    /// now on.
    pub(super) fn plan_fallback(&mut self, id: LinkId, cx: &Context) {
        let has_relays = self.ice_servers.iter().any(IceServer::is_turn);
        if let Some(link) = self.table.get_mut(id)
            && has_relays
            && !link.negotiation.relays
        {
            let wait = cx.config.turn_fallback_timeout + cx.grace();
            link.negotiation.fallback_at = Some(cx.now + wait);
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

impl Link {
    /// Whether an offer is of a round that has not begun yet: on a connection that was open, or the
    /// one round that tries relays.
    pub(super) fn takes_round(&self, round: u16) -> bool {
        let falls_back = self.opened_at.is_none() && self.negotiation.round() == 0 && round == 1;
        (self.opened_at.is_some() || falls_back) && round > self.negotiation.round()
    }
}
