//! The signaling server as a pure state machine; mesh-native wraps it in a WebSocket server.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use data_encoding::HEXLOWER;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::directory::{DirectoryState, Session};
use super::port::{HubInput, HubOutput};
use super::protocol::{ClientMessage, ErrorCode, HubMessage, Member, PROTOCOL_VERSION};
use super::room::{Notice, Place, Room};
use super::session::{Client, ClientState, Newcomer, Refusal, bad_request};
use super::shared::{Complaint, Directory, unknown_peer};
use super::stats::HubStats;
use crate::config::HubConfig;
use crate::id::{ClientId, PeerId};
use crate::name::check_name;
use crate::time::{Instant, UnixTime};
use crate::topology::Shards;
use crate::trust::Signed;
use crate::wire::Admit;

/// Time between looks for clients whose time is up: cheaper than a timer for each, and short beside
/// the shortest of their times.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The signaling server.
#[derive(Debug)]
pub struct Hub {
    pub(super) config: HubConfig,
    pub(super) rng: ChaCha8Rng,
    pub(super) clients: BTreeMap<ClientId, Client>,
    pub(super) rooms: BTreeMap<String, Room>,
    pub(super) outbox: VecDeque<HubOutput>,
    /// What it shares with other hubs, if it does.
    pub(super) directory: Option<Directory>,
    /// It is about to stop.
    pub(super) draining: bool,
    /// When the first of the rooms tells its members what changed. To look through them at every
    /// turn would cost a hub of many small rooms more than all its texts.
    tell_at: Option<Instant>,
    sweep_at: Instant,
    /// The civil time at an instant of the monotonic clock, if the driver has told.
    clock: Option<(Instant, UnixTime)>,
    pub(super) stats: HubStats,
}

impl Hub {
    /// A hub without clients, which shares its rooms with no other. `seed` makes its nonces.
    pub fn new(config: HubConfig, seed: [u8; 32]) -> Self {
        Self {
            config,
            rng: ChaCha8Rng::from_seed(seed),
            clients: BTreeMap::new(),
            rooms: BTreeMap::new(),
            outbox: VecDeque::new(),
            directory: None,
            draining: false,
            tell_at: None,
            sweep_at: Instant::default(),
            clock: None,
            stats: HubStats::default(),
        }
    }

    /// Reads the civil clock, by which the members of all rooms date. Drivers call this once a
    /// turn. A hub that was never told tells its members nothing.
    pub fn set_unix_time(&mut self, now: Instant, unix_now: UnixTime) {
        self.clock = Some((now, unix_now));
    }

    pub(super) fn time_ms(&self, now: Instant) -> Option<u64> {
        let (at, unix) = self.clock?;
        Some((unix + now.since(at)).as_micros() / 1_000)
    }

    /// What the hub has done.
    pub fn stats(&self) -> HubStats {
        let members = self.rooms.values().map(Room::present).sum();
        HubStats {
            clients: self.clients.len(),
            members,
            rooms: self.rooms.len(),
            directory: self
                .directory
                .as_ref()
                .map_or(DirectoryState::None, Directory::state),
            directory_behind: self.behind(),
            ..self.stats.clone()
        }
    }

    /// How a room is divided, if there is such a room.
    pub fn division(&self, room: &str) -> Option<Shards> {
        self.rooms.get(room).map(Room::division)
    }

    /// Takes note of a fact.
    pub fn handle_input(&mut self, input: HubInput, now: Instant) {
        match input {
            HubInput::ClientConnected(client) => self.connected(client, now),
            HubInput::TextReceived(client, text) => {
                if let Err((code, message)) = self.received(client, &text, now) {
                    self.turn_away(client, code, message, now);
                }
            }
            HubInput::ClientAnswered(client) => {
                if let Err((code, message)) = self.answered(client, now) {
                    self.turn_away(client, code, message, now);
                }
            }
            HubInput::SignalDropped { from, to } => self.dropped(from, to),
            HubInput::ClientClosed(client) if self.draining => self.moved(client, now),
            HubInput::ClientClosed(client) => self.forget(client, now),
            HubInput::Directory(fact) => {
                self.directory_fact(fact, now);
                self.tell_at = self.first_to_tell(); // Of any of them.
            }
        }
        self.publish();
    }

    /// The next order, until there is none.
    pub fn poll_output(&mut self) -> Option<HubOutput> {
        self.outbox.pop_front()
    }

    /// When [`Hub::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let sweep = (!self.clients.is_empty()).then_some(self.sweep_at);
        let doubt = self.directory.as_ref().and_then(Directory::doubts_until);
        [self.tell_at, sweep, doubt].into_iter().flatten().min()
    }

    /// Does what has become due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.sweep_at <= now {
            self.sweep_at = now + SWEEP_INTERVAL;
            self.sweep(now);
        }
        self.end_doubts(now);
        self.tell_members(now);
        self.publish();
    }

    /// Turns away clients that took too long, and pings those that are silent.
    fn sweep(&mut self, now: Instant) {
        for (id, client) in &mut self.clients {
            if client.wants_ping(&self.config, now) {
                self.outbox.push_back(HubOutput::Ping(*id));
            }
        }
        let late: Vec<_> = self
            .clients
            .iter()
            .filter(|(_, client)| client.patience(&self.config) <= now)
            .map(|(id, client)| (*id, matches!(client.state, ClientState::Admitted { .. })))
            .collect();
        for (client, admitted) in late {
            let (code, message) = if admitted {
                (
                    ErrorCode::Silent,
                    "no sign of life: send a ping every 15 s, or answer those of the WebSocket",
                )
            } else {
                (
                    ErrorCode::AdmissionTimeout,
                    "say hello and prove your identity sooner",
                )
            };
            self.turn_away(client, code, message.into(), now);
        }
    }

    fn connected(&mut self, id: ClientId, now: Instant) {
        if self.draining {
            self.refuse_late(id);
            return;
        }
        if self.clients.len() >= self.config.clients_max {
            let message = "this server is full: try another, or later".into();
            self.complain(id, ErrorCode::HubFull, message);
            self.outbox.push_back(HubOutput::Close(id));
            return;
        }
        if self.clients.is_empty() {
            self.sweep_at = now + SWEEP_INTERVAL;
        }
        self.clients.insert(id, Client::new(&self.config, now));
    }

    fn received(&mut self, id: ClientId, text: &str, now: Instant) -> Result<(), Refusal> {
        let Some(client) = self.clients.get_mut(&id) else {
            return Ok(()); // Turned away already; its last texts are on their way.
        };
        client.spend(&self.config, now)?;
        if text.len() > self.config.text_bytes_max {
            let max = self.config.text_bytes_max;
            let message = format!("{} bytes, at most {max} are allowed", text.len());
            return Err((ErrorCode::TooLarge, message));
        }
        let message = serde_json::from_str(text)
            .map_err(|error| bad_request(format!("not a signaling message: {error}")))?;
        let state = client.state.clone();
        match (message, state) {
            (
                ClientMessage::Hello {
                    version,
                    room,
                    peer,
                    name,
                    shards: remembered,
                    again,
                },
                ClientState::Connected { until },
            ) => {
                let newcomer = Newcomer {
                    room,
                    member: Member { peer, name },
                    remembered,
                    again,
                };
                self.challenge(id, version, newcomer, until, now)
            }
            (
                ClientMessage::Prove { proof },
                ClientState::Challenged {
                    nonce, newcomer, ..
                },
            ) => self.admit(id, &proof, nonce, newcomer, now),
            (ClientMessage::Signal { to, message }, ClientState::Admitted { room, peer }) => {
                self.relay(id, &room, peer, to, message);
                Ok(())
            }
            (ClientMessage::Ping, ClientState::Admitted { peer, .. }) => {
                self.pong(id, peer, now);
                Ok(())
            }
            (ClientMessage::Leave, _) => {
                self.forget(id, now);
                self.outbox.push_back(HubOutput::Close(id));
                Ok(())
            }
            _ => Err(bad_request(
                "not now: first hello, then prove, then signal and ping".into(),
            )),
        }
    }

    /// A sign of life costs as much as a text.
    fn answered(&mut self, id: ClientId, now: Instant) -> Result<(), Refusal> {
        let client = self.clients.get_mut(&id);
        client.map_or(Ok(()), |client| client.spend(&self.config, now))
    }

    fn challenge(
        &mut self,
        id: ClientId,
        version: u32,
        newcomer: Newcomer,
        until: Instant,
        now: Instant,
    ) -> Result<(), Refusal> {
        if version != PROTOCOL_VERSION {
            let message = format!("version {version} is not spoken here, {PROTOCOL_VERSION} is");
            return Err((ErrorCode::Version, message));
        }
        let (room, name) = (&newcomer.room, &newcomer.member.name);
        check_name("room", room).map_err(|error| bad_request(error.to_string()))?;
        check_name("name", name).map_err(|error| bad_request(error.to_string()))?;
        let mut bytes = [0; 32];
        self.rng.fill_bytes(&mut bytes);
        let nonce = HEXLOWER.encode(&bytes);
        self.send(
            id,
            &HubMessage::Challenge {
                nonce: nonce.clone(),
            },
        );
        let hub = self.shared_id();
        let room = Room::open(&mut self.rooms, hub, &newcomer.room, now);
        room.arrive(newcomer.again);
        if let Some(client) = self.clients.get_mut(&id) {
            client.state = ClientState::Challenged {
                until,
                nonce,
                newcomer,
            };
        }
        Ok(())
    }

    fn admit(
        &mut self,
        id: ClientId,
        proof: &Signed,
        nonce: String,
        newcomer: Newcomer,
        now: Instant,
    ) -> Result<(), Refusal> {
        let Newcomer {
            room: room_name,
            member,
            remembered,
            again,
        } = newcomer;
        let peer = member.peer;
        let expected = Admit {
            nonce,
            name: member.name.clone(),
        };
        let proven = proof.verify::<Admit>(&room_name);
        if !proven.is_ok_and(|proven| proven.author() == peer && *proven.get() == expected) {
            let message =
                "the proof must be this nonce and name, signed by this peer for this room";
            return Err((ErrorCode::BadProof, message.into()));
        }
        let clock = self.time_ms(now).unwrap_or_default();
        let (hub, fresh) = (self.shared_id(), self.shares_directory());
        let room = Room::open(&mut self.rooms, hub, &room_name, now);
        let replaced = room.client_of(peer);
        if room.place_of(peer).is_none() && room.len() >= self.config.room_members_max {
            let message = format!("the room has {} members already", room.len());
            return Err((ErrorCode::RoomFull, message));
        }
        room.arrived(again);
        let place = Place::Here {
            client: id,
            at: room.time_of_admission(peer, clock),
            fresh,
        };
        let listing = room.admit(member, place, (remembered, again), &self.config, now);
        self.tell_at = earlier(self.tell_at, room.tell_at());
        self.reconcile(&room_name, peer);
        if let Some(client) = self.clients.get_mut(&id) {
            client.state = ClientState::Admitted {
                room: room_name,
                peer,
            };
        }
        self.stats.admitted += 1;
        let ice_servers = self.ice_servers(id, peer, now);
        let welcome = HubMessage::Welcome {
            listing,
            ice_servers,
            time_ms: self.time_ms(now),
        };
        self.send(id, &welcome);
        if let Some(old) = replaced {
            let message = "another connection proved this identity: use one key an agent";
            self.turn_away(old, ErrorCode::Replaced, message.into(), now);
        }
        Ok(())
    }

    fn relay(&mut self, id: ClientId, room: &str, from: PeerId, to: PeerId, message: Signed) {
        let target = self.rooms.get(room).and_then(|room| room.place_of(to));
        let text = encode(&HubMessage::Signal { from, message });
        let from = self.session(id);
        self.stats.signals += u64::from(!matches!(target, None | Some(Place::Away)));
        match target {
            Some(Place::Here { client: to, .. }) => {
                self.outbox.push_back(HubOutput::Relay { from, to, text });
            }
            Some(Place::There(Session { hub, .. })) => {
                self.relay_to(hub, from, room.to_owned(), to, text);
            }
            None | Some(Place::Away) => self.complain_of_signal(from, unknown_peer(to)),
        }
    }

    /// A target has not taken what it was sent: its senders are told, each of its own signals.
    fn dropped(&mut self, from: Session, to: ClientId) {
        // It may have left meanwhile.
        let Some(peer) = self.clients.get(&to).and_then(Client::peer) else {
            return;
        };
        self.stats.signals_dropped += 1;
        let message = format!("{peer} has too many signals to take: wait for its answers");
        let code = ErrorCode::Busy;
        self.complain_of_signal(
            from,
            Complaint {
                peer,
                code,
                message,
            },
        );
    }

    /// Tells a client what went wrong, and goes on with it.
    pub(super) fn complain(&mut self, client: ClientId, code: ErrorCode, message: String) {
        self.tell_error(client, code, message, None);
    }

    /// The same; `peer` is the member that a signal was for.
    pub(super) fn tell_error(
        &mut self,
        client: ClientId,
        code: ErrorCode,
        message: String,
        peer: Option<PeerId>,
    ) {
        *self.stats.errors.entry(code).or_default() += 1;
        let error = HubMessage::Error {
            code,
            message,
            peer,
        };
        self.send(client, &error);
    }

    /// Tells every room what changed in it since the last time.
    fn tell_members(&mut self, now: Instant) {
        let mut notices = Vec::new();
        for (name, room) in &mut self.rooms {
            if room.tell_at().is_none_or(|at| at > now) {
                continue;
            }
            notices.extend(room.tell(&self.config, now));
            if let (Some(proposal), Some(directory)) = (room.take_proposal(), &mut self.directory) {
                directory.propose(name, proposal);
            }
        }
        self.tell(notices);
        self.rooms.retain(|_, room| !room.is_over());
        self.tell_at = self.first_to_tell();
    }

    fn first_to_tell(&self) -> Option<Instant> {
        self.rooms.values().filter_map(Room::tell_at).min()
    }

    pub(super) fn tell(&mut self, notices: Vec<Notice>) {
        for (message, clients) in notices {
            let text = encode(&message);
            let sends = clients.into_iter();
            let sends = sends.map(|client| HubOutput::Send(client, text.clone()));
            self.outbox.extend(sends);
        }
    }

    pub(super) fn turn_away(
        &mut self,
        client: ClientId,
        code: ErrorCode,
        message: String,
        now: Instant,
    ) {
        self.complain(client, code, message);
        self.outbox.push_back(HubOutput::Close(client));
        self.forget(client, now);
    }

    pub(super) fn forget(&mut self, id: ClientId, now: Instant) {
        let Some(client) = self.clients.remove(&id) else {
            return;
        };
        let (name, peer) = match client.state {
            ClientState::Connected { .. } => return,
            ClientState::Challenged { newcomer, .. } => {
                let name = newcomer.room;
                if let Some(room) = self.rooms.get_mut(&name) {
                    room.arrived(newcomer.again);
                    if room.is_over() {
                        self.rooms.remove(&name);
                    }
                }
                return;
            }
            ClientState::Admitted { room, peer } => (room, peer),
        };
        let Some(room) = self.rooms.get_mut(&name) else {
            return;
        };
        // A replaced connection must not take its successor with it.
        if room.client_of(peer) == Some(id) {
            room.moved_on(peer, &self.config, now);
            self.tell_at = earlier(self.tell_at, room.tell_at());
            self.reconcile(&name, peer);
        }
    }

    pub(super) fn send(&mut self, client: ClientId, message: &HubMessage) {
        self.outbox
            .push_back(HubOutput::Send(client, encode(message)));
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    [one, other].into_iter().flatten().min()
}

fn encode(message: &HubMessage) -> String {
    serde_json::to_string(message).expect("messages always encode")
}
