//! Offers, answers and candidates between two agents: over the mesh where a route exists, else
//! through the hub; signed either way.

use std::time::Duration;

use super::Mesh;
use crate::error::RejectReason;
use crate::id::{LinkId, MessageId, PeerId, Target};
use crate::io::{Channel, Output};
use crate::link::{Answer, LinkState};
use crate::rng::unit;
use crate::signaling::ClientMessage;
use crate::time::Instant;
use crate::wire::{Content, LinkSignal, PeerSignal};

/// How long an offer may be unanswered before a sign of the peer counts as not having seen it.
const ANSWER_PATIENCE: Duration = Duration::from_secs(4);

/// Trickled candidates taken for one link: a host has a handful of addresses.
const CANDIDATES_MAX: u32 = 64;

impl Mesh {
    /// Whether signals can reach a peer at all.
    pub(super) fn can_signal(&self, peer: PeerId) -> bool {
        self.routes.lead_to(peer) || self.hub_reaches(peer)
    }

    /// Of other shards the hub lists only those that we may want to dial, but others may dial us.
    fn hub_reaches(&self, peer: PeerId) -> bool {
        self.client.is_admitted() && (self.roster.lists(peer) || self.is_abroad(peer))
    }

    /// The mesh carries signals whenever it can, which spares the hub and does without it. After a
    /// failure the other way is tried: a route can be a dead agent's last trace.
    pub(super) fn prefers_hub(&self, peer: PeerId) -> bool {
        let failed_over_mesh = self.dialer.failures(peer) % 2 == 1;
        self.hub_reaches(peer) && (failed_over_mesh || !self.routes.contains(peer))
    }

    /// The peer connection of a link has something for its other end.
    pub(super) fn link_signaled(&mut self, id: LinkId, signal: LinkSignal, now: Instant) {
        if let Some(link) = self.links.get_mut(id) {
            if !matches!(signal, LinkSignal::Candidate { .. }) {
                link.described_at = now;
            }
            let (peer, attempt) = (link.peer, link.attempt);
            self.send_signal(peer, attempt, PeerSignal::Link(signal), now);
        }
    }

    pub(super) fn send_signal(
        &mut self,
        to: PeerId,
        attempt: u64,
        signal: PeerSignal,
        now: Instant,
    ) {
        let attempt_via_hub = self
            .by_peer
            .get(&to)
            .and_then(|&id| self.links.get(id))
            .map(|link| link.via_hub);
        let via_hub = attempt_via_hub.unwrap_or_else(|| self.prefers_hub(to));
        let content = Content::Signal { attempt, signal };
        let envelope = self.sign(Target::Peer(to), content, now);
        // Whom no path leads to the hub may know, though it has not listed it yet: a newcomer whose
        // offer is to be answered.
        let use_hub = if self.routes.contains(to) {
            via_hub && self.hub_reaches(to)
        } else {
            self.client.is_admitted()
        };
        if use_hub {
            let message = envelope.signed;
            let order = self.client.send(&ClientMessage::Signal { to, message });
            self.cx.outbox.extend(order);
        } else {
            // Lost on the way, it is as any lost signal: the attempt times out and is repeated.
            let _ = self.forward(envelope, Channel::Control, None, now);
        }
    }

    /// A verified signal from a peer.
    pub(super) fn signal_received(
        &mut self,
        id: MessageId,
        (attempt, signal): (u64, PeerSignal),
        via: Option<PeerId>,
        now: Instant,
    ) {
        if !self.cx.joined {
            return;
        }
        let from = id.author;
        match signal {
            PeerSignal::Link(LinkSignal::Offer { sdp }) if from < self.cx.this => {
                self.offer_received(from, (attempt, sdp), via, now);
            }
            PeerSignal::Solicit if from > self.cx.this => self.solicited(id, now),
            PeerSignal::Link(LinkSignal::Offer { .. }) | PeerSignal::Solicit => {
                self.reject(via, Some(from), RejectReason::UnexpectedSignal);
            }
            PeerSignal::Link(signal) => {
                self.apply_signal(id, (attempt, signal), now);
            }
            PeerSignal::Decline => self.declined(from, attempt, now),
        }
    }

    fn offer_received(
        &mut self,
        from: PeerId,
        (attempt, sdp): (u64, String),
        via: Option<PeerId>,
        now: Instant,
    ) {
        self.forget_silent(from); // It has given that up too.
        if let Some(&old) = self.by_peer.get(&from) {
            let old_link = self.links.get(old);
            if old_link.is_some_and(|link| link.attempt == attempt) {
                return; // The same offer over another path.
            }
            // The offerer has given the old attempt up, or lost its end of the link.
            self.close_link(old, "replaced by a new offer of the peer", now);
        }
        if !self.has_room_for(from, now) {
            self.send_signal(from, attempt, PeerSignal::Decline, now);
            return;
        }
        // Looked at twice already means that we have asked for this offer.
        let solicited = self.dialer.failures(from) > 1;
        let id = self.add_link(from, attempt, now);
        if let Some(link) = self.links.get_mut(id) {
            link.ours = solicited;
            link.via_hub = via.is_none();
        }
        self.open_link(id, from, Some(sdp));
    }

    /// A peer that has no link to us asks for an offer.
    fn solicited(&mut self, asked: MessageId, now: Instant) {
        let from = asked.author;
        let Some(link) = self.by_peer.get(&from).and_then(|&id| self.links.get(id)) else {
            if self.has_room_for(from, now) {
                self.dial(from, now);
            } else {
                self.send_signal(from, 0, PeerSignal::Decline, now);
            }
            return;
        };
        if link.answer.is_some_and(|answer| answer.is_before(&asked)) {
            let id = link.id;
            self.close_link(id, "the peer has lost its end", now);
            self.dial(from, now);
        } else {
            self.redial_if_stuck(from, ANSWER_PATIENCE, now);
        }
    }

    /// A peer speaks, but has not answered our offer: the offer went astray, perhaps to an earlier
    /// life of the peer. Offers anew instead of waiting for the attempt to time out.
    pub(super) fn redial_if_stuck(&mut self, peer: PeerId, patience: Duration, now: Instant) {
        let link = self.by_peer.get(&peer).and_then(|&id| self.links.get(id));
        let stuck = link.filter(|link| {
            let unanswered = self.cx.this < peer && link.answer.is_none();
            link.is_negotiating()
                && unanswered
                && now.since(link.started_at) >= patience + self.cx.grace()
        });
        if let Some(id) = stuck.map(|link| link.id) {
            self.close_link(id, "the peer has not seen the offer", now);
            self.dial(peer, now);
        }
    }

    fn apply_signal(&mut self, id: MessageId, (attempt, signal): (u64, LinkSignal), now: Instant) {
        let from = id.author;
        let link = self
            .by_peer
            .get(&from)
            .and_then(|&id| self.links.get_mut(id));
        let Some(link) = link.filter(|link| link.attempt == attempt) else {
            return; // Of an attempt that is over.
        };
        if let LinkSignal::Candidate { .. } = signal {
            link.candidates += 1;
            if link.candidates > CANDIDATES_MAX {
                self.reject(None, Some(from), RejectReason::Limit);
                return;
            }
        } else if from < self.cx.this || !link.is_negotiating() || link.answer.is_some() {
            self.reject(None, Some(from), RejectReason::UnexpectedSignal);
            return;
        } else {
            link.answer = Some(Answer { id, at: now });
            let until = now + self.cx.config.open_timeout;
            link.state = LinkState::Negotiating { until };
        }
        let link = link.id;
        self.cx.order(Output::ApplySignal { link, signal });
    }

    fn declined(&mut self, from: PeerId, attempt: u64, now: Instant) {
        let link = self.by_peer.get(&from).and_then(|&id| self.links.get(id));
        match link {
            Some(link) if link.attempt == attempt && link.is_negotiating() => {
                let id = link.id;
                self.cx.stats.links.declined += 1;
                self.close_link(id, "the peer has as many links as it allows", now);
            }
            Some(_) => {}
            // Only whom we asked can decline.
            None if self.wanted.contains(&from) => {
                let jitter = self.cx.jitter();
                self.dialer.failed(from, &self.cx.config, jitter, now);
            }
            None => {}
        }
    }
}
