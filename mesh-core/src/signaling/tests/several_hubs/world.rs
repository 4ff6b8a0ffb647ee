//! Several hubs and the directory that they share, with delays and faults.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::super::shards::Told;
use super::super::*;
use crate::signaling::directory::{
    Change, DirectoryFact, DirectoryOrder, Entry, HubId, Order, Snapshot,
};
use crate::time::UnixTime;

/// The room of these tests.
pub(super) const ROOM: &str = "a";

/// For how long a sign of life of a hub counts.
const PULSE_COUNTS: Duration = Duration::from_secs(3);

/// What the directory says at some moment.
#[derive(Clone, Default)]
struct State {
    entries: BTreeMap<(String, PeerId), Entry>,
    divisions: BTreeMap<String, Shards>,
}

/// The directory: what it says, and how that came to be.
#[derive(Default)]
pub(super) struct Store {
    epoch: u64,
    stream: Vec<Step>,
    changes: u64,
    alive: BTreeMap<HubId, Instant>,
    /// What connections that are gone may still have it do.
    late: Vec<Vec<Order>>,
}

/// A change, and what the directory said after it.
struct Step {
    number: u64,
    change: Change,
    state: State,
}

/// Where in the stream a hub is.
#[derive(Clone, Copy, PartialEq)]
struct Cursor {
    epoch: u64,
    offset: usize,
    /// The number of the change before.
    last: u64,
}

/// A hub, its clients, and its connection to the directory.
pub(super) struct Node {
    pub(super) clients: Clients,
    pub(super) told: Told,
    /// How the clients here were turned away.
    pub(super) turned_away: Vec<(u64, ErrorCode)>,
    /// Who is a client here.
    pub(super) here: BTreeMap<u64, Identity>,
    cursor: Option<Cursor>,
    attached: bool,
    pub(super) cut: bool,
    /// What other hubs have sent.
    inbox: VecDeque<String>,
    acknowledged: bool,
    pulse_at: Instant,
    /// When its clients last gave a sign of life.
    alive_at: Instant,
}

/// All of it.
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) store: Store,
    pub(super) nodes: Vec<Option<Node>>,
    config: HubConfig,
    rng: ChaCha8Rng,
    last_client: u64,
}

impl Store {
    fn state(&self) -> State {
        let last = self.stream.last();
        last.map(|step| step.state.clone()).unwrap_or_default()
    }

    fn cursor(&self) -> Cursor {
        Cursor {
            epoch: self.epoch,
            offset: self.stream.len(),
            last: self.stream.last().map_or(0, |step| step.number),
        }
    }

    fn change(&mut self, change: Change, edit: impl FnOnce(&mut State)) {
        let mut state = self.state();
        edit(&mut state);
        self.changes += 1;
        self.stream.push(Step {
            number: self.changes,
            change,
            state,
        });
    }

    fn carry_out(&mut self, orders: Vec<Order>, now: Instant) {
        for order in orders {
            let state = self.state();
            match order {
                Order::Enter { room, peer, entry } => {
                    let key = (room.clone(), peer);
                    let stands = state.entries.get(&key).is_some_and(|there| {
                        there.session == entry.session || there.at >= entry.at
                    });
                    if !stands {
                        let change = Change::Entered {
                            room,
                            peer,
                            entry: entry.clone(),
                        };
                        self.change(change, |state| _ = state.entries.insert(key, entry));
                    }
                }
                Order::Leave {
                    room,
                    peer,
                    session,
                } => {
                    let key = (room.clone(), peer);
                    if state
                        .entries
                        .get(&key)
                        .is_some_and(|there| there.session == session)
                    {
                        let change = Change::Left { room, peer };
                        self.change(change, |state| _ = state.entries.remove(&key));
                    }
                }
                Order::Divide { room, from, to } => {
                    if state.divisions.get(&room).copied().unwrap_or_default() == from {
                        let change = Change::Divided {
                            room: room.clone(),
                            shards: to,
                        };
                        self.change(change, |state| _ = state.divisions.insert(room, to));
                    }
                }
                Order::Forget(hub) => {
                    let lives = self.alive.get(&hub).is_some_and(|until| *until > now);
                    let mut listed = state.entries.values();
                    if !lives && listed.any(|entry| entry.session.hub == hub) {
                        self.change(Change::Forgotten(hub), |state| {
                            state.entries.retain(|_, entry| entry.session.hub != hub);
                        });
                    }
                }
            }
        }
    }

    /// All is lost.
    pub(super) fn flush(&mut self) {
        self.epoch += 1;
        self.stream.clear();
        self.alive.clear();
    }

    /// Changes in the stream.
    pub(super) fn len(&self) -> usize {
        self.stream.len()
    }

    /// Whether the changes up to there are still those that were read.
    fn can_resume(&self, cursor: Cursor) -> bool {
        let before = cursor.offset.checked_sub(1);
        let before = before.map(|index| self.stream.get(index).map(|step| step.number));
        cursor.epoch == self.epoch && before.is_none_or(|number| number == Some(cursor.last))
    }
}

impl World {
    pub(super) fn new(hubs: usize, config: HubConfig, seed: u64) -> Self {
        let mut world = Self {
            now: Instant::from_micros(1_000_000),
            store: Store::default(),
            nodes: Vec::new(),
            config,
            rng: ChaCha8Rng::seed_from_u64(seed),
            last_client: 0,
        };
        for index in 0..hubs {
            world.nodes.push(None);
            world.start(index);
        }
        world
    }

    pub(super) fn start(&mut self, index: usize) {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let hub = Hub::shared(self.config.clone(), seed);
        self.nodes[index] = Some(Node {
            clients: Clients::of(hub, self.now),
            told: Told::default(),
            turned_away: Vec::new(),
            here: BTreeMap::new(),
            cursor: None,
            attached: false,
            cut: false,
            inbox: VecDeque::new(),
            acknowledged: true,
            pulse_at: self.now,
            alive_at: self.now,
        });
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self, index: usize) {
        if let Some(node) = self.nodes[index].take() {
            self.leave_late(node);
        }
    }

    /// What was under way may be carried out, now or later, or not.
    fn leave_late(&mut self, mut node: Node) -> Node {
        for order in node.clients.orders.drain(..) {
            match order {
                DirectoryOrder::Publish(orders) => self.store.late.push(orders),
                DirectoryOrder::Tell { text, .. } => {
                    let untold = DirectoryFact::Untold(text);
                    let input = HubInput::Directory(untold);
                    node.clients.hub.handle_input(input, self.now);
                }
            }
        }
        node
    }

    pub(super) fn node(&mut self, index: usize) -> &mut Node {
        self.nodes[index].as_mut().expect("it runs")
    }

    /// The connection of a hub to the directory breaks, for now.
    pub(super) fn cut(&mut self, index: usize, cut: bool) {
        let Some(mut node) = self.nodes[index].take() else {
            return;
        };
        node.cut = cut;
        if cut && node.attached {
            node = self.detach(node);
        }
        self.nodes[index] = Some(node);
    }

    /// A replica that lags takes over: connections break, and the last changes are lost.
    pub(super) fn fail_over(&mut self, lost: usize) {
        for index in 0..self.nodes.len() {
            let was_cut = self.nodes[index].as_ref().is_some_and(|node| node.cut);
            self.cut(index, true);
            self.cut(index, was_cut);
        }
        let left = self.store.stream.len().saturating_sub(lost);
        self.store.stream.truncate(left);
    }

    fn detach(&mut self, mut node: Node) -> Node {
        node.attached = false;
        node.acknowledged = true;
        let mut node = self.leave_late(node);
        node.fact(DirectoryFact::Lost, self.now);
        node
    }

    /// Somebody joins at a hub, and is admitted unless it says otherwise.
    pub(super) fn join(&mut self, index: usize, identity: Identity) -> u64 {
        self.last_client += 1;
        let client = self.last_client;
        let now = self.now;
        let Some(node) = &mut self.nodes[index] else {
            return client;
        };
        node.clients.now = now;
        node.set_clock(now);
        let sent = node.clients.admit(client, &identity, ROOM);
        node.here.insert(client, identity);
        node.hear(sent);
        client
    }

    pub(super) fn leave(&mut self, index: usize, client: u64) {
        let now = self.now;
        let Some(node) = &mut self.nodes[index] else {
            return;
        };
        if node.here.remove(&client).is_some() {
            let closed = HubInput::ClientClosed(ClientId(client));
            node.clients.hub.handle_input(closed, now);
            let sent = node.clients.drain();
            node.hear(sent);
        }
    }

    fn one_in(&mut self, chances: u32) -> bool {
        self.rng.next_u32().is_multiple_of(chances)
    }

    /// Does one thing that can be done at one hub, or lets some milliseconds pass.
    pub(super) fn step(&mut self) {
        if !self.store.late.is_empty() && self.one_in(4) {
            let orders = self.store.late.remove(0);
            if self.one_in(2) {
                self.store.carry_out(orders, self.now);
            }
        }
        let index = self.rng.next_u32() as usize % self.nodes.len();
        if let Some(node) = self.nodes[index].take() {
            let node = self.serve(node);
            self.nodes[index] = Some(node);
        }
        self.now = self.now + Duration::from_millis(u64::from(self.rng.next_u32() % 4));
    }

    fn serve(&mut self, mut node: Node) -> Node {
        let now = self.now;
        let sound = node
            .cursor
            .is_some_and(|cursor| self.store.can_resume(cursor));
        if node.attached && !sound {
            node = self.detach(node);
        }
        if node.cut {
            node.pass_time(now);
            return node;
        }
        if !node.attached {
            node.attached = true;
            let went_back = node.cursor.is_some();
            let fact = if sound {
                DirectoryFact::Resumed
            } else {
                node.cursor = Some(self.store.cursor());
                let state = self.store.state();
                let entries = state.entries.into_iter();
                DirectoryFact::Read(Snapshot {
                    entries: entries
                        .map(|((room, peer), entry)| (room, peer, entry))
                        .collect(),
                    divisions: state.divisions.into_iter().collect(),
                    went_back,
                })
            };
            node.fact(fact, now);
        }
        self.exchange(&mut node);
        if node.pulse_at <= now {
            node.pulse_at = now + Duration::from_secs(1);
            let hub = node.clients.hub.id();
            self.store.alive.insert(hub, now + PULSE_COUNTS);
            let alive = self.store.alive.iter().filter(|(_, until)| **until > now);
            let alive = alive.map(|(hub, _)| *hub).collect();
            node.fact(DirectoryFact::Pulse(alive), now);
        }
        node.pass_time(now);
        node
    }

    /// What the connection does in any order: one change, one order, one answer, one text.
    fn exchange(&mut self, node: &mut Node) {
        let now = self.now;
        if !self.one_in(3)
            && let Some(cursor) = &mut node.cursor
            && let Some(step) = self.store.stream.get(cursor.offset)
        {
            (cursor.offset, cursor.last) = (cursor.offset + 1, step.number);
            node.fact(DirectoryFact::Changed(step.change.clone()), now);
        }
        if !node.acknowledged && self.one_in(2) {
            node.acknowledged = true;
            node.fact(DirectoryFact::Published, now);
        }
        if self.one_in(2)
            && let Some(order) = node.clients.orders.pop_front()
        {
            match order {
                DirectoryOrder::Publish(orders) => {
                    assert!(node.acknowledged, "one batch at a time");
                    node.acknowledged = false;
                    self.store.carry_out(orders, now);
                }
                DirectoryOrder::Tell { hub, text } => {
                    let mut others = self.nodes.iter_mut().flatten();
                    match others.find(|other| other.clients.hub.id() == hub && other.attached) {
                        Some(other) => other.inbox.push_back(text),
                        None => node.fact(DirectoryFact::Untold(text), now),
                    }
                }
            }
        }
        if let Some(text) = node.inbox.pop_front() {
            node.fact(DirectoryFact::Told(text), now);
        }
    }

    /// Lets so much time pass, in which all hubs do what they can.
    pub(super) fn wait(&mut self, duration: Duration) {
        let until = self.now + duration;
        while self.now < until {
            self.step();
        }
    }

    /// Who of the room is a client of which hub.
    pub(super) fn present(&self) -> BTreeMap<PeerId, (usize, u64)> {
        let nodes = self.nodes.iter().enumerate();
        let clients = nodes.flat_map(|(index, node)| {
            let here = node.iter().flat_map(|node| &node.here);
            here.map(move |(client, identity)| (identity.peer(), (index, *client)))
        });
        clients.collect()
    }

    /// Whom a hub lists.
    pub(super) fn listed(&self, index: usize) -> BTreeSet<PeerId> {
        let node = self.nodes[index].as_ref().expect("it runs");
        let room = node.clients.hub.rooms.get(ROOM);
        room.into_iter().flat_map(|room| room.peers()).collect()
    }
}

impl Node {
    fn set_clock(&mut self, now: Instant) {
        let unix = UnixTime::from_micros(1_800_000_000_000_000 + now.as_micros());
        self.clients.hub.set_unix_time(now, unix);
    }

    fn fact(&mut self, fact: DirectoryFact, now: Instant) {
        self.set_clock(now);
        self.clients
            .hub
            .handle_input(HubInput::Directory(fact), now);
        let sent = self.clients.drain();
        self.hear(sent);
    }

    fn pass_time(&mut self, now: Instant) {
        if self.alive_at + Duration::from_secs(5) <= now {
            self.alive_at = now;
            // A sign of life, or the hub would take them for dead in a long test.
            for client in self.here.keys().copied() {
                let answered = HubInput::ClientAnswered(ClientId(client));
                self.clients.hub.handle_input(answered, now);
            }
        }
        if self.clients.hub.poll_timeout().is_some_and(|at| at <= now) {
            self.clients.hub.handle_timeout(now);
        }
        let sent = self.clients.drain();
        self.hear(sent);
    }

    fn hear(&mut self, sent: Vec<(u64, HubMessage)>) {
        for (client, message) in &sent {
            if let HubMessage::Error { code, .. } = message {
                self.turned_away.push((*client, *code));
                if !code.is_about_a_signal() {
                    self.here.remove(client);
                }
            }
        }
        self.told.hear(sent);
    }
}
