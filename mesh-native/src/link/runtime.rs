//! The runtime under one WebRTC connection: tokio, with less waking and fewer system calls.
//!
//! `webrtc` reaches sockets, timers and tasks through a [`Runtime`] given per connection. Ours
//! hands almost everything to [`TokioRuntime`] and differs where measurement showed the cost:
//!
//! - **Sockets** ([`LinkSocket`]) are registered for reading only. A socket registered for
//!   writing as well is woken by the kernel each time a sent datagram leaves the send buffer.
//!   Sends are tried at once; only a full buffer registers for writability, until it has room.
//!   Neither do they ask for GRO, whose receive buffers are 96 KB a socket.
//!   What comes too early for the library is held back ([`super::early`]), and what comes while a
//!   link opens is read one message at a time ([`super::reading`]).
//! - **TURN over TCP and TLS**: see [`super::turn`].
//! - **Sleeps** go through the connection's [`Pace`].

use std::borrow::Cow;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, Runtime,
    TokioRuntime,
};

use super::check::{CHECK_AGAIN, LastCheck};
use super::pace::Pace;
use super::reading::Reading;
use super::relayed::Relayed;
use super::turn::Streams;

/// The host resolver is asked inside the connection's own loop: an unanswered name must not
/// hold up connectivity over the addresses already known.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(1);

/// The runtime of one connection.
#[derive(Debug)]
pub(super) struct LinkRuntime {
    pace: Arc<Pace>,
    streams: Arc<Streams>,
    relayed: Arc<Relayed>,
    reading: Arc<Reading>,
    check: Arc<LastCheck<LinkSocket>>,
}

impl LinkRuntime {
    pub(super) fn new(pace: Arc<Pace>, streams: Arc<Streams>) -> Self {
        Self {
            pace,
            streams,
            relayed: Arc::default(),
            reading: Arc::default(),
            check: Arc::default(),
        }
    }
}

/// `host:port` as it can be resolved: of a TURN server the library gives an IPv6 address without
/// brackets.
fn bracketed(host: &str) -> Cow<'_, str> {
    match host.rsplit_once(':') {
        Some((ip, port)) if ip.parse::<Ipv6Addr>().is_ok() => format!("[{ip}]:{port}").into(),
        _ => host.into(),
    }
}

/// Bytes of datagrams that the system may hold for a link, asked of it: what a peer may have in
/// flight can come in one burst. It is taken only while it is needed.
const SOCKET_BUFFER_BYTES: usize = 1 << 20;

tokio::task_local! {
    /// Set in the task of a connection's driver, which alone takes turns. Closing waits for it to
    /// give relays back, by a sleep of another task.
    static DRIVER: ();
}

impl Runtime for LinkRuntime {
    /// Spawns the connection's driver: with no TCP candidates it is the only task ever spawned.
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Box<dyn JoinHandle> {
        let guard = DriverGuard(Arc::clone(&self.pace));
        TokioRuntime.spawn(Box::pin(DRIVER.scope((), async move {
            let _guard = guard;
            future.await;
        })))
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        // The system may allow less: then a burst loses more.
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(SOCKET_BUFFER_BYTES);
        LinkSocket::wrap(socket, self)
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
            let found = tokio::time::timeout(RESOLVE_TIMEOUT, async {
                if let Some(stand_ins) = self.streams.resolve(host).await {
                    return stand_ins;
                }
                let host = bracketed(host);
                let found = tokio::net::lookup_host(&*host).await?;
                Ok(found.collect())
            });
            found.await?
        })
    }

    fn now(&self) -> Instant {
        self.pace.now()
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        let is_driver = DRIVER.try_with(|()| ()).is_ok();
        if is_driver && !self.pace.is_open() && self.reading.another_turn() {
            return Box::pin(std::future::ready(()));
        }
        if let Some(turn) = is_driver.then(|| self.relayed.another_turn()).flatten() {
            return Box::pin(turn);
        }
        let duration = match self.pace.stands_still() {
            false => self.pace.sleep(duration),
            true if is_driver => {
                if let Some((socket, to, check)) = self.check.due() {
                    socket.send_or_lose(to, &check);
                    self.pace.check_sent_again();
                }
                CHECK_AGAIN
            }
            true => duration,
        };
        Box::pin(tokio::time::sleep(duration))
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
    use std::sync::{Mutex, PoisonError, Weak};

    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;
    use webrtc::runtime::{RecvMeta, Transmit};

    use super::*;
    use crate::link::asymmetric::Asymmetric;
    use crate::link::early::Early;
    use crate::link::turn::SocketStreams;

    /// A UDP socket that registers for writability only while its send buffer is full.
    #[derive(Debug)]
    pub(super) struct LinkSocket {
        socket: AsyncFd<UdpSocket>,
        /// A second descriptor of the same socket, registered for writing, while it is full.
        full: Mutex<Option<AsyncFd<UdpSocket>>>,
        early: Arc<Early>,
        asymmetric: Asymmetric,
        streams: SocketStreams,
        relayed: Arc<Relayed>,
        reading: Arc<Reading>,
        check: Arc<LastCheck<Self>>,
        this: Weak<Self>,
        pace: Arc<Pace>,
    }

    impl LinkSocket {
        pub(super) fn wrap(
            socket: UdpSocket,
            runtime: &LinkRuntime,
        ) -> io::Result<Arc<dyn AsyncUdpSocket>> {
            socket.set_nonblocking(true)?;
            let local = socket.local_addr()?.ip();
            let socket = register(socket, Interest::READABLE)?;
            Ok(Arc::new_cyclic(|this| Self {
                socket,
                full: Mutex::new(None),
                early: runtime.pace.gate().add_socket(),
                asymmetric: Asymmetric::default(),
                streams: SocketStreams::new(Arc::clone(&runtime.streams), local),
                relayed: Arc::clone(&runtime.relayed),
                reading: Arc::clone(&runtime.reading),
                check: Arc::clone(&runtime.check),
                this: Weak::clone(this),
                pace: Arc::clone(&runtime.pace),
            }))
        }

        /// Sends a datagram for which nobody waits.
        pub(super) fn send_or_lose(&self, to: SocketAddr, datagram: &[u8]) {
            if !self.streams.send(to, datagram) {
                // Lost like any other that the network loses: it is sent again.
                let _ = self.socket.get_ref().send_to(datagram, to);
            }
        }

        /// The next datagram, from a stream or from the socket itself.
        fn poll_next(
            &self,
            cx: &mut Context<'_>,
            buf: &mut [u8],
        ) -> Poll<io::Result<(usize, SocketAddr)>> {
            if let Poll::Ready(received) = self.streams.poll(cx, buf) {
                return Poll::Ready(Ok(received));
            }
            loop {
                let mut guard = std::task::ready!(self.socket.poll_read_ready(cx))?;
                if let Ok(received) = guard.try_io(|socket| socket.get_ref().recv_from(buf)) {
                    return Poll::Ready(received);
                }
            }
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
                    return Poll::Ready(Ok(sent_or_lost(result, transmit)));
                }
            }
        }
    }

    /// A datagram that cannot leave is lost like any other: checks go to every address that a peer
    /// names, and there is no way to many of them. The library would log an error for each.
    fn sent_or_lost(result: io::Result<usize>, transmit: &Transmit<'_>) -> usize {
        result.unwrap_or_else(|error| {
            tracing::trace!(%error, to = %transmit.destination, "datagram lost");
            transmit.contents.len()
        })
    }

    /// One datagram received.
    fn received(len: usize, addr: SocketAddr) -> RecvMeta {
        let mut meta = RecvMeta::default();
        meta.addr = addr;
        meta.len = len;
        meta.stride = len.max(1);
        meta
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
            let (to, bytes) = (transmit.destination, transmit.contents);
            if self.pace.is_open() {
                self.check.note(&self.this, to, bytes);
            } else if !self.asymmetric.is_worth_sending(to, bytes) {
                return Poll::Ready(Ok(bytes.len()));
            }
            if self.streams.send(to, bytes) {
                return Poll::Ready(Ok(bytes.len()));
            }
            match self.socket.get_ref().send_to(bytes, to) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.poll_send_when_writable(cx, transmit)
                }
                result => Poll::Ready(Ok(sent_or_lost(result, transmit))),
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
            let is_open = self.pace.is_open();
            if !is_open && self.reading.must_wait() {
                // The driver does not sleep in this turn, and asks again in another.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            loop {
                let gate = self.pace.gate();
                if !is_open && let Poll::Ready((len, addr)) = self.early.poll(gate, cx.waker(), buf)
                {
                    self.relayed.note(&buf[..len]);
                    self.reading.note(&buf[..len]);
                    *meta = received(len, addr);
                    return Poll::Ready(Ok(1));
                }
                let (len, addr) = std::task::ready!(self.poll_next(cx, buf))?;
                if !is_open {
                    self.asymmetric.note(addr, &buf[..len]);
                    if self.early.hold(gate, addr, &buf[..len]) {
                        continue;
                    }
                    self.reading.note(&buf[..len]);
                }
                self.relayed.note(&buf[..len]);
                self.pace.observe_received(&buf[..len]);
                *meta = received(len, addr);
                return Poll::Ready(Ok(1));
            }
        }
    }
}

#[cfg(not(unix))]
mod socket {
    use super::*;

    /// Elsewhere than on unix tokio has no registration for reading alone: its own socket.
    #[derive(Debug)]
    pub(super) struct LinkSocket;

    impl LinkSocket {
        /// Nothing is ever sent again from here: no check is kept.
        pub(super) fn send_or_lose(&self, _to: SocketAddr, _datagram: &[u8]) {}

        pub(super) fn wrap(
            socket: UdpSocket,
            _runtime: &LinkRuntime,
        ) -> io::Result<Arc<dyn AsyncUdpSocket>> {
            TokioRuntime.wrap_udp_socket(socket)
        }
    }
}

use socket::LinkSocket;

#[cfg(all(test, unix))]
mod tests {
    use std::net::Ipv4Addr;

    use webrtc::runtime::RecvMeta;

    use super::*;
    use crate::link::Connecting;

    const DEADLINE: Duration = Duration::from_secs(10);

    fn runtime(pace: &Arc<Pace>) -> LinkRuntime {
        LinkRuntime::new(Arc::clone(pace), Streams::new(Arc::default()))
    }

    #[tokio::test]
    async fn the_driver_takes_another_turn_after_what_came_through_a_relay() {
        let pace = Pace::new(Connecting::default());
        pace.opened();
        let runtime = runtime(&pace);
        let bound = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let socket = LinkSocket::wrap(bound, &runtime).expect("registered");
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let to = socket.local_addr().expect("bound");
        let long = Duration::from_secs(3600);
        let driver_sleeps = || DRIVER.sync_scope((), || runtime.sleep(long));
        assert!(
            futures::poll!(driver_sleeps()).is_pending(),
            "there is nothing"
        );
        let datagram = [0x40, 0, 0, 1, 7];
        server.send_to(&datagram, to).expect("sent");
        let received = tokio::time::timeout(DEADLINE, receive(&*socket)).await;
        assert_eq!(received, Ok(datagram.to_vec()));
        assert!(
            futures::poll!(runtime.sleep(long)).is_pending(),
            "another task waits"
        );
        assert!(
            futures::poll!(driver_sleeps()).is_ready(),
            "it must not wait"
        );
    }

    async fn receive(socket: &dyn AsyncUdpSocket) -> Vec<u8> {
        let mut buffer = [0; 2_000];
        let mut meta = [RecvMeta::default()];
        let received = std::future::poll_fn(|cx| {
            socket.poll_recv(cx, &mut [IoSliceMut::new(&mut buffer)], &mut meta)
        });
        assert_eq!(received.await.expect("received"), 1);
        buffer[..meta[0].len].to_vec()
    }

    #[test]
    fn an_ipv6_address_gets_the_brackets_that_the_library_has_lost() {
        for (given, expected) in [
            ("2001:db8::1:3478", "[2001:db8::1]:3478"),
            ("::1:3478", "[::1]:3478"),
            ("[::1]:3478", "[::1]:3478"),
            ("192.0.2.1:3478", "192.0.2.1:3478"),
            ("turn.example:3478", "turn.example:3478"),
        ] {
            assert_eq!(bracketed(given), expected);
        }
    }

    #[tokio::test]
    async fn what_came_early_is_handed_over_when_the_link_has_got_so_far() {
        let pace = Pace::new(Connecting::default());
        let bound = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let runtime = runtime(&pace);
        let socket = LinkSocket::wrap(bound, &runtime).expect("registered");
        let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let to = socket.local_addr().expect("bound");
        let stun = |head: [u8; 4]| [&head[..], &[0x21, 0x12, 0xa4, 0x42], &[7; 12]].concat();
        let (check, answer) = (stun([0, 1, 0, 0]), stun([1, 1, 0, 0]));
        let (hello, data) = (vec![22; 300], vec![23; 30]);
        for datagram in [&hello, &check, &answer] {
            peer.send_to(datagram, to).expect("sent");
        }
        let next = receive(&*socket);
        assert_eq!(tokio::time::timeout(DEADLINE, next).await, Ok(answer));

        for (advance, expected) in [
            (Pace::connecting as fn(&Pace), check),
            (Pace::reached, hello),
        ] {
            let mut next = std::pin::pin!(receive(&*socket));
            assert!(futures::poll!(next.as_mut()).is_pending(), "not yet");
            advance(&pace);
            assert_eq!(tokio::time::timeout(DEADLINE, next).await, Ok(expected));
        }
        pace.opened();
        peer.send_to(&data, to).expect("sent");
        let next = receive(&*socket);
        assert_eq!(tokio::time::timeout(DEADLINE, next).await, Ok(data));
    }
}
