//! What the ends of an attempt tell each other if it fails at one of them.

use super::dialer::NO_ROOM;
use super::{LinkEvent, Links, Way};
use crate::context::Context;
use crate::id::{LinkId, PeerId};
use crate::wire::PeerSignal;

impl Links {
    /// If an attempt fails that this end has answered, its offerer is told: it would wait until its
    /// own patience ends, which is four times as long after some failures.
    pub(super) fn tell_offerer(&mut self, id: LinkId, cx: &Context) {
        let link = self.table.get(id).filter(|link| link.is_negotiating());
        if let Some(link) = link.filter(|link| link.peer < cx.this) {
            self.events.push_back(LinkEvent::Signal {
                to: link.peer,
                attempt: link.negotiation.attempt(),
                signal: PeerSignal::Failed,
                way: Way::Best,
            });
        }
    }

    /// The answerer of an attempt says that it has failed.
    pub(crate) fn failed_at_answerer(&mut self, peer: PeerId, attempt: u64, cx: &mut Context) {
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
