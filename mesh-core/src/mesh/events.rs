//! What happens in one machine and concerns others, in the order in which they learn of it.

use super::Mesh;
use crate::id::{LinkId, PeerId};
use crate::io::{Channel, Event};
use crate::links::{Down, LinkEvent, Was, Way};
use crate::log::{Brief, decided};
use crate::messages::Messages;
use crate::stats::RepairStep;
use crate::wire::{PeerSignal, Record};

impl Mesh {
    /// Hands over what has happened, until nothing more does.
    pub(super) fn carry_events(&mut self) {
        loop {
            if let Some(event) = self.links.poll_event() {
                self.link_event(event);
            } else if let Some(signal) = self.messages.poll_signal() {
                self.signal_received(signal);
            } else {
                return;
            }
        }
    }

    fn link_event(&mut self, event: LinkEvent) {
        tracing::trace!(agent = ?self.cx.this, "{}", Brief(&event));
        match event {
            LinkEvent::Up(id, peer) => self.link_up(id, peer),
            LinkEvent::Draining => {
                self.routing.announce_soon(&self.cx);
                self.routing.changed(&self.cx);
                self.overlay.settle_soon(&self.cx);
            }
            LinkEvent::Measured(id) => {
                let others = self.overlay.members_len();
                self.routing.measured(id, &self.links, others, &self.cx);
            }
            LinkEvent::Down(down) => self.link_down(down),
            LinkEvent::Signal {
                to,
                attempt,
                signal,
                way,
            } => self.send_signal(to, attempt, signal, way),
            LinkEvent::Replaced { former, link } => {
                self.overlay.link_replaced(former, link);
                self.routing.link_replaced(former, link);
            }
            LinkEvent::RotationDue(link, peer) => self.rotate_link(link, peer),
            LinkEvent::RestartDue(link) => self.restart_link(link),
            LinkEvent::ForHub { to, message } => self.give_hub(to, message),
            LinkEvent::Isolated => self.woke_up(),
            LinkEvent::Writable => self.with_net(Messages::notify_writable),
        }
    }

    /// A link is open, or works again.
    fn link_up(&mut self, id: LinkId, peer: PeerId) {
        let (links, cx) = (&mut self.links, &mut self.cx);
        self.overlay.link_up(id, peer, cx);
        let is_last = self.overlay.is_linked(links);
        self.routing.announce_opened(is_last, cx);
        if is_last && !self.overlay.is_forming(cx) {
            // Nothing else opens now, here or elsewhere: there is time to measure.
            links.measure_all(cx);
        }
        // The other shard holds other records.
        if cx.this < peer && !self.overlay.is_remote(peer) {
            self.routing.compare_with(id, cx);
        }
        self.messages.tell_news(id, links, cx);
        self.routing.changed(cx);
        self.with_net(Messages::flush_waiting);
        self.with_net(Messages::notify_writable);
        // Replacements may all be open now, and a slot for negotiating is free.
        self.overlay.settle_soon(&self.cx);
    }

    fn link_down(&mut self, down: Down) {
        let cx = &mut self.cx;
        self.routing.link_down(down.id);
        if down.was != Was::Negotiating {
            // A link that drained was withdrawn before.
            if down.was == Was::Open {
                cx.stats.links.lost += u64::from(!self.routing.has_departed(down.peer));
                self.routing.announce_soon(cx);
            }
            self.routing.changed(cx);
            self.with_net(|messages, net| messages.reroute(down.unacknowledged, net));
            self.with_net(Messages::notify_writable);
        }
        self.overlay.settle_at(self.cx.now);
    }

    /// A frame has come over a link, or over a connection that was silent.
    pub(super) fn frame_received(&mut self, id: LinkId, channel: Channel, bytes: &[u8]) {
        let records = self.links.frame_received(id, bytes, &mut self.cx);
        for record in records.into_iter().flatten() {
            self.record_received(id, channel, record);
            self.carry_events();
        }
    }

    fn record_received(&mut self, id: LinkId, channel: Channel, record: Record) {
        let (links, cx) = (&mut self.links, &mut self.cx);
        let Some(peer) = links.peer_of(id) else {
            return; // A record before this one had the link closed.
        };
        match record {
            Record::Ping { nonce } => links.ping_received(id, channel, nonce, cx),
            Record::Pong { nonce } => links.pong(id, channel, nonce, cx),
            Record::Ack { received } => links.acknowledged(id, received, cx),
            Record::Drain => links.drain_requested(id, cx),
            Record::Envelope(envelope) => {
                links.envelope_received(id, channel, &envelope, cx);
                self.with_net(|messages, net| {
                    messages.envelope_received(peer, channel, envelope, net);
                });
            }
            // The ends tell each other what they know once it is a link again.
            _ if links.is_silent(id) => {}
            Record::Summary { fingerprint } => {
                self.routing.summary_received(id, fingerprint, links, cx);
            }
            Record::Digest {
                low,
                high,
                entries,
                reply,
            } => self
                .routing
                .digest_received(id, low..=high, &entries, reply, cx),
            Record::LinkState(signed) => {
                let authors_max = self.overlay.authors_max(cx);
                let record = (id, signed);
                self.routing
                    .link_state_received(record, authors_max, links, cx);
            }
            Record::Have { names } => self.messages.have_received(id, &names, links, cx),
            Record::Want { names } => self.messages.want_received(id, &names, links, cx),
        }
    }

    /// Paths are computed again, and with them the members of the room.
    pub(super) fn update_routes(&mut self) {
        self.routing.update(&self.links, &self.cx);
        self.members_changed();
        if self.routing.take_news() {
            self.cx.stats.route_changes += 1;
            self.cx.emit(Event::TopologyChanged);
        }
        if self.routing.take_missed() {
            self.with_net(Messages::ask_for_news);
        }
        self.overlay.search_on(&self.links, &self.cx);
        // What waited for a way, and callers that waited for room, may find one now.
        self.with_net(Messages::flush_waiting);
        self.with_net(Messages::notify_writable);
    }

    /// Makes the links what the present members call for.
    pub(super) fn reconcile(&mut self) {
        if !self.cx.joined {
            return;
        }
        let (overlay, routing) = (&mut self.overlay, &mut self.routing);
        overlay.reconcile(&self.links, routing, &mut self.cx);
        self.dial_wanted();
        let surplus = self.overlay.surplus(&self.links, &self.routing, &self.cx);
        for id in surplus {
            self.links.drain(id, &self.cx);
            self.carry_events();
        }
        if self.overlay.is_linked(&self.links) {
            self.routing.announce_rest(&self.cx); // Nothing more is awaited.
        }
        if let Some(at) = self.links.next_dial(&self.cx) {
            self.overlay.settle_at(at);
        }
    }

    fn dial_wanted(&mut self) {
        let wanted = self.overlay.wanted().iter().copied();
        let missing = wanted.filter(|&peer| self.links.may_dial(peer, &self.cx));
        let missing: Vec<_> = missing.collect();
        let mut negotiating = self
            .links
            .connections()
            .filter(|l| l.is_negotiating())
            .count();
        for peer in missing {
            if negotiating >= self.cx.config.negotiating_max {
                break; // The next one to open or fail brings us back here.
            }
            if !self.can_signal(peer) {
                continue;
            }
            negotiating += 1;
            if self.cx.this < peer {
                self.dial(peer);
            } else {
                self.await_offer(peer);
            }
        }
    }

    /// The lower end offers, but it may not know yet that a link is wanted: gives it a moment, then
    /// asks.
    fn await_offer(&mut self, peer: PeerId) {
        let failed = self.links.failures(peer) > 0;
        if failed || self.overlay.seeks(peer) {
            if failed {
                self.cx.stats.repair(RepairStep::Solicit);
            }
            decided!(self.cx, ?peer, failed, "ask for an offer");
            self.send_signal(peer, 0, PeerSignal::Solicit, Way::Best);
        }
        self.links.await_offer(peer, &self.cx);
    }
}
