//! The agent's half of signaling: which hub it dials and when, what a hub's texts mean, and how it
//! goes from one hub to another.
//!
//! An agent has the addresses of one hub or more, in the order in which it likes them. It goes to
//! the next when a hub is lost or refuses it. A hub that is about to stop asks it to move: then it
//! is admitted elsewhere before it leaves, so that it is a member all the time. Away from its first
//! address it tries now and then to return, in the same way.

mod moving;

use std::collections::BTreeSet;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use self::moving::Move;
use super::conversation::{Conversation, Due, Stage};
use super::protocol::{ClientMessage, ErrorCode, HubMessage, Listing, Member};
use crate::config::Config;
use crate::ice::IceServer;
use crate::id::{PeerId, SocketId};
use crate::io::Output;
use crate::rng::{Stream, spread, unit};
use crate::time::{Instant, UnixTime};
use crate::topology::Shards;
use crate::trust::{Identity, Signed};

/// Time that a hub has for each step until admission while there is another to try; doubled each
/// time that all have failed, up to the time that a single hub has. Several round trips to the
/// other side of the world, and so little that two dead machines do not use up the time of a join.
pub(crate) const ELSEWHERE_PATIENCE: Duration = Duration::from_secs(2);

/// The reason for which a hub without an answer is lost.
const SILENT: &str = "the signaling server does not answer";

/// The connections to the hubs.
#[derive(Debug)]
pub(crate) struct Client {
    /// Whether the agent wants to be in the room: it has joined, and no hub has refused it for
    /// good.
    wanted: bool,
    /// The last socket that was dialled.
    last_socket: u64,
    /// The connection that serves, or is to serve.
    current: Option<Conversation>,
    /// Without one: when the next is dialled, and where.
    dial_at: Instant,
    hub: usize,
    /// Attempts that have failed since a hub last admitted this agent.
    failures: u32,
    /// Addresses whose hubs would refuse it again.
    refused: BTreeSet<usize>,
    moving: Option<Move>,
    ever_admitted: bool,
    /// The mesh was told that no hub serves.
    told_lost: bool,
    rng: ChaCha8Rng,
}

/// What is due.
#[derive(Debug, PartialEq)]
pub(crate) enum ClientTask {
    /// Dial, or show a sign of life.
    Order(Output),
    /// A hub does not answer: close the connection. The agent may have lost its hub by that.
    GiveUp(Output, Option<Lost>),
}

/// No hub serves.
#[derive(Debug, PartialEq)]
pub(crate) struct Lost {
    /// Which of the agent's addresses has failed.
    pub(crate) hub: usize,
    pub(crate) reason: String,
    /// When the next is dialled.
    pub(crate) retry_in: Duration,
}

/// What a text from the hub means to the mesh.
#[derive(Debug, PartialEq)]
pub(crate) enum ClientFact {
    /// Admitted, for the first time or again.
    Admitted(Admission),
    /// The hub has answered a sign of life: its time, and servers in the place of those before.
    Pong(Option<HubTime>, Option<Vec<IceServer>>),
    Divided(Listing),
    Members {
        joined: Vec<Member>,
        left: Vec<PeerId>,
        room_members: usize,
        newcomers: usize,
    },
    Signal(Signed),
    /// The hub has not passed a signal on to this member.
    NotPassedOn {
        to: PeerId,
        code: ErrorCode,
    },
    /// This hub will not have the agent; another may.
    Lost(Lost),
    /// No hub will ever admit this agent.
    Refused {
        code: ErrorCode,
        message: String,
    },
    /// The hub said something that is not in the protocol.
    Nonsense,
}

/// What the hub says when it admits an agent.
#[derive(Debug, PartialEq)]
pub(crate) struct Admission {
    pub(crate) hub: usize,
    pub(crate) listing: Listing,
    pub(crate) ice_servers: Vec<IceServer>,
    pub(crate) arrival: Arrival,
    pub(crate) time: Option<HubTime>,
}

/// How an agent came to the hub that has admitted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It had not been admitted by any before.
    First,
    /// It had lost its hub.
    Again,
    /// It came from another, which served until now.
    Moved,
}

/// What the hub's clock showed, at some moment between two of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HubTime {
    pub(crate) asked_at: Instant,
    pub(crate) unix: UnixTime,
}

/// The order to send a message to a hub.
pub(super) fn send(socket: SocketId, message: &ClientMessage) -> Output {
    let text = serde_json::to_string(message).expect("messages always encode");
    Output::SendSignaling { socket, text }
}

impl Client {
    /// No hub is dialled yet. `seed` is the agent's.
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self {
            wanted: false,
            last_socket: 0,
            current: None,
            dial_at: Instant::default(),
            hub: 0,
            failures: 0,
            refused: BTreeSet::new(),
            moving: None,
            ever_admitted: false,
            told_lost: false,
            rng: Stream::Signaling.of(seed),
        }
    }

    pub(crate) fn is_admitted(&self) -> bool {
        self.current.as_ref().is_some_and(Conversation::is_admitted)
    }

    /// The order to send a message to the hub that serves, if one does.
    pub(crate) fn send(&self, message: &ClientMessage) -> Option<Output> {
        let current = self.current.as_ref().filter(|hub| hub.is_admitted())?;
        Some(send(current.socket, message))
    }

    /// Dials the hub whose turn it is.
    pub(crate) fn connect(&mut self, config: &Config, now: Instant) -> Output {
        self.wanted = true;
        let (conversation, order) = self.dial(self.hub, self.failures, config, now);
        self.current = Some(conversation);
        order
    }

    fn dial(
        &mut self,
        hub: usize,
        failures: u32,
        config: &Config,
        now: Instant,
    ) -> (Conversation, Output) {
        self.last_socket += 1;
        let socket = SocketId(self.last_socket);
        let patience = match config.hubs {
            0 | 1 => config.signaling_timeout,
            hubs => config
                .signaling_timeout
                .min(ELSEWHERE_PATIENCE * doublings(failures, hubs)),
        };
        let conversation = Conversation::dial(socket, hub, patience, now);
        (conversation, Output::OpenSignaling { socket, hub })
    }

    /// Says goodbye and stays away.
    pub(crate) fn leave(&mut self) -> Vec<Output> {
        let mut orders = Vec::new();
        orders.extend(self.send(&ClientMessage::Leave));
        let moving = self.moving.take().and_then(|moving| moving.next);
        let sockets = [self.current.take(), moving].into_iter().flatten();
        orders.extend(sockets.map(|gone| close(&gone)));
        self.wanted = false;
        orders
    }

    /// A WebSocket is open.
    pub(crate) fn opened(
        &mut self,
        socket: SocketId,
        config: &Config,
        identity: &Identity,
        shards: Shards,
        now: Instant,
    ) -> Option<Output> {
        let again = self.ever_admitted;
        self.conversation(socket)?
            .opened(config, identity, (shards, again), now)
    }

    fn conversation(&mut self, socket: SocketId) -> Option<&mut Conversation> {
        let next = self.moving.as_mut().and_then(|moving| moving.next.as_mut());
        let mut all = self.current.as_mut().into_iter().chain(next);
        all.find(|conversation| conversation.socket == socket)
    }

    fn is_current(&self, socket: SocketId) -> bool {
        let current = self.current.as_ref();
        current.is_some_and(|current| current.socket == socket)
    }

    /// Returns what the text means, and an order.
    pub(crate) fn received(
        &mut self,
        socket: SocketId,
        text: &str,
        config: &Config,
        identity: &Identity,
        now: Instant,
    ) -> (Option<ClientFact>, Option<Output>) {
        let Some(conversation) = self.conversation(socket) else {
            return (None, None); // Of a connection that was given up.
        };
        let Ok(message) = serde_json::from_str(text) else {
            return (Some(ClientFact::Nonsense), None);
        };
        conversation.heard(config, now);
        match (message, conversation.stage()) {
            (HubMessage::Challenge { nonce }, Stage::Greeting { .. }) => {
                (None, Some(conversation.prove(nonce, config, identity, now)))
            }
            (
                HubMessage::Welcome {
                    listing,
                    ice_servers,
                    time_ms,
                },
                Stage::Proving { .. },
            ) => {
                conversation.admitted(config, now);
                let (hub, time) = (conversation.hub, conversation.hub_time(time_ms));
                let (arrival, order) = self.admitted(socket, config, now);
                let admission = Admission {
                    hub,
                    listing,
                    ice_servers,
                    arrival,
                    time,
                };
                (Some(ClientFact::Admitted(admission)), order)
            }
            (HubMessage::Error { code, peer, .. }, _) if code.is_about_a_signal() => {
                // A hub of an earlier version names no peer: then the attempt times out.
                (peer.map(|to| ClientFact::NotPassedOn { to, code }), None)
            }
            (HubMessage::Error { code, message, .. }, _) => {
                self.complained(socket, code, message, config, now)
            }
            (HubMessage::Move { within_ms }, Stage::Admitted { .. }) => {
                self.asked_to_move(Duration::from_millis(within_ms), config, now);
                (None, None)
            }
            (message, Stage::Admitted { .. }) => {
                let fact = told(conversation, message);
                (Some(fact), None)
            }
            _ => (Some(ClientFact::Nonsense), None),
        }
    }

    /// A hub has admitted this agent. Returns how it came, and the order to close the connection
    /// that has served until now.
    fn admitted(
        &mut self,
        socket: SocketId,
        config: &Config,
        now: Instant,
    ) -> (Arrival, Option<Output>) {
        let mut order = None;
        if !self.is_current(socket)
            && let Some(next) = self.moving.take().and_then(|moving| moving.next)
        {
            // Without a goodbye: the agent has not left the room.
            order = self.current.replace(next).map(|before| close(&before));
        }
        self.failures = 0;
        self.refused.clear();
        self.moving = None;
        let lost = std::mem::replace(&mut self.told_lost, false);
        let arrival = match std::mem::replace(&mut self.ever_admitted, true) {
            false => Arrival::First,
            true if lost => Arrival::Again,
            true => Arrival::Moved,
        };
        self.hub = self.current.as_ref().map_or(0, |current| current.hub);
        self.plan_return(config, now);
        (arrival, order)
    }

    /// The address to dial after one has failed: the next that has not refused this agent.
    fn after(&self, hub: usize, config: &Config) -> usize {
        let hubs = config.hubs.max(1);
        let mut others = (1..=hubs).map(|step| (hub + step) % hubs);
        let next = others.find(|next| !self.refused.contains(next));
        next.unwrap_or(hub)
    }

    /// There is reason to believe that the hub is out of reach, or in reach again: asks it now
    /// instead of at the next interval, or dials it now. Returns the order.
    pub(crate) fn suspect(&mut self, config: &Config, now: Instant) -> Option<Output> {
        match &mut self.current {
            Some(current) => current.suspect(config, now),
            None if self.wanted => {
                self.failures = 0;
                Some(self.connect(config, now))
            }
            None => None,
        }
    }

    fn complained(
        &mut self,
        socket: SocketId,
        code: ErrorCode,
        message: String,
        config: &Config,
        now: Instant,
    ) -> (Option<ClientFact>, Option<Output>) {
        let Some(conversation) = self.conversation(socket) else {
            return (None, None);
        };
        let (hub, order) = (conversation.hub, close(conversation));
        conversation.complaint = Some(message.clone());
        if !code.is_final() {
            return (None, None); // The hub closes the connection.
        }
        if code == ErrorCode::Replaced && self.follow(socket) {
            return (None, Some(order));
        }
        if code != ErrorCode::Replaced {
            self.refused.insert(hub);
        }
        let another = (0..config.hubs).any(|hub| !self.refused.contains(&hub));
        if !self.is_current(socket) || (another && code != ErrorCode::Replaced) {
            let lost = self.closed(socket, message, config, now);
            return (lost.map(ClientFact::Lost), Some(order));
        }
        self.wanted = false;
        self.current = None;
        self.moving = None;
        let fact = ClientFact::Refused { code, message };
        (Some(fact), Some(order))
    }

    /// A WebSocket closed, or could not be opened. Returns what is lost by that, if no hub serves
    /// any more.
    pub(crate) fn closed(
        &mut self,
        socket: SocketId,
        reason: String,
        config: &Config,
        now: Instant,
    ) -> Option<Lost> {
        if !self.is_current(socket) {
            self.move_failed(socket, config, now);
            return None;
        }
        let current = self.current.take()?;
        let mut lost = Lost {
            hub: current.hub,
            reason: current.complaint.unwrap_or(reason),
            retry_in: Duration::ZERO,
        };
        self.told_lost = true;
        let moving = self.moving.take();
        self.hub = match &moving {
            Some(moving) if moving.asked => moving.hub,
            _ => self.after(current.hub, config),
        };
        self.current = moving.and_then(|moving| moving.next);
        if self.current.is_none() {
            lost.retry_in = wait(self.failures, config, &mut self.rng);
            self.failures = self.failures.saturating_add(1);
            self.dial_at = now + lost.retry_in;
        }
        Some(lost)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let Some(current) = &self.current else {
            return self.wanted.then_some(self.dial_at);
        };
        let moving = self.moving.as_ref().map(Move::deadline);
        [Some(current.deadline()), moving]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next that is due, until there is none.
    pub(crate) fn poll(&mut self, config: &Config, now: Instant) -> Option<ClientTask> {
        let Some(current) = &mut self.current else {
            let due = self.wanted && self.dial_at <= now;
            return due.then(|| ClientTask::Order(self.connect(config, now)));
        };
        let (socket, order) = (current.socket, close(current));
        match current.poll(config, now) {
            Some(Due::Ping) => {
                return Some(ClientTask::Order(send(socket, &ClientMessage::Ping)));
            }
            Some(Due::GiveUp) => {
                let lost = self.closed(socket, SILENT.to_owned(), config, now);
                return Some(ClientTask::GiveUp(order, lost));
            }
            None => {}
        }
        self.poll_move(config, now)
    }
}

/// What the hub that serves tells.
fn told(conversation: &Conversation, message: HubMessage) -> ClientFact {
    match message {
        HubMessage::Divided { listing } => ClientFact::Divided(listing),
        HubMessage::Members {
            joined,
            left,
            room_members,
            newcomers,
        } => ClientFact::Members {
            joined,
            left,
            room_members,
            newcomers,
        },
        HubMessage::Signal { message, .. } => ClientFact::Signal(message),
        HubMessage::Pong {
            time_ms,
            ice_servers,
        } => ClientFact::Pong(conversation.hub_time(time_ms), ice_servers),
        _ => ClientFact::Nonsense,
    }
}

/// The wait before the next attempt, which doubles each time that all addresses have failed.
fn wait(failures: u32, config: &Config, rng: &mut ChaCha8Rng) -> Duration {
    let doubled = config.signaling_retry_min * doublings(failures, config.hubs);
    let wait = doubled.min(config.signaling_retry_max);
    spread(wait, unit(rng))
}

/// Two to the power of how often all addresses have failed.
fn doublings(failures: u32, hubs: usize) -> u32 {
    let hubs = u32::try_from(hubs.max(1)).unwrap_or(u32::MAX);
    2u32.saturating_pow((failures / hubs).min(16))
}

fn close(conversation: &Conversation) -> Output {
    let socket = conversation.socket;
    Output::CloseSignaling { socket }
}
