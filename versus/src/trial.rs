//! The work: a full mesh of 20, at rest, under an even load, and under all that it takes.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::usage;

/// Peers, each linked with every other.
pub const PEERS: usize = 20;

/// Ends of links.
const ENDS: f64 = (PEERS * (PEERS - 1)) as f64;

/// Bytes of a message.
pub const PAYLOAD: usize = 256;

/// What forming stirred up has so long to settle.
const SETTLE: Duration = Duration::from_secs(6);

/// How long the mesh is watched at rest.
const REST: Duration = Duration::from_secs(5);

/// The even load: messages a second in all, and for how long.
const RATE: u64 = 1_000;
const LOAD: Duration = Duration::from_secs(8);

/// Messages sent as fast as they are taken.
const BURST: u64 = 20_000;

/// How long what was sent may be on its way.
const FLIGHT: Duration = Duration::from_secs(60);

/// What was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    pub open_s: f64,
    pub memory_kb_per_end: Option<f64>,
    pub idle_us_per_s_per_end: Option<f64>,
    pub cpu_us_per_message: Option<f64>,
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub burst_msg_s: Option<f64>,
    /// Signing and verifying a message.
    pub signatures_us: Option<f64>,
}

impl Figures {
    /// Of who has only opened its links.
    pub fn of_forming(started: Instant) -> Self {
        Self {
            open_s: started.elapsed().as_secs_f64(),
            ..Self::default()
        }
    }
}

/// Who does the work.
#[async_trait::async_trait]
pub trait Mesh: Sized + Send + Sync + 'static {
    /// Opens all links; returns when everybody can send to everybody.
    async fn open(sink: &'static Sink) -> anyhow::Result<Self>;

    /// Sends, reliably and in order, once there is room.
    async fn send(&self, from: usize, to: usize, payload: Vec<u8>) -> anyhow::Result<()>;
}

/// Where all that arrives goes.
pub struct Sink {
    started: Instant,
    received: AtomicU64,
    latencies: Mutex<Histogram<u64>>,
}

impl Sink {
    fn new() -> &'static Self {
        let latencies = Histogram::new_with_bounds(1, 120_000_000, 3).expect("valid bounds");
        Box::leak(Box::new(Self {
            started: Instant::now(),
            received: AtomicU64::new(0),
            latencies: Mutex::new(latencies),
        }))
    }

    fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    /// A message that says in its first eight bytes when it was to be sent.
    pub fn received(&self, payload: &[u8]) {
        let Some(sent) = payload.first_chunk::<8>() else {
            return;
        };
        let latency = self.now_us().saturating_sub(u64::from_le_bytes(*sent));
        let mut latencies = self.latencies.lock().expect("not poisoned");
        latencies.saturating_record(latency.max(1));
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    async fn wait_for(&self, messages: u64) -> anyhow::Result<()> {
        let until = Instant::now() + FLIGHT;
        while self.received.load(Ordering::Relaxed) < messages {
            let here = self.received.load(Ordering::Relaxed);
            anyhow::ensure!(Instant::now() < until, "only {here} of {messages} arrived");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }
}

fn payload(at_us: u64) -> Vec<u8> {
    let mut payload = vec![0xa5; PAYLOAD];
    payload[..8].copy_from_slice(&at_us.to_le_bytes());
    payload
}

/// Does the work and measures it.
pub async fn run<M: Mesh>() -> anyhow::Result<Figures> {
    let sink = Sink::new();
    let before_kb = usage::memory_kb();
    let started = Instant::now();
    let mesh = M::open(sink).await?;
    let open_s = started.elapsed().as_secs_f64();
    tokio::time::sleep(SETTLE).await;
    let memory_kb = usage::memory_kb() - before_kb;
    let before = usage::cpu_s();
    tokio::time::sleep(REST).await;
    let idle = (usage::cpu_s() - before) / REST.as_secs_f64();
    let (messages, cpu) = even_load(&mesh, sink).await?;
    let cpu_s = cpu - idle * LOAD.as_secs_f64();
    let quantiles = {
        let latencies = sink.latencies.lock().expect("not poisoned");
        [0.5, 0.95, 0.99].map(|q| latencies.value_at_quantile(q) as f64 / 1e3)
    };
    let burst_msg_s = burst(mesh, sink, messages).await?;
    Ok(Figures {
        open_s,
        memory_kb_per_end: Some(memory_kb / ENDS),
        idle_us_per_s_per_end: Some(idle * 1e6 / ENDS),
        cpu_us_per_message: Some(cpu_s.max(0.0) * 1e6 / messages as f64),
        p50_ms: Some(quantiles[0]),
        p95_ms: Some(quantiles[1]),
        p99_ms: Some(quantiles[2]),
        burst_msg_s: Some(burst_msg_s),
        signatures_us: None,
    })
}

/// Who sends to whom, message by message.
fn pairs() -> impl Iterator<Item = (usize, usize)> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    std::iter::repeat_with(move || {
        let from = (rng.next_u64() % PEERS as u64) as usize;
        let other = (rng.next_u64() % (PEERS as u64 - 1)) as usize;
        (from, (from + 1 + other) % PEERS)
    })
}

/// Returns how many messages were sent, and the CPU time meanwhile.
async fn even_load<M: Mesh>(mesh: &M, sink: &Sink) -> anyhow::Result<(u64, f64)> {
    let messages = RATE * LOAD.as_secs();
    let (before, started) = (usage::cpu_s(), tokio::time::Instant::now());
    for (number, (from, to)) in (0..messages).zip(pairs()) {
        let at = started + Duration::from_secs(1) / RATE as u32 * number as u32;
        tokio::time::sleep_until(at).await;
        // The timer's own millisecond is nobody's latency.
        mesh.send(from, to, payload(sink.now_us())).await?;
    }
    sink.wait_for(messages).await?;
    Ok((messages, usage::cpu_s() - before))
}

/// Returns the messages a second, from the first sent to the last received.
async fn burst<M: Mesh>(mesh: M, sink: &'static Sink, before: u64) -> anyhow::Result<f64> {
    let mesh = std::sync::Arc::new(mesh);
    let mut by_sender = vec![Vec::new(); PEERS];
    for (from, to) in pairs().take(BURST as usize) {
        by_sender[from].push(to);
    }
    let started = Instant::now();
    let senders = by_sender.into_iter().enumerate().map(|(from, targets)| {
        let mesh = std::sync::Arc::clone(&mesh);
        tokio::spawn(async move {
            for to in targets {
                mesh.send(from, to, payload(sink.now_us())).await?;
            }
            anyhow::Ok(())
        })
    });
    for sender in futures::future::join_all(senders).await {
        sender??;
    }
    sink.wait_for(before + BURST).await?;
    Ok(BURST as f64 / started.elapsed().as_secs_f64())
}
