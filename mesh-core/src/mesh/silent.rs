//! A link that falls silent is lost, but its connection is [kept](crate::link::SilentLinks) until
//! it is known to be of no use; what arrives over it makes it a link again.

use super::Mesh;
use crate::id::{LinkId, PeerId};
use crate::io::Output;
use crate::link::{Keepalive, LinkState};
use crate::stats::RepairStep;
use crate::time::Instant;
use crate::timers::Timer;

impl Mesh {
    /// The other end of an open link gives no sign of life.
    pub(super) fn fall_silent(&mut self, id: LinkId, now: Instant) {
        let Some(mut link) = self.take_link(id) else {
            return;
        };
        let peer = link.peer;
        let queue = link.queue.fall_silent();
        for replaced in self.silent.keep(link, now) {
            self.cx.order(Output::CloseLink { link: replaced });
        }
        if let Some(at) = self.silent.deadline() {
            self.cx.timers.arm(Timer::Silent, at);
        }
        self.link_lost(peer, LinkState::Open, "no sign of life", queue.into(), now);
    }

    /// Something arrived over a connection that was silent. Returns whether it was one.
    pub(super) fn revive(&mut self, id: LinkId, now: Instant) -> bool {
        let Some(mut link) = self.silent.take(id) else {
            return false;
        };
        // An attempt to replace it: a link that had opened would have ended it.
        if let Some(&attempt) = self.by_peer.get(&link.peer) {
            self.close_link(attempt, "the link before it works again", now);
        }
        link.state = LinkState::Open;
        link.started_at = now;
        link.described_at = now;
        link.reached_at = None;
        link.opened_at = Some(now);
        link.unwanted_since = None;
        link.keepalive = Keepalive::new(&self.cx.config, now);
        let peer = link.peer;
        self.by_peer.insert(peer, id);
        self.links.insert(link);
        self.cx.stats.repair(RepairStep::Revival);
        self.link_gained(id, now);
        true
    }

    /// Closes a silent connection to a peer that is linked anew, or that asks to be.
    pub(super) fn forget_silent(&mut self, peer: PeerId) {
        if let Some(link) = self.silent.take_of(peer) {
            self.cx.order(Output::CloseLink { link });
        }
    }

    /// Closes what has been silent for too long, and asks the others for a sign of life.
    pub(super) fn ask_silent(&mut self, now: Instant) {
        while let Some(link) = self.silent.take_expired(now) {
            self.cx.order(Output::CloseLink { link });
        }
        for link in self.silent.ask(now) {
            while let Some((channel, frame)) = link.queue.next_frame() {
                let link = link.id;
                self.cx.order(Output::Transmit {
                    link,
                    channel,
                    frame,
                });
            }
        }
        if let Some(at) = self.silent.deadline() {
            self.cx.timers.arm(Timer::Silent, at);
        }
    }
}
