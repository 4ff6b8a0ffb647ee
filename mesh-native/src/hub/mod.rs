//! The signaling server: the core's [`Hub`] on WebSockets, and the page beside it.
//!
//! One task owns the hub and drives it as an agent's driver does its mesh; a task for each
//! WebSocket moves texts. `/signal` is the WebSocket, `/healthz` tells what the hub is doing, and
//! everything else is the page.

mod page;
mod socket;

pub use page::has_package;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::Json;
use axum::routing::get;
use mesh_core::{ClientId, Hub, HubConfig, HubInput, HubOutput, HubStats};
use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::random_seed;

/// Connections that may wait to be accepted. The system's default is 128; a client beyond that has
/// its connection attempt dropped, and makes the next after a second.
const BACKLOG: u32 = 4_096;
/// Facts about all WebSockets that may wait; beyond, sockets stop reading.
const FACTS: usize = 4_096;
/// Texts that may wait for one client; a client that is slower is closed.
const TEXTS_A_CLIENT: usize = 1_024;
/// Facts handled in one turn at most.
const FACTS_A_TURN: usize = 512;
const IDLE: Duration = Duration::from_secs(3_600);

/// Why a server could not be started.
#[derive(Debug, Error)]
#[error("cannot listen on {address}; another address can be given with --listen")]
pub struct BindError {
    address: SocketAddr,
    source: std::io::Error,
}

/// A signaling server that has its port and does not serve yet.
#[derive(Debug)]
pub struct HubServer {
    listener: TcpListener,
    config: HubConfig,
}

/// What the task that owns the hub is told.
enum Fact {
    Connected(ClientId, mpsc::Sender<String>),
    Received(ClientId, String),
    Closed(ClientId),
    Ask(oneshot::Sender<HubStats>),
}

/// What request handlers share.
#[derive(Clone)]
struct Shared {
    facts: mpsc::Sender<Fact>,
    last_client: Arc<AtomicU64>,
    text_bytes_max: usize,
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // On Windows that would let another program take the port too.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl HubServer {
    /// Takes the port; 0 takes any free one.
    ///
    /// # Errors
    /// [`BindError`] if the address cannot be had.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn bind(address: SocketAddr, config: HubConfig) -> Result<Self, BindError> {
        let listener = listen(address).map_err(|source| BindError { address, source })?;
        Ok(Self { listener, config })
    }

    /// The address that it has.
    ///
    /// # Errors
    /// If the operating system does not know, which it does.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown` completes.
    ///
    /// # Errors
    /// If the listener fails for good.
    pub async fn serve(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        let (facts, queue) = mpsc::channel(FACTS);
        let shared = Shared {
            facts,
            last_client: Arc::new(AtomicU64::new(0)),
            text_bytes_max: self.config.text_bytes_max,
        };
        let driver = tokio::spawn(drive(Hub::new(self.config, random_seed()), queue));
        let router = Router::new()
            .route("/signal", get(socket::upgrade))
            .route("/healthz", get(healthz))
            .fallback(page::serve)
            .with_state(shared);
        // WebSockets are upgraded connections, which a graceful shutdown would wait for: when the
        // hub's task ends, so do they.
        let serving = axum::serve(self.listener, router);
        let outcome = tokio::select! {
            outcome = async { serving.await } => outcome,
            () = shutdown => Ok(()),
        };
        driver.abort();
        outcome
    }
}

async fn healthz(State(shared): State<Shared>) -> Json<serde_json::Value> {
    let (ask, answer) = oneshot::channel();
    let asked = shared.facts.send(Fact::Ask(ask)).await.is_ok();
    let stats = if asked { answer.await.ok() } else { None };
    let status = if stats.is_some() { "ok" } else { "stopping" };
    Json(serde_json::json!({ "status": status, "hub": stats }))
}

/// The loop around the hub: as an agent's driver.
async fn drive(mut hub: Hub, mut facts: mpsc::Receiver<Fact>) {
    let clock = Clock::start();
    let mut clients = BTreeMap::new();
    loop {
        let deadline = match hub.poll_timeout() {
            Some(at) => clock.at(at),
            None => tokio::time::Instant::now() + IDLE,
        };
        tokio::select! {
            fact = facts.recv() => {
                let Some(fact) = fact else { return };
                hub.set_unix_time(clock.now(), Clock::unix_now());
                apply(&mut hub, &mut clients, fact, clock);
                for _ in 0..FACTS_A_TURN {
                    let Ok(fact) = facts.try_recv() else { break };
                    apply(&mut hub, &mut clients, fact, clock);
                }
            }
            () = tokio::time::sleep_until(deadline) => {}
        }
        let now = clock.now();
        if hub.poll_timeout().is_some_and(|at| at <= now) {
            hub.handle_timeout(now);
        }
        while let Some(output) = hub.poll_output() {
            match output {
                HubOutput::Send(client, text) => {
                    let queue: Option<&mpsc::Sender<String>> = clients.get(&client);
                    if queue.is_some_and(|queue| queue.try_send(text).is_err()) {
                        tracing::debug!(?client, "too slow or gone");
                        clients.remove(&client);
                        hub.handle_input(HubInput::ClientClosed(client), now);
                    }
                }
                HubOutput::Close(client) => {
                    clients.remove(&client);
                }
            }
        }
    }
}

fn apply(
    hub: &mut Hub,
    clients: &mut BTreeMap<ClientId, mpsc::Sender<String>>,
    fact: Fact,
    clock: Clock,
) {
    let input = match fact {
        Fact::Connected(client, texts) => {
            clients.insert(client, texts);
            HubInput::ClientConnected(client)
        }
        Fact::Received(client, text) => HubInput::TextReceived(client, text),
        Fact::Closed(client) => {
            clients.remove(&client);
            HubInput::ClientClosed(client)
        }
        Fact::Ask(answer) => {
            let _ = answer.send(hub.stats()); // Who asked may have gone.
            return;
        }
    };
    hub.handle_input(input, clock.now());
}

impl Shared {
    fn next_client(&self) -> ClientId {
        ClientId(self.last_client.fetch_add(1, Ordering::Relaxed))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::Ipv4Addr;

    use futures::future::join_all;
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::*;

    /// Who found no room waited for a second, and came when the others had linked already.
    #[tokio::test]
    async fn a_crowd_that_dials_at_once_waits_its_turn_and_no_longer() {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let hub = HubServer::bind(any, HubConfig::default()).expect("a port");
        let address = hub.local_addr().expect("an address");
        // Nobody is accepted yet.
        let dialling = (0..200).map(|_| TcpStream::connect(address));
        let connected = timeout(Duration::from_millis(900), join_all(dialling)).await;
        let connected = connected.expect("there is room for all");
        assert!(connected.iter().all(Result::is_ok));
    }
}
