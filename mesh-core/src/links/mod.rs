//! The links of an agent, each from the decision to open it until it is gone.
//!
//! The lower [`PeerId`] of a pair offers, so two ends never offer at once; the higher may ask for
//! an offer. An attempt has a random number chosen by the offerer, which every signal about it
//! carries, so that a late candidate of a failed attempt is not taken for one of the next. A closed
//! link is simply forgotten; [`Dialer`] remembers when to try again.
//!
//! [`Links`] does not choose its peers, nor what travels over a link. It is told, and tells what
//! happens by [`LinkEvent`]s, in the order in which it happened.

mod dialer;
mod keepalive;
mod link;
mod liveness;
mod negotiation;
mod queue;
mod relayed;
mod silent;
mod table;
#[cfg(test)]
mod tests;
mod traffic;

pub(crate) use link::Link;
pub(crate) use negotiation::SignalFrom;

use std::collections::VecDeque;

use crate::context::Context;
use crate::error::RejectReason;
use crate::ice::IceServer;
use crate::id::{LinkId, PeerId};
use crate::io::{Event, Output};
use crate::stats::RepairStep;
use crate::timers::Timer;
use crate::trust::Signed;
use crate::wire::{Envelope, PeerSignal, Record};
use dialer::Dialer;
use keepalive::Keepalive;
use link::LinkState;
use silent::SilentLinks;
use table::Table;

/// What happened to links, for whoever is concerned.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// A link is open, or works again.
    Up(LinkId, PeerId),
    /// A link takes no new messages from now on.
    Draining,
    /// A link's round trip or bandwidth was measured.
    Measured(LinkId),
    /// A link is no more, or never opened.
    Down(Down),
    /// The other end of a link in negotiation is to get this.
    Signal {
        to: PeerId,
        attempt: u64,
        signal: PeerSignal,
    },
    /// The hub is to get this again, for a peer.
    ForHub { to: PeerId, message: Signed },
    /// No link has heard anything lately: it may be this agent that cannot be reached.
    Isolated,
    /// A queue that was full may have room.
    Writable,
}

/// A link that is no more.
#[derive(Debug)]
pub(crate) struct Down {
    pub(crate) id: LinkId,
    pub(crate) peer: PeerId,
    pub(crate) was: Was,
    /// Envelopes that its other end may not have.
    pub(crate) unacknowledged: Vec<Envelope>,
}

/// Where a link stood before it was no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Was {
    Negotiating,
    Open,
    Draining,
}

/// The links of an agent.
#[derive(Debug, Default)]
pub(crate) struct Links {
    table: Table,
    /// Those that were open and fell silent.
    silent: SilentLinks,
    dialer: Dialer,
    ice_servers: Vec<IceServer>,
    events: VecDeque<LinkEvent>,
}

/// What others may know.
impl Links {
    /// The next thing that happened.
    pub(crate) fn poll_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn ids(&self) -> Vec<LinkId> {
        self.table.ids()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.table.iter()
    }

    /// Links that messages may be routed over.
    pub(crate) fn open(&self) -> impl Iterator<Item = &Link> {
        self.table.iter().filter(|link| link.is_open())
    }

    /// Links that frames may be sent over.
    pub(crate) fn usable(&self) -> impl Iterator<Item = &Link> {
        self.table.iter().filter(|link| link.is_usable())
    }

    pub(crate) fn get(&self, id: LinkId) -> Option<&Link> {
        self.table.get(id)
    }

    /// The peers that there is a link to, or will be.
    pub(crate) fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.table.peers()
    }

    /// Whether there is a link to a peer, or will be.
    pub(crate) fn leads_to(&self, peer: PeerId) -> bool {
        self.table.id_of(peer).is_some()
    }

    /// The id of the link to a peer, open or in negotiation.
    pub(crate) fn id_of(&self, peer: PeerId) -> Option<LinkId> {
        self.table.id_of(peer)
    }

    /// The link to a peer, open or in negotiation.
    pub(crate) fn to(&self, peer: PeerId) -> Option<&Link> {
        self.table.get(self.table.id_of(peer)?)
    }

    fn to_mut(&mut self, peer: PeerId) -> Option<&mut Link> {
        self.table.get_mut(self.table.id_of(peer)?)
    }

    /// The link to a peer, if messages may be routed over it.
    pub(crate) fn open_to(&self, peer: PeerId) -> Option<&Link> {
        self.to(peer).filter(|link| link.is_open())
    }

    /// Whether a connection is still there, in use or silent.
    pub(crate) fn knows(&self, id: LinkId) -> bool {
        self.table.contains(id) || self.silent.contains(id)
    }

    /// The peers of connections that are kept though they are silent.
    #[cfg(test)]
    pub(crate) fn silent_peers(&self) -> impl Iterator<Item = PeerId> {
        self.silent.peers()
    }
}

/// The life of a link.
impl Links {
    /// STUN and TURN servers for links from now on.
    pub(crate) fn set_ice_servers(&mut self, servers: Vec<IceServer>) {
        self.ice_servers = servers;
    }

    /// The driver reports that all channels of a link are open.
    pub(crate) fn opened(&mut self, id: LinkId, cx: &mut Context) {
        let link = self.table.get_mut(id);
        let Some(link) = link.filter(|link| link.is_negotiating()) else {
            return;
        };
        link.state = LinkState::Open;
        link.opened_at = Some(cx.now);
        link.negotiation.relayed.clear();
        link.keepalive = Keepalive::new(&cx.config, cx.now);
        let peer = link.peer;
        self.forget_silent(peer, cx);
        self.gained(id, cx);
    }

    /// A link is open, or works again.
    fn gained(&mut self, id: LinkId, cx: &mut Context) {
        let Some(link) = self.table.get(id) else {
            return;
        };
        let peer = link.peer;
        let opened = link.negotiation.opened(peer, cx.now);
        self.dialer.opened(peer);
        cx.stats.links.opened += 1;
        cx.emit(opened);
        self.events.push_back(LinkEvent::Up(id, peer));
    }

    /// The driver reports that a link failed, or that its other end closed it.
    pub(crate) fn closed(&mut self, id: LinkId, reason: &str, cx: &mut Context) {
        let Some(mut link) = self.table.remove(id) else {
            self.silent.take(id); // Else closed by ourselves before.
            return;
        };
        let queue = link.queue.take_unacknowledged();
        self.lost((id, link.peer, link.state), reason, queue.into(), cx);
    }

    /// A link is no more. Its other end may not have what is in `queue`.
    fn lost(
        &mut self,
        (id, peer, state): (LinkId, PeerId, LinkState),
        reason: &str,
        queue: Vec<Envelope>,
        cx: &mut Context,
    ) {
        let reason = reason.to_owned();
        let jitter = cx.jitter();
        let was = match state {
            LinkState::Negotiating { .. } => {
                cx.stats.links.failed += 1;
                self.dialer.failed(peer, &cx.config, jitter, cx.now);
                cx.emit(Event::LinkFailed { peer, reason });
                Was::Negotiating
            }
            LinkState::Open => {
                cx.stats.links.closed += 1;
                self.dialer.failed(peer, &cx.config, jitter, cx.now);
                cx.emit(Event::LinkClosed { peer, reason });
                Was::Open
            }
            LinkState::Draining { .. } => {
                cx.stats.links.closed += 1;
                // Or the two ends would open and close it for ever.
                self.dialer.postpone(peer, &cx.config, jitter, cx.now);
                cx.emit(Event::LinkClosed { peer, reason });
                Was::Draining
            }
        };
        self.events.push_back(LinkEvent::Down(Down {
            id,
            peer,
            was,
            unacknowledged: queue,
        }));
    }

    /// Closes a link from this end: as [`Links::closed`], with the order to the driver.
    pub(crate) fn close(&mut self, id: LinkId, reason: &str, cx: &mut Context) {
        if self.table.contains(id) {
            cx.order(Output::CloseLink { link: id });
            self.closed(id, reason, cx);
        }
    }

    /// Closes an open link once what was sent over it is acknowledged, and tells its other end.
    pub(crate) fn drain(&mut self, id: LinkId, cx: &Context) {
        self.queue_control(id, &Record::Drain);
        self.drain_requested(id, cx);
    }

    /// The link takes no new messages from now on, at either end.
    pub(crate) fn drain_requested(&mut self, id: LinkId, cx: &Context) {
        let Some(link) = self.table.get_mut(id).filter(|link| link.is_open()) else {
            return;
        };
        link.state = LinkState::Draining {
            until: cx.now + cx.config.drain_timeout,
        };
        self.events.push_back(LinkEvent::Draining);
    }

    /// The agent leaves: every connection is closed.
    pub(crate) fn leave(&mut self, cx: &mut Context) {
        let used = self.table.ids().into_iter();
        for link in used.chain(self.silent.take_all()) {
            cx.order(Output::CloseLink { link });
        }
        self.table.clear();
        self.events.clear();
    }

    /// Counts and reports something that is not to be trusted.
    pub(crate) fn reject(
        &mut self,
        via: Option<PeerId>,
        author: Option<PeerId>,
        reason: RejectReason,
        cx: &mut Context,
    ) {
        cx.stats.reject(reason);
        let link = via.and_then(|peer| self.to_mut(peer));
        if link.is_none_or(Link::misbehaved) {
            cx.emit(Event::Rejected {
                via,
                author,
                reason,
            });
        }
    }

    /// The other end of an open link gives no sign of life: its connection is kept for a while.
    fn fall_silent(&mut self, id: LinkId, cx: &mut Context) {
        let Some(mut link) = self.table.remove(id) else {
            return;
        };
        let lost = (id, link.peer, link.state);
        let queue = link.queue.fall_silent();
        for link in self.silent.keep(link, cx.now) {
            cx.order(Output::CloseLink { link });
        }
        self.arm_silent(cx);
        self.lost(lost, "no sign of life", queue.into(), cx);
    }

    /// Something arrived over a connection. If it was silent, it is a link again.
    pub(crate) fn revive(&mut self, id: LinkId, cx: &mut Context) {
        let Some(mut link) = self.silent.take(id) else {
            return;
        };
        // An attempt to replace it: a link that had opened would have ended it.
        if let Some(attempt) = self.table.id_of(link.peer) {
            self.close(attempt, "the link before it works again", cx);
        }
        link.revive(&cx.config, cx.now);
        self.table.insert(link);
        cx.stats.repair(RepairStep::Revival);
        self.gained(id, cx);
    }

    /// Closes a silent connection to a peer that is linked anew, or that asks to be.
    fn forget_silent(&mut self, peer: PeerId, cx: &mut Context) {
        if let Some(link) = self.silent.take_of(peer) {
            cx.order(Output::CloseLink { link });
        }
    }

    /// Closes what has been silent for too long, and asks the others for a sign of life.
    pub(crate) fn ask_silent(&mut self, cx: &mut Context) {
        while let Some(link) = self.silent.take_expired(cx.now) {
            cx.order(Output::CloseLink { link });
        }
        for link in self.silent.ask(cx.now) {
            let id = link.id;
            while let Some((channel, frame)) = link.queue.next_frame() {
                cx.order(Output::Transmit {
                    link: id,
                    channel,
                    frame,
                });
            }
        }
        self.arm_silent(cx);
    }

    fn arm_silent(&self, cx: &mut Context) {
        if let Some(at) = self.silent.deadline() {
            cx.timers.arm(Timer::Silent, at);
        }
    }
}
