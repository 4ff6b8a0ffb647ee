//! Offers, answers and candidates between two agents: over the mesh where a route exists, else
//! through the hub; signed either way.

use std::time::Duration;

use super::Mesh;
use crate::context::Context;
use crate::error::RejectReason;
use crate::id::{LinkId, MessageId, PeerId, Target};
use crate::io::Channel;
use crate::links::{SignalFrom, Succession, Way};
use crate::log::{decided, name_of};
use crate::signaling::ClientMessage;
use crate::trust::Signed;
use crate::wire::{Content, LinkSignal, PeerSignal, Step};

impl Mesh {
    /// Whether signals can reach a peer at all.
    pub(super) fn can_signal(&self, peer: PeerId) -> bool {
        self.routing.routes().lead_to(peer) || self.hub_reaches(peer)
    }

    /// Of other shards the hub lists only those that we may want to dial, but others may dial us.
    fn hub_reaches(&self, peer: PeerId) -> bool {
        let may_know = self.overlay.lists(peer) || self.overlay.is_remote(peer);
        self.signaling.is_admitted() && may_know
    }

    /// The mesh carries signals whenever it can, which spares the hub and does without it. After a
    /// failure the other way is tried: a route can be a dead agent's last trace.
    fn prefers_hub(&self, peer: PeerId) -> bool {
        let failed_over_mesh = self.links.failures(peer) % 2 == 1;
        self.hub_reaches(peer) && (failed_over_mesh || !self.routing.routes().contains(peer))
    }

    /// Opens a link as the offerer.
    pub(super) fn dial(&mut self, peer: PeerId) {
        let via_hub = self.prefers_hub(peer);
        let link = self.links.dial(peer, via_hub, &mut self.cx);
        let ours = self.overlay.wanted().contains(&peer);
        self.overlay.link_begun(link, ours);
    }

    /// The keys of a link are to be rotated: offers a successor.
    pub(super) fn rotate_link(&mut self, link: LinkId, peer: PeerId) {
        let ways = (self.can_signal(peer), self.prefers_hub(peer));
        if let Some(successor) = self.links.rotate(link, ways, &mut self.cx) {
            self.overlay.link_begun(successor, true);
        }
    }

    /// The path of a link is away: asks the other end for a restart.
    pub(super) fn restart_link(&mut self, link: LinkId) {
        let peer = self.links.peer_of(link);
        let can_signal = peer.is_some_and(|peer| self.can_signal(peer));
        if let Some((peer, attempt, step)) = self.links.restart(link, can_signal, &mut self.cx) {
            let ask = PeerSignal::Ask(step);
            self.send_signal(peer, attempt, ask, Way::Both);
        }
    }

    /// Gives all links fresh keys.
    pub(super) fn rotate_links(&mut self) {
        for (peer, attempt) in self.links.rotate_all(&self.cx) {
            let ask = PeerSignal::Ask(Step::Succeed);
            self.send_signal(peer, attempt, ask, Way::Best);
        }
    }

    /// Sends a signal of an attempt.
    pub(super) fn send_signal(&mut self, to: PeerId, attempt: u64, signal: PeerSignal, way: Way) {
        let via_hub = match way {
            Way::AsBegun { via_hub } => via_hub,
            Way::Best | Way::Both => self.prefers_hub(to),
        };
        let content = Content::Signal { attempt, signal };
        let target = Target::Peer(to);
        let envelope = self.with_net(|messages, net| messages.sign(target, content, net));
        // A peer that no path leads to, or none that works, the hub may know though it has not
        // listed it yet: a newcomer whose offer is to be answered, or an agent that is just back.
        let has_route = self.routing.routes().contains(to);
        let use_hub = if has_route && way != Way::Both {
            via_hub && self.hub_reaches(to)
        } else {
            self.signaling.is_admitted()
        };
        if use_hub {
            let message = envelope.signed.clone();
            self.links.gave_hub(to, attempt, &message, &self.cx);
            self.give_hub(to, message);
        }
        if !use_hub || (way == Way::Both && has_route) {
            // Lost on the way, it is as any lost signal: the attempt times out and is repeated.
            let _ = self.with_net(|_, net| net.forward(envelope, Channel::Control, None));
        }
    }

    /// Has the hub pass a signal on.
    pub(super) fn give_hub(&mut self, to: PeerId, message: Signed) {
        let order = self.signaling.send(&ClientMessage::Signal { to, message });
        self.cx.outbox.extend(order);
    }

    /// A verified signal from a peer.
    pub(super) fn signal_received(&mut self, received: SignalFrom) {
        if !self.cx.joined {
            return;
        }
        let SignalFrom {
            message,
            attempt,
            signal,
            via,
        } = received;
        let from = message.author;
        let told = name_of(&signal);
        tracing::trace!(agent = ?self.cx.this, ?from, ?via, "signal: {told}");
        match signal {
            PeerSignal::Link {
                round: 0,
                signal: LinkSignal::Offer { sdp },
            } if from < self.cx.this => self.offer_received(from, (attempt, sdp), via),
            PeerSignal::Succeed { predecessor, sdp } if from < self.cx.this => {
                self.successor_received(from, predecessor, (attempt, sdp), via);
            }
            PeerSignal::Solicit if from > self.cx.this => self.solicited(&message),
            PeerSignal::Ask(step @ (Step::Restart | Step::Rebind)) => {
                self.restart_asked(from, attempt, step);
            }
            PeerSignal::Ask(Step::Succeed) if from > self.cx.this => {
                self.links.rotation_asked(from, attempt, &self.cx);
            }
            PeerSignal::Ask(Step::Direct) if from > self.cx.this => {
                self.links.direct_asked(from, attempt, &self.cx);
            }
            PeerSignal::Ask(Step::Media(tracks)) if from > self.cx.this => {
                self.links.tracks_asked(from, tracks, &mut self.cx);
            }
            PeerSignal::Link { round, signal } if may_be_from(from, round, &signal, &self.cx) => {
                let round = (attempt, round);
                self.links.apply(message, round, signal, &mut self.cx);
            }
            PeerSignal::Decline => self.declined(from, attempt),
            PeerSignal::Failed => self.links.failed_at_other_end(from, attempt, &mut self.cx),
            PeerSignal::Link { .. }
            | PeerSignal::Succeed { .. }
            | PeerSignal::Solicit
            | PeerSignal::Ask(_) => {
                let reason = RejectReason::UnexpectedSignal;
                self.links.reject(via, Some(from), reason, &mut self.cx);
            }
        }
    }

    /// The lower end of a link offers a connection that is to take its place.
    fn successor_received(
        &mut self,
        from: PeerId,
        predecessor: u64,
        offer: (u64, String),
        via: Option<PeerId>,
    ) {
        let (succession, cx) = ((predecessor, via.is_none()), &mut self.cx);
        match self
            .links
            .answer_successor(from, succession, offer.clone(), cx)
        {
            Succession::Strange => self.offer_received(from, offer, via),
            Succession::Begun(link) => self.overlay.link_begun(link, false),
            Succession::Ignored => {}
        }
    }

    /// The other end of a link asks for a restart.
    fn restart_asked(&mut self, from: PeerId, attempt: u64, step: Step) {
        let asked = (attempt, step);
        if self.links.restart_asked(from, asked, &mut self.cx) {
            let ask = PeerSignal::Ask(step);
            self.send_signal(from, attempt, ask, Way::Both);
        }
    }

    fn offer_received(&mut self, from: PeerId, (attempt, sdp): (u64, String), via: Option<PeerId>) {
        if !self.links.make_way(from, attempt, &mut self.cx) {
            return;
        }
        self.carry_events();
        if !self.overlay.has_room_for(from, &self.links, &self.cx) {
            self.decline(from, attempt);
            return;
        }
        let solicited = self.links.has_solicited(from);
        let offer = (attempt, sdp);
        let link = self.links.answer(from, offer, via.is_none(), &mut self.cx);
        self.overlay.link_begun(link, solicited);
    }

    /// A peer that has no link to us asks for an offer.
    fn solicited(&mut self, asked: &MessageId) {
        let from = asked.author;
        if self.links.leads_to(from) {
            if let Some(lost) = self.links.lost_by(asked, &self.cx) {
                self.redial(lost, from);
            }
        } else if self.overlay.has_room_for(from, &self.links, &self.cx) {
            self.dial(from);
        } else {
            self.decline(from, 0); // The number of no attempt.
        }
    }

    fn decline(&mut self, peer: PeerId, attempt: u64) {
        decided!(
            self.cx,
            ?peer,
            links = self.links.len(),
            "decline a link: there is no room"
        );
        self.send_signal(peer, attempt, PeerSignal::Decline, Way::Best);
    }

    /// Offers anew if a peer has not seen our offer for so long, instead of waiting for the attempt
    /// to time out.
    pub(super) fn redial_if_unseen(&mut self, peer: PeerId, patience: Duration) {
        if let Some(unseen) = self.links.unseen_by(peer, patience, &self.cx) {
            self.redial(unseen, peer);
        }
    }

    fn redial(&mut self, (link, reason): (LinkId, &str), peer: PeerId) {
        self.links.close(link, reason, &mut self.cx);
        self.carry_events();
        self.dial(peer);
    }

    fn declined(&mut self, from: PeerId, attempt: u64) {
        let has_link = self.links.declined(from, attempt, &mut self.cx);
        // Else it declines an offer that has ended meanwhile.
        if attempt == 0 && !has_link && self.overlay.wanted().contains(&from) {
            self.links.declined_to_offer(from, &self.cx);
        }
    }
}

/// Whether a signal can be of an honest peer: only the lower end of a pair offers.
fn may_be_from(from: PeerId, round: u16, signal: &LinkSignal, cx: &Context) -> bool {
    !matches!(signal, LinkSignal::Offer { .. }) || (round > 0 && from < cx.this)
}
