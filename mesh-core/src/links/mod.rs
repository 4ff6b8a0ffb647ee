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
mod failing;
mod keepalive;
mod lane;
mod link;
mod liveness;
mod loss;
mod media;
mod negotiation;
mod packets;
mod path;
mod queue;
mod relayed;
mod report;
mod restart;
mod shares;
mod silent;
mod succession;
mod table;
#[cfg(test)]
mod tests;
mod traffic;

pub(crate) use lane::Lane;
pub(crate) use link::Link;
pub(crate) use negotiation::SignalFrom;
pub(crate) use succession::Succession;

use std::collections::VecDeque;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use crate::context::Context;
use crate::error::RejectReason;
use crate::ice::IceServer;
use crate::id::{LinkId, PeerId};
use crate::io::{Event, Output};
use crate::log::decided;
use crate::rng::{Stream, spread, unit};
use crate::timers::Timers;
use crate::trust::Signed;
use crate::wire::{Envelope, PeerSignal, Record};
use dialer::Dialer;
use keepalive::Keepalive;
pub(crate) use keepalive::Suspicion;
use link::{LinkState, Role};
use packets::PacketSizes;
use silent::SilentLinks;
use table::Table;

/// Time that a link stays which is no longer wanted, for frames that are under way on it:
/// datagrams, which are never acknowledged, and the last acknowledgement. Longer than the news of
/// its replacement takes to reach a room.
pub(crate) const LINGER: Duration = Duration::from_secs(2);

/// What happened to links, for the other machines.
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
        way: Way,
    },
    /// A connection with fresh keys has taken the place of a link.
    Replaced { former: LinkId, link: LinkId },
    /// It is time for that.
    RotationDue(LinkId, PeerId),
    /// The path of a link is away: this end should see to a restart of ICE.
    RestartDue(LinkId),
    /// The hub is to get this again, for a peer.
    ForHub { to: PeerId, message: Signed },
    /// No link has heard anything lately: it may be this agent that cannot be reached.
    Isolated,
    /// A queue that was full may have room.
    Writable,
}

/// Which way a signal travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The one that is best now.
    Best,
    /// The one that the attempt began on.
    AsBegun { via_hub: bool },
    /// Over the mesh and through the hub: paths of the mesh may be away, as the link's is.
    Both,
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
#[derive(Debug)]
pub(crate) struct Links {
    table: Table,
    /// Those that were open and fell silent.
    silent: SilentLinks,
    dialer: Dialer,
    packets: PacketSizes,
    ice_servers: Vec<IceServer>,
    events: VecDeque<LinkEvent>,
    timers: Timers,
    rng: ChaCha8Rng,
}

/// What others may know.
impl Links {
    /// No links yet. `seed` is the agent's.
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self {
            table: Table::default(),
            silent: SilentLinks::default(),
            dialer: Dialer::default(),
            packets: PacketSizes::default(),
            ice_servers: Vec::new(),
            events: VecDeque::new(),
            timers: Timers::default(),
            rng: Stream::Links.of(seed),
        }
    }

    /// A wait of about this long.
    pub(crate) fn spread(&mut self, wait: Duration) -> Duration {
        spread(wait, unit(&mut self.rng))
    }

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

    /// One link a peer.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.table.iter().filter(|link| link.role == Role::Only)
    }

    /// All connections, also those that take the place of another and whose place is taken.
    pub(crate) fn connections(&self) -> impl Iterator<Item = &Link> {
        self.table.iter()
    }

    /// Links that messages may be routed over.
    pub(crate) fn open(&self) -> impl Iterator<Item = &Link> {
        self.iter().filter(|link| link.is_open())
    }

    /// Links that frames may be sent over.
    pub(crate) fn usable(&self) -> impl Iterator<Item = &Link> {
        self.iter().filter(|link| link.is_usable())
    }

    pub(crate) fn get(&self, id: LinkId) -> Option<&Link> {
        self.table.get(id)
    }

    /// The peers that there is a link to, or will be.
    pub(crate) fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.table.peers()
    }

    /// The links that are there to stay, or will be: not those that drain, nor attempts at a peer
    /// in whose place others are linked with.
    pub(crate) fn lasting<'a>(&'a self, cx: &'a Context) -> impl Iterator<Item = &'a Link> {
        let is_lasting = |link: &&Link| !link.is_draining() && !self.is_away(link.peer, cx);
        self.iter().filter(is_lasting)
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

    /// A connection, in use or silent.
    fn connection_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        match self.table.contains(id) {
            true => self.table.get_mut(id),
            false => self.silent.get_mut(id),
        }
    }

    /// The connection to a peer that an attempt has opened, or is to open: in use or silent.
    fn of_attempt(&self, peer: PeerId, attempt: u64) -> Option<LinkId> {
        let used = [self.table.id_of(peer), self.table.successor_of(peer)];
        let used = used.into_iter().flatten().filter_map(|id| self.get(id));
        let mut known = used.chain(self.silent.of(peer));
        let found = known.find(|link| link.negotiation.is_attempt(attempt))?;
        Some(found.id)
    }

    /// The same, if the attempt is still under way.
    fn in_negotiation(&self, peer: PeerId, attempt: u64) -> Option<LinkId> {
        let found = self.of_attempt(peer, attempt);
        found.filter(|&id| self.get(id).is_some_and(Link::is_negotiating))
    }

    /// The link to a peer, if messages may be routed over it.
    pub(crate) fn open_to(&self, peer: PeerId) -> Option<&Link> {
        self.to(peer).filter(|link| link.is_open())
    }

    /// How long a neighbour may take to answer over its link.
    pub(crate) fn answers_within(&self, peer: PeerId) -> Option<Duration> {
        Some(self.to(peer)?.keepalive.answers_within())
    }

    /// The other end of a connection, in use or silent.
    pub(crate) fn peer_of(&mut self, id: LinkId) -> Option<PeerId> {
        self.connection_mut(id).map(|link| link.peer)
    }

    /// Whether a connection is kept though its other end is silent.
    pub(crate) fn is_silent(&self, id: LinkId) -> bool {
        self.silent.contains(id)
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
    /// The driver reports that all channels of a link are open.
    pub(crate) fn opened(&mut self, id: LinkId, cx: &mut Context) {
        let link = self.table.get_mut(id);
        let Some(link) = link.filter(|link| link.is_negotiating()) else {
            return;
        };
        link.state = LinkState::Open;
        link.opened_at = Some(cx.now);
        link.negotiation.relayed.clear();
        let took = cx.now.since(link.negotiation.started_at());
        link.keepalive = Keepalive::opened(&cx.config, took, cx.now);
        let (peer, role) = (link.peer, link.role);
        self.forget_silent(peer, cx);
        if role == Role::Successor {
            self.take_place(id, cx);
        } else {
            self.gained(id, cx);
        }
        self.plan_rotation(id, cx);
    }

    /// A link is open, or works again.
    fn gained(&mut self, id: LinkId, cx: &mut Context) {
        let Some(link) = self.table.get(id) else {
            return;
        };
        let peer = link.peer;
        decided!(cx, link = ?id, ?peer, "a link is open");
        let opened = link.negotiation.opened(peer, cx.now);
        self.dialer.opened(peer);
        cx.stats.links.opened += 1;
        cx.emit(opened);
        self.path_known(id, cx);
        self.events.push_back(LinkEvent::Up(id, peer));
    }

    /// The driver reports that a link failed, or that its other end closed it.
    pub(crate) fn closed(&mut self, id: LinkId, reason: &str, cx: &mut Context) {
        self.tell_failed(id);
        self.ended(id, reason, cx);
    }

    fn ended(&mut self, id: LinkId, reason: &str, cx: &mut Context) {
        let Some(mut link) = self.table.remove(id) else {
            self.silent.take(id); // Else closed by ourselves before.
            return;
        };
        let queue = link.queue.take_unacknowledged();
        self.lost(&link, reason, queue.into(), cx);
    }

    /// A link is no more. Its other end may not have what is in `queue`.
    fn lost(&mut self, link: &Link, reason: &str, queue: Vec<Envelope>, cx: &mut Context) {
        let (id, peer) = (link.id, link.peer);
        let (state, role, unacknowledged) = (link.state, link.role, queue.len());
        let lag_ms = cx.lag().as_millis() as u64;
        decided!(
            cx,
            link = ?id,
            ?peer,
            ?state,
            ?role,
            reason,
            unacknowledged,
            lag_ms,
            "give a link up"
        );
        let reason = reason.to_owned();
        let jitter = unit(&mut self.rng);
        let was = match link.state {
            _ if link.role == Role::Successor => {
                self.succession_failed(peer, link.negotiation.direct_only, jitter, cx);
                Was::Negotiating
            }
            _ if link.role == Role::Replaced => Was::Draining,
            LinkState::Negotiating { .. } => {
                cx.stats.links.failed += 1;
                self.dialer.failed(peer, &cx.config, jitter, cx.now);
                self.note_failure(link, &reason, cx);
                if link.negotiation.lacks_path() {
                    self.dialer.lacked_path(peer);
                }
                cx.emit(Event::LinkFailed { peer, reason });
                Was::Negotiating
            }
            LinkState::Open => {
                cx.stats.links.closed += 1;
                let grace = cx.grace();
                self.dialer.lost(peer, grace, &cx.config, jitter, cx.now);
                self.packets.lost(peer, cx.now);
                self.note_failure(link, &reason, cx);
                cx.emit(Event::LinkClosed { peer, reason });
                Was::Open
            }
            LinkState::Draining { .. } => {
                cx.stats.links.closed += 1;
                // Or the two ends would open and close it for ever.
                self.dialer.postpone(peer, jitter, cx.now);
                cx.emit(Event::LinkClosed { peer, reason });
                Was::Draining
            }
        };
        if self.out_of_reach(peer, cx) {
            decided!(
                cx,
                ?peer,
                failures = self.failures(peer),
                "do without a peer for a while"
            );
        }
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
            self.ended(id, reason, cx);
        }
    }

    /// Closes an open link once the frames under way have arrived, and tells its other end.
    pub(crate) fn drain(&mut self, id: LinkId, cx: &Context) {
        decided!(cx, link = ?id, peer = ?self.get(id).map(|link| link.peer), "drain a link");
        self.queue_control(id, &Record::Drain);
        self.drain_requested(id, cx);
    }

    /// The link takes no new messages from now on, at either end.
    pub(crate) fn drain_requested(&mut self, id: LinkId, cx: &Context) {
        let Some(link) = self.table.get_mut(id).filter(|link| link.is_open()) else {
            return;
        };
        link.state = LinkState::Draining {
            until: cx.now + LINGER,
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
        self.timers.clear();
    }

    /// Counts and reports something that is not to be trusted.
    pub(crate) fn reject(
        &mut self,
        via: Option<PeerId>,
        author: Option<PeerId>,
        reason: RejectReason,
        cx: &mut Context,
    ) {
        decided!(cx, ?via, ?author, ?reason, "reject what came in");
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
}
