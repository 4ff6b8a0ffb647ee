//! An agent as a driver runs it: facts in, orders out, and what those who wait are told.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use super::*;
use crate::config::Config;
use crate::trust::Identity;

const URL: &str = "ws://hub/signal";
const SOCKET: SocketId = SocketId(1);

/// A reader of the test's own thread.
#[derive(Clone, Default)]
struct TestReader(Rc<Cell<EventQueue>>);

impl Reader for TestReader {
    fn with<T>(&self, call: impl FnOnce(&mut EventQueue) -> T) -> Option<T> {
        let mut queue = self.0.take();
        let result = call(&mut queue);
        self.0.set(queue);
        Some(result)
    }
}

impl TestReader {
    fn next(&self) -> Poll<Option<Event>> {
        let context = &mut Context::from_waker(Waker::noop());
        self.with(|queue| queue.poll_next(context))
            .expect("it lives")
    }
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn now() -> Instant {
    Instant::from_micros(0)
}

/// An agent that has begun to join, its first orders carried out.
fn joining() -> AgentState<TestReader> {
    let config = Config::new("room", "agent").expect("valid");
    let identity = Identity::from_secret([1; 32]);
    let mesh = Mesh::new(config, identity, [2; 32], now(), UnixTime::from_micros(0));
    let mut agent = AgentState::new(mesh, &[URL.to_owned()]);
    agent.join(now());
    let (socket, hub) = (SOCKET, 0);
    assert_eq!(orders(&mut agent), [Output::OpenSignaling { socket, hub }]);
    agent
}

fn orders(agent: &mut AgentState<TestReader>) -> Vec<Output> {
    std::iter::from_fn(|| agent.poll_output()).collect()
}

fn admission(agent: &mut AgentState<TestReader>) -> Poll<AdmissionStep> {
    agent.poll_admission(&Context::from_waker(Waker::noop()))
}

/// What `poll_call` returns if the mesh answers so.
fn call(
    agent: &mut AgentState<TestReader>,
    ticket: &mut Ticket,
    waker: &Waker,
    answer: Result<u32, SendError>,
) -> Poll<Result<u32, MeshError>> {
    agent.poll_call(ticket, &Context::from_waker(waker), |_| answer)
}

#[test]
fn a_websocket_that_serves_something_else_is_closed_and_ends_the_join() {
    let mut agent = joining();
    agent.socket_fact(SOCKET, SocketFact::Opened, now());
    let told = orders(&mut agent);
    assert!(
        matches!(&told[..], [Output::SendSignaling { socket: SOCKET, .. }]),
        "{told:?}"
    );
    assert!(admission(&mut agent).is_pending());
    agent.socket_fact(
        SOCKET,
        SocketFact::Received("welcome to chat".into()),
        now(),
    );
    let told = orders(&mut agent);
    let Poll::Ready(AdmissionStep::Decided(Err(error))) = admission(&mut agent) else {
        panic!("it is no hub: {told:?}");
    };
    let words = error.to_string();
    assert!(
        words.contains(URL) && words.contains("welcome to chat"),
        "{words}"
    );
    assert!(
        matches!(
            &told[..],
            [
                Output::CloseSignaling { socket: SOCKET },
                Output::Emit(Event::SignalingLost { hub: 0, reason, .. }),
            ] if *reason == words
        ),
        "{told:?}"
    );
}

#[test]
fn a_hub_may_say_what_is_not_understood_once_it_is_known_for_one() {
    let mut agent = joining();
    agent.socket_fact(SOCKET, SocketFact::Opened, now());
    let challenge = r#"{"type":"challenge","nonce":"00"}"#;
    agent.socket_fact(SOCKET, SocketFact::Received(challenge.into()), now());
    orders(&mut agent);
    agent.socket_fact(SOCKET, SocketFact::Received("nonsense".into()), now());
    let told = orders(&mut agent);
    assert!(
        matches!(&told[..], [Output::Emit(Event::Rejected { via: None, .. })]),
        "{told:?}"
    );
    assert!(admission(&mut agent).is_pending());
}

#[test]
fn what_closes_is_ordered_to_be_dropped_and_is_heard_no_more() {
    let mut agent = joining();
    let refused = SocketEnd::Told("refused".into());
    agent.socket_fact(SOCKET, SocketFact::Closed(refused), now());
    let told = orders(&mut agent);
    assert!(
        matches!(
            &told[..],
            [
                Output::CloseSignaling { socket: SOCKET },
                Output::Emit(Event::SignalingLost { reason, .. }),
            ] if reason == "refused"
        ),
        "{told:?}"
    );
    for late in [SocketFact::Opened, SocketFact::Closed(SocketEnd::TooSlow)] {
        agent.socket_fact(SOCKET, late, now());
        assert_eq!(orders(&mut agent), []);
    }
    let link = LinkId(4);
    agent.link_fact(link, LinkFact::Closed(LinkEnd::ByPeer), now());
    assert_eq!(orders(&mut agent), [Output::CloseLink { link }]);
    agent.link_fact(link, LinkFact::Opened, now());
    assert_eq!(orders(&mut agent), []);
}

#[test]
fn an_address_that_cannot_be_reached_is_looked_at() {
    let mut agent = joining();
    let refused = SocketEnd::Told("refused".into());
    agent.socket_fact(SOCKET, SocketFact::Closed(refused), now());
    orders(&mut agent);
    assert_eq!(admission(&mut agent), Poll::Ready(AdmissionStep::Look(0)));
    agent.found(0, Finding::Silence);
    assert!(admission(&mut agent).is_pending());
    agent.join_is_late();
    assert!(matches!(
        admission(&mut agent),
        Poll::Ready(AdmissionStep::Decided(Err(
            AdmissionError::Unreachable { .. }
        )))
    ));
}

#[test]
fn events_reach_every_reader_and_one_that_reads_no_more_is_dropped() {
    let mut agent = joining();
    let (first, second) = (TestReader::default(), TestReader::default());
    agent.subscribe(first.clone());
    agent.subscribe(second.clone());
    first.with(EventQueue::abandon);
    let moved = Event::SignalingMoved { hub: 1 };
    agent.orders.push_back(Output::Emit(moved.clone()));
    assert_eq!(orders(&mut agent), [Output::Emit(moved.clone())]);
    assert_eq!(first.next(), Poll::Ready(None));
    assert_eq!(second.next(), Poll::Ready(Some(moved)));
    assert_eq!(agent.readers.len(), 1);
}

#[test]
fn a_call_waits_while_there_is_no_room_and_for_nothing_else() {
    let mut agent = joining();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut ticket = Ticket::new(Line::Room);
    for full in [SendError::Backpressure, SendError::TooManyPending(3)] {
        assert!(call(&mut agent, &mut ticket, &waker, Err(full)).is_pending());
    }
    agent.orders.push_back(Output::Writable);
    assert_eq!(orders(&mut agent), [Output::Writable]);
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    let done = call(&mut agent, &mut ticket, &waker, Ok(7));
    assert_eq!(done, Poll::Ready(Ok(7)));
    let wrong = call(&mut agent, &mut ticket, &waker, Err(SendError::ToSelf));
    assert_eq!(wrong, Poll::Ready(Err(MeshError::Send(SendError::ToSelf))));
}

#[test]
fn an_agent_that_leaves_takes_no_calls_and_its_end_ends_what_waits() {
    let mut agent = joining();
    let reader = TestReader::default();
    agent.subscribe(reader.clone());
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut ticket = Ticket::new(Line::Room);
    let full = Err(SendError::Backpressure);
    assert!(call(&mut agent, &mut ticket, &waker, full).is_pending());
    assert!(
        agent
            .poll_admission(&Context::from_waker(&waker))
            .is_pending()
    );
    agent.leave(now());
    agent.leave(now());
    assert!(!agent.is_open() && !agent.is_ended());
    assert_eq!(agent.call(|_| ()), Err(MeshError::Closed));
    let told = orders(&mut agent);
    assert_eq!(
        told,
        [
            Output::CloseSignaling { socket: SOCKET },
            Output::Emit(Event::Left),
        ]
    );
    agent.end();
    assert!(agent.is_ended());
    assert_eq!(
        woken.0.load(Ordering::Relaxed),
        2,
        "the caller and the join"
    );
    let closed = Poll::Ready(Err(MeshError::Closed));
    assert_eq!(call(&mut agent, &mut ticket, &waker, full), closed);
    let ended = AdmissionStep::Decided(Err(AdmissionError::Ended));
    assert_eq!(admission(&mut agent), Poll::Ready(ended));
    assert_eq!(reader.next(), Poll::Ready(Some(Event::Left)));
    assert_eq!(reader.next(), Poll::Ready(None));
    let late = TestReader::default();
    agent.subscribe(late.clone());
    assert_eq!(late.next(), Poll::Ready(None), "none come any more");
}

#[test]
fn an_agent_that_the_mesh_has_leave_takes_no_calls() {
    let mut agent = joining();
    agent.orders.push_back(Output::Emit(Event::Left));
    assert!(agent.is_open());
    orders(&mut agent);
    assert!(!agent.is_open());
}

#[test]
fn a_request_that_the_mesh_does_not_take_is_not_awaited() {
    let mut agent = joining();
    let context = Context::from_waker(Waker::noop());
    let payload = Payload::from("anybody?");
    let to = PeerId::from_bytes([9; 32]);
    let mut ticket = Ticket::new(Line::Room);
    let sent = agent.poll_request(&mut ticket, &context, (to, &payload), None, now());
    let unknown = MeshError::Send(SendError::UnknownPeer(to));
    assert_eq!(sent, Poll::Ready(Err(unknown)));
}
