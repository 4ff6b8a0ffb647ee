//! The loop around the core's state machine: inputs in, orders carried out, one timer.
//!
//! It decides nothing. Whatever is ready is applied before orders are drained, so that what belongs
//! together leaves together.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_core::{Event, Input, LinkId, LossReason, Mesh, MessageId, Output, Payload};
use tokio::sync::{mpsc, oneshot, watch};

use crate::agent::Subscriber;
use crate::clock::Clock;
use crate::error::MeshError;
use crate::link::{Link, LinkFact, LinkFactory};
use crate::signaling::{Signaling, SignalingFact};

/// Commands that callers may have waiting; beyond, they wait to be queued.
pub(crate) const COMMANDS: usize = 256;
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

/// Does something with the mesh, and gives what the caller waits for.
type Action<T> = Box<dyn FnOnce(&mut Mesh, mesh_core::Instant) -> T + Send>;

/// Something to do with the mesh, between two turns of the loop.
pub(crate) enum Command {
    /// Reads or changes the mesh.
    Call(Action<()>),
    /// Sends a request, and wants its reply.
    Request(Action<Option<Waiting>>),
    /// Wants events from now on.
    Subscribe(Subscriber),
    /// Leaves the mesh and ends.
    Close(oneshot::Sender<()>),
}

/// A request that was sent, and who waits for its reply.
pub(crate) type Waiting = (MessageId, oneshot::Sender<Result<Payload, LossReason>>);

/// Both ends of a queue: the sender is cloned for each link and WebSocket.
type Queue<T> = (mpsc::Sender<T>, mpsc::Receiver<T>);

/// The parts of a running agent.
pub(crate) struct Driver {
    mesh: Mesh,
    clock: Clock,
    url: String,
    factory: LinkFactory,
    signaling: Option<Signaling>,
    /// Counts the WebSockets dialled.
    epoch: u64,
    links: BTreeMap<LinkId, Link>,
    subscribers: Vec<Subscriber>,
    waiting: BTreeMap<MessageId, oneshot::Sender<Result<Payload, LossReason>>>,
    writable: watch::Sender<u64>,
    facts: Queue<(u64, LinkFact)>,
    texts: Queue<(u64, SignalingFact)>,
    commands: mpsc::Receiver<Command>,
    closing: Vec<oneshot::Sender<()>>,
}

/// What ended the wait.
enum Woken {
    Command(Command),
    Fact(u64, LinkFact),
    Text(u64, SignalingFact),
    Timeout,
    /// Every handle of the agent is dropped.
    Abandoned,
}

impl Driver {
    pub(crate) fn new(
        mesh: Mesh,
        clock: Clock,
        url: String,
        factory: LinkFactory,
        writable: watch::Sender<u64>,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        Self {
            mesh,
            clock,
            url,
            factory,
            signaling: None,
            epoch: 0,
            links: BTreeMap::new(),
            subscribers: Vec::new(),
            waiting: BTreeMap::new(),
            writable,
            facts: mpsc::channel(LINK_FACTS),
            texts: mpsc::channel(SIGNALING_FACTS),
            commands,
            closing: Vec::new(),
        }
    }

    /// Runs until the agent is closed or its last handle dropped.
    pub(crate) async fn run(mut self) {
        self.start();
        while self.closing.is_empty() {
            self.turn().await;
        }
        let closing = std::mem::take(&mut self.closing);
        self.wind_up().await;
        for closed in closing {
            let _ = closed.send(()); // Who closed the agent may not care.
        }
    }

    fn start(&mut self) {
        self.mesh.join(self.clock.now());
        self.drain();
    }

    /// Waits for something to happen, and does all that follows from it.
    async fn turn(&mut self) {
        let deadline = match self.mesh.poll_timeout() {
            Some(at) => self.clock.at(at),
            None => tokio::time::Instant::now() + IDLE,
        };
        let woken = tokio::select! {
            command = self.commands.recv() => command.map_or(Woken::Abandoned, Woken::Command),
            Some((link, fact)) = self.facts.1.recv() => Woken::Fact(link, fact),
            Some((epoch, fact)) = self.texts.1.recv() => Woken::Text(epoch, fact),
            () = tokio::time::sleep_until(deadline) => Woken::Timeout,
        };
        let now = self.clock.now();
        self.mesh.set_unix_time(now, Clock::unix_now());
        self.apply(woken);
        self.apply_ready();
        if self.mesh.poll_timeout().is_some_and(|at| at <= now) {
            self.mesh.handle_timeout(now);
        }
        self.drain();
    }

    /// Lets links and the WebSocket send their last: they hold a sender of facts until they end.
    async fn wind_up(self) {
        let Self {
            links,
            signaling,
            facts: (facts_sender, mut facts),
            texts: (texts_sender, mut texts),
            ..
        } = self;
        drop((links, signaling, facts_sender, texts_sender));
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
        for _ in 0..INPUTS_A_TURN {
            let woken = if let Ok((link, fact)) = self.facts.1.try_recv() {
                Woken::Fact(link, fact)
            } else if let Ok((epoch, fact)) = self.texts.1.try_recv() {
                Woken::Text(epoch, fact)
            } else if let Ok(command) = self.commands.try_recv() {
                Woken::Command(command)
            } else {
                return;
            };
            self.apply(woken);
        }
    }

    fn apply(&mut self, woken: Woken) {
        let now = self.clock.now();
        match woken {
            Woken::Command(Command::Call(call)) => call(&mut self.mesh, now),
            Woken::Command(Command::Request(request)) => {
                if let Some((id, reply)) = request(&mut self.mesh, now) {
                    self.waiting.insert(id, reply);
                }
            }
            Woken::Command(Command::Subscribe(subscriber)) => self.subscribers.push(subscriber),
            Woken::Command(Command::Close(closed)) => {
                self.mesh.leave(now);
                self.closing.push(closed);
            }
            Woken::Abandoned => {
                self.mesh.leave(now);
                let (nobody, _) = oneshot::channel();
                self.closing.push(nobody);
            }
            Woken::Fact(link, fact) => self.link_fact(LinkId(link), fact),
            Woken::Text(epoch, fact) if epoch == self.epoch => self.mesh.handle_input(
                match fact {
                    SignalingFact::Opened => Input::SignalingOpened,
                    SignalingFact::Received(text) => Input::SignalingReceived(text),
                    SignalingFact::Closed { reason } => Input::SignalingClosed { reason },
                },
                now,
            ),
            Woken::Text(..) | Woken::Timeout => {}
        }
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
        self.mesh.handle_input(input, self.clock.now());
    }

    fn drain(&mut self) {
        while let Some(output) = self.mesh.poll_output() {
            self.carry_out(output);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::OpenSignaling => {
                self.epoch += 1;
                let facts = self.texts.0.clone();
                self.signaling = Some(Signaling::open(&self.url, self.epoch, facts));
            }
            Output::SendSignaling(text) => {
                if self
                    .signaling
                    .as_ref()
                    .is_some_and(|signaling| !signaling.send(text))
                {
                    self.signaling = None;
                    self.epoch += 1; // What its task still tells no longer counts.
                    let reason = "the signaling server takes texts too slowly".to_owned();
                    let input = Input::SignalingClosed { reason };
                    self.mesh.handle_input(input, self.clock.now());
                }
            }
            Output::CloseSignaling => self.signaling = None,
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
            Output::Emit(event) => self.emit(event),
        }
    }

    fn emit(&mut self, event: Event) {
        if let Some((id, outcome)) = event.outcome()
            && let Some(reply) = self.waiting.remove(&id)
        {
            let _ = reply.send(outcome); // The caller may have given up.
        }
        tracing::trace!(?event);
        self.subscribers
            .retain_mut(|subscriber| subscriber.tell(&event));
    }
}

impl From<LossReason> for MeshError {
    fn from(reason: LossReason) -> Self {
        Self::NoReply(reason)
    }
}
