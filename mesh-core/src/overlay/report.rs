//! What this agent says of its link to another member: see [`LinkReport`].

use super::Overlay;
use crate::context::Context;
use crate::id::PeerId;
use crate::link_report::{LinkCondition, LinkReport};
use crate::links::Links;
use crate::routing::Routing;

impl Overlay {
    /// The link to another, as this end sees it, and what there is to know about it.
    pub(crate) fn report(
        &self,
        peer: PeerId,
        links: &Links,
        routing: &Routing,
        cx: &Context,
    ) -> LinkReport {
        let route = routing.routes().get(peer);
        let condition = match links.condition(peer, cx) {
            LinkCondition::Absent if !self.knows(peer) => LinkCondition::Unknown,
            condition => condition,
        };
        LinkReport {
            condition,
            wanted: self.wanted.contains(&peer),
            remote: self.is_remote(peer),
            k: count(self.k(cx)),
            links: count(links.len()),
            links_max: count(self.links_max(cx)),
            knows_relays: links.knows_relays(),
            hops: route.map(|route| route.hops),
            next_hop: route.and_then(|route| route.next_hops.first().copied()),
            failed: links.failed_attempts(peer, cx),
        }
    }

    /// Whether a peer is a member, as far as this agent can tell: of other shards it knows few.
    fn knows(&self, peer: PeerId) -> bool {
        peer != self.this && self.may_be_here(peer)
    }
}

fn count(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}
