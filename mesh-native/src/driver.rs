//! The loop around the core's state machine: inputs in, orders carried out, one timer.
//!
//! It decides nothing. Whatever is ready is applied before orders are drained, so that what belongs
//! together leaves together.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mesh_core::agent::{AgentState, LinkFact, SocketEnd, SocketFact};
use mesh_core::{Event, Instant, LinkId, Output, SocketId};
use tokio::sync::{mpsc, watch};

use crate::addresses;
use crate::clock::Clock;
use crate::link::{Link, LinkFactory, Opening};
use crate::media::Tell;
use crate::shared::{Ending, Shared, State, Subscriber};
use crate::signaling::{Endpoint, Signaling};

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
    facts: Queue<(u64, LinkFact)>,
    texts: Queue<(SocketId, SocketFact)>,
    addresses: addresses::Watch,
    /// Dropped before the next, so that handles find the agent ended when they hear of the end.
    _ending: Ending,
    /// The agent's handles wait for its end, and it for theirs.
    running: watch::Sender<()>,
    /// How connections tell events.
    tell: Tell,
}

/// What ended the wait.
enum Woken {
    /// A handle has called the mesh.
    Called,
    Fact(u64, LinkFact),
    Text(SocketId, SocketFact),
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
        running: watch::Sender<()>,
    ) -> Self {
        let weak = Arc::downgrade(&shared);
        let tell: Tell = Arc::new(move |event| {
            if let Some(shared) = weak.upgrade() {
                shared.tell(&event);
            }
        });
        Self {
            tell,
            _ending: Ending(Arc::clone(&shared)),
            shared,
            endpoints,
            factory,
            sockets: BTreeMap::new(),
            links: BTreeMap::new(),
            running,
            facts: mpsc::channel(LINK_FACTS),
            texts: mpsc::channel(SIGNALING_FACTS),
            addresses: addresses::Watch::new(),
        }
    }

    /// Runs until the agent is closed or its last handle dropped.
    pub(crate) async fn run(mut self) {
        self.start();
        while !self.turn().await {}
        self.wind_up().await;
    }

    fn start(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        state.agent.join(self.shared.clock.now());
        self.drain(&mut state);
    }

    /// Waits for something to happen, and does all that follows from it. Returns whether the agent
    /// has closed.
    async fn turn(&mut self) -> bool {
        let due = self.shared.lock().agent.poll_timeout();
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
            () = self.running.closed() => Woken::Abandoned,
        };
        let now = self.shared.clock.now();
        self.shared
            .lock()
            .agent
            .set_unix_time(now, Clock::unix_now());
        self.apply(woken);
        self.apply_ready();
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        state.agent.handle_timeout(now);
        self.drain(&mut state);
        !state.agent.is_open()
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
            if state.agent.wants_drain() {
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

    /// The agent is locked for one fact at a time: callers get their turn in between.
    fn apply(&self, woken: Woken) {
        let now = self.shared.clock.now();
        let agent = &mut self.shared.lock().agent;
        match woken {
            Woken::Fact(link, fact) => agent.link_fact(LinkId(link), fact, now),
            Woken::Text(socket, fact) => agent.socket_fact(socket, fact, now),
            Woken::Moved => {
                self.tell_stranded(agent, now);
                agent.network_changed(now);
            }
            Woken::Abandoned => agent.leave(now),
            Woken::Called | Woken::Timeout => {}
        }
    }

    /// What leaves from an address that is gone carries nothing more, though nothing will ever say
    /// so.
    fn tell_stranded(&self, agent: &mut AgentState<Subscriber>, now: Instant) {
        let present = match addresses::present() {
            Ok(present) => present,
            Err(error) => {
                tracing::debug!(%error, "interfaces cannot be read");
                return;
            }
        };
        for (&link, connection) in &self.links {
            if connection.is_stranded(&present) {
                agent.link_fact(link, LinkFact::Stranded, now);
            }
        }
        for (&socket, signaling) in &self.sockets {
            if signaling.is_stranded(&present) {
                let end = SocketEnd::AddressGone;
                agent.socket_fact(socket, SocketFact::Closed(end), now);
            }
        }
    }

    fn drain(&mut self, state: &mut State) {
        while let Some(output) = state.agent.poll_output() {
            self.carry_out(output, state);
        }
        state.tell_samples();
    }

    /// Tracks begin and end with their link.
    fn follow(&self, event: &Event, state: &mut State) {
        let (peer, opened) = match event {
            Event::LinkOpened { peer, .. } => (*peer, true),
            Event::LinkClosed { peer, .. } => (*peer, false),
            _ => return,
        };
        let Some(media) = self.shared.media.of(peer) else {
            return;
        };
        let news = match opened {
            true => media.opened(),
            false => media.closed(),
        };
        news.iter().for_each(|event| state.tell(event));
    }

    fn open_link(&mut self, order: Output) {
        let Output::OpenLink {
            link,
            peer,
            offer,
            fresh_keys,
            small_packets,
            ice,
            tracks,
        } = order
        else {
            return;
        };
        let (factory, facts) = (&self.factory, self.facts.0.clone());
        let fresh = fresh_keys.then(|| factory.with_fresh_keys());
        let factory = fresh.as_ref().unwrap_or(factory);
        let sized = small_packets.then(|| factory.with_small_packets());
        let factory = sized.as_ref().unwrap_or(factory);
        let opening = match offer {
            None => Opening::Offer { tracks },
            Some(offer_sdp) => Opening::Answer { offer_sdp },
        };
        let media = self.shared.media.connect(peer, link.0, &self.tell);
        let connection = Link::start(factory, link.0, &ice, opening, media, facts);
        self.links.insert(link, connection);
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
                    let (fact, now) = (
                        SocketFact::Closed(SocketEnd::TooSlow),
                        self.shared.clock.now(),
                    );
                    state.agent.socket_fact(socket, fact, now);
                }
            }
            Output::CloseSignaling { socket } => {
                self.sockets.remove(&socket);
            }
            order @ Output::OpenLink { .. } => self.open_link(order),
            Output::ConfigureLink { link, ice } => {
                if let Some(link) = self.links.get(&link) {
                    link.configure(ice);
                }
            }
            Output::RestartLink { link } => {
                if let Some(link) = self.links.get(&link) {
                    link.restart();
                }
            }
            Output::NegotiateTracks { link, tracks } => {
                if let Some(link) = self.links.get(&link) {
                    link.negotiate(tracks);
                }
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
            Output::Emit(event) => {
                state.note(&event);
                self.follow(&event, state);
            }
            Output::Writable => {} // The agent has told its callers.
        }
    }
}
