//! Who is in the room: those whom the hub lists, and those whom the mesh can reach.
//!
//! The hub alone knows newcomers without links; the mesh alone knows members while the hub is gone.
//! So a member is who is in either. When the hub is lost its list is dropped at once: whom the mesh
//! cannot reach could not be dialled without the hub anyway. Only in a large room those listed of
//! other shards are remembered (see [`territory`](super::territory)).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Mesh;
use super::backlog::Backlog;
use super::compare::Comparisons;
use super::partners::{Formation, Search};
use crate::error::RejectReason;
use crate::ice::IceServer;
use crate::id::{PeerId, SocketId, Target};
use crate::io::{Event, Output, WarningCode};
use crate::name::name_or_id;
use crate::signaling::{
    Admission, Arrival, ClientFact, ClientTask, Crowd, ErrorCode, Lost, Member, notice_delay,
};
use crate::time::Instant;
use crate::timers::Timer;

/// How long after an agent came in the hub may still tell it of those whom the welcome listed.
const LISTED_TWICE: Duration = Duration::from_secs(5);

/// How many times as long links wait for the next of a crowd, and the square of that in all.
const CROWD_PATIENCE: u32 = 4;

/// Authors that are remembered even in a small room.
const AUTHORS_MIN: usize = 2_000;

impl Mesh {
    /// Starts joining the room: dials the signaling server, and links follow. Harmless if joined.
    pub fn join(&mut self, now: Instant) {
        let now = self.enter(now);
        if self.cx.joined {
            return;
        }
        self.cx.joined = true;
        let order = self.client.connect(&self.cx.config, now);
        self.cx.order(order);
        self.cx
            .timers
            .arm(Timer::Repair, now + self.cx.config.repair_interval);
        self.cx
            .timers
            .arm(Timer::Adapt, now + self.cx.config.adapt_interval);
    }

    /// Leaves the room: tells the mesh and the hub, closes every link. Harmless if left.
    pub fn leave(&mut self, now: Instant) {
        let now = self.enter(now);
        if self.cx.joined {
            self.seal_all();
            self.say_goodbye(now);
            self.end(now);
        }
    }

    /// Ends this agent's life in the room. Without a goodbye the others take its links for lost,
    /// and go on with whoever has its identity now.
    fn end(&mut self, now: Instant) {
        self.cx.joined = false;
        self.seal_all();
        self.fail_pending(now);
        let links = self.links.ids();
        for link in links {
            self.flush_link(link);
            self.fail_held(link, now);
            self.cx.order(Output::CloseLink { link });
        }
        for link in self.silent.take_all() {
            self.cx.order(Output::CloseLink { link });
        }
        self.links.clear();
        self.by_peer.clear();
        self.busy.clear();
        self.backlog = Backlog::default();
        self.comparisons = Comparisons::default();
        self.formation = Formation::default();
        self.k_room = None;
        self.search = Search::default();
        self.cx.timers.clear();
        let orders = self.client.leave();
        self.cx.outbox.extend(orders);
        self.cx.emit(Event::Left);
    }

    /// Sends nothing through these members from now on, as far as this agent chooses the path;
    /// forwarders choose theirs. To them it still sends.
    pub fn avoid(&mut self, members: BTreeSet<PeerId>, now: Instant) {
        let now = self.enter(now);
        self.policy.avoid = members;
        self.routes_changed(now);
    }

    pub(super) fn signaling_opened(&mut self, socket: SocketId, now: Instant) {
        let (config, identity, shards) = (&self.cx.config, &self.identity, self.shards());
        let hello = self.client.opened(socket, config, identity, shards, now);
        self.cx.outbox.extend(hello);
    }

    pub(super) fn signaling_received(&mut self, socket: SocketId, text: &str, now: Instant) {
        let (config, identity, rng) = (&self.cx.config, &self.identity, &mut self.cx.rng);
        let (fact, answer) = self
            .client
            .received(socket, text, config, identity, rng, now);
        self.cx.outbox.extend(answer);
        match fact {
            None => {}
            Some(ClientFact::Admitted(admission)) => self.admitted(admission, now),
            Some(ClientFact::Divided(listing)) => {
                self.divide(listing.shards, now);
                self.roster.clear_list();
                self.room_counted(listing.room_members, listing.newcomers, now);
                for member in listing.members {
                    self.hub_lists(member);
                }
                self.members_changed(now);
            }
            Some(ClientFact::Members {
                joined,
                left,
                room_members,
                newcomers,
            }) => {
                self.room_counted(room_members, newcomers, now);
                self.hub_left(&left, now);
                self.hub_joined(joined, now);
                self.members_changed(now);
                if self.unsettled_since.is_some() && !self.awaits_crowd(now) {
                    self.cx
                        .timers
                        .arm(Timer::Settle, now + self.cx.config.settle);
                }
            }
            Some(ClientFact::Time(time)) => self.hub_told_time(time, now),
            Some(ClientFact::Signal(signed)) => self.direct_received(&signed, None, 0, now),
            Some(ClientFact::Lost(lost)) => self.signaling_lost(lost, now),
            Some(ClientFact::Refused { code, message }) => self.refused(code, message, now),
            Some(ClientFact::Nonsense) => self.reject(None, None, RejectReason::Signaling),
        }
    }

    /// No hub will ever let this agent in.
    fn refused(&mut self, code: ErrorCode, message: String, now: Instant) {
        self.roster.unlist_all(|_| false);
        self.cx.emit(Event::Refused {
            code: code.as_str().to_owned(),
            message,
        });
        if code == ErrorCode::Replaced {
            // Two agents of one identity would outdate each other's records without end.
            self.end(now);
        } else {
            self.members_changed(now);
        }
    }

    /// A hub has let this agent in, for the first time or again.
    fn admitted(&mut self, admission: Admission, now: Instant) {
        let Admission {
            hub,
            listing,
            ice_servers,
            arrival,
            time,
        } = admission;
        self.take_ice_servers(ice_servers);
        if let Some(time) = time {
            self.hub_told_time(time, now);
        }
        if self.sequences.is_empty() {
            self.incarnation = self.cx.unix().as_micros(); // By the time of the room.
        }
        let event = match arrival {
            Arrival::Again => Event::SignalingRestored { hub },
            Arrival::Moved => Event::SignalingMoved { hub },
            Arrival::First => {
                self.admitted_at = now;
                Event::Joined {
                    room: self.cx.config.room.clone(),
                    members: listing.room_members.saturating_sub(1),
                }
            }
        };
        self.cx.emit(event);
        self.divide(listing.shards, now);
        self.remember_members();
        self.await_return(now);
        self.room_counted(listing.room_members, listing.newcomers, now);
        if arrival == Arrival::Moved {
            // Those listed are who was listed before, not newcomers.
            for member in listing.members {
                self.hub_lists(member);
            }
        } else {
            self.hub_joined(listing.members, now);
        }
        self.members_changed(now);
        self.notify_writable(now);
        if arrival == Arrival::Again {
            // Who could not be reached without the hub can be now, though nobody is new.
            self.cx
                .timers
                .arm(Timer::Settle, now + self.cx.config.settle);
        }
    }

    pub(super) fn signaling_closed(&mut self, socket: SocketId, reason: String, now: Instant) {
        let (config, rng) = (&self.cx.config, &mut self.cx.rng);
        if let Some(lost) = self.client.closed(socket, reason, config, rng, now) {
            self.signaling_lost(lost, now);
        }
    }

    fn signaling_lost(&mut self, lost: Lost, now: Instant) {
        self.remember_members();
        self.cx.emit(Event::SignalingLost {
            hub: lost.hub,
            reason: lost.reason,
            retry_in_ms: u64::try_from(lost.retry_in.as_millis()).unwrap_or(u64::MAX),
        });
        self.members_changed(now);
    }

    /// Does what the connections to the hubs have due.
    pub(super) fn poll_client(&mut self, now: Instant) {
        while let Some(task) = self.client.poll(&self.cx.config, &mut self.cx.rng, now) {
            match task {
                ClientTask::Order(order) => self.cx.order(order),
                ClientTask::GiveUp(order, lost) => {
                    self.cx.order(order);
                    if let Some(lost) = lost {
                        self.signaling_lost(lost, now);
                    }
                }
            }
        }
    }

    /// Takes the ICE servers that every backend takes: one bad URL must not cost the others, nor
    /// all links.
    fn take_ice_servers(&mut self, servers: Vec<IceServer>) {
        self.ice_servers.clear();
        for server in servers {
            match server.check() {
                Ok(()) => self.ice_servers.push(server),
                Err(cause) => self.cx.emit(Event::Warning {
                    code: WarningCode::IceServer,
                    message: format!(
                        "{cause}. It is left out; the signaling server should not list it"
                    ),
                }),
            }
        }
    }

    fn hub_joined(&mut self, joined: Vec<Member>, now: Instant) {
        for member in joined {
            let peer = member.peer;
            if !self.hub_lists(member) {
                continue;
            }
            // Whatever failed before, this may be a new process.
            self.dialer.forget(peer);
            // A new connection is most likely a new process, which has not seen our offer.
            if now.since(self.admitted_at) >= LISTED_TWICE {
                self.redial_if_stuck(peer, Duration::ZERO, now);
            }
            self.probe(peer, now);
        }
    }

    /// The hub lists somebody. Returns whether that is of use.
    fn hub_lists(&mut self, Member { peer, name }: Member) -> bool {
        if peer == self.cx.this {
            return false;
        }
        let name = name_or_id(name, peer);
        let listed = self.roster.list(peer, name, self.cx.config.members_max);
        if !listed {
            self.reject(None, Some(peer), RejectReason::Limit);
        }
        listed
    }

    fn hub_left(&mut self, left: &[PeerId], now: Instant) {
        for &peer in left {
            self.roster.unlist(peer);
            // It may only have lost the hub. Its links will tell.
            self.probe(peer, now);
        }
    }

    /// The label of a member: its own signed word before the hub's.
    pub(super) fn name_of(&self, peer: PeerId) -> String {
        let signed = self.database.state(peer).map(|state| &*state.name);
        let name = signed.or_else(|| self.roster.name(peer));
        name.map_or_else(|| peer.short(), str::to_owned)
    }

    /// Tells the application who came and went, and lets the links follow when it is quiet.
    pub(super) fn members_changed(&mut self, now: Instant) {
        let is_abroad = self.abroad();
        let (database, routes) = (&self.database, &self.routes);
        let name = |peer| database.state(peer).map_or("", |state| &*state.name);
        let reached = routes.iter().map(|(peer, _)| (peer, name(peer)));
        let reaches = |peer| routes.contains(peer);
        let changes = self.roster.update(reached, reaches, is_abroad);
        let told = !changes.joined.is_empty() || !changes.left.is_empty();
        if !told && !changes.abroad {
            return;
        }
        for peer in changes.joined {
            let name = self.name_of(peer);
            self.cx.emit(Event::PeerJoined { peer, name });
        }
        for (peer, name) in changes.left {
            self.dialer.forget(peer);
            self.cx.emit(Event::PeerLeft { peer, name });
        }
        if told {
            self.forget_strangers();
            self.cx.emit(Event::TopologyChanged);
        }
        self.settle_later(now);
    }

    /// Lets the links follow the members: at once when one comes, later when a crowd does.
    fn settle_later(&mut self, now: Instant) {
        let (mut notices, mut patience) = (Duration::ZERO, 1);
        if self.awaits_crowd(now) {
            // The hub gathers what it tells: there is more until it has told twice.
            let members = self.crowd.members_soon(self.room_members, now);
            notices = notice_delay(members) * 2;
            patience = CROWD_PATIENCE;
        }
        let settle = self.cx.config.settle.max(notices * patience) + self.cx.lag() * patience;
        let latest = (self.cx.config.settle_max.max(notices * 2) + self.cx.lag()) * patience.pow(2);
        let since = *self.unsettled_since.get_or_insert(now);
        let settled = (now + settle).min(since + latest);
        self.cx.timers.set(Timer::Settle, settled);
    }

    fn room_counted(&mut self, members: usize, newcomers: usize, now: Instant) {
        self.room_members = members;
        self.crowd = Crowd::new(newcomers, now);
        self.note_crowd(now);
    }

    fn awaits_crowd(&self, now: Instant) -> bool {
        self.crowd.is_coming(self.room_members, now)
    }

    /// Of how many authors something is remembered at most: of as many as the hub says are in the
    /// room, and as many that were or are about to be here. Anybody can make up authors, so this
    /// does not grow with those that the mesh reaches.
    pub(super) fn authors_max(&self) -> usize {
        let authors = self.room_members.saturating_mul(2);
        authors.clamp(AUTHORS_MIN, AUTHORS_MIN.max(self.cx.config.members_max))
    }

    /// Bounds what is remembered of authors that are no longer here.
    fn forget_strangers(&mut self) {
        let authors_max = self.authors_max();
        if self.windows.len() >= authors_max {
            let windows: BTreeMap<_, _> = std::mem::take(&mut self.windows);
            let kept = windows
                .into_iter()
                .filter(|(peer, _)| self.roster.contains(*peer));
            self.windows = kept.collect();
        }
        if self.sequences.len() >= authors_max {
            // Nobody who comes back may see a sequence twice: all start above those forgotten.
            let used = self.sequences.values().copied().max().unwrap_or_default();
            self.sequence_floor = self.sequence_floor.max(used);
            let sequences: BTreeMap<_, _> = std::mem::take(&mut self.sequences);
            let kept = sequences.into_iter().filter(|(target, _)| match target {
                Target::Room => true,
                Target::Peer(peer) => self.roster.contains(*peer),
            });
            self.sequences = kept.collect();
            self.outcomes.retain(|peer| self.roster.contains(peer));
        }
    }

    /// Whether what was seen of an author is remembered, or can be from now on.
    pub(super) fn remembers(&mut self, author: PeerId) -> bool {
        let authors_max = self.authors_max();
        if !self.windows.contains_key(&author) && self.windows.len() >= authors_max {
            self.forget_strangers();
        }
        self.windows.contains_key(&author) || self.windows.len() < authors_max
    }
}
