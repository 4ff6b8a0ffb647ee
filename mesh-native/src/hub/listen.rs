//! The ports of the server, of IPv4 and IPv6.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener as StdListener};

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::net::TcpListener;

/// Connections that may wait to be accepted. The system's default is 128; a client beyond that has
/// its connection attempt dropped, and makes the next after a second.
const BACKLOG: i32 = 4_096;

/// Why a server could not be started.
#[derive(Debug, Error)]
#[error("cannot listen on {address}; another address can be given with --listen")]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

/// Listens on each of these addresses. `[::]` takes connections of IPv4 too, unless another of them
/// does so for the same port.
pub(super) fn listen(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, BindError> {
    let is_apart = |address: SocketAddr| {
        let same_port = |other: &&SocketAddr| other.is_ipv4() && other.port() == address.port();
        address.port() != 0 && addresses.iter().any(|other| same_port(&other))
    };
    let listeners = addresses.iter().map(|&address| {
        listen_on(address, is_apart(address)).map_err(|source| BindError { address, source })
    });
    listeners.collect()
}

fn listen_on(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        // What the system does by default differs from one to the other.
        socket.set_only_v6(only_v6)?;
    }
    // On Windows that would let another program take the port too.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(StdListener::from(socket))
}

impl BindError {
    /// The address does not exist on this machine, as when it lacks IPv6: another may do.
    pub fn lacks_address(&self) -> bool {
        use io::ErrorKind::{AddrInUse, PermissionDenied};
        !matches!(self.source.kind(), AddrInUse | PermissionDenied)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use futures::future::join_all;
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::*;

    fn port_of(listeners: &[TcpListener]) -> u16 {
        listeners[0].local_addr().expect("bound").port()
    }

    /// Without room for them they would wait for a second, and come when the others have linked.
    #[tokio::test]
    async fn a_crowd_that_dials_at_once_waits_its_turn_and_no_longer() {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listeners = listen(&[any]).expect("a port");
        let address = listeners[0].local_addr().expect("an address");
        // None of them is accepted yet.
        let dialling = (0..200).map(|_| TcpStream::connect(address));
        let connected = timeout(Duration::from_millis(900), join_all(dialling)).await;
        let connected = connected.expect("there is room for all");
        assert!(connected.iter().all(Result::is_ok));
    }

    #[tokio::test]
    async fn the_ipv6_wildcard_takes_connections_of_both() {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let listeners = listen(&[any]).expect("a port");
        let port = port_of(&listeners);
        for host in ["127.0.0.1", "::1"] {
            TcpStream::connect((host, port)).await.expect(host);
        }
    }

    #[tokio::test]
    async fn both_wildcards_may_be_given_for_one_port() {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let port = port_of(&listen(&[any]).expect("a port"));
        let both = [
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
        ];
        let listeners = listen(&both).expect("no conflict");
        assert_eq!(listeners.len(), 2);
        let error = listen(&both).expect_err("it is taken");
        assert!(!error.lacks_address(), "{error:?}");
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_told_from_a_port_in_use() {
        let elsewhere = SocketAddr::from(([203, 0, 113, 7], 0));
        let error = listen(&[elsewhere]).expect_err("it is not ours");
        assert!(error.lacks_address(), "{error:?}");
        assert!(error.to_string().contains("--listen"));
    }
}
