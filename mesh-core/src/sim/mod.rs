//! A world in virtual time: many real [`Mesh`](crate::Mesh)es, a real [`Hub`], and a network that
//! is not.
//!
//! A discrete-event simulation. Everything that will happen stands in one queue by time; the world
//! takes the next, hands it to whom it concerns, and queues what that one orders. All randomness
//! comes from one seed, so a run can be repeated to the last frame: [`World::trace`] folds
//! everything that happened into one number. After every step the world checks what must always
//! hold, and panics with the seed where it does not.

mod agent;
mod black_hole;
mod checks;
#[cfg(test)]
mod churn;
mod config;
#[cfg(test)]
mod explain;
mod faults;
#[cfg(test)]
mod flow;
pub mod fuzz;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod healing;
#[cfg(test)]
mod large;
mod network;
mod operation;
mod pace;
#[cfg(test)]
mod partition;
#[cfg(test)]
mod regressions;
mod relay;
mod report;
mod restart;
#[cfg(test)]
mod rotation;
mod rough;
mod scenario;
#[cfg(test)]
mod seeds;
#[cfg(test)]
mod sleep;
#[cfg(test)]
mod tests;
mod trace;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

pub use agent::SimAgent;
pub use config::WorldConfig;
use network::Connection;
pub use operation::Operation;
pub use pace::Pace;
pub use report::{Broadcasts, Messages, Report, Simulation, Traffic};
pub use rough::Rough;
pub use scenario::{Outcome, Scenario};
use trace::{Fault, Trace};

use crate::config::Config;
use crate::id::{ClientId, MessageId, SocketId, Target};
use crate::io::{Channel, Input};
use crate::payload::{Delivery, Payload};
use crate::routing::SharedRecords;
use crate::signaling::{Hub, HubInput};
use crate::time::{Instant, UnixTime};
use crate::topology::Shards;
use crate::trust::Identity;
use crate::trust::KnownSignatures;

/// Many agents, a hub, and the network between them.
#[derive(Debug)]
pub struct World {
    config: WorldConfig,
    rng: ChaCha8Rng,
    now: Instant,
    agents: Vec<SimAgent>,
    hub: Option<Hub>,
    /// Grows when the hub's process ends.
    hub_life: u64,
    hub_sockets: BTreeMap<ClientId, (usize, SocketId)>,
    connections: Vec<Connection>,
    /// No connection opens but those with this agent.
    only_through: Option<usize>,
    /// Agents between which no path leads.
    parted: BTreeSet<(usize, usize)>,
    /// Pairs of agents between which large packets get lost.
    drops_large: BTreeSet<(usize, usize)>,
    /// Pairs of agents between which no direct path leads.
    blocked: BTreeSet<(usize, usize)>,
    /// The TURN server gives no relays.
    turn_is_away: bool,
    queue: BTreeMap<(Instant, u64), Box<Happening>>,
    queued: u64,
    /// Everything that applications sent, for checking what arrives.
    sent: BTreeMap<MessageId, Sent>,
    /// Messages that a process held when it was killed: lost with it.
    died_with_forwarders: u64,
    /// Frames that travelled lately, for hostile neighbours to send again.
    recordings: VecDeque<(Channel, Bytes)>,
    trace: Trace,
    /// The agent that last failed a check which the world waits for.
    suspect: Cell<usize>,
    /// Everybody checks every link-state record, and here everybody is one thread.
    signatures: KnownSignatures,
    records: SharedRecords,
    /// Changes what the hub passes on, as a hostile one might.
    tamper: Option<fn(&mut String)>,
    /// The hub drops all signals, and says so.
    hub_is_busy: bool,
}

/// A message that an application sent.
#[derive(Debug)]
struct Sent {
    payload: Payload,
    delivery: Delivery,
}

/// Something that will happen.
#[derive(Debug)]
enum Happening {
    /// An agent gets an input, if it is still the same process.
    Input {
        agent: usize,
        life: u32,
        input: Input,
    },
    /// An agent's timer may be due.
    Wake { agent: usize, life: u32 },
    /// An agent's driver comes around, if it is still the same process.
    Turn { agent: usize, life: u32 },
    /// The hub gets an input, if it is still the same process.
    Hub { life: u64, input: HubInput },
    /// The hub's timer may be due.
    WakeHub,
    /// A path between both ends of a connection is found.
    Established { connection: usize },
    /// What waited to leave in one direction of a connection has left.
    Left { connection: usize, side: usize },
}

/// The room that all agents join.
const ROOM: &str = "sim";

/// The civil time at the start of the world: some day in 2026.
const EPOCH: UnixTime = UnixTime::from_micros(1_800_000_000_000_000);

impl World {
    /// A world with a hub and no agents.
    pub fn new(config: WorldConfig) -> Self {
        let mut world = Self {
            rng: ChaCha8Rng::seed_from_u64(config.seed),
            config,
            now: Instant::default(),
            agents: Vec::new(),
            hub: None,
            hub_life: 0,
            hub_sockets: BTreeMap::new(),
            connections: Vec::new(),
            only_through: None,
            parted: BTreeSet::new(),
            drops_large: BTreeSet::new(),
            blocked: BTreeSet::new(),
            turn_is_away: false,
            queue: BTreeMap::new(),
            queued: 0,
            sent: BTreeMap::new(),
            died_with_forwarders: 0,
            recordings: VecDeque::new(),
            trace: Trace::default(),
            suspect: Cell::new(0),
            signatures: KnownSignatures::default(),
            records: SharedRecords::default(),
            tamper: None,
            hub_is_busy: false,
        };
        world.start_hub();
        world
    }

    /// A world of agents that have become one mesh.
    #[cfg(test)]
    pub(crate) fn formed(seed: u64, k: Option<usize>, agents: usize) -> Self {
        let mut world = Self::new(WorldConfig {
            k,
            ..WorldConfig::new(seed)
        });
        world.start_agents(agents);
        assert!(
            world.run_until(Duration::from_secs(20), Self::is_converged),
            "seed {seed}: never converged"
        );
        world
    }

    /// The time in this world.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Everything that has happened, folded into one number (as FNV-1a, eight bytes at a time).
    pub fn trace(&self) -> u64 {
        self.trace.number()
    }

    /// The agents, in the order of their start.
    pub fn agents(&self) -> &[SimAgent] {
        &self.agents
    }

    /// An agent's state machine, to be driven past the world.
    pub fn mesh_mut(&mut self, agent: usize) -> &mut crate::Mesh {
        &mut self.agents[agent].mesh
    }

    /// Indices of the agents that live.
    pub fn living(&self) -> Vec<usize> {
        (0..self.agents.len())
            .filter(|&i| self.agents[i].alive)
            .collect()
    }

    /// How the room is divided: as the hub says, or whoever remembers what it said.
    pub fn shards(&self) -> Shards {
        let division = self.hub.as_ref().and_then(|hub| hub.division(ROOM));
        let anybody = || self.agents.iter().find(|agent| agent.alive);
        division.unwrap_or_else(|| anybody().map_or(Shards::WHOLE, |a| a.mesh.shards()))
    }

    /// How many have received a message.
    fn receivers(&self, id: &MessageId) -> u64 {
        let received = self.agents.iter().filter(|agent| agent.has_received(id));
        received.count() as u64
    }

    /// Starts agents that join at once; returns their indices.
    pub fn start_agents(&mut self, count: usize) -> Vec<usize> {
        (0..count).map(|_| self.start_agent()).collect()
    }

    fn start_agent(&mut self) -> usize {
        let index = self.agents.len();
        let mut secret = [0; 32];
        self.rng.fill_bytes(&mut secret);
        let mut config = Config::new(ROOM, &format!("agent-{index:03}"))
            .and_then(|config| config.with_k(self.config.k))
            .unwrap_or_else(|error| panic!("{error}"));
        config.sparse = self.config.sparse;
        config.metric = self.config.metric;
        config.rotate_interval = self.config.rotate_interval;
        config.adaptive.clone_from(&self.config.adaptive);
        let seed = self.draw_seed();
        let identity = Identity::from_secret(secret);
        let unix = EPOCH + self.now.since(Instant::default());
        let mut agent = SimAgent::new(config, identity, seed, self.now, unix);
        agent.mesh.share_signatures(self.signatures.clone());
        agent.mesh.share_records(self.records.clone());
        self.agents.push(agent);
        self.command(index, |mesh, now| mesh.join(now));
        index
    }

    /// Has an agent send; returns the message's id if the mesh took it.
    pub fn send(
        &mut self,
        from: usize,
        target: Target,
        payload: Payload,
        delivery: Delivery,
    ) -> Result<MessageId, crate::SendError> {
        let mut sent = self.send_together(from, target, vec![payload], delivery);
        sent.pop().expect("one result a payload")
    }

    /// Sends messages in one turn of an agent's loop.
    pub fn send_together(
        &mut self,
        from: usize,
        target: Target,
        payloads: Vec<Payload>,
        delivery: Delivery,
    ) -> Vec<Result<MessageId, crate::SendError>> {
        let copies = payloads.clone();
        let sent: Vec<_> = self.command(from, |mesh, now| {
            let send = |payload| match target {
                Target::Peer(peer) => mesh.send(peer, payload, delivery.into(), now),
                Target::Room => mesh.broadcast("topic", payload, now),
            };
            payloads.into_iter().map(send).collect()
        });
        for (id, payload) in sent.iter().zip(copies) {
            if let Ok(id) = id {
                self.note_sent(*id, payload, delivery);
            }
        }
        sent
    }

    /// Expects a message that an application sent past the world.
    #[cfg(test)]
    pub(crate) fn sent_elsewhere(&mut self, id: MessageId, payload: &str) {
        self.note_sent(id, payload, Delivery::Datagram);
    }

    fn note_sent(&mut self, id: MessageId, payload: impl Into<Payload>, delivery: Delivery) {
        let payload = payload.into();
        self.sent.insert(id, Sent { payload, delivery });
    }

    /// Has an agent do something, and carries out what it orders.
    pub fn command<T>(
        &mut self,
        agent: usize,
        command: impl FnOnce(&mut crate::Mesh, Instant) -> T,
    ) -> T {
        let now = self.now;
        let result = command(&mut self.agents[agent].mesh, now);
        self.after_call(agent);
        result
    }

    /// Hands an agent an input out of the blue, as a hostile neighbour might cause it.
    pub fn inject(&mut self, agent: usize, input: Input) {
        self.reach(agent, input);
    }

    /// Lets time pass.
    pub fn run_for(&mut self, duration: Duration) {
        let until = self.now + duration;
        while let Some((&(at, _), _)) = self.queue.first_key_value() {
            if at > until {
                break;
            }
            self.step();
        }
        self.now = until;
    }

    /// Lets time pass until something holds; false if it does not within `limit`.
    pub fn run_until(&mut self, limit: Duration, mut holds: impl FnMut(&Self) -> bool) -> bool {
        let until = self.now + limit;
        let mut look_at = self.now;
        loop {
            if self.now >= look_at {
                if holds(self) {
                    return true;
                }
                look_at = self.now + Duration::from_millis(10);
            }
            match self.queue.first_key_value() {
                Some((&(at, _), _)) if at <= until => self.step(),
                _ => return holds(self),
            }
        }
    }

    fn step(&mut self) {
        let Some(((at, _), happening)) = self.queue.pop_first() else {
            return;
        };
        debug_assert!(at >= self.now, "time does not run backwards");
        self.now = at;
        match *happening {
            Happening::Input { agent, life, input } => {
                if self.agents[agent].life == life {
                    self.reach(agent, input);
                }
            }
            Happening::Turn { agent, life } => self.planned_turn(agent, life),
            Happening::Left { connection, side } => self.left(connection, side),
            Happening::Wake { agent, life } => self.wake(agent, life),
            Happening::Hub { life, input } => self.hub_input(life, input),
            Happening::WakeHub => self.wake_hub(),
            Happening::Established { connection } => self.established(connection),
        }
    }

    fn handle(&mut self, agent: usize, input: Input) {
        self.hand_over(agent, input);
        self.drain(agent);
    }

    fn hand_over(&mut self, agent: usize, input: Input) {
        self.trace.input(&input, agent, self.now);
        let sim = &mut self.agents[agent];
        match input {
            Input::LinkCongested { link } => _ = sim.congested.insert(link),
            Input::LinkDrained { link } => _ = sim.congested.remove(&link),
            _ => {}
        }
        sim.mesh.handle_input(input, self.now);
    }

    fn wake(&mut self, agent: usize, life: u32) {
        let now = self.now;
        let sim = &mut self.agents[agent];
        // Another stands in the queue for whoever is to wake earlier or later than it seemed.
        if sim.life != life || sim.wake_at != Some(now) {
            return;
        }
        sim.wake_at = None;
        if sim.frozen {
            return;
        }
        if sim.turn_at.is_some() || sim.pace != Pace::Punctual {
            return self.after_call(agent);
        }
        if sim.mesh.poll_timeout().is_some_and(|(at, _)| at <= now) {
            sim.mesh.handle_timeout(now);
        }
        self.drain(agent);
        self.check_timer(agent);
    }

    /// What was due is done.
    fn check_timer(&self, agent: usize) {
        let now = self.now;
        let due = self.agents[agent].mesh.poll_timeout();
        assert!(
            due.is_none_or(|(at, _)| at > now),
            "{}: a timer spins: {due:?}",
            self.whoami(agent)
        );
    }

    /// Carries an agent's orders out and arms its timer.
    fn drain(&mut self, agent: usize) {
        let mut outputs = VecDeque::new();
        while let Some(output) = self.agents[agent].mesh.poll_output() {
            outputs.push_back(output);
        }
        for output in outputs {
            self.trace.output(&output, agent, self.now);
            self.carry_out(agent, output);
        }
        self.check(agent);
        // A wake that comes too early finds nothing due and is repeated; one too late is a bug.
        let due = self.agents[agent].mesh.poll_timeout();
        let due = due.map(|(at, _)| self.wake_time(agent, at));
        let sim = &mut self.agents[agent];
        if let Some(at) = due
            && sim.wake_at.is_none_or(|planned| at < planned)
        {
            sim.wake_at = Some(at);
            let life = sim.life;
            self.queue_at(at, Happening::Wake { agent, life });
        }
    }

    fn queue_at(&mut self, at: Instant, happening: Happening) {
        self.queued += 1;
        self.queue.insert((at, self.queued), Box::new(happening));
    }

    fn whoami(&self, agent: usize) -> String {
        let name = &self.agents[agent].mesh.config().name;
        format!("seed {}, {name}, {:?}", self.config.seed, self.now)
    }

    fn record(&mut self, fault: Fault, agent: usize) {
        self.trace.fault(fault, agent, self.now);
    }

    fn draw_seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        seed
    }
}
