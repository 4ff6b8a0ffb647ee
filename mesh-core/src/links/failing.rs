//! What the ends of an attempt tell each other if it fails at one of them.

use super::dialer::NO_ROOM;
use super::{LinkEvent, Links, Way};
use crate::context::Context;
use crate::id::{LinkId, PeerId};
use crate::wire::PeerSignal;

impl Links {
    /// Closes a link, of whose attempt the other end may still expect something.
    pub(super) fn give_up(&mut self, id: LinkId, reason: &str, cx: &mut Context) {
        self.tell_failed(id);
        self.close(id, reason, cx);
    }

    /// If the link is an attempt, its other end is told that it has failed: it would wait until its
    /// own patience ends, which is four times as long after some failures, and take no other path
    /// to this agent meanwhile.
    pub(super) fn tell_failed(&mut self, id: LinkId) {
        if let Some(link) = self.table.get(id).filter(|link| link.is_negotiating()) {
            self.events.push_back(LinkEvent::Signal {
                to: link.peer,
                attempt: link.negotiation.attempt(),
                signal: PeerSignal::Failed,
                way: Way::Best,
            });
        }
    }

    /// The other end of an attempt says that it has failed there.
    pub(crate) fn failed_at_other_end(&mut self, peer: PeerId, attempt: u64, cx: &mut Context) {
        if let Some(id) = self.in_negotiation(peer, attempt) {
            self.close(id, "the attempt failed at the other end", cx);
        }
    }

    /// A peer has no room for the link of an attempt. Returns whether there is a link to it, of
    /// whatever attempt.
    pub(crate) fn declined(&mut self, peer: PeerId, attempt: u64, cx: &mut Context) -> bool {
        let Some(id) = self.in_negotiation(peer, attempt) else {
            return self.leads_to(peer);
        };
        cx.stats.links.declined += 1;
        self.close(id, NO_ROOM, cx);
        self.dialer.note_no_room(peer, cx.now);
        true
    }
}
