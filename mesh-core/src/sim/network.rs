//! What lies between the agents: WebSockets to the hub, and peer connections.
//!
//! An SDP is here just the number of the connection, which is enough for the two ends to find each
//! other, and for a forged one to be told from a real one.

use std::time::Duration;

use super::{Happening, World};
use crate::id::{ClientId, LinkId, SocketId};
use crate::io::{Event, Input, Output};
use crate::rng::unit;
use crate::signaling::{HubInput, HubOutput};
use crate::time::Instant;
use crate::wire::LinkSignal;

/// What a blocked direction holds at most before the connection counts as dead.
const HELD_MAX: usize = 1_000;

/// Frames that are remembered for hostile neighbours.
const RECORDINGS: usize = 64;

/// A peer connection of two agents.
#[derive(Debug)]
pub(super) struct Connection {
    /// The offerer's end, then the answerer's.
    ends: [Option<ConnectionEnd>; 2],
    /// Frames get through.
    pub(super) up: bool,
    /// What every frame takes longer than usual.
    pub(super) delay: Duration,
    /// What is held up in each direction, while it is.
    held: [Option<Vec<Happening>>; 2],
    /// When the last frame of each direction arrives: reliable channels keep the order.
    arrival: [Instant; 2],
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnectionEnd {
    pub(super) agent: usize,
    pub(super) link: LinkId,
}

impl Connection {
    pub(super) fn lose_end(&mut self, agent: usize) {
        for end in &mut self.ends {
            if end.is_some_and(|end| end.agent == agent) {
                *end = None;
                self.up = false;
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
            Output::OpenLink { link, offer, .. } => self.open_connection(agent, link, offer),
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
                let input = |link| Input::FrameReceived {
                    link,
                    channel,
                    frame,
                };
                self.cross(agent, link, input);
            }
            Output::CloseLink { link } => {
                let reason = "closed by the peer".to_owned();
                self.cross(agent, link, |link| Input::LinkClosed { link, reason });
                if let Some((connection, _)) = self.agents[agent].links.remove(&link) {
                    self.connections[connection].lose_end(agent);
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
            let ttl = self.agents[agent].mesh.config().ttl;
            assert!(
                (1..=ttl).contains(&message.hops),
                "{whoami}: {} hops",
                message.hops
            );
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
            self.connections.push(Connection {
                ends: [Some(end), None],
                up: false,
                delay: Duration::ZERO,
                held: [None, None],
                arrival: [self.now; 2],
            });
            self.agents[agent].links.insert(link, (connection, 0));
            let sdp = format!("v=0 connection {connection}");
            let signal = LinkSignal::Offer { sdp };
            self.input_later(agent, Input::LinkSignaled { link, signal });
            return;
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
        let signal = LinkSignal::Answer { sdp: offer };
        self.input_later(agent, Input::LinkSignaled { link, signal });
    }

    fn apply(&mut self, agent: usize, link: LinkId, signal: &LinkSignal) {
        let Some(&(connection, 0)) = self.agents[agent].links.get(&link) else {
            return;
        };
        if matches!(signal, LinkSignal::Answer { .. }) {
            let at = self.now + self.config.connect.mul_f64(0.5 + unit(&mut self.rng));
            self.queue_at(at, Happening::Established { connection });
        }
    }

    pub(super) fn established(&mut self, connection: usize) {
        if let [Some(a), Some(b)] = self.connections[connection].ends {
            if self
                .only_through
                .is_some_and(|only| ![a.agent, b.agent].contains(&only))
            {
                return;
            }
            self.connections[connection].up = true;
            self.connections[connection].arrival = [self.now; 2];
            for end in [a, b] {
                self.handle(end.agent, Input::LinkOpened { link: end.link });
            }
        }
    }

    /// Something travels over a connection, in order.
    fn cross(&mut self, agent: usize, link: LinkId, input: impl FnOnce(LinkId) -> Input) {
        let Some(&(connection, side)) = self.agents[agent].links.get(&link) else {
            return;
        };
        let latency = self.latency();
        let at = self.now + latency;
        let connection = &mut self.connections[connection];
        let Some(other) = connection.ends[1 - side].filter(|_| connection.up) else {
            return;
        };
        let at = (at + connection.delay).max(connection.arrival[side]);
        connection.arrival[side] = at;
        let life = self.agents[other.agent].life;
        let happening = Happening::Input {
            agent: other.agent,
            life,
            input: input(other.link),
        };
        match &mut connection.held[side] {
            None => self.queue_at(at, happening),
            Some(held) if held.len() < HELD_MAX => held.push(happening),
            Some(_) => connection.up = false, // Nothing retransmits for ever.
        }
    }

    pub(super) fn input_later(&mut self, agent: usize, input: Input) {
        let at = self.in_order(agent);
        let life = self.agents[agent].life;
        self.queue_at(at, Happening::Input { agent, life, input });
    }

    /// A WebSocket keeps the order: what concerns one agent's takes the same time each way.
    fn in_order(&self, agent: usize) -> Instant {
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
