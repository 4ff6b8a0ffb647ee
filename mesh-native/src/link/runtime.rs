//! The runtime under one WebRTC connection: tokio, with less waking and fewer system calls.
//!
//! `webrtc` reaches sockets, timers and tasks through a [`Runtime`] given per connection. Ours
//! hands almost everything to [`TokioRuntime`] and differs where measurement showed the cost:
//!
//! - **Sockets** ([`LinkSocket`]) are registered for reading only. A socket registered for
//!   writing as well is woken by the kernel each time a sent datagram leaves the send buffer.
//!   Sends are tried at once; only a full buffer registers for writability, until it has room.
//!   Neither do they ask for GRO, whose receive buffers are 96 KB a socket.
//! - **Sleeps** go through the connection's [`Pace`]: short while it connects, because its
//!   latency is bound by timers, and long when it is open and quiet, because the core asks to
//!   tick every 200 ms whatever its keepalive.

use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, Runtime,
    TokioRuntime,
};

/// The longest sleep of a connection's driver during [`HURRY`].
const CONNECTING_SLEEP: Duration = Duration::from_millis(5);

/// How long a connection is hurried. What has not connected by then is unlikely to, and its
/// connectivity checks, sent every 20 ms for each candidate pair, must not go on like that.
const HURRY: Duration = Duration::from_secs(3);

/// The shortest sleep after [`HURRY`], which is then the interval of connectivity checks.
const TIRED_SLEEP: Duration = Duration::from_millis(50);

/// When a connection still not open has its sleeps raised to [`WEARY_SLEEP`].
const WEARY: Duration = Duration::from_secs(10);
const WEARY_SLEEP: Duration = Duration::from_millis(200);

/// An open connection without data for this long is quiet.
const QUIET: Duration = Duration::from_millis(400);

/// Sleeps shorter than this are left alone even when quiet: a protocol timer wants them.
const STRETCHED_SLEEP_MIN: Duration = Duration::from_millis(100);

/// What a quiet connection's sleeps are stretched to. This also bounds how late a lost last
/// packet is sent again, so it grows only when there is long nothing to send.
const QUIET_SLEEP: Duration = Duration::from_secs(1);
const LONG_QUIET: Duration = Duration::from_secs(5);
const LONG_QUIET_SLEEP: Duration = Duration::from_secs(2);

/// The host resolver is asked inside the connection's own loop: an unanswered name must not
/// hold up connectivity over the addresses already known.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(1);

/// How fast one connection's driver should tick, from what the connection is doing.
#[derive(Debug)]
pub(super) struct Pace {
    born: Instant,
    /// When both descriptions were known, in µs since `born`; 0 before.
    connecting_since: AtomicU64,
    /// When data was last sent or received, in µs since `born`; 0 until the channels are open.
    active_at: AtomicU64,
    /// Why the connection is beyond help; set before `ended` is notified.
    failure: OnceLock<&'static str>,
    ended: Notify,
}

impl Pace {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            born: Instant::now(),
            connecting_since: AtomicU64::new(0),
            active_at: AtomicU64::new(0),
            failure: OnceLock::new(),
            ended: Notify::new(),
        })
    }

    /// Both descriptions are known: connectivity checks begin.
    pub(super) fn connecting(&self) {
        self.connecting_since
            .store(self.micros(), Ordering::Relaxed);
    }

    /// The data channels are open.
    pub(super) fn opened(&self) {
        self.active_at.store(self.micros(), Ordering::Relaxed);
    }

    pub(super) fn is_open(&self) -> bool {
        self.active_at.load(Ordering::Relaxed) != 0
    }

    /// Resolves, with the reason, when the connection has failed in a way that the library does
    /// not report: its driver ended, or it refused the peer's certificate.
    pub(super) async fn ended(&self) -> &'static str {
        self.ended.notified().await;
        self.failure
            .get()
            .copied()
            .unwrap_or("the connection ended")
    }

    fn end(&self, reason: &'static str) {
        // The first reason is the true one.
        let _ = self.failure.set(reason);
        self.ended.notify_one();
    }

    fn micros(&self) -> u64 {
        // Never 0, which means "not yet". Wraps after half a million years.
        self.born.elapsed().as_micros() as u64 | 1
    }

    /// Notes a datagram. STUN does not count: its checks go on however quiet a link is.
    fn observe(&self, datagram: &[u8]) {
        let is_stun = datagram.first().is_some_and(|first| *first < 4);
        if !is_stun && self.is_open() {
            self.active_at.store(self.micros(), Ordering::Relaxed);
        }
    }

    /// Notes a datagram sent. After a fatal alert of its own the library neither fails nor
    /// stops, but begins the same handshake again and again.
    fn observe_sent(&self, datagram: &[u8]) {
        self.observe(datagram);
        if is_fatal_alert(datagram) && !self.is_open() {
            self.end("the DTLS handshake failed");
        }
    }

    fn sleep(&self, wanted: Duration) -> Duration {
        let now = self.micros();
        let active_at = self.active_at.load(Ordering::Relaxed);
        let connecting_since = self.connecting_since.load(Ordering::Relaxed);
        let since = |then: u64| Duration::from_micros(now.saturating_sub(then));
        if active_at != 0 {
            return match since(active_at) {
                _ if wanted < STRETCHED_SLEEP_MIN => wanted,
                quiet if quiet >= LONG_QUIET => wanted.max(LONG_QUIET_SLEEP),
                quiet if quiet >= QUIET => wanted.max(QUIET_SLEEP),
                _ => wanted,
            };
        }
        if connecting_since == 0 {
            return wanted;
        }
        match since(connecting_since) {
            age if age < HURRY => wanted.min(CONNECTING_SLEEP),
            age if age < WEARY => wanted.max(TIRED_SLEEP),
            _ => wanted.max(WEARY_SLEEP),
        }
    }
}

/// Whether a datagram is a fatal DTLS alert in the clear, as sent during a handshake: content
/// type, version, epoch, sequence number, length (RFC 6347), then the alert's level.
fn is_fatal_alert(datagram: &[u8]) -> bool {
    matches!(datagram, [21, _, _, 0, 0, _, _, _, _, _, _, 0, 2, 2, ..])
}

/// The runtime of one connection.
#[derive(Debug)]
pub(super) struct LinkRuntime {
    pace: Arc<Pace>,
}

impl LinkRuntime {
    pub(super) fn new(pace: Arc<Pace>) -> Self {
        Self { pace }
    }
}

impl Runtime for LinkRuntime {
    /// Spawns the connection's driver: with no TCP candidates it is the only task ever spawned.
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Box<dyn JoinHandle> {
        let guard = DriverGuard(Arc::clone(&self.pace));
        TokioRuntime.spawn(Box::pin(async move {
            let _guard = guard;
            future.await;
        }))
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        LinkSocket::wrap(socket, Arc::clone(&self.pace))
    }

    fn wrap_tcp_listener(
        &self,
        listener: std::net::TcpListener,
    ) -> io::Result<Arc<dyn AsyncTcpListener>> {
        TokioRuntime.wrap_tcp_listener(listener)
    }

    fn connect_tcp<'a>(
        &'a self,
        remote_addr: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = io::Result<Arc<dyn AsyncTcpStream>>> + Send + 'a>> {
        TokioRuntime.connect_tcp(remote_addr)
    }

    fn resolve_host<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        Box::pin(async move {
            match tokio::time::timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host(host)).await {
                Ok(found) => Ok(found?.collect()),
                Err(elapsed) => Err(elapsed.into()),
            }
        })
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        Box::pin(tokio::time::sleep(self.pace.sleep(duration)))
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        TokioRuntime.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        TokioRuntime.block_on(future);
    }

    fn yield_now(&self) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        TokioRuntime.yield_now()
    }

    fn name(&self) -> &'static str {
        "mesh-link"
    }
}

/// Tells the link that its driver has ended, even when a panic ended it.
struct DriverGuard(Arc<Pace>);

impl Drop for DriverGuard {
    fn drop(&mut self) {
        self.0.end("the connection's driver ended");
    }
}

#[cfg(unix)]
mod socket {
    use std::sync::{Mutex, PoisonError};

    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;
    use webrtc::runtime::{RecvMeta, Transmit};

    use super::*;

    /// A UDP socket that registers for writability only while its send buffer is full.
    #[derive(Debug)]
    pub(super) struct LinkSocket {
        socket: AsyncFd<UdpSocket>,
        /// A second descriptor of the same socket, registered for writing, while it is full.
        full: Mutex<Option<AsyncFd<UdpSocket>>>,
        pace: Arc<Pace>,
    }

    impl LinkSocket {
        pub(super) fn wrap(
            socket: UdpSocket,
            pace: Arc<Pace>,
        ) -> io::Result<Arc<dyn AsyncUdpSocket>> {
            socket.set_nonblocking(true)?;
            let socket = register(socket, Interest::READABLE)?;
            Ok(Arc::new(Self {
                socket,
                full: Mutex::new(None),
                pace,
            }))
        }

        fn poll_send_when_writable(
            &self,
            cx: &mut Context<'_>,
            transmit: &Transmit<'_>,
        ) -> Poll<io::Result<usize>> {
            let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
            let writer = match &mut *full {
                Some(writer) => writer,
                None => {
                    let socket = self.socket.get_ref().try_clone()?;
                    full.insert(register(socket, Interest::WRITABLE)?)
                }
            };
            loop {
                let mut guard = std::task::ready!(writer.poll_write_ready(cx))?;
                let sent = guard.try_io(|writer| {
                    writer
                        .get_ref()
                        .send_to(transmit.contents, transmit.destination)
                });
                if let Ok(result) = sent {
                    *full = None;
                    return Poll::Ready(result);
                }
            }
        }
    }

    #[expect(
        deprecated,
        reason = "deprecated because of types that change or close their descriptor, which \
                  std's socket does not; the replacement is unsafe, which this crate is not"
    )]
    fn register(socket: UdpSocket, interest: Interest) -> io::Result<AsyncFd<UdpSocket>> {
        AsyncFd::with_interest(socket, interest)
    }

    impl AsyncUdpSocket for LinkSocket {
        fn local_addr(&self) -> io::Result<SocketAddr> {
            self.socket.get_ref().local_addr()
        }

        fn poll_send(
            &self,
            cx: &mut Context<'_>,
            transmit: &Transmit<'_>,
        ) -> Poll<io::Result<usize>> {
            self.pace.observe_sent(transmit.contents);
            match self
                .socket
                .get_ref()
                .send_to(transmit.contents, transmit.destination)
            {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.poll_send_when_writable(cx, transmit)
                }
                result => Poll::Ready(result),
            }
        }

        fn poll_recv(
            &self,
            cx: &mut Context<'_>,
            bufs: &mut [IoSliceMut<'_>],
            meta: &mut [RecvMeta],
        ) -> Poll<io::Result<usize>> {
            let (Some(buf), Some(meta)) = (bufs.first_mut(), meta.first_mut()) else {
                return Poll::Ready(Ok(0));
            };
            loop {
                let mut guard = std::task::ready!(self.socket.poll_read_ready(cx))?;
                let Ok(received) = guard.try_io(|socket| socket.get_ref().recv_from(buf)) else {
                    continue;
                };
                let (len, addr) = received?;
                self.pace.observe(&buf[..len]);
                *meta = RecvMeta::default();
                meta.addr = addr;
                meta.len = len;
                meta.stride = len.max(1);
                return Poll::Ready(Ok(1));
            }
        }
    }
}

#[cfg(not(unix))]
mod socket {
    use super::*;

    /// Elsewhere than on unix tokio has no registration for reading alone: its own socket.
    pub(super) struct LinkSocket;

    impl LinkSocket {
        pub(super) fn wrap(
            socket: UdpSocket,
            _pace: Arc<Pace>,
        ) -> io::Result<Arc<dyn AsyncUdpSocket>> {
            TokioRuntime.wrap_udp_socket(socket)
        }
    }
}

use socket::LinkSocket;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeps_follow_what_the_connection_does() {
        let day = Duration::from_secs(86_400);
        let tick = Duration::from_millis(200);
        let aged = |age: Duration| {
            let born = Instant::now()
                .checked_sub(age)
                .expect("uptime exceeds seconds");
            Pace {
                born,
                ..Arc::into_inner(Pace::new()).expect("sole owner")
            }
        };

        let waiting = aged(Duration::from_secs(30));
        assert_eq!(waiting.sleep(day), day);

        for (age, shortest, longest) in [
            (Duration::ZERO, Duration::from_millis(1), CONNECTING_SLEEP),
            (HURRY, TIRED_SLEEP, tick),
            (WEARY, WEARY_SLEEP, WEARY_SLEEP),
        ] {
            let connecting = aged(age);
            connecting.connecting_since.store(1, Ordering::Relaxed);
            assert_eq!(connecting.sleep(Duration::from_millis(1)), shortest);
            assert_eq!(connecting.sleep(tick), longest);
        }

        for (quiet, stretched) in [
            (Duration::ZERO, tick),
            (QUIET, QUIET_SLEEP),
            (LONG_QUIET, LONG_QUIET_SLEEP),
        ] {
            let open = aged(quiet);
            open.active_at.store(1, Ordering::Relaxed);
            assert_eq!(
                open.sleep(Duration::from_millis(20)),
                Duration::from_millis(20)
            );
            assert_eq!(open.sleep(tick), stretched);
        }
    }

    #[test]
    fn stun_keeps_nobody_awake() {
        let pace = Pace::new();
        pace.observe(&[23, 254]);
        assert_eq!(pace.active_at.load(Ordering::Relaxed), 0, "not open yet");
        pace.active_at.store(1, Ordering::Relaxed);
        pace.observe(&[0, 1]);
        assert_eq!(pace.active_at.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn an_alert_of_ours_ends_the_handshake() {
        let alert = [21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 2, 42];
        let pace = Pace::new();
        pace.observe_sent(&alert);
        pace.end("later");
        assert_eq!(pace.ended().await, "the DTLS handshake failed");
        let encrypted = [21, 254, 253, 0, 1, 0, 0, 0, 0, 0, 1, 0, 2, 2, 42];
        assert!(is_fatal_alert(&alert) && !is_fatal_alert(&encrypted) && !is_fatal_alert(&[21]));
    }
}
