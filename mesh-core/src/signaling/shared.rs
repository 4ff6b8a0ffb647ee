//! A hub among others: what it wants the directory to say, what it reads from it, and what it sends
//! to other hubs.
//!
//! While the directory is away nothing here waits for it: members stay, newcomers are let in, and
//! what this hub wants to have changed is published when the directory is back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand_chacha::rand_core::Rng;
use serde::{Deserialize, Serialize};

use super::directory::{
    Change, DirectoryFact, DirectoryOrder, DirectoryState, Entry, HubId, Order, Session, Snapshot,
};
use super::hub::Hub;
use super::port::HubOutput;
use super::protocol::ErrorCode;
use super::room::{Place, Proposal, Room, Wish};
use crate::config::HubConfig;
use crate::id::{ClientId, PeerId};
use crate::time::Instant;

/// Orders that are published in one batch: a room that comes back at once takes few round trips,
/// and the directory serves other hubs in between.
const ORDERS_MAX: usize = 128;

/// Time without a sign of life of a hub, while this one gave some, after which the entries of its
/// members are removed. It begins when the last sign of life counts no more, which the driver
/// decides.
const HUB_ABSENCE: Duration = Duration::from_secs(3);

/// If two signs of life of this hub are further apart than this the directory was away: other hubs
/// without one are not dead then. Signs of life come once a second.
const PULSE_GAP: Duration = Duration::from_millis(2_500);

const _: () = assert!(PULSE_GAP.as_millis() < HUB_ABSENCE.as_millis());

/// Time that members of other hubs stay whose entries are missing when the directory is back: their
/// hubs come back to it too, and enter them again, in twice the time after which a hub is dead.
const DOUBT: Duration = HUB_ABSENCE.saturating_mul(2);

/// What a hub knows of the directory.
#[derive(Debug)]
pub(super) struct Directory {
    hub: HubId,
    is_there: bool,
    /// Orders were handed out, and their outcome is not known.
    publishing: bool,
    /// Members of which the directory is to say something else.
    wishes: BTreeSet<(String, PeerId)>,
    /// Rooms that are to be divided anew.
    proposals: BTreeMap<String, Proposal>,
    /// Hubs whose members' entries are to go.
    dead: BTreeSet<HubId>,
    /// Since when hubs have shown no sign of life.
    absent: BTreeMap<HubId, Instant>,
    last_pulse: Option<Instant>,
    doubts_until: Option<Instant>,
}

/// What hubs send to each other.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
enum BetweenHubs {
    /// A signal for a member at the other hub.
    Signal {
        by: Session,
        room: String,
        to: PeerId,
        /// What the member is to be sent.
        text: String,
    },
    /// A signal of a client of the other hub was not passed on.
    Complaint {
        client: u64,
        code: ErrorCode,
        message: String,
        /// Hubs of earlier versions do not say.
        #[serde(default)]
        peer: Option<PeerId>,
    },
}

/// Why a signal was not passed on.
#[derive(Debug)]
pub(super) struct Complaint {
    /// The member that it was for.
    pub(super) peer: PeerId,
    pub(super) code: ErrorCode,
    pub(super) message: String,
}

pub(super) fn unknown_peer(peer: PeerId) -> Complaint {
    Complaint {
        peer,
        code: ErrorCode::UnknownPeer,
        message: format!("{peer} is not in this room"),
    }
}

impl Directory {
    pub(super) fn new(hub: HubId) -> Self {
        Self {
            hub,
            is_there: false,
            publishing: false,
            wishes: BTreeSet::new(),
            proposals: BTreeMap::new(),
            dead: BTreeSet::new(),
            absent: BTreeMap::new(),
            last_pulse: None,
            doubts_until: None,
        }
    }

    pub(super) fn hub(&self) -> HubId {
        self.hub
    }

    pub(super) fn state(&self) -> DirectoryState {
        if self.is_there {
            DirectoryState::Shared
        } else {
            DirectoryState::Away
        }
    }

    pub(super) fn doubts_until(&self) -> Option<Instant> {
        self.doubts_until
    }

    pub(super) fn propose(&mut self, room: &str, proposal: Proposal) {
        if self.is_there {
            self.proposals.insert(room.to_owned(), proposal);
        }
    }

    fn lost(&mut self) {
        self.is_there = false;
        self.publishing = false;
        self.wishes.clear(); // They are found again.
        self.proposals.clear();
        self.dead.clear();
        self.absent.clear();
        self.last_pulse = None;
        self.doubts_until = None;
    }

    /// Which of these hubs that list members are dead, now that others have shown signs of life.
    fn pulse(&mut self, listed: BTreeSet<HubId>, alive: &BTreeSet<HubId>, now: Instant) {
        let last = self.last_pulse.replace(now);
        if last.is_none_or(|last| last + PULSE_GAP < now) {
            self.absent.clear();
        }
        let absent = |hub: &HubId| *hub != self.hub && !alive.contains(hub);
        let absent: BTreeSet<_> = listed.into_iter().filter(absent).collect();
        self.absent.retain(|hub, _| absent.contains(hub));
        for hub in absent {
            let since = *self.absent.entry(hub).or_insert(now);
            if since + HUB_ABSENCE <= now {
                self.dead.insert(hub);
            }
        }
    }
}

impl Hub {
    /// A hub that shares its rooms with others through a directory. `seed` makes its id too.
    pub fn shared(config: HubConfig, seed: [u8; 32]) -> Self {
        let mut hub = Self::new(config, seed);
        hub.directory = Some(Directory::new(HubId(hub.rng.next_u64())));
        hub
    }

    /// Its id among the hubs that share a directory.
    pub fn id(&self) -> HubId {
        self.shared_id().unwrap_or_default()
    }

    pub(super) fn shared_id(&self) -> Option<HubId> {
        self.directory.as_ref().map(Directory::hub)
    }

    /// A client of this hub, as all hubs know it.
    pub(super) fn session(&self, client: ClientId) -> Session {
        let hub = self.id();
        Session { hub, client }
    }

    /// Whether there are others, and they can be told.
    pub(super) fn shares_directory(&self) -> bool {
        self.directory
            .as_ref()
            .is_some_and(|directory| directory.is_there)
    }

    /// Members of which the directory does not say yet what it should.
    pub(super) fn behind(&self) -> usize {
        self.rooms
            .values()
            .map(|room| room.unpublished().len())
            .sum()
    }

    /// Sees to it that the directory says of a member what it is to say.
    pub(super) fn reconcile(&mut self, room: &str, peer: PeerId) {
        let Some(directory) = self
            .directory
            .as_mut()
            .filter(|directory| directory.is_there)
        else {
            return;
        };
        let wish = self.rooms.get(room).and_then(|room| room.wish(peer));
        let key = (room.to_owned(), peer);
        match wish {
            Some(_) => directory.wishes.insert(key),
            None => directory.wishes.remove(&key),
        };
    }

    /// Hands out what is to be changed, as much as can be now.
    pub(super) fn publish(&mut self) {
        let Some(directory) = &mut self.directory else {
            return;
        };
        if !directory.is_there || directory.publishing {
            return;
        }
        let mut orders = Vec::new();
        while let Some(hub) = directory.dead.pop_first() {
            orders.push(Order::Forget(hub));
        }
        while let Some((room, (from, to))) = directory.proposals.pop_first() {
            orders.push(Order::Divide { room, from, to });
        }
        while orders.len() < ORDERS_MAX
            && let Some((room, peer)) = directory.wishes.pop_first()
        {
            match self.rooms.get(&room).and_then(|room| room.wish(peer)) {
                Some(Wish::Enter(entry)) => orders.push(Order::Enter { room, peer, entry }),
                Some(Wish::Leave(session)) => orders.push(Order::Leave {
                    room,
                    peer,
                    session,
                }),
                None => {}
            }
        }
        if !orders.is_empty() {
            directory.publishing = true;
            let publish = DirectoryOrder::Publish(orders);
            self.outbox.push_back(HubOutput::Directory(publish));
        }
    }

    pub(super) fn directory_fact(&mut self, fact: DirectoryFact, now: Instant) {
        let Some(directory) = &mut self.directory else {
            return;
        };
        match fact {
            DirectoryFact::Lost => {
                self.stats.directory_lost += 1;
                directory.lost();
            }
            DirectoryFact::Resumed => {
                self.stats.directory_resumed += 1;
                self.directory_back(now);
            }
            DirectoryFact::Read(snapshot) => {
                self.stats.directory_read += 1;
                self.directory_read(snapshot, now);
            }
            DirectoryFact::Changed(change) => self.directory_changed(change, now),
            DirectoryFact::Published => directory.publishing = false,
            DirectoryFact::Pulse(alive) => {
                let hubs = self.rooms.values().flat_map(|room| room.hubs()).collect();
                directory.pulse(hubs, &alive, now);
            }
            DirectoryFact::Told(text) => self.told(&text),
            DirectoryFact::Untold(text) => self.untold(&text),
        }
    }

    fn directory_read(&mut self, snapshot: Snapshot, now: Instant) {
        let mut entries: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for name in self.rooms.keys() {
            entries.insert(name.clone(), BTreeMap::new());
        }
        for (room, peer, entry) in snapshot.entries {
            entries.entry(room).or_default().insert(peer, entry);
        }
        let mut divisions: BTreeMap<_, _> = snapshot.divisions.into_iter().collect();
        let hub = self.shared_id();
        let mut notices = Vec::new();
        let mut replaced = Vec::new();
        for (name, entries) in entries {
            let division = divisions.remove(&name).unwrap_or_default();
            let knew_better = snapshot.went_back && self.rooms.contains_key(&name);
            let room = Room::open(&mut self.rooms, hub, &name, now);
            room.stale();
            replaced.extend(room.read(entries, &self.config, now));
            if knew_better {
                room.division_lost(division);
            } else {
                notices.extend(room.divided(division, now));
            }
        }
        self.tell(notices);
        self.directory_back(now);
        for client in replaced {
            self.replaced(client, now);
        }
    }

    /// The directory is there, and known.
    fn directory_back(&mut self, now: Instant) {
        let Some(directory) = &mut self.directory else {
            return;
        };
        directory.is_there = true;
        directory.publishing = false;
        directory.doubts_until = Some(now + DOUBT);
        for (name, room) in &mut self.rooms {
            room.stale();
            let wishes = room.unpublished().into_iter();
            directory
                .wishes
                .extend(wishes.map(|peer| (name.clone(), peer)));
            room.tell_soon(&self.config, now); // It may have to be divided anew.
        }
    }

    fn directory_changed(&mut self, change: Change, now: Instant) {
        let Some(directory) = &self.directory else {
            return;
        };
        match change {
            Change::Entered { room, peer, entry } => {
                self.reflected(&room, peer, Some(entry), now);
            }
            Change::Left { room, peer } if self.rooms.contains_key(&room) => {
                self.reflected(&room, peer, None, now);
            }
            Change::Left { .. } => {}
            Change::Divided { room, shards } => {
                let room = Room::open(&mut self.rooms, Some(directory.hub), &room, now);
                let notices = room.divided(shards, now);
                room.tell_soon(&self.config, now); // It may be over.
                self.tell(notices);
            }
            Change::Forgotten(hub) => {
                let entered = self.rooms.iter().map(|(name, room)| {
                    let entered = room.entered_by(hub);
                    (name.clone(), entered)
                });
                for (room, peers) in entered.collect::<Vec<_>>() {
                    for peer in peers {
                        self.reflected(&room, peer, None, now);
                    }
                }
            }
        }
    }

    fn reflected(&mut self, name: &str, peer: PeerId, entry: Option<Entry>, now: Instant) {
        let hub = self.shared_id();
        let room = Room::open(&mut self.rooms, hub, name, now);
        let replaced = room.reflect(peer, entry, false, &self.config, now);
        self.reconcile(name, peer);
        if let Some(client) = replaced {
            self.replaced(client, now);
        }
    }

    fn replaced(&mut self, client: ClientId, now: Instant) {
        let message = "another connection proved this identity: use one key an agent";
        self.turn_away(client, ErrorCode::Replaced, message.into(), now);
    }

    /// The time is up for members of other hubs of which the directory says nothing.
    pub(super) fn end_doubts(&mut self, now: Instant) {
        let Some(directory) = &mut self.directory else {
            return;
        };
        if directory.doubts_until.is_none_or(|until| until > now) {
            return;
        }
        directory.doubts_until = None;
        for room in self.rooms.values_mut() {
            room.drop_kept(&self.config, now);
        }
    }

    /// A signal for a member at another hub.
    pub(super) fn relay_to(
        &mut self,
        hub: HubId,
        by: Session,
        room: String,
        to: PeerId,
        text: String,
    ) {
        if !self.shares_directory() {
            self.out_of_reach(by.client, to);
            return;
        }
        let signal = BetweenHubs::Signal { by, room, to, text };
        self.tell_hub(hub, &signal);
    }

    fn out_of_reach(&mut self, client: ClientId, to: PeerId) {
        self.stats.signals_dropped += 1;
        let message = format!("the hub of {to} is out of reach: link with others meanwhile");
        self.tell_error(client, ErrorCode::OutOfReach, message, Some(to));
    }

    fn tell_hub(&mut self, hub: HubId, message: &BetweenHubs) {
        let text = serde_json::to_string(message).expect("messages always encode");
        let tell = DirectoryOrder::Tell { hub, text };
        self.outbox.push_back(HubOutput::Directory(tell));
    }

    /// A signal was not passed on: its sender is told, here or at another hub.
    pub(super) fn complain_of_signal(&mut self, by: Session, complaint: Complaint) {
        let Complaint {
            peer,
            code,
            message,
        } = complaint;
        self.pass_complaint(by, code, message, Some(peer));
    }

    fn pass_complaint(
        &mut self,
        by: Session,
        code: ErrorCode,
        message: String,
        peer: Option<PeerId>,
    ) {
        if by.hub != self.id() {
            let client = by.client.0;
            let complaint = BetweenHubs::Complaint {
                client,
                code,
                message,
                peer,
            };
            self.tell_hub(by.hub, &complaint);
        } else if self.clients.contains_key(&by.client) {
            self.tell_error(by.client, code, message, peer);
        }
    }

    /// Another hub sent something. What is not understood is of a later version.
    fn told(&mut self, text: &str) {
        match serde_json::from_str(text) {
            Ok(BetweenHubs::Signal { by, room, to, text }) => {
                let room = self.rooms.get(&room);
                match room.and_then(|room| room.place_of(to)) {
                    Some(Place::Here { client: to, .. }) => {
                        let relay = HubOutput::Relay { from: by, to, text };
                        self.outbox.push_back(relay);
                    }
                    _ => self.complain_of_signal(by, unknown_peer(to)),
                }
            }
            Ok(BetweenHubs::Complaint {
                client,
                code,
                message,
                peer,
            }) => {
                let by = self.session(ClientId(client));
                self.pass_complaint(by, code, message, peer);
            }
            Err(_) => {}
        }
    }

    /// What was to be sent to another hub was not. Complaints are not worth another.
    fn untold(&mut self, text: &str) {
        let read = serde_json::from_str(text);
        if let Ok(BetweenHubs::Signal { by, to, .. }) = read
            && self.clients.contains_key(&by.client)
        {
            self.out_of_reach(by.client, to);
        }
    }
}
