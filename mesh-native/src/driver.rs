//! The loop around the core's state machine: inputs in, orders carried out, one timer.
//!
//! It decides nothing. Whatever is ready is applied before orders are drained, so that what belongs
//! together leaves together.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mesh_core::{Input, LinkId, LossReason, Output, SocketId};
use tokio::sync::{mpsc, watch};

use crate::addresses;
use crate::clock::Clock;
use crate::error::MeshError;
use crate::link::{Link, LinkFact, LinkFactory};
use crate::shared::{Ending, Shared, State};
use crate::signaling::{Endpoint, Signaling, SignalingFact};

/// Facts of all links that may wait; beyond, links stop reading, and so do their senders.
const LINK_FACTS: usize = 4_096;
/// Texts of the hub that may wait.
const SIGNALING_FACTS: usize = 1_024;
/// Inputs applied in one turn at most: all that can wait, so that no pong is overlooked when the
/// core looks for the dead; but not for ever, so that callers and timers get their turn.
const INPUTS_A_TURN: usize = LINK_FACTS;
/// How long links may take to send their last when the agent closes.
const WIND_UP: Duration = Duration::from_secs(1);
/// The timer's wait when the core has nothing due.
const IDLE: Duration = Duration::from_secs(3_600);

/// Both ends of a queue: the sender is cloned for each link and WebSocket.
type Queue<T> = (mpsc::Sender<T>, mpsc::Receiver<T>);

/// The parts of a running agent.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    /// Those of the signaling servers, as the mesh counts them.
    endpoints: Vec<Endpoint>,
    factory: LinkFactory,
    sockets: BTreeMap<SocketId, Signaling>,
    links: BTreeMap<LinkId, Link>,
    /// Counts the times that there was room again; its readers are the agent's handles.
    writable: watch::Sender<u64>,
    facts: Queue<(u64, LinkFact)>,
    texts: Queue<(SocketId, SignalingFact)>,
    addresses: addresses::Watch,
}

/// What ended the wait.
enum Woken {
    /// A handle has called the mesh.
    Called,
    Fact(u64, LinkFact),
    Text(SocketId, SignalingFact),
    Timeout,
    /// The machine's addresses are others now.
    Moved,
    /// Every handle of the agent is dropped.
    Abandoned,
}

impl Driver {
    pub(crate) fn new(
        shared: Arc<Shared>,
        endpoints: Vec<Endpoint>,
        factory: LinkFactory,
        writable: watch::Sender<u64>,
    ) -> Self {
        Self {
            shared,
            endpoints,
            factory,
            sockets: BTreeMap::new(),
            links: BTreeMap::new(),
            writable,
            facts: mpsc::channel(LINK_FACTS),
            texts: mpsc::channel(SIGNALING_FACTS),
            addresses: addresses::Watch::new(),
        }
    }

    /// Runs until the agent is closed or its last handle dropped.
    pub(crate) async fn run(mut self) {
        let _ending = Ending(Arc::clone(&self.shared));
        self.start();
        while !self.turn().await {}
        self.wind_up().await;
    }

    fn start(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        state.mesh.join(self.shared.clock.now());
        self.drain(&mut state);
    }

    /// Waits for something to happen, and does all that follows from it. Returns whether the agent
    /// has closed.
    async fn turn(&mut self) -> bool {
        let due = self.shared.lock().mesh.poll_timeout();
        let deadline = match due {
            Some(at) => self.shared.clock.at(at),
            None => tokio::time::Instant::now() + IDLE,
        };
        let woken = tokio::select! {
            () = self.shared.called() => Woken::Called,
            Some((link, fact)) = self.facts.1.recv() => Woken::Fact(link, fact),
            Some((socket, fact)) = self.texts.1.recv() => Woken::Text(socket, fact),
            () = tokio::time::sleep_until(deadline) => Woken::Timeout,
            () = self.addresses.changed() => Woken::Moved,
            () = self.writable.closed() => Woken::Abandoned,
        };
        let now = self.shared.clock.now();
        self.shared
            .lock()
            .mesh
            .set_unix_time(now, Clock::unix_now());
        self.apply(woken);
        self.apply_ready();
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        if state.mesh.poll_timeout().is_some_and(|at| at <= now) {
            state.mesh.handle_timeout(now);
        }
        self.drain(&mut state);
        state.closed
    }

    /// Lets links and the WebSocket send their last: they hold a sender of facts until they end.
    async fn wind_up(self) {
        let Self {
            links,
            sockets,
            facts: (facts_sender, mut facts),
            texts: (texts_sender, mut texts),
            ..
        } = self;
        drop((links, sockets, facts_sender, texts_sender));
        let ended = async {
            while facts.recv().await.is_some() {}
            while texts.recv().await.is_some() {}
        };
        if tokio::time::timeout(WIND_UP, ended).await.is_err() {
            tracing::debug!("some links did not close in time");
        }
    }

    /// Applies what else is ready, without waiting.
    fn apply_ready(&mut self) {
        let shared = Arc::clone(&self.shared);
        for _ in 0..INPUTS_A_TURN {
            let mut state = shared.lock();
            if state.mesh.wants_drain() {
                self.drain(&mut state);
            }
            drop(state);
            let woken = if let Ok((link, fact)) = self.facts.1.try_recv() {
                Woken::Fact(link, fact)
            } else if let Ok((socket, fact)) = self.texts.1.try_recv() {
                Woken::Text(socket, fact)
            } else {
                return;
            };
            self.apply(woken);
        }
    }

    /// The mesh is locked for one input at a time: callers get their turn in between.
    fn apply(&mut self, woken: Woken) {
        match woken {
            Woken::Fact(link, fact) => self.link_fact(LinkId(link), fact),
            Woken::Text(socket, fact) => self.socket_fact(socket, fact),
            Woken::Moved => self.moved(),
            Woken::Abandoned => self.shared.lock().close(self.shared.clock.now()),
            Woken::Called | Woken::Timeout => {}
        }
    }

    fn input(&self, input: Input) {
        let mut state = self.shared.lock();
        state.mesh.handle_input(input, self.shared.clock.now());
    }

    /// What leaves from an address that is gone has ended, though nothing will ever say so.
    fn moved(&mut self) {
        match addresses::present() {
            Ok(present) => {
                let stranded = self
                    .links
                    .extract_if(.., |_, link| link.is_stranded(&present));
                for link in stranded.map(|(link, _)| link).collect::<Vec<_>>() {
                    let reason = "its address is gone".to_owned();
                    self.input(Input::LinkClosed { link, reason });
                }
                let stranded = self
                    .sockets
                    .extract_if(.., |_, socket| socket.is_stranded(&present));
                for socket in stranded.map(|(socket, _)| socket).collect::<Vec<_>>() {
                    let reason = "the address that it was reached from is gone".to_owned();
                    self.input(Input::SignalingClosed { socket, reason });
                }
            }
            Err(error) => tracing::debug!(%error, "interfaces cannot be read"),
        }
        self.input(Input::NetworkChanged);
    }

    fn socket_fact(&mut self, socket: SocketId, fact: SignalingFact) {
        if !self.sockets.contains_key(&socket) {
            return; // Of a connection that was closed.
        }
        let input = match fact {
            SignalingFact::Opened => Input::SignalingOpened { socket },
            SignalingFact::Received(text) => Input::SignalingReceived { socket, text },
            SignalingFact::Closed { reason } => {
                tracing::debug!(?socket, reason, "signaling closed");
                self.sockets.remove(&socket);
                Input::SignalingClosed { socket, reason }
            }
        };
        self.input(input);
    }

    fn link_fact(&mut self, link: LinkId, fact: LinkFact) {
        let input = match fact {
            LinkFact::Signal(signal) => Input::LinkSignaled { link, signal },
            LinkFact::Reached => Input::LinkReached { link },
            LinkFact::Opened => Input::LinkOpened { link },
            LinkFact::FrameReceived { channel, frame } => Input::FrameReceived {
                link,
                channel,
                frame,
            },
            LinkFact::Congested => Input::LinkCongested { link },
            LinkFact::Drained => Input::LinkDrained { link },
            LinkFact::Closed { reason } => {
                self.links.remove(&link);
                Input::LinkClosed { link, reason }
            }
        };
        self.input(input);
    }

    fn drain(&mut self, state: &mut State) {
        while let Some(output) = state.mesh.poll_output() {
            self.carry_out(output, state);
        }
        state.tell_samples();
    }

    fn carry_out(&mut self, output: Output, state: &mut State) {
        match output {
            Output::OpenSignaling { socket, hub } => {
                let facts = self.texts.0.clone();
                let signaling = Signaling::open(&self.endpoints[hub], socket, facts);
                self.sockets.insert(socket, signaling);
            }
            Output::SendSignaling { socket, text } => {
                let signaling = self.sockets.get(&socket);
                if signaling.is_some_and(|signaling| !signaling.send(text)) {
                    self.sockets.remove(&socket);
                    let reason = "the signaling server takes texts too slowly".to_owned();
                    let input = Input::SignalingClosed { socket, reason };
                    state.mesh.handle_input(input, self.shared.clock.now());
                }
            }
            Output::CloseSignaling { socket } => {
                self.sockets.remove(&socket);
            }
            Output::OpenLink {
                link,
                offer,
                ice_servers,
                ..
            } => {
                let (factory, facts) = (&self.factory, self.facts.0.clone());
                let connection = match offer {
                    None => Link::offer(factory, link.0, &ice_servers, facts),
                    Some(sdp) => Link::answer(factory, link.0, &ice_servers, sdp, facts),
                };
                self.links.insert(link, connection);
            }
            Output::ApplySignal { link, signal } => {
                if let Some(link) = self.links.get(&link) {
                    link.apply(signal);
                }
            }
            Output::Transmit {
                link,
                channel,
                frame,
            } => {
                if let Some(link) = self.links.get(&link) {
                    link.transmit(channel, frame);
                }
            }
            Output::CloseLink { link } => {
                self.links.remove(&link);
            }
            Output::Writable => self.writable.send_modify(|turn| *turn += 1),
            Output::Emit(event) => state.emit(&event),
        }
    }
}

impl From<LossReason> for MeshError {
    fn from(reason: LossReason) -> Self {
        Self::NoReply(reason)
    }
}
