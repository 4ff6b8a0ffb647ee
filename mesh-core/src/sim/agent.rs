//! One agent of the world: the real [`Mesh`], and what its application has seen.

use std::collections::{BTreeMap, BTreeSet};

use super::Pace;
use crate::config::Config;
use crate::error::RejectReason;
use crate::id::{ClientId, LinkId, MessageId, PeerId, SocketId};
use crate::io::{Event, Input, Received};
use crate::mesh::Mesh;
use crate::time::{Instant, UnixTime};
use crate::trust::Identity;

/// One agent.
#[derive(Debug)]
pub struct SimAgent {
    pub(super) mesh: Mesh,
    pub(super) alive: bool,
    /// Grows when the process ends, so that what was on its way to it is lost.
    pub(super) life: u32,
    pub(super) sockets: BTreeMap<SocketId, ClientId>,
    /// Its process is stopped: what reaches it waits until it goes on.
    pub(super) frozen: bool,
    /// How punctual its driver is, and when that comes around if it is late.
    pub(super) pace: Pace,
    pub(super) turn_at: Option<Instant>,
    /// What has come for its driver meanwhile.
    pub(super) held: Vec<Input>,
    /// Its driver was stopped or late once, so it may take it for late.
    pub(super) was_late: bool,
    /// Links that it was told are congested.
    pub(super) congested: BTreeSet<LinkId>,
    /// It cannot reach the hub.
    pub(super) no_hub: bool,
    /// The earliest wake that stands in the queue.
    pub(super) wake_at: Option<Instant>,
    /// The connection and the end of it that each link is.
    pub(super) links: BTreeMap<LinkId, (usize, usize)>,
    identity: Identity,
    received: Vec<Received>,
    /// Where each message stands in `received`.
    seen: BTreeMap<MessageId, usize>,
    events: Vec<Event>,
    /// The last ordered message that was delivered of each author in each of its lives.
    last: BTreeMap<(PeerId, u64), u64>,
    /// Messages of this agent whose outcome was told.
    settled: BTreeSet<MessageId>,
    /// What former processes had counted as lost.
    lost_before: u64,
    /// How often callers were told that the mesh is writable.
    pub(crate) writable: u64,
}

impl SimAgent {
    pub(super) fn new(
        config: Config,
        identity: Identity,
        seed: [u8; 32],
        now: Instant,
        unix: UnixTime,
    ) -> Self {
        Self {
            mesh: Mesh::new(config, identity.clone(), seed, now, unix),
            alive: true,
            life: 0,
            sockets: BTreeMap::new(),
            frozen: false,
            pace: Pace::Punctual,
            turn_at: None,
            held: Vec::new(),
            was_late: false,
            congested: BTreeSet::new(),
            no_hub: false,
            wake_at: None,
            links: BTreeMap::new(),
            identity,
            received: Vec::new(),
            seen: BTreeMap::new(),
            events: Vec::new(),
            last: BTreeMap::new(),
            settled: BTreeSet::new(),
            lost_before: 0,
            writable: 0,
        }
    }

    /// Starts again with the same identity, as a new process.
    pub(super) fn restart(&mut self, seed: [u8; 32], now: Instant, unix: UnixTime) {
        self.lost_before = self.lost();
        let config = self.mesh.config().clone();
        self.mesh = Mesh::new(config, self.identity.clone(), seed, now, unix);
        self.alive = true;
        self.frozen = false;
        self.pace = Pace::Punctual;
        self.turn_at = None;
        self.held.clear();
        self.was_late = false;
        self.congested.clear();
        self.wake_at = None;
        // A new process does not know what the former has received.
        self.seen.clear();
        self.last.clear();
    }

    /// The agent's identity.
    pub fn id(&self) -> PeerId {
        self.mesh.id()
    }

    /// Its key pair, for playing an impostor.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The state machine.
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// Messages delivered so far.
    pub fn received(&self) -> &[Received] {
        &self.received
    }

    /// Whether a message was delivered.
    pub fn has_received(&self, id: &MessageId) -> bool {
        self.seen.contains_key(id)
    }

    /// A delivered message.
    pub fn received_as(&self, id: &MessageId) -> Option<&Received> {
        self.seen.get(id).map(|&place| &self.received[place])
    }

    /// Other events so far, but who joined and that the topology changed.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Messages that its processes have counted as lost.
    pub(super) fn lost(&self) -> u64 {
        let stats = self.mesh.stats();
        // Whose clock was set back speaks to deaf ears until it has caught up.
        let replayed = stats.rejected.get(&RejectReason::Replayed);
        self.lost_before + stats.lost.values().sum::<u64>() + replayed.copied().unwrap_or_default()
    }

    /// Its link to a peer, if open or being negotiated.
    pub fn link_to(&self, peer: PeerId) -> Option<LinkId> {
        self.mesh.link_to(peer)
    }

    /// Notes that an ordered message was delivered. Returns whether it comes after all that were
    /// sent before it.
    pub(super) fn is_in_order(&mut self, id: &MessageId) -> bool {
        let last = self.last.entry((id.author, id.incarnation)).or_default();
        let is_later = *last < id.sequence;
        *last = id.sequence;
        is_later
    }

    /// Notes an event. Returns false if a message was delivered that was delivered before, or a
    /// second outcome told of one that was sent.
    pub(super) fn note(&mut self, event: Event) -> bool {
        if let Event::Delivered { id, .. }
        | Event::Replied { id, .. }
        | Event::DeliveryFailed { id, .. } = &event
            && !self.settled.insert(*id)
        {
            return false;
        }
        match event {
            Event::Message(message) => {
                let place = self.received.len();
                let before = self.seen.insert(message.id, place);
                self.received.push(message);
                before.is_none()
            }
            // In a large room these alone would fill the memory.
            Event::PeerJoined { .. } | Event::PeerLeft { .. } | Event::TopologyChanged => true,
            other => {
                self.events.push(other);
                true
            }
        }
    }
}
