//! One connection over TCP, and what its failure means.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::{sleep, timeout};

use super::{Proxies, Proxy, address};

/// How long a proxy may take to connect: it waits as long for the server as TCP does, and a hub or
/// a TURN server that is there answers within a second.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one address is tried before the next is tried too, as RFC 8305 has it.
const ATTEMPTS_APART: Duration = Duration::from_millis(250);

/// Bytes of a proxy's answer that are read: the headers of one have some hundreds.
const ANSWER_BYTES_MAX: usize = 8 * 1024;

/// Bytes of its first line that an error passes on.
const LINE_MAX: usize = 100;

/// Why a connection could not be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum ConnectError {
    /// The host has no address.
    #[error("{host} has no address: {reason}")]
    Unresolved {
        /// The host.
        host: String,
        /// What the resolver says.
        reason: String,
    },
    /// No proxy is between, and the host takes no connection.
    #[error("{reason}")]
    Unreachable {
        /// What the system says.
        reason: String,
    },
    /// The environment names a proxy that cannot be used.
    #[error("{variable} names no proxy that can be used: {reason}")]
    Setting {
        /// The variable.
        variable: &'static str,
        /// The cause.
        reason: String,
    },
    /// The proxy takes no connection.
    #[error(
        "the proxy {proxy} cannot be reached: {reason}; correct the variable, or name {host} in \
         NO_PROXY to do without"
    )]
    ProxyUnreachable {
        /// The proxy, with the variable.
        proxy: String,
        /// The host behind it.
        host: String,
        /// What the system says.
        reason: String,
    },
    /// The proxy wants a user, or another one.
    #[error(
        "the proxy {proxy} {} ({status}): write http://user:password@… in the variable",
        if *.given { "does not take the user and password given" } else { "wants a user" }
    )]
    ProxyUser {
        /// The proxy, with the variable.
        proxy: String,
        /// Whether there was a user.
        given: bool,
        /// Its answer.
        status: String,
    },
    /// The proxy does not connect to the server.
    #[error(
        "the proxy {proxy} does not connect to {target}: it answers {status}; have it allow that \
         address and port, or name the host in NO_PROXY if it can be reached without"
    )]
    ProxyRefuses {
        /// The proxy, with the variable.
        proxy: String,
        /// Where the connection should lead.
        target: String,
        /// Its answer.
        status: String,
    },
    /// What answers is no proxy.
    #[error("{proxy} is no HTTP proxy: it answers {said:?}")]
    NoProxy {
        /// The address, with the variable.
        proxy: String,
        /// What it says.
        said: String,
    },
}

impl ConnectError {
    /// Whether it stays so until somebody changes a setting.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Setting { .. } | Self::ProxyUser { .. })
    }
}

/// Connects to a server, from an address of this machine if one is given.
///
/// # Errors
/// The cause and the remedy.
pub(crate) async fn connect(
    proxies: &Proxies,
    host: &str,
    port: u16,
    from: Option<IpAddr>,
) -> Result<TcpStream, ConnectError> {
    let stream = match proxies.to(host, port)? {
        None => direct(host, port, from).await?,
        Some(proxy) => {
            let reached = direct(&proxy.host, proxy.port, from).await;
            let stream = reached.map_err(|error| ConnectError::ProxyUnreachable {
                proxy: proxy.to_string(),
                host: host.to_owned(),
                reason: error.to_string(),
            })?;
            ask(proxy, stream, host, port).await?
        }
    };
    // Each text and datagram is to leave at once. Only a socket that has ended refuses.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

async fn direct(host: &str, port: u16, from: Option<IpAddr>) -> Result<TcpStream, ConnectError> {
    let mut waiting = in_turns(addresses(host, port, from).await?);
    let mut attempts = FuturesUnordered::new();
    let mut last = None;
    loop {
        if let Some(to) = waiting.pop_front() {
            attempts.push(connect_to(to, from));
        }
        let next = async {
            match waiting.is_empty() {
                true => std::future::pending().await,
                false => sleep(ATTEMPTS_APART).await,
            }
        };
        tokio::select! {
            attempt = attempts.next() => match attempt {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => last = Some(error.to_string()),
                None => break,
            },
            () = next => {}
        }
    }
    let reason = last.unwrap_or_else(|| format!("{host} has no address of that family"));
    Err(ConnectError::Unreachable { reason })
}

/// The families in turns, beginning with the one that the system likes best: where one of them is
/// broken the other is tried soon (RFC 8305, section 4).
fn in_turns(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let best = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (mut liked, mut other): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|to| to.is_ipv4() == best);
    let mut turns = VecDeque::new();
    while !(liked.is_empty() && other.is_empty()) {
        turns.extend(liked.pop_front());
        turns.extend(other.pop_front());
    }
    turns
}

/// The addresses of a host that can be reached from one of this machine.
///
/// # Errors
/// [`ConnectError::Unresolved`]
async fn addresses(
    host: &str,
    port: u16,
    from: Option<IpAddr>,
) -> Result<Vec<SocketAddr>, ConnectError> {
    let unresolved = |error: io::Error| ConnectError::Unresolved {
        host: host.to_owned(),
        reason: error.to_string(),
    };
    let found = lookup_host((host, port)).await.map_err(unresolved)?;
    let suits = |to: &SocketAddr| from.is_none_or(|from| from.is_ipv4() == to.is_ipv4());
    Ok(found.filter(suits).collect())
}

/// Whether a server, or the proxy before it, has addresses of IPv4 and of IPv6.
///
/// # Errors
/// [`ConnectError::Setting`], [`ConnectError::Unresolved`]
pub(crate) async fn families(
    proxies: &Proxies,
    host: &str,
    port: u16,
) -> Result<(bool, bool), ConnectError> {
    let (host, port) = match proxies.to(host, port)? {
        Some(proxy) => (&*proxy.host, proxy.port),
        None => (host, port),
    };
    let found = addresses(host, port, None).await?;
    let v4 = found.iter().any(SocketAddr::is_ipv4);
    let v6 = found.iter().any(SocketAddr::is_ipv6);
    Ok((v4, v6))
}

async fn connect_to(to: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let Some(from) = from else {
        return TcpStream::connect(to).await;
    };
    let socket = match to {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(to).await
}

/// Has a proxy connect to the server.
async fn ask(
    proxy: &Proxy,
    mut stream: TcpStream,
    host: &str,
    port: u16,
) -> Result<TcpStream, ConnectError> {
    let target = address(host, port);
    let head = timeout(ANSWER_TIMEOUT, exchange(proxy, &mut stream, &target)).await;
    let refused = |status: String| ConnectError::ProxyRefuses {
        proxy: proxy.to_string(),
        target: target.clone(),
        status,
    };
    let head = match head {
        Err(_) => return Err(refused(format!("nothing within {ANSWER_TIMEOUT:?}"))),
        Ok(Err(error)) => return Err(refused(format!("nothing ({error})"))),
        Ok(Ok(head)) => String::from_utf8_lossy(&head).into_owned(),
    };
    let line: String = head
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(LINE_MAX)
        .collect();
    let status = line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split_once(' '));
    match status.map(|(_, status)| status.trim()) {
        None => Err(ConnectError::NoProxy {
            proxy: proxy.to_string(),
            said: line,
        }),
        Some(status) if status.starts_with('2') => Ok(stream),
        // tinyproxy answers a wrong password with 401, as a server would.
        Some(status) if ["407", "401"].iter().any(|code| status.starts_with(code)) => {
            Err(ConnectError::ProxyUser {
                proxy: proxy.to_string(),
                given: proxy.authorization.is_some(),
                status: status.to_owned(),
            })
        }
        Some(status) => Err(refused(status.to_owned())),
    }
}

/// Sends the request, and reads the head of the answer: not a byte more, for what follows is the
/// server's.
async fn exchange(proxy: &Proxy, stream: &mut TcpStream, target: &str) -> io::Result<Vec<u8>> {
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(authorization) = &proxy.authorization {
        request += &format!("Proxy-Authorization: {authorization}\r\n");
    }
    request += "\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < ANSWER_BYTES_MAX {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            // A line of something else, perhaps.
            Err(_) if !head.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_families_are_tried_in_turns() {
        let parse = |texts: &[&str]| -> Vec<SocketAddr> {
            let parsed = texts.iter().map(|text| text.parse().expect("an address"));
            parsed.collect()
        };
        let given = parse(&["[2001:db8::1]:1", "[2001:db8::2]:1", "192.0.2.1:1"]);
        let turns = parse(&["[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1"]);
        assert_eq!(in_turns(given), turns);
    }
}
