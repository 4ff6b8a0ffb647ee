//! An agent that knows several addresses, and what is behind them.

use super::*;
use crate::config::Config;
use crate::id::SocketId;
use crate::io::{Event, Input, Output};
use crate::mesh::Mesh;
use crate::time::UnixTime;

const SECOND: Duration = Duration::from_secs(1);

/// What is behind an address.
enum Behind {
    /// A hub, by its place in [`World::hubs`].
    Hub(usize),
    /// A machine without a hub.
    Refusal,
    /// A hub that takes nobody in, and says why.
    Refuser(ErrorCode),
    /// A machine that is gone, or a hub that hangs.
    Silence,
}

/// One agent, and the hubs that it may reach. What is sent arrives at once.
struct World {
    mesh: Mesh,
    addresses: Vec<Behind>,
    hubs: Vec<Hub>,
    sockets: BTreeMap<SocketId, usize>,
    now: Instant,
    /// Which address was dialled, and when.
    dialled: Vec<(usize, Instant)>,
    told: Vec<Event>,
    /// How many members each hub had when the agent closed a connection.
    closed: Vec<Vec<usize>>,
    /// Whether each hello said that the agent comes back.
    hellos: Vec<bool>,
}

impl World {
    fn new(addresses: Vec<Behind>, hubs: usize) -> Self {
        Self::with_seed(addresses, hubs, 1)
    }

    fn with_seed(addresses: Vec<Behind>, hubs: usize, seed: u8) -> Self {
        let config = Config {
            hubs: addresses.len(),
            ..Config::new("a", "agent").expect("valid")
        };
        let now = Instant::default();
        let unix = UnixTime::from_micros(1_000_000);
        let hub = |_| Hub::new(HubConfig::default(), [9; 32]);
        let mut world = Self {
            mesh: Mesh::new(config, identity(1), [seed; 32], now, unix),
            addresses,
            hubs: (0..hubs).map(hub).collect(),
            sockets: BTreeMap::new(),
            now,
            dialled: Vec::new(),
            told: Vec::new(),
            closed: Vec::new(),
            hellos: Vec::new(),
        };
        world.mesh.join(now);
        world
    }

    /// Lets time pass.
    fn run(&mut self, duration: Duration) {
        let until = self.now + duration;
        loop {
            while self.turn() {}
            let hubs = self.hubs.iter().filter_map(Hub::poll_timeout);
            let due = hubs.chain(self.mesh.poll_timeout().map(|(at, _)| at)).min();
            let Some(at) = due.filter(|at| *at <= until) else {
                break;
            };
            self.now = at.max(self.now);
            for hub in &mut self.hubs {
                hub.handle_timeout(self.now);
            }
            self.mesh.handle_timeout(self.now);
        }
        self.now = until;
    }

    /// Carries out what was ordered. Returns whether anything was.
    fn turn(&mut self) -> bool {
        let mut orders = 0;
        while let Some(output) = self.mesh.poll_output() {
            orders += 1;
            self.carry_out(output);
        }
        for hub in 0..self.hubs.len() {
            while let Some(output) = self.hubs[hub].poll_output() {
                orders += 1;
                self.pass_on(hub, output);
            }
        }
        orders > 0
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::OpenSignaling { socket, hub } => {
                self.dialled.push((hub, self.now));
                match self.addresses[hub] {
                    Behind::Hub(hub) => {
                        self.sockets.insert(socket, hub);
                        self.hand(hub, HubInput::ClientConnected(ClientId(socket.0)));
                        self.tell(Input::SignalingOpened { socket });
                    }
                    Behind::Refusal => self.close(socket, "connection refused"),
                    Behind::Refuser(code) => {
                        self.tell(Input::SignalingOpened { socket });
                        let text = encode(&refused(code));
                        self.tell(Input::SignalingReceived { socket, text });
                        self.close(socket, "closed by the server");
                    }
                    Behind::Silence => {}
                }
            }
            Output::SendSignaling { socket, text } => {
                if let Some(&hub) = self.sockets.get(&socket) {
                    let message = serde_json::from_str(&text).expect("decodes");
                    if let ClientMessage::Hello { again, .. } = message {
                        self.hellos.push(again);
                    }
                    self.hand(hub, HubInput::TextReceived(ClientId(socket.0), text));
                }
            }
            Output::CloseSignaling { socket } => {
                self.closed.push(self.members());
                if let Some(hub) = self.sockets.remove(&socket) {
                    self.hand(hub, HubInput::ClientClosed(ClientId(socket.0)));
                }
            }
            Output::Emit(event) => self.told.push(event),
            _ => {}
        }
    }

    fn pass_on(&mut self, hub: usize, output: HubOutput) {
        match output {
            HubOutput::Send(ClientId(client), text) => {
                let socket = SocketId(client);
                if self.sockets.get(&socket) == Some(&hub) {
                    self.tell(Input::SignalingReceived { socket, text });
                }
            }
            HubOutput::Close(ClientId(client)) => {
                self.sockets.remove(&SocketId(client));
                self.close(SocketId(client), "closed by the server");
            }
            HubOutput::Relay { .. } | HubOutput::Ping(_) | HubOutput::Directory(_) => {}
        }
    }

    fn hand(&mut self, hub: usize, input: HubInput) {
        self.hubs[hub].handle_input(input, self.now);
    }

    fn tell(&mut self, input: Input) {
        self.mesh.handle_input(input, self.now);
    }

    fn close(&mut self, socket: SocketId, reason: &str) {
        let reason = reason.to_owned();
        self.tell(Input::SignalingClosed { socket, reason });
    }

    /// Another agent is admitted at a hub.
    fn admit_other(&mut self, hub: usize, client: u64, who: u8) {
        let other = identity(who);
        self.hand(hub, HubInput::ClientConnected(ClientId(client)));
        let hello = hello(other.peer(), "a", Shards::WHOLE);
        self.say(hub, client, &hello);
        while let Some(output) = self.hubs[hub].poll_output() {
            match &output {
                HubOutput::Send(ClientId(to), text) if *to == client => {
                    let told = serde_json::from_str(text).expect("decodes");
                    if let HubMessage::Challenge { nonce } = told {
                        let proof = prove(&other, "a", &nonce);
                        self.say(hub, client, &ClientMessage::Prove { proof });
                    }
                }
                _ => self.pass_on(hub, output),
            }
        }
    }

    fn say(&mut self, hub: usize, client: u64, message: &ClientMessage) {
        let text = serde_json::to_string(message).expect("encodes");
        self.hand(hub, HubInput::TextReceived(ClientId(client), text));
    }

    /// Hands the agent a text of the hub that serves it.
    fn hub_says(&mut self, text: &HubMessage) {
        let socket = *self.sockets.keys().next().expect("it has a hub");
        let text = encode(text);
        self.tell(Input::SignalingReceived { socket, text });
    }

    /// Ends a hub's process, and what is behind its address is as given.
    fn end_hub(&mut self, hub: usize, address: usize, then: Behind) {
        self.hubs[hub] = Hub::new(HubConfig::default(), [9; 32]);
        self.addresses[address] = then;
        let lost: Vec<_> = self.sockets.extract_if(.., |_, at| *at == hub).collect();
        for (socket, _) in lost {
            self.close(socket, "connection reset");
        }
    }

    /// The events since the last time, but for those about the mesh.
    fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.told)
            .into_iter()
            .filter(|event| !matches!(event, Event::TopologyChanged))
            .collect()
    }

    fn members(&self) -> Vec<usize> {
        self.hubs.iter().map(|hub| hub.stats().members).collect()
    }
}

fn encode(message: &HubMessage) -> String {
    serde_json::to_string(message).expect("encodes")
}

fn refused(code: ErrorCode) -> HubMessage {
    let message = "a test".to_owned();
    HubMessage::Error {
        code,
        message,
        peer: None,
    }
}

/// Which addresses events of losses name, in their order.
fn lost(events: &[Event]) -> Vec<usize> {
    let lost = events.iter().filter_map(|event| match event {
        Event::SignalingLost { hub, .. } => Some(*hub),
        _ => None,
    });
    lost.collect()
}

#[test]
fn an_address_that_refuses_or_is_silent_is_followed_by_the_next() {
    let addresses = vec![Behind::Refusal, Behind::Silence, Behind::Hub(0)];
    let mut world = World::new(addresses, 1);
    world.run(SECOND * 3);
    let events = world.events();
    assert_eq!(lost(&events), [0, 1]);
    assert!(matches!(events[2], Event::Joined { .. }), "{events:?}");
    let dialled: Vec<_> = world.dialled.iter().map(|(hub, _)| *hub).collect();
    assert_eq!(dialled, [0, 1, 2]);
}

#[test]
fn an_agent_that_comes_back_after_a_hub_died_says_that_it_is_no_newcomer() {
    let mut world = World::new(vec![Behind::Hub(0), Behind::Hub(1)], 2);
    world.run(SECOND);
    world.end_hub(0, 0, Behind::Refusal);
    world.run(SECOND * 2);
    assert_eq!(
        (&world.hellos[..], world.members()),
        (&[false, true][..], vec![0, 1])
    );
}

#[test]
fn a_single_address_has_its_full_time_to_answer() {
    let mut world = World::new(vec![Behind::Silence], 0);
    world.run(Duration::from_millis(9_900));
    assert_eq!(lost(&world.events()).len(), 0);
    world.run(SECOND);
    assert_eq!((lost(&world.events()), world.dialled.len()), (vec![0], 2));
}

#[test]
fn the_wait_doubles_when_all_addresses_have_failed() {
    let addresses = vec![Behind::Refusal, Behind::Refusal, Behind::Refusal];
    let mut world = World::new(addresses, 0);
    world.run(SECOND * 120);
    let waits = world.dialled.windows(2).enumerate();
    for (index, pair) in waits {
        let [(hub, before), (next, at)] = pair else {
            panic!("two");
        };
        assert_eq!(*next, (hub + 1) % 3);
        let doubled = 0.25 * 2f64.powi(index as i32 / 3);
        let wait = at.since(*before).as_secs_f64() / doubled.min(10.0);
        assert!((0.74..=1.26).contains(&wait), "{index}: {wait}");
    }
    assert!(world.dialled.len() > 18, "{}", world.dialled.len());
}

#[test]
fn a_hub_that_refuses_is_followed_by_the_next_and_its_words_are_told() {
    for code in [ErrorCode::HubFull, ErrorCode::Draining, ErrorCode::Version] {
        let mut world = World::new(vec![Behind::Refuser(code), Behind::Hub(0)], 1);
        world.run(SECOND);
        let events = world.events();
        let [Event::SignalingLost { reason, .. }, Event::Joined { .. }] = &events[..] else {
            panic!("{code:?}: {events:?}");
        };
        assert_eq!(reason, "a test");
    }
}

#[test]
fn a_hub_that_refuses_for_good_is_not_dialled_again_and_when_all_do_that_is_told() {
    let refuser = || Behind::Refuser(ErrorCode::Version);
    let mut world = World::new(vec![refuser(), Behind::Refusal, refuser()], 0);
    world.run(SECOND * 5);
    let dialled: Vec<_> = world.dialled.iter().map(|(hub, _)| *hub).collect();
    assert_eq!(dialled[..4], [0, 1, 2, 1]);
    assert!(dialled[4..].iter().all(|hub| *hub == 1), "{dialled:?}");
    world.addresses[1] = refuser();
    world.events();
    world.run(SECOND * 60);
    let events = world.events();
    assert!(
        matches!(&events[..], [Event::Refused { code, .. }] if code == "version"),
        "{events:?}"
    );
    let dialled = world.dialled.len();
    world.run(SECOND * 60);
    assert_eq!(world.dialled.len(), dialled);
}

#[test]
fn an_agent_that_is_asked_to_move_is_admitted_elsewhere_before_it_leaves() {
    let mut world = World::new(vec![Behind::Hub(0), Behind::Hub(1)], 2);
    world.run(SECOND);
    world.events();
    world.hubs[0].drain(SECOND * 4, world.now);
    world.run(SECOND * 4);
    assert_eq!(world.members(), [0, 1]);
    assert_eq!(world.closed, [[1, 1]], "both had it when it left the first");
    assert_eq!(world.events(), [Event::SignalingMoved { hub: 1 }]);
    assert!(world.hubs[0].stats().errors.is_empty());
}

/// An agent among others at a hub of memory alone, which drains. Each second one of the others
/// moves to the next, but for the last.
fn all_but_one_move(seed: u8) -> World {
    let mut world = World::with_seed(vec![Behind::Hub(0)], 2, seed);
    for other in 2..=5 {
        world.admit_other(0, u64::from(other) + 100, other);
    }
    world.run(SECOND);
    world.events();
    world.addresses[0] = Behind::Hub(1);
    world.hubs[0].drain(SECOND * 4, world.now);
    for other in 2..=5 {
        world.run(SECOND);
        let client = u64::from(other) + 100;
        if other < 5 {
            world.admit_other(1, client, other);
        }
        world.hand(0, HubInput::ClientClosed(ClientId(client)));
    }
    world.run(SECOND);
    world
}

#[test]
fn no_member_leaves_while_all_move_one_by_one_to_a_hub_that_knew_none() {
    for seed in 0..20 {
        let mut world = all_but_one_move(seed);
        let moved = [Event::SignalingMoved { hub: 0 }];
        assert_eq!(world.events(), moved, "seed {seed}");
    }
}

#[test]
fn a_member_that_does_not_come_to_the_next_hub_leaves_in_the_end() {
    let mut world = all_but_one_move(1);
    world.events();
    world.run(SECOND * 20);
    let mut events = world.events();
    // No other is there to link with.
    events.retain(|event| !matches!(event, Event::LinkFailed { .. }));
    let lost = identity(5).peer();
    assert!(
        matches!(&events[..], [Event::PeerLeft { peer, .. }] if *peer == lost),
        "{events:?}"
    );
}

#[test]
fn behind_a_load_balancer_an_agent_moves_by_the_same_address() {
    let mut world = World::new(vec![Behind::Hub(0)], 2);
    world.run(SECOND);
    world.events();
    world.addresses[0] = Behind::Hub(1);
    world.hubs[0].drain(SECOND * 4, world.now);
    world.run(SECOND * 4);
    assert_eq!(world.members(), [0, 1]);
    assert_eq!(world.events(), [Event::SignalingMoved { hub: 0 }]);
}

#[test]
fn agents_spread_their_moves_over_the_time_that_they_have() {
    let moved = |seed: u8| {
        let mut world = World::with_seed(vec![Behind::Hub(0), Behind::Hub(1)], 2, seed);
        world.run(SECOND);
        let since = world.now;
        world.hubs[0].drain(SECOND * 4, world.now);
        world.run(SECOND * 4);
        let (hub, at) = world.dialled[1];
        assert_eq!((hub, world.dialled.len()), (1, 2));
        (at.since(since).as_secs_f64() / 4.0 * 5.0) as usize
    };
    let mut fifths = [0; 5];
    (0..100).for_each(|seed| fifths[moved(seed)] += 1);
    assert!(fifths.iter().all(|&moves| moves >= 8), "{fifths:?}");
}

#[test]
fn an_agent_with_nowhere_to_go_stays_until_the_hub_ends_and_comes_back_with_it() {
    let mut world = World::new(vec![Behind::Hub(0)], 1);
    world.run(SECOND);
    world.events();
    world.hubs[0].drain(SECOND, world.now);
    world.run(SECOND * 8);
    assert_eq!((world.members(), world.events()), (vec![1], Vec::new()));
    let tries = world.dialled.len();
    assert!((4..=9).contains(&tries), "{tries} attempts");
    world.end_hub(0, 0, Behind::Refusal);
    world.run(SECOND);
    world.addresses[0] = Behind::Hub(0);
    world.run(SECOND * 5);
    let events = world.events();
    assert!(lost(&events).len() > 1, "{events:?}");
    assert_eq!(events.last(), Some(&Event::SignalingRestored { hub: 0 }));
}

/// The agent, on its way to the second hub: it has sent its proof, and the hub not yet heard it.
fn proving() -> World {
    let mut world = World::new(vec![Behind::Hub(0), Behind::Hub(1)], 2);
    world.run(SECOND);
    world.events();
    world.hub_says(&HubMessage::Move { within_ms: 0 });
    world.mesh.handle_timeout(world.now);
    while world.hubs[1].stats().rooms == 0 {
        let output = world.mesh.poll_output().expect("dials and greets");
        world.carry_out(output);
    }
    let challenge = world.hubs[1].poll_output().expect("a challenge");
    world.pass_on(1, challenge);
    world
}

#[test]
fn the_news_of_its_own_move_is_no_end_for_an_agent() {
    let mut world = proving();
    world.hub_says(&refused(ErrorCode::Replaced));
    world.run(SECOND);
    assert_eq!(world.events(), [Event::SignalingMoved { hub: 1 }]);
    assert_eq!(world.members(), [0, 1]);
}

#[test]
fn an_agent_that_is_replaced_before_it_moves_ends() {
    let mut world = World::new(vec![Behind::Hub(0), Behind::Hub(1)], 2);
    world.run(SECOND);
    world.events();
    world.hub_says(&HubMessage::Move { within_ms: 60_000 });
    world.hub_says(&refused(ErrorCode::Replaced));
    world.run(SECOND * 60);
    let events = world.events();
    assert!(
        matches!(&events[..], [Event::Refused { code, .. }, Event::Left] if code == "replaced"),
        "{events:?}"
    );
    assert_eq!(world.dialled.len(), 1);
}

#[test]
fn a_hub_that_ends_in_the_middle_of_a_move_is_a_loss_that_the_move_heals() {
    let mut world = proving();
    world.end_hub(0, 0, Behind::Refusal);
    world.run(SECOND);
    let events = world.events();
    assert!(
        matches!(
            &events[..],
            [
                Event::SignalingLost {
                    hub: 0,
                    retry_in_ms: 0,
                    ..
                },
                Event::SignalingRestored { hub: 1 },
            ]
        ),
        "{events:?}"
    );
}

#[test]
fn an_agent_returns_to_its_first_address_without_a_loss() {
    let mut world = World::new(vec![Behind::Refusal, Behind::Hub(1)], 2);
    world.run(SECOND * 60 * 5);
    let events = world.events();
    assert!(matches!(
        events[..],
        [Event::SignalingLost { .. }, Event::Joined { .. }]
    ));
    let tries = world.dialled.iter().filter(|(hub, _)| *hub == 0).count();
    assert!((3..=11).contains(&tries), "{tries} looks in five minutes");
    world.addresses[0] = Behind::Hub(0);
    world.run(SECOND * 131);
    assert_eq!(world.events(), [Event::SignalingMoved { hub: 0 }]);
    assert_eq!(world.members(), [1, 0]);
    let dialled = world.dialled.len();
    world.run(SECOND * 300);
    assert_eq!(world.dialled.len(), dialled, "it is where it likes to be");
}

#[test]
fn texts_of_a_connection_that_was_given_up_mean_nothing() {
    let mut world = World::new(vec![Behind::Hub(0), Behind::Hub(1)], 2);
    world.run(SECOND);
    world.hubs[0].drain(Duration::ZERO, world.now);
    world.run(SECOND);
    world.events();
    let (socket, text) = (SocketId(1), encode(&refused(ErrorCode::Replaced)));
    world.tell(Input::SignalingReceived { socket, text });
    world.run(SECOND);
    assert_eq!((world.events(), world.members()), (Vec::new(), vec![0, 1]));
}
