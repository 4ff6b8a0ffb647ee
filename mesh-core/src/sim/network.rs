//! What lies between the agents: WebSockets to the hub, and peer connections.
//!
//! An SDP is here just the number of the connection, which is enough for the two ends to find each
//! other, and for a forged one to be told from a real one.

use std::time::Duration;

use super::black_hole::PacketSize;
use super::restart::IceRestart;
use super::rough::{Acquaintance, Flow, Waiting};
use super::{Happening, World};
use crate::id::{ClientId, LinkId, SocketId};
use crate::io::{Channel, Event, Input, Output};
use crate::payload::Delivery;
use crate::rng::unit;
use crate::signaling::{HubInput, HubOutput};
use crate::time::Instant;
use crate::wire::LinkSignal;

/// What a blocked direction holds at most before the connection counts as dead.
const HELD_MAX: usize = 1_000;

/// How long a driver goes on sending what was ordered before a link was closed.
const WIND_UP: Duration = Duration::from_secs(5);

/// Frames that are remembered for hostile neighbours.
const RECORDINGS: usize = 64;

/// A peer connection of two agents.
#[derive(Debug)]
pub(super) struct Connection {
    /// The offerer's end, then the answerer's.
    ends: [Option<ConnectionEnd>; 2],
    /// Frames get through.
    pub(super) up: bool,
    /// They did once.
    pub(super) was_up: bool,
    /// What every frame takes longer than usual.
    pub(super) delay: Duration,
    /// What is held up in each direction, while it is.
    held: [Option<Vec<Happening>>; 2],
    /// When the last frame of each direction arrives: reliable channels keep the order.
    pub(super) arrival: [Instant; 2],
    /// Bytes a second that each direction carries.
    pub(super) bandwidth: Option<u32>,
    pub(super) flows: [Flow; 2],
    pub(super) acquaintance: Acquaintance,
    /// Whether each end has asked a TURN server for a relay.
    pub(super) relays: [bool; 2],
    /// Its path leads over a relay.
    pub(super) is_relayed: bool,
    /// What its ends know of the ICE restart that is under way.
    pub(super) restart: Option<IceRestart>,
    /// Until when what was ordered before it was closed is sent.
    pub(super) closes_by: Option<Instant>,
    /// How large the packets of each end are.
    pub(super) sizes: [PacketSize; 2],
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnectionEnd {
    pub(super) agent: usize,
    pub(super) link: LinkId,
}

impl Connection {
    pub(super) fn end(&self, side: usize) -> Option<ConnectionEnd> {
        self.ends[side]
    }

    /// Whether anything leaves in a direction.
    pub(super) fn sends(&self, side: usize) -> bool {
        (self.up || self.closes_by.is_some()) && self.held[side].is_none()
    }

    /// An end closes it: what it has ordered before is still sent, if that does not take long.
    fn close(&mut self, agent: usize, now: Instant) {
        if self.up {
            self.closes_by = Some(now + WIND_UP);
        }
        self.lose_end(agent);
    }

    pub(super) fn lose_end(&mut self, agent: usize) {
        for (end, flow) in self.ends.iter_mut().zip(&mut self.flows) {
            if end.is_some_and(|end| end.agent == agent) {
                *end = None;
                self.up = false;
                if self.closes_by.is_none() {
                    flow.clear();
                }
            }
        }
    }

    pub(super) fn joins(&self, a: usize, b: usize) -> bool {
        let has = |agent| self.ends.iter().flatten().any(|end| end.agent == agent);
        has(a) && has(b)
    }
}

impl Connection {
    /// Holds up what the end of `from` sends to that of `to`.
    pub(super) fn block(&mut self, from: usize, to: usize) {
        let ends = self.ends.map(|end| end.map(|end| end.agent));
        for side in 0..2 {
            if ends[side] == Some(from) && ends[1 - side] == Some(to) {
                self.held[side].get_or_insert_default();
            }
        }
    }

    /// Holds up everything, in both directions.
    pub(super) fn hold_up(&mut self) {
        for held in &mut self.held {
            held.get_or_insert_default();
        }
    }

    /// Lets everything pass, and returns what was held up, in order, with the earliest time at
    /// which it may arrive: not before what was sent before.
    pub(super) fn unblock(&mut self) -> Vec<(Instant, Happening)> {
        let sides = self.held.iter_mut().zip(self.arrival);
        let held = sides.filter_map(|(held, at)| Some((held.take()?, at)));
        let dated = |(held, at): (Vec<Happening>, Instant)| held.into_iter().map(move |h| (at, h));
        held.flat_map(dated).collect()
    }
}

impl World {
    pub(super) fn carry_out(&mut self, agent: usize, output: Output) {
        match output {
            Output::OpenSignaling { socket, .. } => self.open_socket(agent, socket),
            Output::CloseSignaling { socket } => self.close_socket(agent, socket),
            Output::SendSignaling { socket, text } => {
                if let Some(&client) = self.agents[agent].sockets.get(&socket) {
                    self.hub_later(HubInput::TextReceived(client, text));
                }
            }
            Output::OpenLink {
                link,
                offer,
                ice,
                small_packets,
                ..
            } => {
                self.open_connection(agent, link, offer);
                self.size_packets(agent, link, small_packets);
                self.configure(agent, link, &ice);
            }
            Output::ConfigureLink { link, ice } => self.configure(agent, link, &ice),
            Output::RestartLink { link } => self.restart_ice(agent, link),
            Output::NegotiateTracks { link, tracks } => self.offer_tracks(agent, link, tracks),
            Output::ApplySignal { link, signal } => self.apply(agent, link, &signal),
            Output::Transmit {
                link,
                channel,
                frame,
            } => {
                if self.recordings.len() == RECORDINGS {
                    self.recordings.pop_front();
                }
                self.recordings.push_back((channel, frame.clone()));
                let bytes = frame.len();
                let input = |link| Input::FrameReceived {
                    link,
                    channel,
                    frame,
                };
                let congested = self.agents[agent].congested.contains(&link);
                assert!(
                    channel == Channel::Control || !congested,
                    "{}: it sends over a congested link",
                    self.whoami(agent)
                );
                if !self.is_frame_lost(channel) {
                    self.cross(agent, link, bytes, input);
                }
            }
            Output::CloseLink { link } => {
                let reason = "closed by the peer".to_owned();
                let closed = |link| Input::LinkClosed { link, reason };
                self.cross(agent, link, 0, closed);
                self.agents[agent].congested.remove(&link);
                if let Some((connection, _)) = self.agents[agent].links.remove(&link) {
                    self.connections[connection].close(agent, self.now);
                }
            }
            Output::Writable => self.agents[agent].writable += 1,
            Output::Emit(event) => self.emitted(agent, event),
        }
    }

    /// Checks and notes what the application gets.
    fn emitted(&mut self, agent: usize, event: Event) {
        if let Event::Message(message) = &event {
            let sent = self.sent.get(&message.id);
            let whoami = self.whoami(agent);
            let sent = sent.map(|sent| &sent.payload);
            assert_eq!(sent, Some(&message.payload), "{whoami}: nobody sent this");
            // Each agent passes a broadcast on once. Others may take a detour twice as long as
            // their path. Either counts as many hops as are configured where a neighbour cut
            // its TTL down.
            let agents = self.agents.len();
            let ttl = usize::from(self.agents[agent].mesh.config().ttl);
            let most = match message.topic {
                Some(_) => ttl.max(agents - 1),
                None => ttl.max(2 * agents),
            };
            assert!(
                (1..=most).contains(&usize::from(message.hops)),
                "{whoami}: {} hops",
                message.hops
            );
            let is_ordered = message.topic.is_none()
                && message.delivery != Delivery::Datagram
                && !message.payload.is_large();
            let in_order = !is_ordered || self.agents[agent].is_in_order(&message.id);
            assert!(in_order, "{whoami}: overtaken: {}", message.id);
        }
        let new = self.agents[agent].note(event);
        assert!(
            new,
            "{}: delivered, or told its outcome, twice",
            self.whoami(agent)
        );
    }

    fn open_socket(&mut self, agent: usize, socket: SocketId) {
        if self.hub.is_none() || self.agents[agent].no_hub {
            let reason = "connection refused".to_owned();
            self.input_later(agent, Input::SignalingClosed { socket, reason });
            return;
        }
        self.queued += 1;
        let client = ClientId(self.queued);
        self.agents[agent].sockets.insert(socket, client);
        self.hub_sockets.insert(client, (agent, socket));
        self.hub_later(HubInput::ClientConnected(client));
        self.input_later(agent, Input::SignalingOpened { socket });
    }

    pub(super) fn close_socket(&mut self, agent: usize, socket: SocketId) {
        if let Some(client) = self.agents[agent].sockets.remove(&socket) {
            self.hub_sockets.remove(&client);
            self.hub_later(HubInput::ClientClosed(client));
        }
    }

    /// Closes all that an agent has open, as the end of its process does.
    pub(super) fn close_sockets(&mut self, agent: usize) {
        let sockets: Vec<_> = self.agents[agent].sockets.keys().copied().collect();
        for socket in sockets {
            self.close_socket(agent, socket);
        }
    }

    fn open_connection(&mut self, agent: usize, link: LinkId, offer: Option<String>) {
        let end = ConnectionEnd { agent, link };
        let Some(offer) = offer else {
            let connection = self.connections.len();
            let rough = self.config.rough.as_ref();
            let trickles = rough.is_some_and(|rough| rough.trickle.is_some());
            self.connections.push(Connection {
                ends: [Some(end), None],
                up: false,
                was_up: false,
                delay: Duration::ZERO,
                held: [None, None],
                arrival: [self.now; 2],
                bandwidth: rough.and_then(|rough| rough.bandwidth),
                flows: Default::default(),
                acquaintance: Acquaintance::new(trickles),
                relays: [false; 2],
                is_relayed: false,
                restart: None,
                closes_by: None,
                sizes: Default::default(),
            });
            self.agents[agent].links.insert(link, (connection, 0));
            let sdp = format!("v=0 connection {connection}");
            return self.describe(end, 0, LinkSignal::Offer { sdp });
        };
        let connection = offer
            .rsplit(' ')
            .next()
            .and_then(|n| n.parse::<usize>().ok());
        let connection = connection.filter(|&c| c < self.connections.len());
        let Some(connection) = connection else {
            let reason = "the offer is no SDP".to_owned();
            self.input_later(agent, Input::LinkClosed { link, reason });
            return;
        };
        self.connections[connection].ends[1] = Some(end);
        self.agents[agent].links.insert(link, (connection, 1));
        self.describe(end, 1, LinkSignal::Answer { sdp: offer });
    }

    pub(super) fn established(&mut self, connection: usize) {
        if let [Some(a), Some(b)] = self.connections[connection].ends {
            if !self.has_path(connection, [a.agent, b.agent]) {
                return;
            }
            self.choose_path(connection, [a.agent, b.agent]);
            let there = &self.connections[connection];
            if there.restart.is_some() && there.was_up {
                return self.restarted(connection, [a, b]);
            }
            self.opened_after(connection);
            self.tell_paths(connection, [a, b]);
            self.connections[connection].up = true;
            self.connections[connection].was_up = true;
            self.connections[connection].arrival = [self.now; 2];
            if self.config.rough.is_some() {
                return self.open_ends(connection, [a, b]);
            }
            for end in [a, b] {
                self.reach(end.agent, Input::LinkOpened { link: end.link });
            }
        }
    }

    /// So many bytes travel over a connection, in order.
    fn cross(
        &mut self,
        agent: usize,
        link: LinkId,
        bytes: usize,
        input: impl FnOnce(LinkId) -> Input,
    ) {
        let Some(&(connection, side)) = self.agents[agent].links.get(&link) else {
            return;
        };
        let latency = self.latency();
        let there = &mut self.connections[connection];
        let is_rough = self.config.rough.is_some();
        // What is sent over a broken connection waits for ever.
        let takes = there.up || is_rough && there.was_up;
        let other = there.ends[1 - side].filter(|_| takes);
        let Some(ConnectionEnd { agent, link }) = other else {
            return;
        };
        if self.is_stuck(connection, side, bytes) {
            return;
        }
        let life = self.agents[agent].life;
        let input = input(link);
        let happening = Happening::Input { agent, life, input };
        if is_rough {
            let waiting = Waiting {
                bytes,
                latency,
                happening,
            };
            return self.enqueue(connection, side, waiting);
        }
        self.arrive(connection, side, latency, happening);
    }

    /// Something has left in one direction of a connection, and arrives after all before it.
    pub(super) fn arrive(
        &mut self,
        connection: usize,
        side: usize,
        latency: Duration,
        happening: Happening,
    ) {
        let there = &mut self.connections[connection];
        let at = (self.now + latency + there.delay).max(there.arrival[side]);
        there.arrival[side] = at;
        match &mut there.held[side] {
            None => self.queue_at(at, happening),
            Some(held) if held.len() < HELD_MAX => held.push(happening),
            Some(_) => there.up = false, // Nothing retransmits for ever.
        }
    }

    pub(super) fn input_later(&mut self, agent: usize, input: Input) {
        let at = self.in_order(agent);
        self.input_at(at, agent, input);
    }

    pub(super) fn input_at(&mut self, at: Instant, agent: usize, input: Input) {
        let life = self.agents[agent].life;
        self.queue_at(at, Happening::Input { agent, life, input });
    }

    /// A WebSocket keeps the order: what concerns one agent's takes the same time each way.
    pub(super) fn in_order(&self, agent: usize) -> Instant {
        let spread = self
            .config
            .latency_max
            .saturating_sub(self.config.latency_min);
        let share = f64::from(u8::try_from(agent % 16).unwrap_or_default()) / 16.0;
        self.now + self.config.latency_min + spread.mul_f64(share)
    }

    fn hub_later(&mut self, input: HubInput) {
        let (HubInput::ClientConnected(client)
        | HubInput::TextReceived(client, _)
        | HubInput::ClientAnswered(client)
        | HubInput::SignalDropped { to: client, .. }
        | HubInput::ClientClosed(client)) = &input
        else {
            return; // This hub shares nothing.
        };
        let agent = self.hub_sockets.get(client).map_or(0, |(agent, _)| *agent);
        let at = self.in_order(agent);
        let life = self.hub_life;
        self.queue_at(at, Happening::Hub { life, input });
    }

    pub(super) fn hub_input(&mut self, life: u64, input: HubInput) {
        let now = self.now;
        let unix = self.unix(true, Duration::ZERO);
        if let Some(hub) = self.hub.as_mut().filter(|_| life == self.hub_life) {
            hub.set_unix_time(now, unix);
            hub.handle_input(input, now);
            self.drain_hub();
        }
    }

    pub(super) fn wake_hub(&mut self) {
        let now = self.now;
        if let Some(hub) = self
            .hub
            .as_mut()
            .filter(|hub| hub.poll_timeout() <= Some(now))
        {
            hub.handle_timeout(now);
            self.drain_hub();
        }
    }

    fn drain_hub(&mut self) {
        let Some(hub) = &mut self.hub else {
            return;
        };
        let mut outputs = Vec::new();
        while let Some(output) = hub.poll_output() {
            outputs.push(output);
        }
        let due = hub.poll_timeout();
        for output in outputs {
            let relays = matches!(output, HubOutput::Relay { .. });
            if relays && self.is_lost() {
                continue;
            }
            match output {
                HubOutput::Relay { from, to, .. } if self.hub_is_busy => {
                    self.hub_later(HubInput::SignalDropped { from, to });
                }
                HubOutput::Send(client, mut text)
                | HubOutput::Relay {
                    to: client,
                    mut text,
                    ..
                } => {
                    if let Some(tamper) = self.tamper {
                        tamper(&mut text);
                    }
                    if let Some(&(agent, socket)) = self.hub_sockets.get(&client) {
                        self.input_later(agent, Input::SignalingReceived { socket, text });
                    }
                }
                // These agents give signs of life by themselves, and this hub shares nothing.
                HubOutput::Ping(_) | HubOutput::Directory(_) => {}
                HubOutput::Close(client) => {
                    if let Some((agent, socket)) = self.hub_sockets.remove(&client) {
                        self.agents[agent].sockets.remove(&socket);
                        let reason = "closed by the server".to_owned();
                        self.input_later(agent, Input::SignalingClosed { socket, reason });
                    }
                }
            }
        }
        if let Some(at) = due {
            self.queue_at(at.max(self.now), Happening::WakeHub);
        }
    }

    fn latency(&mut self) -> Duration {
        let spread = self
            .config
            .latency_max
            .saturating_sub(self.config.latency_min);
        self.config.latency_min + spread.mul_f64(unit(&mut self.rng))
    }
}
