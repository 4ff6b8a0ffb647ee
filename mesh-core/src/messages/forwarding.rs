//! Messages on their way: the next hop, and a neighbour with room.

use super::Net;
use super::incoming::TTL_MAX;
use crate::config::Config;
use crate::error::LossReason;
use crate::id::{MessageId, PeerId, Target};
use crate::io::Channel;
use crate::links::Lane;
use crate::time::UnixTime;
use crate::wire::{Content, Envelope, Message, MessageHeader};

/// An envelope that cannot be passed on, and why.
pub(super) type Stuck = Box<(LossReason, Envelope)>;

impl Net<'_> {
    pub(super) fn config(&self) -> &Config {
        &self.cx.config
    }

    /// The neighbour to pass a message on to: on a shortest path, open, with room for what travels
    /// so, and not the one that it came from, which would be a loop.
    pub(super) fn next_hop(
        &mut self,
        lane: Lane,
        to: PeerId,
        from: Option<PeerId>,
    ) -> Result<PeerId, LossReason> {
        let mut full = false;
        for fresh in [false, true] {
            if fresh && !self.routing.refresh(self.links, self.cx) {
                break;
            }
            let (links, cx) = (&*self.links, &*self.cx);
            let usable = |peer| {
                let link = links.open_to(peer).filter(|_| Some(peer) != from);
                let takes = link.is_some_and(|link| link.takes(lane, &cx.config));
                full |= link.is_some() && !takes;
                takes
            };
            if let Some(peer) = self.routing.next_hop(to, cx, usable) {
                return Ok(peer);
            }
        }
        if self.still_leads_to(lane, to) && Some(to) != from {
            return Ok(to);
        }
        Err(if full {
            LossReason::QueueFull
        } else {
            LossReason::NoRoute
        })
    }

    /// Whether there is a link to the destination itself that is being drained. While links are
    /// replaced, two neighbours may each believe the way to be over the other.
    fn still_leads_to(&self, lane: Lane, to: PeerId) -> bool {
        let link = self.links.to(to).filter(|link| link.is_usable());
        link.is_some_and(|link| !link.queue.is_full_for(lane, self.config()))
    }

    /// Passes an envelope on, one hop; gives it back with the reason if it is stuck.
    pub(crate) fn forward(
        &mut self,
        envelope: Envelope,
        channel: Channel,
        from: Option<PeerId>,
    ) -> Result<(), Stuck> {
        let Target::Peer(to) = envelope.target else {
            return Err(Box::new((LossReason::NoRoute, envelope)));
        };
        if envelope.ttl == 0 {
            return Err(Box::new((LossReason::TtlExpired, envelope)));
        }
        let lane = Lane::of(&envelope, channel);
        let peer = match self.next_hop(lane, to, from) {
            Ok(peer) => peer,
            Err(reason) => return Err(Box::new((reason, envelope))),
        };
        self.hand_to(peer, envelope, channel)
    }

    /// Passes an envelope on to this neighbour, however much waits for it.
    pub(super) fn hand_to(
        &mut self,
        peer: PeerId,
        envelope: Envelope,
        channel: Channel,
    ) -> Result<(), Stuck> {
        let returned = self.links.queue_envelope(peer, channel, envelope, self.cx);
        match returned {
            None => Ok(()),
            Some(envelope) => Err(Box::new((LossReason::NoRoute, envelope))),
        }
    }

    /// Whether messages of this agent to a member, or parts of them, still wait for the link to
    /// this neighbour: a copy of one would come after them.
    pub(super) fn holds(&self, lane: Lane, to: Target, hop: PeerId) -> bool {
        let link = self.links.open_to(hop);
        link.is_some_and(|link| link.queue.holds(lane, to))
    }

    /// Whether there is an open link to a neighbour, with room for messages.
    pub(super) fn takes_data(&self, peer: PeerId) -> bool {
        self.links.takes(peer, Channel::Data, self.cx)
    }

    /// Whether a broadcast reaches a member, or there is none to reach.
    pub(super) fn has_way_to_room(&self) -> bool {
        self.links.open().next().is_some() || self.overlay.members_len() == 0
    }

    /// Signs under a number that the content has already.
    pub(super) fn sign(&mut self, header: MessageHeader, content: Content) -> Envelope {
        Envelope {
            ttl: header.ttl,
            target: header.target,
            signed: self.trust.sign(&Message { header, content }, self.cx),
        }
    }

    /// The header of a message of this agent.
    pub(super) fn header(&self, id: MessageId, sent_at: UnixTime) -> MessageHeader {
        MessageHeader {
            incarnation: id.incarnation,
            sequence: id.sequence,
            target: id.target,
            sent_at,
            ttl: self.ttl_for(id.target),
        }
    }

    /// Enough for a detour twice as long as the present path; a broadcast is cut by its duplicates
    /// and may go as far as it must.
    fn ttl_for(&self, target: Target) -> u8 {
        match target {
            Target::Room => TTL_MAX,
            Target::Peer(peer) => {
                let hops = self.routing.routes().hops(peer);
                hops.saturating_mul(2).clamp(self.config().ttl, TTL_MAX)
            }
        }
    }
}
