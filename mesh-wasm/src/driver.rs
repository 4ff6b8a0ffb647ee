//! The loop around the core's agent: facts in, orders carried out, one timer.
//!
//! It decides nothing. Browser callbacks only put facts into the inbox; a turn, run as a microtask
//! right after them, tells the agent what is there, carries its orders out and arms the timer.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};

use mesh_core::agent::{AgentState, LinkFact, SocketEnd, SocketFact};
use mesh_core::{Instant, LinkId, Mesh, Output, SocketId};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::spawn_local;

use crate::clock::{Clock, Timer};
use crate::events::Subscriber;
use crate::link::Link;
use crate::network::Network;
use crate::signaling::Signaling;

/// A running agent: shared by the handle and by browser callbacks.
pub(crate) struct Driver {
    state: RefCell<State>,
    /// Facts that the next turn tells. Bounded by what the browser fires before a microtask runs,
    /// which is one callback's worth.
    inbox: RefCell<VecDeque<Fact>>,
    turn_scheduled: Cell<bool>,
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
    Signaling(SocketId, SocketFact),
}

impl Driver {
    /// Starts an agent that joins.
    pub(crate) fn start(
        mesh: Mesh,
        clock: Clock,
        urls: Vec<String>,
        reader: Subscriber,
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
                Fact::Signaling(socket, fact) => state.agent.socket_fact(socket, fact, now),
            }
        }
        state.agent.handle_timeout(now);
        state.drain(self, now);
        if !state.agent.is_open() {
            let handle = state.end();
            drop(state);
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
            // Browsers make a certificate for each connection anyway.
            Output::OpenLink {
                link, offer, ice, ..
            } => match Link::open(offer, &ice, driver.link_teller(link)) {
                Ok(connection) => {
                    self.links.insert(link, connection);
                }
                Err(end) => driver.put(Fact::Link(link, LinkFact::Closed(end))),
            },
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
            Output::NegotiateTracks { .. } => {} // It sends and takes none yet.
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
            Output::Emit(_) | Output::Writable => {} // The agent has told its readers and callers.
        }
    }

    /// Ends, and what waits for something is told that nothing comes. Returns the handle.
    fn end(&mut self) -> Option<JsValue> {
        self.links.clear();
        self.sockets.clear();
        self.agent.end();
        self.handle.take()
    }
}
