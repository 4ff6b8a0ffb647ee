//! The signaling server: the core's [`Hub`] on WebSockets, and the page beside it.
//!
//! One task owns the hub and drives it as an agent's driver does its mesh; a task for each
//! WebSocket moves texts. `/signal` is the WebSocket, `/healthz` tells whether the hub lives and
//! what it is doing, `/readyz` whether it wants clients, and everything else is the page.

pub(crate) mod door;
mod drain;
mod driver;
mod health;
mod listen;
mod metered;
mod origin;
mod page;
mod pulse;
mod queue;
mod redis;
mod socket;
#[cfg(all(test, target_os = "linux"))]
mod tests;

pub(crate) use door::DoorCounts;
pub use listen::BindError;
pub use origin::{AllowedOrigin, Origin};
pub use page::has_package;
pub use pulse::Pulse;
pub use redis::{ParseRedisUrlError, RedisUrl};

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::middleware::map_response;
use axum::routing::get;
pub use ipnet::IpNet;
use mesh_core::{ClientId, Hub, HubConfig, HubStats};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use self::door::{Door, Limits};
use self::driver::{Fact, Outlets};
use self::health::{Health, healthz, readyz};
use self::queue::Total;
use crate::random_seed;

/// Facts about all WebSockets that may wait, of 64 KiB at most; beyond, sockets stop reading.
const FACTS: usize = 256;

/// Time between two warnings of pages that may not use the hub.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// What a server serves, and to whom.
#[derive(Clone, Debug)]
pub struct HubOptions {
    /// The limits of the hub itself.
    pub hub: HubConfig,
    /// TCP connections at most, WebSockets among them. Each takes an open file.
    pub connections_max: usize,
    /// Of them, those of one address (of IPv6, of one /64). This machine's own are not limited: a
    /// proxy on it carries those of others. One address is never given more than half of all.
    pub connections_per_address: usize,
    /// Addresses whose connections are not limited, as those of this machine are not: proxies on
    /// other machines, which carry those of others.
    pub trusted_proxies: Vec<IpNet>,
    /// Other origins than the hub's own whose pages may use it. Programs may always.
    pub allow_origins: Vec<AllowedOrigin>,
    /// Whether `drive.html` is served, an agent that obeys a program on its visitor's machine: for
    /// tests, and for nobody else.
    pub drive_page: bool,
    /// The Redis by which this hub shares its rooms with others. Without, it is the only one.
    pub redis: Option<RedisUrl>,
}

impl Default for HubOptions {
    fn default() -> Self {
        HubConfig::default().into()
    }
}

impl From<HubConfig> for HubOptions {
    fn from(hub: HubConfig) -> Self {
        Self {
            // Beside every client's WebSocket, some that load the page.
            connections_max: hub.clients_max.saturating_add(1_000),
            // A load test of 1,000 agents, each twice while it dials again, or a large office.
            connections_per_address: 2_000,
            trusted_proxies: Vec::new(),
            allow_origins: Vec::new(),
            drive_page: false,
            redis: None,
            hub,
        }
    }
}

/// A signaling server that has its ports and does not serve yet.
#[derive(Debug)]
pub struct HubServer {
    listeners: Vec<TcpListener>,
    options: HubOptions,
    facts: Facts,
    door: Arc<Door>,
    /// Bytes that wait for all clients.
    queued: Total,
    pulse: Option<Pulse>,
}

/// Both ends of the queue of facts.
type Facts = (mpsc::Sender<Fact>, mpsc::Receiver<Fact>);

/// Looks at a hub, and does not keep it from ending.
#[derive(Clone, Debug)]
pub(crate) struct HubMonitor {
    facts: mpsc::WeakSender<Fact>,
    door: Arc<Door>,
    queued: Total,
}

impl HubMonitor {
    /// What the hub's loop says of it; nothing if it has ended.
    pub(crate) async fn stats(&self) -> Option<HubStats> {
        ask(&self.facts.upgrade()?).await
    }

    pub(crate) fn door(&self) -> DoorCounts {
        self.door.counts()
    }

    /// Bytes that wait for all clients.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }
}

async fn ask(facts: &mpsc::Sender<Fact>) -> Option<HubStats> {
    let (ask, answer) = oneshot::channel();
    facts.send(Fact::Ask(ask)).await.ok()?;
    answer.await.ok()
}

/// What request handlers share.
#[derive(Clone)]
struct Shared {
    facts: mpsc::Sender<Fact>,
    health: Health,
    last_client: Arc<AtomicU64>,
    text_bytes_max: usize,
    /// Bytes that wait for all clients.
    queued: Total,
    /// Bytes of texts that clients have begun and not ended.
    unfinished: Total,
    allow_origins: Arc<[AllowedOrigin]>,
    drive_page: bool,
    /// When the last warning of a page was given that may not use the hub.
    warned: Arc<Mutex<Option<Instant>>>,
}

impl HubServer {
    /// Takes the port; 0 takes any free one.
    ///
    /// # Errors
    /// [`BindError`] if the address cannot be had.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn bind(address: SocketAddr, options: impl Into<HubOptions>) -> Result<Self, BindError> {
        Self::bind_all(&[address], options)
    }

    /// Takes the ports of several addresses. `[::]` serves IPv4 too, unless an address of IPv4 is
    /// given for the same port.
    ///
    /// # Errors
    /// [`BindError`] for the first address that cannot be had.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn bind_all(
        addresses: &[SocketAddr],
        options: impl Into<HubOptions>,
    ) -> Result<Self, BindError> {
        let listeners = listen::listen(addresses)?;
        let options = options.into();
        let limit = options.connections_max;
        let door = Door::new(Limits {
            all: limit,
            per_address: options.connections_per_address.min(limit / 2),
            unlimited: options.trusted_proxies.clone(),
        });
        Ok(Self {
            listeners,
            options,
            facts: mpsc::channel(FACTS),
            door,
            queued: Total::default(),
            pulse: None,
        })
    }

    /// The same, telling a supervisor that it is alive.
    #[must_use]
    pub fn with_pulse(mut self, pulse: Pulse) -> Self {
        self.pulse = Some(pulse);
        self
    }

    /// The address that it has, the first of several.
    ///
    /// # Errors
    /// If the operating system does not know, which it does.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        let first = self.listeners.first();
        first.map_or(Err(std::io::ErrorKind::NotFound.into()), |listener| {
            listener.local_addr()
        })
    }

    /// The addresses that it has, in the order in which they were given.
    ///
    /// # Errors
    /// As [`HubServer::local_addr`].
    pub fn local_addrs(&self) -> std::io::Result<Vec<SocketAddr>> {
        self.listeners.iter().map(TcpListener::local_addr).collect()
    }

    pub(crate) fn monitor(&self) -> HubMonitor {
        HubMonitor {
            facts: self.facts.0.downgrade(),
            door: Arc::clone(&self.door),
            queued: Arc::clone(&self.queued),
        }
    }

    /// Serves until `shutdown` completes, and stops at once.
    ///
    /// # Errors
    /// If it was bound to no address, or fails within.
    pub async fn serve(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        self.serve_and_drain(shutdown, Duration::ZERO, std::future::ready(()))
            .await
    }

    /// Serves until `shutdown` completes, and then for so long at most until all clients have moved
    /// to another server, or until `forced` completes: it is polled from then on.
    ///
    /// # Errors
    /// If it was bound to no address, or fails within.
    pub async fn serve_and_drain(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
        time: Duration,
        forced: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        self.local_addr()?;
        let (facts, queue) = self.facts;
        let HubOptions {
            hub,
            allow_origins,
            drive_page,
            redis,
            ..
        } = self.options;
        let health = Health::new(self.pulse.as_ref().map(Pulse::interval));
        let draining = drain::drain(facts.clone(), health.clone(), time);
        let facts_beside = facts.clone();
        let shared = Shared {
            facts,
            health: health.clone(),
            last_client: Arc::new(AtomicU64::new(0)),
            text_bytes_max: hub.text_bytes_max,
            queued: self.queued,
            unfinished: Total::default(),
            allow_origins: allow_origins.into(),
            drive_page,
            warned: Arc::default(),
        };
        let router = router(shared);
        // When the set is dropped so are its tasks. The WebSockets, which are tasks of
        // their own, end when the hub's task does.
        let mut tasks = JoinSet::new();
        if let Some(pulse) = self.pulse {
            tasks.spawn(pulse.beat(health.turns()));
        }
        let (hub, outlets) = match redis {
            None => (Hub::new(hub, random_seed()), Outlets::new(None)),
            Some(url) => share(hub, url, facts_beside, &health, &mut tasks),
        };
        tasks.spawn(driver::drive(hub, outlets, queue, health));
        for listener in self.listeners {
            let accepting = door::accept(listener, Arc::clone(&self.door), router.clone());
            tasks.spawn(async move { match accepting.await {} });
        }
        tokio::select! {
            () = shutdown => {}
            // None of them ends by itself.
            Some(ended) = tasks.join_next() => return ended.map_err(std::io::Error::other),
        }
        if time > Duration::ZERO {
            tokio::select! {
                () = draining => {}
                () = forced => {}
                // The hub's loop, when the last client is gone.
                Some(ended) = tasks.join_next() => return ended.map_err(std::io::Error::other),
            }
        }
        Ok(())
    }
}

/// A hub that shares its rooms with others, and the task by which it does.
fn share(
    config: HubConfig,
    url: RedisUrl,
    facts: mpsc::Sender<Fact>,
    health: &Health,
    tasks: &mut JoinSet<()>,
) -> (Hub, Outlets) {
    health.seek_others();
    let hub = Hub::shared(config, random_seed());
    let (directory, orders) = redis::queue();
    tasks.spawn(redis::share(url, hub.id(), facts, health.clone(), orders));
    (hub, Outlets::new(Some(directory)))
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/signal", get(socket::upgrade))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .fallback(page::serve)
        .layer(map_response(page::secure))
        .with_state(shared)
}

impl Shared {
    fn next_client(&self) -> ClientId {
        ClientId(self.last_client.fetch_add(1, Ordering::Relaxed))
    }

    /// Tells the operator of a page that may not use the hub, now and then: a browser hides from
    /// the page why.
    fn warn_of(&self, origin: &str) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_none_or(|at| at.elapsed() >= WARNING_INTERVAL) {
            *warned = Some(Instant::now());
            tracing::warn!(
                "a page of {origin:?} was refused; if such pages are to use this hub, {}",
                origin::remedy(origin)
            );
        }
    }
}
