//! A switch between hosts that delays, shakes and loses packets, as long paths do: the kernel of a
//! test machine may have no netem. Each port is a TAP interface; the process carries the frames.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use crate::hosts::Host;

/// The longest frame, in bytes: Ethernet's header and 1,500 bytes.
const FRAME_MAX: usize = 1514;

/// Where the payload of an Ethernet frame begins, the type of IPv4, and where the protocol stands.
const HEADER: usize = 14;
const IPV4: [u8; 2] = [8, 0];
const PROTOCOL: usize = HEADER + 9;
const UDP: u8 = 17;

/// What a path does to packets, in each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Path {
    /// The shortest time to the other end.
    pub delay: Duration,
    /// The time that a packet may take longer; packets do not overtake each other.
    pub jitter: Duration,
    /// The share of UDP packets that are lost.
    pub loss: f64,
    /// Bits a second; any number if it is 0. What waits for longer than [`QUEUE`] is lost.
    pub rate: f64,
}

/// What the narrowest place of a path holds.
const QUEUE: Duration = Duration::from_millis(100);

/// The way from one port to another; none if no packet is to get through.
type Paths = Box<dyn Fn(usize, usize) -> Option<Path> + Send>;

/// The interfaces of the hosts, in their order.
type Ports = Mutex<Vec<Arc<SyncDevice>>>;

fn lock(ports: &Ports) -> MutexGuard<'_, Vec<Arc<SyncDevice>>> {
    ports.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hosts on one switch, numbered as they were attached: host n has the address 10.9.0.(n + 1).
pub struct Switch {
    ports: Arc<Ports>,
    arrivals: Sender<Frame>,
}

struct Frame {
    from: usize,
    at: Instant,
    bytes: Vec<u8>,
}

/// A frame that is under way: when it arrives, a number that keeps equals in order, and where.
type UnderWay = (Instant, u64, usize, Vec<u8>);

impl Switch {
    /// A switch without hosts.
    pub fn new(paths: impl Fn(usize, usize) -> Option<Path> + Send + 'static) -> Self {
        let (arrivals, arriving) = channel();
        let ports = Arc::default();
        let carrier = Carrier {
            ports: Arc::clone(&ports),
            paths: Box::new(paths),
            rng: ChaCha8Rng::seed_from_u64(1),
            under_way: BinaryHeap::new(),
            last: BTreeMap::new(),
            count: 0,
        };
        thread::spawn(move || carrier.run(&arriving));
        Self { ports, arrivals }
    }

    /// Another host.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn host(&self, name: &str) -> Result<Host> {
        let host = Host::new(name).await?;
        host.ip(&["link", "set", "lo", "up"]).await?;
        let number = lock(&self.ports).len();
        let interface = format!("tap{}-{number}", std::process::id());
        let device = DeviceBuilder::new().name(&interface).layer(Layer::L2);
        let device = Arc::new(device.build_sync().context("there is no TAP interface")?);
        host.take_interface(&interface, "eth0").await?;
        let hardware = format!("02:00:00:00:00:{number:02x}");
        host.ip(&["link", "set", "eth0", "address", &hardware])
            .await?;
        host.ip(&["link", "set", "eth0", "up"]).await?;
        host.add_address("eth0", &format!("{}/24", Self::address(number)))
            .await?;
        // Browsers take the address that leads everywhere.
        host.ip(&["route", "add", "default", "dev", "eth0"]).await?;
        lock(&self.ports).push(Arc::clone(&device));
        let arrivals = self.arrivals.clone();
        thread::spawn(move || read(number, &device, &arrivals));
        Ok(host)
    }

    /// The address of a host.
    pub fn address(number: usize) -> String {
        format!("10.9.0.{}", number + 1)
    }
}

impl std::fmt::Debug for Switch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Switch").finish_non_exhaustive()
    }
}

/// Reads what a host sends, until its interface is gone.
fn read(from: usize, device: &SyncDevice, arrivals: &Sender<Frame>) {
    let mut buffer = [0; FRAME_MAX];
    while let Ok(length) = device.recv(&mut buffer) {
        let bytes = buffer[..length].to_vec();
        let at = Instant::now();
        if arrivals.send(Frame { from, at, bytes }).is_err() {
            return;
        }
    }
}

/// Carries frames, until the switch is gone.
struct Carrier {
    ports: Arc<Ports>,
    paths: Paths,
    rng: ChaCha8Rng,
    under_way: BinaryHeap<Reverse<UnderWay>>,
    /// From one port to another, until when the narrowest place is busy, and when the last frame
    /// arrives.
    last: BTreeMap<(usize, usize), (Instant, Instant)>,
    count: u64,
}

impl Carrier {
    fn run(mut self, arriving: &Receiver<Frame>) {
        loop {
            let next = self.under_way.peek().map(|Reverse((at, ..))| *at);
            let wait = next.map_or(Duration::from_secs(1), |at| {
                at.saturating_duration_since(Instant::now())
            });
            match arriving.recv_timeout(wait) {
                Ok(frame) => self.take(frame),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            arriving.try_iter().for_each(|frame| self.take(frame));
            self.deliver();
        }
    }

    /// Takes a frame from a host, for one or all of the others.
    fn take(&mut self, frame: Frame) {
        let Some(&[first, .., number]) = frame.bytes.get(..6) else {
            return;
        };
        let count = lock(&self.ports).len();
        let is_for_all = first & 1 == 1;
        let to = (0..count).filter(|&port| port != frame.from);
        let to: Vec<_> = to
            .filter(|&port| is_for_all || port == usize::from(number))
            .collect();
        for port in to {
            self.send(&frame, port);
        }
    }

    fn send(&mut self, frame: &Frame, to: usize) {
        let Some(path) = (self.paths)(frame.from, to) else {
            return;
        };
        let is_ipv4 = frame.bytes.get(HEADER - 2..HEADER) == Some(&IPV4);
        let is_udp = is_ipv4 && frame.bytes.get(PROTOCOL) == Some(&UDP);
        if is_udp && self.draw() < path.loss {
            return;
        }
        let jitter = path.jitter.mul_f64(self.draw());
        let (busy, last) = self
            .last
            .entry((frame.from, to))
            .or_insert((frame.at, frame.at));
        let starts = frame.at.max(*busy);
        if starts.saturating_duration_since(frame.at) > QUEUE {
            return;
        }
        let bits = frame.bytes.len() as f64 * 8.0;
        let takes = if path.rate > 0.0 {
            bits / path.rate
        } else {
            0.0
        };
        *busy = starts + Duration::from_secs_f64(takes);
        *last = (*last).max(*busy + path.delay + jitter);
        self.count += 1;
        let under_way = (*last, self.count, to, frame.bytes.clone());
        self.under_way.push(Reverse(under_way));
    }

    fn deliver(&mut self) {
        let now = Instant::now();
        while self
            .under_way
            .peek()
            .is_some_and(|Reverse(next)| next.0 <= now)
        {
            let Some(Reverse((_, _, to, bytes))) = self.under_way.pop() else {
                return;
            };
            let port = lock(&self.ports).get(to).cloned();
            // A host that has gone takes no frame.
            let _ = port.map(|port| port.send(&bytes));
        }
    }

    /// A number from 0 to 1.
    fn draw(&mut self) -> f64 {
        f64::from(self.rng.next_u32()) / f64::from(u32::MAX)
    }
}
