//! Links over loopback, two ends in one process, the test in the place of the agents' drivers.
//!
//! Nothing sleeps to wait for something: every wait is for a fact, with a deadline.

#![expect(
    clippy::print_stdout,
    reason = "the figures measured are meant to be read"
)]

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use mesh_core::{CandidateType, LinkPath};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::*;

/// No wait in these tests is meant to take this long, on the slowest machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// Facts queued between the links and a test.
const FACTS_MAX: usize = 64;

/// An end of a link: its driver knows it by this number.
const OFFERER: u64 = 0;
const ANSWERER: u64 = 1;

fn factory() -> LinkFactory {
    let addresses = vec![Ipv4Addr::LOCALHOST.into()];
    let settings = LinkSettings {
        loopback: true,
        addresses,
        ca: None,
    };
    LinkFactory::new(settings, Connecting::default()).expect("a factory")
}

/// Some links and their driver: end `2n` offers to end `2n + 1`.
struct Bench {
    factory: LinkFactory,
    links: Vec<Option<Link>>,
    sender: mpsc::Sender<(u64, LinkFact)>,
    receiver: mpsc::Receiver<(u64, LinkFact)>,
    /// Facts seen while waiting for others.
    seen: VecDeque<(u64, LinkFact)>,
    /// What becomes of a signal on its way.
    relay: fn(LinkSignal) -> Vec<LinkSignal>,
    /// How often an end has found a path.
    reached: u32,
}

impl Bench {
    fn new() -> Self {
        let (sender, receiver) = mpsc::channel(FACTS_MAX);
        let relay = |signal| vec![signal];
        let factory = factory();
        Self {
            factory,
            links: Vec::new(),
            sender,
            receiver,
            seen: VecDeque::new(),
            relay,
            reached: 0,
        }
    }

    /// One open link.
    async fn open() -> Self {
        let mut bench = Self::new();
        bench.offer();
        bench.opened(2).await;
        bench
    }

    fn offer(&mut self) {
        let id = self.links.len() as u64;
        let link = Link::offer(
            &self.factory,
            id,
            &IceConfig::default(),
            self.sender.clone(),
        );
        self.links.extend([Some(link), None]);
    }

    fn link(&self, id: u64) -> &Link {
        self.links[id as usize].as_ref().expect("the link was made")
    }

    /// The next fact which is not a signal. Signals are brought to the other end.
    async fn fact(&mut self) -> (u64, LinkFact) {
        loop {
            let fact = timeout(DEADLINE, self.receiver.recv()).await;
            let (id, fact) = fact
                .expect("a fact before the deadline")
                .expect("links report");
            let signal = match fact {
                LinkFact::Signal(signal) => signal,
                LinkFact::Reached => {
                    self.reached += 1;
                    continue;
                }
                LinkFact::Path(path) => {
                    let host = CandidateType::Host;
                    assert_eq!(path, LinkPath::new(host, host), "on one machine");
                    continue;
                }
                fact => return (id, fact),
            };
            for signal in (self.relay)(signal) {
                self.deliver(id ^ 1, signal);
            }
        }
    }

    fn deliver(&mut self, to: u64, signal: LinkSignal) {
        match (signal, &mut self.links[to as usize]) {
            (LinkSignal::Offer { sdp }, answerer @ None) => {
                let facts = self.sender.clone();
                *answerer = Some(Link::answer(
                    &self.factory,
                    to,
                    &IceConfig::default(),
                    sdp,
                    facts,
                ));
            }
            (signal, Some(link)) => link.apply(signal),
            // A candidate that overtook its offer.
            (_, None) => {}
        }
    }

    async fn opened(&mut self, ends: usize) {
        for _ in 0..ends {
            let (_, fact) = self.fact().await;
            assert!(matches!(fact, LinkFact::Opened), "{fact:?}");
        }
    }

    /// The next fact that `select` wants; others are put aside.
    async fn wait<T>(&mut self, select: impl Fn(u64, &LinkFact) -> Option<T>) -> T {
        if let Some(at) = self
            .seen
            .iter()
            .position(|(id, fact)| select(*id, fact).is_some())
        {
            let (id, fact) = self.seen.remove(at).expect("found");
            return select(id, &fact).expect("found");
        }
        loop {
            let (id, fact) = self.fact().await;
            match select(id, &fact) {
                Some(selected) => return selected,
                None => self.seen.push_back((id, fact)),
            }
        }
    }

    async fn frame(&mut self, to: u64, on: Channel) -> Bytes {
        self.wait(|id, fact| match fact {
            LinkFact::FrameReceived { channel, frame } if (id, *channel) == (to, on) => {
                Some(frame.clone())
            }
            _ => None,
        })
        .await
    }

    async fn closed(&mut self, end: u64) -> String {
        self.wait(|id, fact| match fact {
            LinkFact::Closed(why) if id == end => Some(why.to_string()),
            _ => None,
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_travel_both_ways_on_every_channel() {
    let mut bench = Bench::open().await;
    for (from, to) in [(OFFERER, ANSWERER), (ANSWERER, OFFERER)] {
        for channel in Channel::ALL {
            let frame = Bytes::from(format!("{} from {from}", channel.label()));
            bench.link(from).transmit(channel, frame.clone());
            assert_eq!(bench.frame(to, channel).await, frame);
        }
        let largest = Bytes::from(vec![7; 16 * 1024]);
        bench.link(from).transmit(Channel::Data, largest.clone());
        assert_eq!(bench.frame(to, Channel::Data).await, largest);
    }
}

/// A runtime of one thread that is busy for 10 ms again and again: what has come meanwhile is there
/// at once.
fn busy_runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.spawn(async {
        loop {
            std::thread::sleep(Duration::from_millis(10));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    runtime
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_come_with_the_end_of_the_handshake_arrive() {
    const ENDS: usize = 20;
    let mut bench = Bench::new();
    let busy = busy_runtime();
    {
        let _offerers = busy.enter();
        (0..ENDS / 2).for_each(|_| bench.offer());
    }
    let frame = |from: u64| Bytes::from(format!("from {from}"));
    for _ in 0..ENDS {
        let opened = |id, fact: &LinkFact| matches!(fact, LinkFact::Opened).then_some(id);
        let id = bench.wait(opened).await;
        for channel in Channel::ALL {
            bench.link(id).transmit(channel, frame(id));
        }
    }
    for to in 0..ENDS as u64 {
        for channel in Channel::ALL {
            assert_eq!(bench.frame(to, channel).await, frame(to ^ 1));
        }
    }
    busy.shutdown_background();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_keeps_its_order() {
    const FRAMES: u32 = 1_000;
    let mut bench = Bench::open().await;
    for number in 0..FRAMES {
        bench
            .link(OFFERER)
            .transmit(Channel::Data, Bytes::from(number.to_be_bytes().to_vec()));
    }
    for number in 0..FRAMES {
        assert_eq!(
            bench.frame(ANSWERER, Channel::Data).await[..],
            number.to_be_bytes()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_is_noticed_and_loses_nothing() {
    let mut slowest = Duration::ZERO;
    for (closer, other) in [(OFFERER, ANSWERER), (ANSWERER, OFFERER)] {
        let mut bench = Bench::open().await;
        for number in 0..100_u8 {
            bench
                .link(closer)
                .transmit(Channel::Data, Bytes::from(vec![number; 1_000]));
        }
        let since = Instant::now();
        // Twice, then dropped.
        bench.link(closer).close();
        bench.link(closer).close();
        bench.links[closer as usize] = None;
        for number in 0..100_u8 {
            assert_eq!(bench.frame(other, Channel::Data).await, vec![number; 1_000]);
        }
        let reason = bench.closed(other).await;
        slowest = slowest.max(since.elapsed());
        assert_eq!(reason, "closed by the peer");
        // That it was full of what was sent last may be told still.
        let is_flow = |fact: &LinkFact| matches!(fact, LinkFact::Congested | LinkFact::Drained);
        assert!(
            bench.seen.iter().all(|(_, fact)| is_flow(fact)),
            "no fact after the own close: {:?}",
            bench.seen
        );
    }
    println!("a close is noticed within {slowest:?}");
    assert!(slowest < Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_fingerprint_never_opens() {
    let mut bench = Bench::new();
    bench.relay = |signal| match signal {
        LinkSignal::Answer { sdp } => {
            let at = sdp.find("a=fingerprint:sha-256 ").expect("a fingerprint");
            let digit = at + "a=fingerprint:sha-256 ".len();
            let other = if sdp[digit..].starts_with('0') {
                "1"
            } else {
                "0"
            };
            let mut forged = sdp;
            forged.replace_range(digit..=digit, other);
            vec![LinkSignal::Answer { sdp: forged }]
        }
        signal => vec![signal],
    };
    bench.offer();
    let since = Instant::now();
    let reason = bench.closed(OFFERER).await;
    assert_eq!(reason, "the DTLS handshake failed");
    println!(
        "a wrong fingerprint ends the link after {:?}",
        since.elapsed()
    );
    // The other end is not told why, and gives up on its own.
    let reason = bench.closed(ANSWERER).await;
    println!("and its other end after {:?}: {reason}", since.elapsed());
    let opened = |fact: &LinkFact| matches!(fact, LinkFact::Opened);
    assert!(
        !bench.seen.iter().any(|(_, fact)| opened(fact)),
        "{:?}",
        bench.seen
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_signals_do_no_harm() {
    let mut bench = Bench::new();
    // Candidates before the answer, useless ones, and everything twice.
    bench.relay = |signal| {
        let candidate = |candidate: &str| LinkSignal::Candidate {
            candidate: candidate.to_owned(),
            mid: None,
            line: None,
        };
        let name = "0b9cdd7a-5a35-4d0c-8a5e-2f4a8a3f1c11.local";
        vec![
            candidate(""),
            candidate("candidate:1 1 udp nonsense"),
            candidate("candidate:1 1 tcp 1 127.0.0.1 9 typ host tcptype passive"),
            candidate(&format!("candidate:1 1 udp 2113937151 {name} 9 typ host")),
            signal.clone(),
            signal,
        ]
    };
    bench.offer();
    bench.opened(2).await;

    for sdp in [
        "",
        "nonsense",
        "v=0\r\n",
        "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n",
    ] {
        let id = bench.links.len() as u64;
        let facts = bench.sender.clone();
        let link = Link::answer(
            &bench.factory,
            id,
            &IceConfig::default(),
            sdp.to_owned(),
            facts,
        );
        bench.links.extend([Some(link), None]);
        let reason = bench.closed(id).await;
        assert!(reason.starts_with("bad description"), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_link_stays_open() {
    let mut bench = Bench::open().await;
    // Longer than any deadline of opening, and than two keepalives.
    let quiet = connection::HANDSHAKE_TIMEOUT + Duration::from_secs(2);
    let silence = timeout(quiet, bench.fact()).await;
    assert!(silence.is_err(), "nothing to report: {silence:?}");
    let since = Instant::now();
    bench
        .link(OFFERER)
        .transmit(Channel::Control, Bytes::from_static(b"ping"));
    assert_eq!(bench.frame(ANSWERER, Channel::Control).await, "ping");
    println!(
        "after {quiet:?} of silence a frame takes {:?}",
        since.elapsed()
    );
    assert!(since.elapsed() < Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_congests_and_drains() {
    const FRAMES: usize = 200;
    let mut bench = Bench::open().await;
    let frame = Bytes::from(vec![1; 16 * 1024]);
    for _ in 0..FRAMES {
        bench.link(OFFERER).transmit(Channel::Data, frame.clone());
    }
    let is = |wanted: fn(&LinkFact) -> bool| move |_, fact: &LinkFact| wanted(fact).then_some(());
    bench
        .wait(is(|fact| matches!(fact, LinkFact::Congested)))
        .await;
    bench
        .wait(is(|fact| matches!(fact, LinkFact::Drained)))
        .await;
    for _ in 0..FRAMES {
        assert_eq!(
            bench.frame(ANSWERER, Channel::Data).await.len(),
            frame.len()
        );
    }
    assert!(
        bench.seen.is_empty(),
        "congested once, drained once: {:?}",
        bench.seen
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_without_end_closes_the_link() {
    let mut bench = Bench::open().await;
    let frame = Bytes::from(vec![1; 16 * 1024]);
    for _ in 0..COMMANDS_MAX {
        bench.link(OFFERER).transmit(Channel::Data, frame.clone());
    }
    assert_eq!(bench.closed(OFFERER).await, "too much waits to be sent");
    bench.closed(ANSWERER).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ended_links_leave_nothing_behind() {
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let tasks_before = tasks();
    let mut bench = Bench::new();
    for _ in 0..5 {
        bench.offer();
    }
    bench.opened(10).await;
    assert!(tasks() >= tasks_before + 30, "three tasks an end");
    // Offers that are never answered, and links closed from one side.
    bench.relay = |_| Vec::new();
    for _ in 0..5 {
        bench.offer();
    }
    bench.links.clear();
    let Bench {
        factory,
        sender,
        mut receiver,
        ..
    } = bench;
    drop(sender);
    // Ends when the last task of the last link has let go of its sender. Sockets belong to tasks.
    let ended = timeout(DEADLINE, async { while receiver.recv().await.is_some() {} }).await;
    ended.expect("all links end");
    drop(factory);
    let gone = timeout(DEADLINE, async {
        while tasks() > tasks_before {
            tokio::task::yield_now().await;
        }
    });
    gone.await.expect("all tasks end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opening_is_quick() {
    let mut alone = Vec::new();
    for _ in 0..10 {
        let since = Instant::now();
        let bench = Bench::open().await;
        alone.push(since.elapsed());
        drop(bench);
    }
    alone.sort();

    const PAIRS: usize = 190;
    let mut bench = Bench::new();
    let since = Instant::now();
    for _ in 0..PAIRS {
        bench.offer();
    }
    bench.opened(2 * PAIRS).await;
    let together = since.elapsed();
    println!(
        "one link opens in {:?} (median of 10, {:?} to {:?}); {PAIRS} at once in {together:?}",
        alone[5], alone[0], alone[9]
    );
    // Generous: a debug build on a busy machine has to pass.
    assert!(alone[5] < Duration::from_secs(2));
    assert!(together < DEADLINE);
}

/// Frames of both directions go on in order, on the same connection, however often its sockets are
/// bound anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_bind_anew_and_lose_nothing() {
    const RESTARTS: u32 = 10;
    let mut bench = Bench::open().await;
    let mut times = Vec::new();
    for number in 0..RESTARTS {
        let since = Instant::now();
        bench.link(OFFERER).restart();
        for (from, to) in [(OFFERER, ANSWERER), (ANSWERER, OFFERER)] {
            let frame = Bytes::from(number.to_be_bytes().to_vec());
            bench.link(from).transmit(Channel::Data, frame.clone());
            assert_eq!(bench.frame(to, Channel::Data).await, frame);
        }
        times.push(since.elapsed());
    }
    times.sort_unstable();
    println!(
        "until both have heard: median {:?}, all {times:?}",
        times[times.len() / 2]
    );
    assert!(bench.seen.is_empty(), "{:?}", bench.seen);
    // Paths of the rounds before; the last may not be told yet.
    assert!(bench.reached >= RESTARTS, "{} paths", bench.reached);
}
