//! The loop around the core's agent: facts in, orders carried out, one timer.
//!
//! It decides nothing. Browser callbacks only put facts into the inbox; a turn, run as a microtask
//! right after them, tells the agent what is there, carries its orders out and arms the timer.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};

use mesh_core::agent::{AgentState, LinkFact, SocketEnd, SocketFact};
use mesh_core::{Event, Instant, LinkId, Mesh, Output, PeerId, SocketId, TrackError};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::spawn_local;
use web_sys::MediaStreamTrack;

use crate::clock::{Clock, Timer};
use crate::error;
use crate::events::Subscriber;
use crate::link::{Link, Opening};
use crate::media::{Local, Media, Tell};
use crate::network::Network;
use crate::signaling::Signaling;

/// A running agent: shared by the handle and by browser callbacks.
pub(crate) struct Driver {
    state: RefCell<State>,
    /// Facts that the next turn tells. Bounded by what the browser fires before a microtask runs,
    /// which is one callback's worth.
    inbox: RefCell<VecDeque<Fact>>,
    turn_scheduled: Cell<bool>,
    media: Media,
}

struct State {
    agent: AgentState<Subscriber>,
    clock: Clock,
    timer: Timer,
    /// Where the signaling servers are, as the mesh counts them.
    urls: Vec<String>,
    sockets: BTreeMap<SocketId, Signaling>,
    links: BTreeMap<LinkId, Link>,
    /// The handle that JavaScript has: held from here, neither it nor this agent is garbage, even
    /// where the application waits for events and nothing else.
    handle: Option<JsValue>,
    _network: Network,
}

enum Fact {
    NetworkChanged,
    Link(LinkId, LinkFact),
    /// What a connection knows of tracks.
    Event(Event),
    Signaling(SocketId, SocketFact),
}

impl Driver {
    /// Starts an agent that joins.
    pub(crate) fn start(
        mesh: Mesh,
        clock: Clock,
        urls: Vec<String>,
        reader: Subscriber,
        media: Media,
    ) -> Rc<Self> {
        let mut agent = AgentState::new(mesh, &urls);
        agent.subscribe(reader);
        let driver = Rc::new_cyclic(|weak: &Weak<Self>| {
            let timer = Timer::new({
                let weak = weak.clone();
                move || {
                    if let Some(driver) = weak.upgrade() {
                        driver.turn();
                    }
                }
            });
            let network = Network::watch({
                let weak = weak.clone();
                move || {
                    if let Some(driver) = weak.upgrade() {
                        driver.put(Fact::NetworkChanged);
                    }
                }
            });
            Self {
                state: RefCell::new(State {
                    agent,
                    clock,
                    timer,
                    urls,
                    sockets: BTreeMap::new(),
                    links: BTreeMap::new(),
                    handle: None,
                    _network: network,
                }),
                inbox: RefCell::default(),
                turn_scheduled: Cell::new(false),
                media,
            }
        });
        driver.call(AgentState::join);
        driver
    }

    /// Asks the mesh, of a closed agent too.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Mesh) -> T) -> T {
        read(self.state.borrow().agent.mesh())
    }

    /// The driver's time.
    pub(crate) fn now(&self) -> Instant {
        self.state.borrow().clock.now()
    }

    /// Does something with the agent that causes no orders.
    pub(crate) fn with<T>(&self, call: impl FnOnce(&mut AgentState<Subscriber>) -> T) -> T {
        call(&mut self.state.borrow_mut().agent)
    }

    /// Does something with the agent, and has its orders carried out soon.
    pub(crate) fn call<T>(
        self: &Rc<Self>,
        call: impl FnOnce(&mut AgentState<Subscriber>, Instant) -> T,
    ) -> T {
        let mut state = self.state.borrow_mut();
        let now = state.clock.now();
        // After a sleep of the machine this may be the first to look at the clock.
        state.agent.set_unix_time(now, Clock::unix_now());
        let result = call(&mut state.agent, now);
        drop(state);
        self.schedule_turn();
        result
    }

    /// Keeps the handle, and through it this agent, until it is closed.
    pub(crate) fn keep(&self, handle: JsValue) {
        let mut state = self.state.borrow_mut();
        if state.agent.is_open() {
            state.handle = Some(handle);
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        !self.state.borrow().agent.is_open()
    }

    /// Leaves the mesh and closes everything. Closing twice does no harm.
    pub(crate) fn close(self: &Rc<Self>) {
        self.call(AgentState::leave);
        self.turn();
    }

    fn put(self: &Rc<Self>, fact: Fact) {
        self.inbox.borrow_mut().push_back(fact);
        self.schedule_turn();
    }

    fn schedule_turn(self: &Rc<Self>) {
        if !self.turn_scheduled.replace(true) {
            let driver = Rc::clone(self);
            spawn_local(async move { driver.turn() });
        }
    }

    fn turn(self: &Rc<Self>) {
        self.turn_scheduled.set(false);
        let facts = self.inbox.take();
        let mut state = self.state.borrow_mut();
        if state.agent.is_ended() {
            return;
        }
        let now = state.clock.now();
        state.agent.set_unix_time(now, Clock::unix_now());
        for fact in facts {
            if state.agent.wants_drain() {
                state.drain(self, now);
            }
            match fact {
                Fact::NetworkChanged => state.agent.network_changed(now),
                Fact::Link(link, fact) => state.agent.link_fact(link, fact, now),
                Fact::Event(event) => state.agent.tell(&event),
                Fact::Signaling(socket, fact) => state.agent.socket_fact(socket, fact, now),
            }
        }
        state.agent.handle_timeout(now);
        state.drain(self, now);
        if !state.agent.is_open() {
            let handle = state.end();
            drop(state);
            self.media.end();
            drop(handle); // From here on the handle is all that holds this agent.
        } else if let Some(at) = state.agent.poll_timeout() {
            state.timer.arm(at, now);
        }
    }

    /// How a link tells its facts: weakly, for the driver owns the link.
    fn link_teller(self: &Rc<Self>, link: LinkId) -> impl Fn(LinkFact) + 'static {
        let driver = Rc::downgrade(self);
        move |fact| {
            if let Some(driver) = driver.upgrade() {
                driver.put(Fact::Link(link, fact));
            }
        }
    }

    /// How a connection tells what it knows of tracks.
    fn event_teller(self: &Rc<Self>) -> Tell {
        let driver = Rc::downgrade(self);
        Rc::new(move |event| {
            if let Some(driver) = driver.upgrade() {
                driver.put(Fact::Event(event));
            }
        })
    }

    /// The tracks of all neighbours.
    pub(crate) fn media(&self) -> Media {
        self.media.clone()
    }

    /// Sends a track to a neighbour.
    ///
    /// # Errors
    /// Why it is not sent.
    pub(crate) fn send_track(
        self: &Rc<Self>,
        peer: PeerId,
        track: MediaStreamTrack,
    ) -> Result<Rc<Local>, JsValue> {
        let media = self.media.of(peer);
        let sent = self.call(|agent, now| {
            agent.call(|mesh| {
                let Some(media) = media else {
                    return Ok(Err(TrackError::NotLinked(peer)));
                };
                Ok(media.add(track)?.and_then(|(local, tracks)| {
                    let set = mesh.set_tracks(peer, tracks, now);
                    set.inspect_err(|_| _ = media.remove(&local))?;
                    Ok(local)
                }))
            })
        });
        let sent: Result<_, JsValue> = sent.map_err(error::mesh_error)?;
        sent?.map_err(|cause| error::mesh_error(cause.into()))
    }

    /// A track of this tab has ended.
    pub(crate) fn end_track(self: &Rc<Self>, peer: PeerId, local: &Rc<Local>) {
        let Some(media) = self.media.of(peer) else {
            return;
        };
        let tracks = media.remove(local);
        self.call(|agent, now| {
            // Without a link, or an agent, there is nobody to be told.
            let _ = agent.call(|mesh| mesh.set_tracks(peer, tracks, now));
        });
    }

    fn signaling_teller(
        self: &Rc<Self>,
        socket: SocketId,
    ) -> impl Fn(SocketFact) + Clone + 'static {
        let driver = Rc::downgrade(self);
        move |fact| {
            if let Some(driver) = driver.upgrade() {
                driver.put(Fact::Signaling(socket, fact));
            }
        }
    }
}

impl State {
    fn drain(&mut self, driver: &Rc<Driver>, now: Instant) {
        while let Some(output) = self.agent.poll_output() {
            self.carry_out(output, driver, now);
        }
    }

    /// Browsers make a certificate for each connection anyway.
    fn open_link(&mut self, order: Output, driver: &Rc<Driver>) {
        let Output::OpenLink {
            link,
            peer,
            offer,
            ice,
            tracks,
            ..
        } = order
        else {
            return;
        };
        let opening = match offer {
            None => Opening::Offer(tracks),
            Some(sdp) => Opening::Answer(sdp),
        };
        let tell: Tell = driver.event_teller();
        let media = (link.0, driver.media.connect(peer, link.0, &tell));
        match Link::open(opening, &ice, media, driver.link_teller(link)) {
            Ok(connection) => {
                self.links.insert(link, connection);
            }
            Err(end) => driver.put(Fact::Link(link, LinkFact::Closed(end))),
        }
    }

    fn carry_out(&mut self, output: Output, driver: &Rc<Driver>, now: Instant) {
        match output {
            Output::OpenSignaling { socket, hub } => {
                match Signaling::open(&self.urls[hub], driver.signaling_teller(socket)) {
                    Ok(signaling) => {
                        self.sockets.insert(socket, signaling);
                    }
                    Err(cause) => {
                        let end = SocketEnd::Told(cause);
                        let fact = SocketFact::Closed(end);
                        self.agent.socket_fact(socket, fact, now);
                    }
                }
            }
            Output::SendSignaling { socket, text } => {
                let signaling = self.sockets.get(&socket);
                if signaling.is_some_and(|signaling| !signaling.send(&text)) {
                    let fact = SocketFact::Closed(SocketEnd::TooSlow);
                    self.agent.socket_fact(socket, fact, now);
                }
            }
            Output::CloseSignaling { socket } => {
                self.sockets.remove(&socket);
            }
            order @ Output::OpenLink { .. } => self.open_link(order, driver),
            Output::ConfigureLink { link, ice } => {
                if let Some(connection) = self.links.get(&link) {
                    connection.configure(&ice);
                }
            }
            Output::RestartLink { link } => {
                if let Some(connection) = self.links.get(&link) {
                    connection.restart();
                }
            }
            Output::NegotiateTracks { link, tracks } => {
                if let Some(connection) = self.links.get(&link) {
                    connection.negotiate(tracks);
                }
            }
            Output::ApplySignal { link, signal } => {
                if let Some(connection) = self.links.get(&link) {
                    connection.apply(signal);
                }
            }
            Output::Transmit {
                link,
                channel,
                frame,
            } => {
                if let Some(connection) = self.links.get(&link)
                    && let Err(end) = connection.transmit(channel, &frame)
                {
                    driver.put(Fact::Link(link, LinkFact::Closed(end)));
                }
            }
            Output::CloseLink { link } => {
                self.links.remove(&link);
            }
            // The agent has told its readers and callers.
            Output::Emit(event) => self.follow(&event, &driver.media),
            Output::Writable => {}
        }
    }

    /// Tracks begin and end with their link.
    fn follow(&mut self, event: &Event, media: &Media) {
        let (peer, opened) = match event {
            Event::LinkOpened { peer, .. } => (*peer, true),
            Event::LinkClosed { peer, .. } => (*peer, false),
            _ => return,
        };
        let Some(media) = media.of(peer) else {
            return;
        };
        let news = match opened {
            true => media.opened(),
            false => media.closed(),
        };
        news.iter().for_each(|event| self.agent.tell(event));
    }

    /// Ends, and what waits for something is told that nothing comes. Returns the handle.
    fn end(&mut self) -> Option<JsValue> {
        self.links.clear();
        self.sockets.clear();
        self.agent.end();
        self.handle.take()
    }
}
