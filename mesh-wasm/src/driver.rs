//! The loop around the core's state machine: inputs in, orders carried out, one timer.
//!
//! It decides nothing. Browser callbacks only put facts into the inbox; a turn, run as a microtask
//! right after them, applies what is there, drains the core's orders and arms the timer.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::{Rc, Weak};

use futures::channel::oneshot;
use mesh_core::{Event, Input, LinkId, LossReason, Mesh, MessageId, Output, Payload, SocketId};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::spawn_local;

use crate::clock::{Clock, Timer};
use crate::events::Subscriber;
use crate::link::{Link, LinkFact};
use crate::network::Network;
use crate::signaling::{Signaling, SignalingFact};

/// Who waits for a reply.
pub(crate) type Reply = oneshot::Sender<Result<Payload, LossReason>>;

/// A running agent: shared by the handle and by browser callbacks.
pub(crate) struct Driver {
    state: RefCell<State>,
    /// Facts that the next turn applies. Bounded by what the browser fires before a microtask
    /// runs, which is one callback's worth.
    inbox: RefCell<VecDeque<Fact>>,
    turn_scheduled: Cell<bool>,
    closed: Cell<bool>,
}

struct State {
    mesh: Mesh,
    clock: Clock,
    timer: Timer,
    /// Where the signaling servers are, as the mesh counts them.
    urls: Vec<String>,
    /// The WebSockets, each with its place among the addresses.
    sockets: BTreeMap<SocketId, (usize, Signaling)>,
    /// Addresses where a WebSocket has ever opened.
    signaled: BTreeSet<usize>,
    links: BTreeMap<LinkId, Link>,
    subscribers: Vec<Subscriber>,
    waiting: BTreeMap<MessageId, Reply>,
    /// Callers that wait until the mesh is writable.
    blocked: Vec<oneshot::Sender<()>>,
    /// The handle that JavaScript has: held from here, neither it nor this agent is garbage, even
    /// where the application waits for events and nothing else.
    handle: Option<JsValue>,
    /// The core has said that it left.
    left: bool,
    _network: Network,
}

enum Fact {
    NetworkChanged,
    Link(LinkId, LinkFact),
    Signaling(SocketId, SignalingFact),
}

impl Driver {
    /// Starts an agent that joins.
    pub(crate) fn start(
        mesh: Mesh,
        clock: Clock,
        urls: Vec<String>,
        subscriber: Subscriber,
    ) -> Rc<Self> {
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
                    mesh,
                    clock,
                    timer,
                    urls,
                    sockets: BTreeMap::new(),
                    signaled: BTreeSet::new(),
                    links: BTreeMap::new(),
                    subscribers: vec![subscriber],
                    waiting: BTreeMap::new(),
                    blocked: Vec::new(),
                    handle: None,
                    left: false,
                    _network: network,
                }),
                inbox: RefCell::default(),
                turn_scheduled: Cell::new(false),
                closed: Cell::new(false),
            }
        });
        driver.call(|mesh, now| mesh.join(now));
        driver
    }

    /// Does something with the mesh, and has its orders carried out soon.
    pub(crate) fn call<T>(
        self: &Rc<Self>,
        call: impl FnOnce(&mut Mesh, mesh_core::Instant) -> T,
    ) -> T {
        let mut state = self.state.borrow_mut();
        let now = state.clock.now();
        // After a sleep of the machine this may be the first to look at the clock.
        state.mesh.set_unix_time(now, Clock::unix_now());
        let result = call(&mut state.mesh, now);
        drop(state);
        self.schedule_turn();
        result
    }

    /// Has events told to one more reader; none come of a closed agent.
    pub(crate) fn subscribe(&self, subscriber: Subscriber) {
        if self.closed.get() {
            subscriber.end();
        } else {
            self.state.borrow_mut().subscribers.push(subscriber);
        }
    }

    /// Keeps the handle, and through it this agent, until it is closed.
    pub(crate) fn keep(&self, handle: JsValue) {
        if !self.closed.get() {
            self.state.borrow_mut().handle = Some(handle);
        }
    }

    /// Whether a WebSocket to that address of a signaling server has ever opened.
    pub(crate) fn has_signaled(&self, hub: usize) -> bool {
        self.state.borrow().signaled.contains(&hub)
    }

    /// The address of the WebSocket that was dialled last, while it is not closed.
    pub(crate) fn dialled(&self) -> Option<usize> {
        let state = self.state.borrow();
        state.sockets.values().next_back().map(|(hub, _)| *hub)
    }

    /// Has the reply to a request told.
    pub(crate) fn await_reply(&self, id: MessageId, reply: Reply) {
        self.state.borrow_mut().waiting.insert(id, reply);
    }

    /// Completes when the mesh may have room again, or the agent is closed.
    pub(crate) fn writable(&self) -> oneshot::Receiver<()> {
        let (wake, woken) = oneshot::channel();
        let blocked = &mut self.state.borrow_mut().blocked;
        blocked.retain(|caller| !caller.is_canceled()); // Aborted meanwhile.
        blocked.push(wake);
        woken
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Leaves the mesh and closes everything. Closing twice does no harm.
    pub(crate) fn close(self: &Rc<Self>) {
        if self.closed.get() {
            return;
        }
        self.call(|mesh, now| mesh.leave(now));
        self.turn();
        self.end();
    }

    /// Ends, and whoever waits for something is told that nothing comes.
    fn end(&self) {
        self.closed.set(true);
        let mut state = self.state.borrow_mut();
        state.links.clear();
        state.sockets.clear();
        state.blocked.clear();
        state.waiting.clear();
        for subscriber in state.subscribers.drain(..) {
            subscriber.end();
        }
        let handle = state.handle.take();
        drop(state);
        drop(handle); // From here on the handle is all that holds this agent.
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
        if self.closed.get() {
            return;
        }
        let facts = self.inbox.take();
        let mut state = self.state.borrow_mut();
        let now = state.clock.now();
        state.mesh.set_unix_time(now, Clock::unix_now());
        for fact in facts {
            if state.mesh.wants_drain() {
                state.drain(self);
            }
            state.apply(fact, now);
        }
        if state.mesh.poll_timeout().is_some_and(|at| at <= now) {
            state.mesh.handle_timeout(now);
        }
        state.drain(self);
        if state.left {
            drop(state);
            self.end();
        } else if let Some(at) = state.mesh.poll_timeout() {
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
    ) -> impl Fn(SignalingFact) + Clone + 'static {
        let driver = Rc::downgrade(self);
        move |fact| {
            if let Some(driver) = driver.upgrade() {
                driver.put(Fact::Signaling(socket, fact));
            }
        }
    }
}

impl State {
    fn apply(&mut self, fact: Fact, now: mesh_core::Instant) {
        let input = match fact {
            Fact::NetworkChanged => Input::NetworkChanged,
            Fact::Signaling(socket, fact) => self.socket_told(socket, fact),
            Fact::Link(link, LinkFact::Signal(signal)) => Input::LinkSignaled { link, signal },
            Fact::Link(link, LinkFact::Reached) => Input::LinkReached { link },
            Fact::Link(link, LinkFact::Opened) => Input::LinkOpened { link },
            Fact::Link(link, LinkFact::FrameReceived { channel, frame }) => Input::FrameReceived {
                link,
                channel,
                frame,
            },
            Fact::Link(link, LinkFact::Congested) => Input::LinkCongested { link },
            Fact::Link(link, LinkFact::Drained) => Input::LinkDrained { link },
            Fact::Link(link, LinkFact::Closed { reason }) => {
                self.links.remove(&link);
                Input::LinkClosed { link, reason }
            }
        };
        self.mesh.handle_input(input, now);
    }

    fn drain(&mut self, driver: &Rc<Driver>) {
        while let Some(output) = self.mesh.poll_output() {
            self.carry_out(output, driver);
        }
    }

    fn carry_out(&mut self, output: Output, driver: &Rc<Driver>) {
        match output {
            Output::OpenSignaling { socket, hub } => self.open_signaling(socket, hub, driver),
            Output::SendSignaling { socket, text } => {
                let signaling = self.sockets.get(&socket);
                if signaling.is_some_and(|(_, signaling)| !signaling.send(&text)) {
                    self.sockets.remove(&socket);
                    let reason = "the signaling server takes texts too slowly".to_owned();
                    driver.put(Fact::Signaling(socket, SignalingFact::Closed { reason }));
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
            } => match Link::open(offer, &ice_servers, driver.link_teller(link)) {
                Ok(connection) => {
                    self.links.insert(link, connection);
                }
                Err(reason) => driver.put(Fact::Link(link, LinkFact::Closed { reason })),
            },
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
                    && let Err(reason) = connection.transmit(channel, &frame)
                {
                    driver.put(Fact::Link(link, LinkFact::Closed { reason }));
                }
            }
            Output::CloseLink { link } => {
                self.links.remove(&link);
            }
            Output::Writable => {
                for blocked in self.blocked.drain(..) {
                    let _ = blocked.send(()); // The caller may have given up.
                }
            }
            Output::Emit(event) => self.emit(&event),
        }
    }

    fn open_signaling(&mut self, socket: SocketId, hub: usize, driver: &Rc<Driver>) {
        match Signaling::open(&self.urls[hub], driver.signaling_teller(socket)) {
            Ok(signaling) => {
                self.sockets.insert(socket, (hub, signaling));
            }
            Err(reason) => driver.put(Fact::Signaling(socket, SignalingFact::Closed { reason })),
        }
    }

    /// A fact about a WebSocket, as the mesh takes it. What the mesh has closed means nothing to
    /// it.
    fn socket_told(&mut self, socket: SocketId, fact: SignalingFact) -> Input {
        match fact {
            SignalingFact::Opened => {
                self.signaled
                    .extend(self.sockets.get(&socket).map(|(hub, _)| *hub));
                Input::SignalingOpened { socket }
            }
            SignalingFact::Received(text) => Input::SignalingReceived { socket, text },
            SignalingFact::Closed { reason } => {
                self.sockets.remove(&socket);
                Input::SignalingClosed { socket, reason }
            }
        }
    }

    fn emit(&mut self, event: &Event) {
        if let Some((id, outcome)) = event.outcome()
            && let Some(reply) = self.waiting.remove(&id)
        {
            let _ = reply.send(outcome); // The caller may have given up.
        }
        self.subscribers.retain(|subscriber| subscriber.tell(event));
        self.left |= matches!(event, Event::Left);
    }
}
