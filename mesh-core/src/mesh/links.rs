//! Links follow what is [wanted](super::partners): dial what is missing, drain what is not wanted,
//! notice what died.

use std::time::Duration;

use super::Mesh;
use crate::error::RejectReason;
use crate::id::{LinkId, PeerId};
use crate::io::{Event, Output};
use crate::link::{Keepalive, KeepaliveAction, Link, LinkState};
use crate::rng::unit;
use crate::stats::RepairStep;
use crate::time::Instant;
use crate::timers::Timer;
use crate::wire::{Envelope, PeerSignal, Record};
use rand_chacha::rand_core::Rng;

/// Rejections from one link that are worth an event each; beyond they are only counted.
const MISDEEDS_REPORTED: u32 = 100;

/// How long a link must live for its peer to count as reachable again.
const PROVEN: Duration = Duration::from_secs(10);

/// Where there are many links, the time until one of them pings, on average.
const PING_SHARE: Duration = Duration::from_millis(750);

/// How often the time for an attempt doubles.
const SLACK_MAX: u32 = 2;

/// Rejections, of whatever kind, and then a frame that does not even decode, after which a link is
/// closed: DTLS protects what is on the way, so the other end itself is broken or hostile.
const BAD_FRAMES_MAX: u32 = 32;

impl Link {
    /// Counts a rejection; returns whether it is worth an event.
    pub(super) fn misbehaved(&mut self) -> bool {
        self.misdeeds = self.misdeeds.saturating_add(1);
        self.misdeeds <= MISDEEDS_REPORTED
    }
}

impl Mesh {
    /// Makes the links what the present members call for.
    pub(super) fn reconcile(&mut self, now: Instant) {
        self.unsettled_since = None;
        if !self.cx.joined {
            return;
        }
        self.plan_links(now);
        self.choose_partners(now);
        self.dial_wanted(now);
        self.drain_surplus(now);
        if self.unannounced && self.is_linked() {
            self.announce_soon(now); // Nothing more is awaited.
        }
        if let Some(at) = self.dialer.deadline(now) {
            self.cx.timers.arm(Timer::Settle, at);
        }
    }

    fn dial_wanted(&mut self, now: Instant) {
        let missing: Vec<_> = self
            .wanted
            .iter()
            .filter(|peer| !self.by_peer.contains_key(peer) && self.dialer.ready(**peer, now))
            .copied()
            .collect();
        let mut negotiating = self.links.iter().filter(|l| l.is_negotiating()).count();
        for peer in missing {
            if negotiating >= self.cx.config.negotiating_max {
                break; // The next one to open or fail brings us back here.
            }
            if !self.can_signal(peer) {
                continue;
            }
            negotiating += 1;
            if self.cx.this < peer {
                self.dial(peer, now);
            } else {
                self.await_offer(peer, now);
            }
        }
    }

    /// Opens a link as the offerer.
    pub(super) fn dial(&mut self, peer: PeerId, now: Instant) {
        if self.dialer.failures(peer) > 0 {
            self.cx.stats.repair(RepairStep::Redial);
        }
        let attempt = self.cx.rng.next_u64();
        let id = self.add_link(peer, attempt, now);
        if let Some(link) = self.links.get_mut(id) {
            link.ours = self.wanted.contains(&peer);
        }
        self.open_link(id, peer, None);
    }

    pub(super) fn open_link(&mut self, link: LinkId, peer: PeerId, offer: Option<String>) {
        self.cx.order(Output::OpenLink {
            link,
            peer,
            offer,
            ice_servers: self.ice_servers.clone(),
        });
    }

    pub(super) fn add_link(&mut self, peer: PeerId, attempt: u64, now: Instant) -> LinkId {
        self.last_link += 1;
        let id = LinkId(self.last_link);
        let via_hub = self.prefers_hub(peer);
        // What failed for want of time gets more of it: hurry makes a busy machine busier.
        let slack = 2u32.saturating_pow(self.dialer.failures(peer).min(SLACK_MAX));
        let patience = if !via_hub && self.cx.this < peer {
            self.cx.config.answer_timeout
        } else {
            self.cx.config.open_timeout
        };
        let until = now + (patience + self.cx.grace()) * slack;
        let mut link = Link::new(id, peer, attempt, until, &self.cx.config, now);
        link.via_hub = via_hub;
        self.links.insert(link);
        self.by_peer.insert(peer, id);
        id
    }

    /// The lower end offers, but it may not know yet that a link is wanted: give it a moment, then
    /// ask. The wait counts as a failed attempt, so that asking backs off too.
    fn await_offer(&mut self, peer: PeerId, now: Instant) {
        if self.dialer.failures(peer) > 0 || self.seeks(peer) {
            if self.dialer.failures(peer) > 0 {
                self.cx.stats.repair(RepairStep::Solicit);
            }
            self.send_signal(peer, 0, PeerSignal::Solicit, now);
        }
        let jitter = self.cx.jitter();
        let grace = self.cx.grace();
        self.dialer
            .awaiting(peer, grace, &self.cx.config, jitter, now);
    }

    /// Whether one link more may be opened by a peer. Where a room forms, who came first has
    /// planned for fewer members: twice as many links may be open until the surplus is drained.
    pub(super) fn has_room_for(&self, peer: PeerId, now: Instant) -> bool {
        let forming = self.formation.is_on(now);
        let more = if forming { self.k_now() } else { 0 };
        self.wanted.contains(&peer) || self.links.len() < self.links_max() + more
    }

    /// Links that this agent has at most: others may want some that it does not.
    fn links_max(&self) -> usize {
        let accepted = self.k_now() + self.cx.config.links_slack + self.crossings.len();
        if self.star == Some(self.cx.this) {
            accepted.max(self.cx.config.star_links_max)
        } else {
            accepted
        }
    }

    /// Drains links that the topology stopped wanting, once the wanted ones are open. A link that
    /// only the other end wanted is left to it, while there is room: views of the room may differ.
    fn drain_surplus(&mut self, now: Instant) {
        let opened = |peer: &PeerId| self.open_link_to(*peer)?.opened_at;
        let complete = self.wanted.iter().all(|peer| opened(peer).is_some());
        let replaced_at = self.wanted.iter().filter_map(opened).max();
        let crowded = self.links.len() > self.links_max();
        let mut again: Option<Instant> = None;
        let mut surplus = Vec::new();
        // Others know of the last replacement by then, however busy this machine is.
        let linger = self.cx.config.linger + self.cx.grace() * 2;
        let database = &self.database;
        for link in self.links.iter_mut().filter(|link| link.is_open()) {
            if self.wanted.contains(&link.peer) {
                link.unwanted_since = None;
                continue;
            }
            let since = *link.unwanted_since.get_or_insert(now);
            // Who lacks links as it is would ask for this one again.
            let is_needed = database.lacks(link.peer).is_some_and(|lacks| lacks > 0);
            if !(crowded || link.ours && !is_needed) {
                continue;
            }
            let until = replaced_at.map_or(since, |at| at.max(since)) + linger;
            if until > now {
                again = Some(again.map_or(until, |at| at.min(until)));
            } else if complete {
                surplus.push(link.id);
            }
        }
        for id in surplus {
            self.drain(id, now);
        }
        if let Some(at) = again {
            self.cx.timers.arm(Timer::Settle, at);
        }
    }

    fn drain(&mut self, id: LinkId, now: Instant) {
        self.queue_control(id, &Record::Drain);
        self.drain_requested(id, now);
    }

    /// The link takes no new messages from now on, at either end.
    pub(super) fn drain_requested(&mut self, id: LinkId, now: Instant) {
        let Some(link) = self.links.get_mut(id).filter(|link| link.is_open()) else {
            return;
        };
        link.state = LinkState::Draining {
            until: now + self.cx.config.drain_timeout,
        };
        self.announce_soon(now);
        self.routes_changed(now);
        self.cx
            .timers
            .arm(Timer::Settle, now + self.cx.config.settle);
    }

    pub(super) fn link_reached(&mut self, id: LinkId, now: Instant) {
        if let Some(link) = self.links.get_mut(id) {
            link.reached_at.get_or_insert(now);
        }
    }

    pub(super) fn link_opened(&mut self, id: LinkId, now: Instant) {
        let Some(link) = self.links.get_mut(id).filter(|link| link.is_negotiating()) else {
            return;
        };
        link.state = LinkState::Open;
        link.opened_at = Some(now);
        link.keepalive = Keepalive::new(&self.cx.config, now);
        let peer = link.peer;
        self.forget_silent(peer);
        self.link_gained(id, now);
    }

    /// A link is open, or works again.
    pub(super) fn link_gained(&mut self, id: LinkId, now: Instant) {
        let Some(link) = self.links.get(id) else {
            return;
        };
        let peer = link.peer;
        self.dialer.opened(peer);
        if self.wanted.contains(&peer) {
            self.formation.stirred(now);
        }
        let after_ms = |at: Instant| at.since(link.started_at).as_secs_f64() * 1e3;
        let opened = Event::LinkOpened {
            peer,
            setup_ms: after_ms(now),
            described_ms: after_ms(link.described_at),
            answered_ms: link.answer.map(|answer| after_ms(answer.at)),
            reached_ms: link.reached_at.map(after_ms),
        };
        self.cx.stats.links.opened += 1;
        self.cx.emit(opened);
        self.announce_opened(now);
        if self.is_linked() && !self.formation.is_on(now) {
            // Nothing else opens now, here or elsewhere: there is time to measure.
            let links = self.links.iter_mut().filter(|link| link.is_open());
            links.for_each(|link| link.keepalive.measure(now));
        }
        // The other shard holds other records.
        if self.cx.this < peer && !self.is_abroad(peer) {
            self.compare_with(id, now);
        }
        self.tell_news(id, now);
        self.routes_changed(now);
        self.flush_waiting(now);
        self.notify_writable(now);
        // Replacements may all be open now, and a slot for negotiating is free.
        self.cx
            .timers
            .arm(Timer::Settle, now + self.cx.config.settle);
    }

    pub(super) fn link_closed(&mut self, id: LinkId, reason: &str, now: Instant) {
        let Some(mut link) = self.take_link(id) else {
            self.silent.take(id); // Else closed by ourselves before.
            return;
        };
        let queue = link.queue.take_unacknowledged();
        self.link_lost(link.peer, link.state, reason, queue.into(), now);
    }

    /// A link is no more. `queue` is what its other end may not have.
    pub(super) fn link_lost(
        &mut self,
        peer: PeerId,
        was: LinkState,
        reason: &str,
        queue: Vec<Envelope>,
        now: Instant,
    ) {
        let jitter = self.cx.jitter();
        match was {
            LinkState::Negotiating { .. } => {
                self.cx.stats.links.failed += 1;
                self.dialer.failed(peer, &self.cx.config, jitter, now);
                self.cx.emit(Event::LinkFailed {
                    peer,
                    reason: reason.to_owned(),
                });
            }
            LinkState::Open | LinkState::Draining { .. } => {
                self.cx.stats.links.closed += 1;
                // Or the two ends would open and close it for ever.
                if was == LinkState::Open {
                    self.cx.stats.links.lost += u64::from(!self.has_departed(peer));
                    self.dialer.failed(peer, &self.cx.config, jitter, now);
                } else {
                    self.dialer.postpone(peer, &self.cx.config, jitter, now);
                }
                self.cx.emit(Event::LinkClosed {
                    peer,
                    reason: reason.to_owned(),
                });
                // A link that drained was withdrawn before.
                if was == LinkState::Open {
                    self.announce_soon(now);
                }
                self.routes_changed(now);
                self.reroute(queue, now);
                self.notify_writable(now);
            }
        }
        self.cx.timers.arm(Timer::Settle, now);
    }

    /// Takes a link out of all that is done with links.
    pub(super) fn take_link(&mut self, id: LinkId) -> Option<Link> {
        let link = self.links.remove(id)?;
        if self.by_peer.get(&link.peer) == Some(&id) {
            self.by_peer.remove(&link.peer);
        }
        self.busy.remove(&id);
        self.gossip.remove(&id);
        self.comparisons.forget(id);
        Some(link)
    }

    /// Closes a link from this end: as [`Mesh::link_closed`], with the order to the driver.
    pub(super) fn close_link(&mut self, id: LinkId, reason: &str, now: Instant) {
        if self.links.contains(id) {
            self.cx.order(Output::CloseLink { link: id });
            self.link_closed(id, reason, now);
        }
    }

    /// A link whose time is up, whose ping is due, or that has drained.
    pub(super) fn poll_links(&mut self, now: Instant) {
        for id in self.links.due(now) {
            match self.links.get(id).map(|link| link.state) {
                None => {} // Closed with one before it.
                Some(LinkState::Negotiating { .. }) => {
                    self.close_link(id, "it did not open in time", now);
                }
                Some(LinkState::Draining { until }) if until <= now => {
                    self.close_link(id, "no longer wanted", now);
                }
                Some(LinkState::Open | LinkState::Draining { .. }) => self.keep_alive(id, now),
            }
        }
    }

    fn keep_alive(&mut self, id: LinkId, now: Instant) {
        let jitter = self.cx.jitter();
        let rhythm = (self.ping_interval(), self.cx.grace());
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        if now.since(link.started_at) >= PROVEN {
            self.dialer.forget(link.peer);
        }
        if link.queue.stalled_for(now) >= self.cx.config.ack_timeout {
            self.close_link(id, "it acknowledges nothing", now);
            return;
        }
        match link.keepalive.poll(&self.cx.config, rhythm, jitter, now) {
            KeepaliveAction::Wait => {}
            KeepaliveAction::Ping(nonce) => self.queue_control(id, &Record::Ping { nonce }),
            KeepaliveAction::Dead => {
                let since = link.keepalive.unanswered_since().unwrap_or(now);
                if link.is_open() {
                    self.fall_silent(id, now);
                } else {
                    self.close_link(id, "no sign of life", now);
                }
                self.look_around(since, now);
            }
        }
    }

    /// A neighbour has been silent since then. If all others were too, it is this agent that cannot
    /// be reached: at another address now, perhaps.
    fn look_around(&mut self, since: Instant, now: Instant) {
        let one_speaks = self
            .links
            .iter()
            .any(|link| link.is_usable() && link.keepalive.last_heard() > since);
        if !one_speaks {
            self.woke_up(now);
        }
    }

    /// Time between pings of a quiet link. Who has many links is asked by as many neighbours, and
    /// the first that gets no answer makes the others ask: so each may ask less often.
    fn ping_interval(&self) -> Duration {
        let by_links = PING_SHARE.mul_f64(self.links.len() as f64);
        let config = &self.cx.config;
        by_links.clamp(config.ping_interval, config.ping_interval_max)
    }

    /// Asks a neighbour for a sign of life now.
    pub(super) fn probe(&mut self, peer: PeerId, now: Instant) {
        let link = self
            .by_peer
            .get(&peer)
            .and_then(|&id| self.links.get_mut(id));
        if let Some(link) = link.filter(|link| link.is_usable()) {
            link.keepalive.probe(now);
        }
    }

    /// Asks neighbours that have not acknowledged anything for a while.
    pub(super) fn probe_stalled(&mut self, now: Instant) {
        let patience = self.cx.config.suspect_after;
        let mut waiting = false;
        for link in self.links.iter_mut().filter(|link| link.is_usable()) {
            let stalled_for = link.queue.stalled_for(now);
            waiting |= stalled_for > Duration::ZERO;
            if stalled_for >= patience {
                link.keepalive.probe(now);
            }
        }
        if waiting {
            self.cx.timers.arm(Timer::Suspect, now + patience);
        }
    }

    pub(crate) fn open_link_to(&self, peer: PeerId) -> Option<&Link> {
        let link = self.links.get(*self.by_peer.get(&peer)?)?;
        link.is_open().then_some(link)
    }

    pub(super) fn set_congested(&mut self, id: LinkId, congested: bool, now: Instant) {
        let Some(link) = self.links.get_mut(id) else {
            if let Some(link) = self.silent.get_mut(id) {
                link.queue.set_congested(congested, now);
            }
            return;
        };
        link.queue.set_congested(congested, now);
        if !congested {
            self.busy.insert(id);
            self.notify_writable(now);
            self.measured(id, now);
        }
    }

    /// Queues a record for the other end of a usable link.
    pub(super) fn queue_control(&mut self, id: LinkId, record: &Record) {
        if let Some(link) = self.links.get_mut(id).filter(|link| link.is_usable()) {
            link.queue.control(record);
            self.busy.insert(id);
        }
    }

    /// The next frame of a link.
    pub(super) fn next_transmit(&mut self, id: LinkId) -> Option<Output> {
        let link = self.links.get_mut(id).filter(|link| link.is_usable())?;
        let (channel, frame) = link.queue.next_frame()?;
        self.cx.stats.frames_out += 1;
        self.cx.stats.bytes_out += frame.len() as u64;
        Some(Output::Transmit {
            link: id,
            channel,
            frame,
        })
    }

    /// Orders everything queued on a link, and owed over it, before it is closed.
    pub(super) fn flush_link(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(id) {
            link.queue.acknowledge();
        }
        while let Some(output) = self.next_transmit(id) {
            self.cx.order(output);
        }
    }

    /// A frame that did not decode.
    pub(super) fn bad_frame(&mut self, id: LinkId, reason: RejectReason, now: Instant) {
        let Some(link) = self.links.get(id) else {
            return;
        };
        let (peer, misdeeds) = (link.peer, link.misdeeds);
        self.reject(Some(peer), None, reason);
        if misdeeds >= BAD_FRAMES_MAX {
            self.close_link(id, "it keeps sending frames that do not decode", now);
        }
    }
}
