//! The door of the server: accepts TCP connections, as many as it may hold, and hands them to HTTP.
//!
//! A connection costs an open file, and whatever has no request to make could hold it for ever. So
//! a request has to come soon, a connection without a WebSocket ends, and neither all connections
//! together nor those of one address are more than the limits.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tower::ServiceExt;

/// How long the head of a request may take, and how long a connection may rest between two. A
/// browser opens connections ahead of need and takes their end for granted.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a request's head at most, and what is read of a connection beyond it: browsers send
/// less than 2 KiB, and a proxy adds some. The library's default is 400 KiB for each connection.
const HEAD_BYTES: usize = 16 * 1024;

/// How long a connection is open for requests that does not become a WebSocket.
const HTTP_TIMEOUT: Duration = Duration::from_secs(60);

/// How long it may then take to read the answer to its last request: enough for the largest file at
/// 10 kB/s. One whose other end reads nothing ends then too.
const LAST_ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a client that is turned away may take to make its request and read the answer.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Connections beyond the limit that are told why they are refused; yet others are closed at once.
const REFUSALS_MAX: usize = 64;

/// How long to wait when the system has no connection to give, as when all files are in use:
/// without a wait the loop would spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(250);

/// Time between two warnings that connections cannot be accepted.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// How many connections there may be.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) all: usize,
    pub(crate) per_address: usize,
    /// Addresses that the latter is not for.
    pub(crate) unlimited: Vec<IpNet>,
}

/// Counts the connections.
#[derive(Debug)]
pub(crate) struct Door {
    limits: Limits,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    refusals: usize,
    by_address: BTreeMap<IpAddr, usize>,
    /// Connections refused so far, by the limit that was reached.
    refused_all: u64,
    refused_address: u64,
}

/// What a door counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DoorCounts {
    /// Connections now.
    pub(crate) connections: usize,
    /// Connections at most.
    pub(crate) limit: usize,
    /// Refused so far, because there were as many as that.
    pub(crate) refused_all: u64,
    /// Refused so far, because one address had too many.
    pub(crate) refused_address: u64,
}

/// A connection that is counted for as long as this lives: whatever holds the connection holds it.
#[derive(Debug)]
pub(super) struct Visit {
    door: Arc<Door>,
    counted: Counted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    /// Among all, and among those of the address if that is limited.
    Connection(Option<IpAddr>),
    /// Among those that are told why they are refused.
    Refusal,
}

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Full(usize),
    Address(usize),
}

impl Door {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            counts: Mutex::default(),
        })
    }

    pub(crate) fn counts(&self) -> DoorCounts {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        DoorCounts {
            connections: counts.all,
            limit: self.limits.all,
            refused_all: counts.refused_all,
            refused_address: counts.refused_address,
        }
    }

    /// Counts a connection, unless there are too many.
    fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Visit, Refusal> {
        let (all, per_address) = (self.limits.all, self.limits.per_address);
        let address = self.limits.counted(address);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.all >= all {
            counts.refused_all += 1;
            return Err(Refusal::Full(all));
        }
        if let Some(address) = address {
            let count = counts.by_address.entry(address).or_default();
            if *count >= per_address {
                counts.refused_address += 1;
                return Err(Refusal::Address(per_address));
            }
            *count += 1;
        }
        counts.all += 1;
        Ok(Visit {
            door: Arc::clone(self),
            counted: Counted::Connection(address),
        })
    }

    /// Counts a connection that is told why it is refused, unless too many are told already.
    fn refuse(self: &Arc<Self>) -> Option<Visit> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        (counts.refusals < REFUSALS_MAX).then(|| {
            counts.refusals += 1;
            Visit {
                door: Arc::clone(self),
                counted: Counted::Refusal,
            }
        })
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let counts = self.door.counts.lock();
        let mut counts = counts.unwrap_or_else(PoisonError::into_inner);
        match self.counted {
            Counted::Refusal => counts.refusals -= 1,
            Counted::Connection(address) => {
                counts.all -= 1;
                let Some(address) = address else { return };
                if let Some(count) = counts.by_address.get_mut(&address) {
                    *count -= 1;
                    if *count == 0 {
                        counts.by_address.remove(&address);
                    }
                }
            }
        }
    }
}

impl Limits {
    /// What counts as one address: a host has a whole /64 of IPv6. This machine is not limited, nor
    /// are trusted proxies: each carries everybody's connections.
    fn counted(&self, address: IpAddr) -> Option<IpAddr> {
        let address = address.to_canonical();
        let mut unlimited = self.unlimited.iter();
        if address.is_loopback() || unlimited.any(|network| network.contains(&address)) {
            return None;
        }
        match address {
            IpAddr::V4(address) => Some(address.into()),
            IpAddr::V6(address) => {
                let network = u128::from(address) & (u128::MAX << 64);
                Some(Ipv6Addr::from(network).into())
            }
        }
    }
}

/// Accepts connections until it is dropped, and then ends those that are no WebSockets.
pub(crate) async fn accept(listener: TcpListener, door: Arc<Door>, router: Router) -> Infallible {
    let mut serving = JoinSet::new();
    let mut warned: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = serving.join_next() => continue,
        };
        match accepted {
            Ok((stream, address)) => match door.enter(address.ip()) {
                Ok(visit) => {
                    serving.spawn(serve(stream, router.clone(), Arc::new(visit)));
                }
                Err(refusal) => {
                    tracing::debug!(%address, ?refusal, "connection refused");
                    if let Some(visit) = door.refuse() {
                        serving.spawn(explain(stream, refusal, visit));
                    }
                }
            },
            Err(error) if ended_before_accepted(&error) => {}
            Err(error) => {
                if warned.is_none_or(|at| at.elapsed() >= WARNING_INTERVAL) {
                    warned = Some(Instant::now());
                    tracing::warn!(
                        "no connection can be accepted: {error}; if files are short, raise their \
                         limit (ulimit -n)"
                    );
                }
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Errors of one connection, after which the next may be fine.
fn ended_before_accepted(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

async fn serve(stream: TcpStream, router: Router, visit: Arc<Visit>) {
    // Texts are small and each is awaited.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Arc::clone(&visit));
        router.clone().oneshot(request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut serving = pin!(serving);
    let mut outcome = timeout(HTTP_TIMEOUT, serving.as_mut()).await;
    if outcome.is_err() {
        serving.as_mut().graceful_shutdown();
        outcome = timeout(LAST_ANSWER_TIMEOUT, serving).await;
    }
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::trace!(%error, "connection failed"),
        Err(_) => tracing::debug!("connection ended: its other end reads too slowly"),
    }
}

/// Answers one request with the cause and the remedy.
async fn explain(stream: TcpStream, refusal: Refusal, _visit: Visit) {
    let service = service_fn(move |_: Request<Incoming>| async move {
        Ok::<_, Infallible>(refusal.into_response())
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REFUSAL_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let _ = timeout(REFUSAL_TIMEOUT, serving).await;
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Self::Full(limit) => (
                StatusCode::SERVICE_UNAVAILABLE,
                format!("this server has {limit} connections, its limit: try another, or later\n"),
            ),
            Self::Address(limit) => (
                StatusCode::TOO_MANY_REQUESTS,
                format!(
                    "your address has {limit} connections to this server, its limit: close some, \
                     or start the server with a higher --connections-per-address; for a proxy, \
                     with --trusted-proxy\n"
                ),
            ),
        };
        (status, [(header::RETRY_AFTER, "10")], message).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn limits(all: usize, per_address: usize) -> Limits {
        Limits {
            all,
            per_address,
            unlimited: Vec::new(),
        }
    }

    #[test]
    fn connections_are_counted_by_host_and_those_of_this_machine_and_of_proxies_are_not() {
        let proxies = ["198.51.100.0/24", "2001:db8:2::9/128"];
        let limits = Limits {
            unlimited: proxies.map(|text| text.parse().expect("a network")).into(),
            ..limits(9, 9)
        };
        for (given, counted) in [
            ("203.0.113.7", Some("203.0.113.7")),
            ("::ffff:203.0.113.7", Some("203.0.113.7")),
            ("2001:db8:1:2:3:4:5:6", Some("2001:db8:1:2::")),
            ("127.0.0.1", None),
            ("::ffff:127.0.0.1", None),
            ("::1", None),
            ("198.51.100.9", None),
            ("::ffff:198.51.100.9", None),
            ("198.51.101.9", Some("198.51.101.9")),
            ("2001:db8:2::9", None),
        ] {
            let counts = limits.counted(address(given));
            assert_eq!(counts, counted.map(address), "{given}");
        }
    }

    #[test]
    fn limits_hold_until_a_connection_ends() {
        let door = Door::new(limits(3, 1));
        let (one, two) = (address("203.0.113.1"), address("203.0.113.2"));
        let first = door.enter(one).expect("the first of its address");
        assert_eq!(door.enter(one).err(), Some(Refusal::Address(1)));
        let second = door.enter(two).expect("another address");
        let _local = door.enter(address("::1")).expect("this machine");
        assert_eq!(door.enter(address("::1")).err(), Some(Refusal::Full(3)));
        drop(first);
        drop(door.enter(one).expect("room again"));
        drop(second);
        assert!(door.counts.lock().expect("sound").by_address.is_empty());
    }

    #[test]
    fn only_so_many_are_told_why_they_are_refused() {
        let door = Door::new(limits(0, 0));
        let told: Vec<_> = std::iter::from_fn(|| door.refuse()).collect();
        assert_eq!(told.len(), REFUSALS_MAX);
        drop(told);
        assert!(door.refuse().is_some());
    }
}
