//! TURN over TCP and TLS, which the WebRTC stack lacks: it speaks TURN in datagrams alone.
//!
//! The stack is told of a stand-in: the same server, over UDP, under a name that does not exist.
//! Our runtime resolves that name to an address that leads nowhere, and what the stack sends there
//! goes to the server on a stream, one for each of the link's sockets, as an allocation demands
//! ([`carrier`]); what comes back is handed over as datagrams from there ([`framing`]).

mod carrier;
mod framing;
mod server;
#[cfg(feature = "doctor")]
mod stream;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rtc::ice::url::{ProtoType, SchemeType, Url};
use rustls::ClientConfig;

pub(super) use self::carrier::SocketStreams;
pub(crate) use self::server::StreamServer;
#[cfg(feature = "doctor")]
pub(crate) use self::stream::TurnStream;
use crate::proxy::{self, Proxies};
use crate::tls;

/// Servers that one link reaches by streams. An operator names two or three.
const SERVERS_MAX: usize = 8;

/// What the names of stand-ins end in: no name of the DNS does (RFC 6761).
const STAND_IN: &str = ".turn-stream.invalid";

/// The port of stand-ins, whatever the server's is: the stack treats that of mDNS apart.
const STAND_IN_PORT: u16 = 3478;

/// Where the addresses of stand-ins come from: nothing on the Internet has one of these (RFC 1112,
/// section 4, and RFC 6666).
const STAND_IN_V4: u8 = 240;
const STAND_IN_V6: [u16; 4] = [0x0100, 0, 0, 0];

/// Texts of troubles remembered, so that each is logged once.
const TOLD_MAX: usize = 64;

/// What the links of a process share about streams: whom they trust, and what was told already.
#[derive(Debug, Default)]
pub(crate) struct StreamSettings {
    ca: Option<Vec<u8>>,
    tls: OnceLock<Result<Arc<ClientConfig>, String>>,
    told: Mutex<Vec<String>>,
}

impl StreamSettings {
    /// Servers may also be certified by the CA in this PEM text.
    pub(crate) fn new(ca: Option<Vec<u8>>) -> Self {
        Self {
            ca,
            ..Self::default()
        }
    }

    /// Made when it is first needed, for reading the machine's roots takes milliseconds.
    fn tls(&self) -> Result<Arc<ClientConfig>, String> {
        let make = || tls::client(self.ca.as_deref()).map_err(|error| error.to_string());
        self.tls.get_or_init(make).clone()
    }

    /// Logs a trouble with a server: each link has it again, and it is warned of once.
    pub(super) fn tell(&self, trouble: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= TOLD_MAX || told.iter().any(|known| known == trouble) {
            tracing::debug!("{trouble}");
        } else {
            tracing::warn!("{trouble}");
            told.push(trouble.to_owned());
        }
    }
}

/// How the stack is told of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// As it is.
    Plainly,
    /// By this URL, and a stream carries it.
    StandIn(String),
}

/// The servers that one link reaches by streams.
pub(super) struct Streams {
    settings: Arc<StreamSettings>,
    servers: Mutex<Vec<StreamServer>>,
}

impl Streams {
    pub(super) fn new(settings: Arc<StreamSettings>) -> Arc<Self> {
        Arc::new(Self {
            settings,
            servers: Mutex::default(),
        })
    }

    pub(super) fn settings(&self) -> &StreamSettings {
        &self.settings
    }

    /// How the stack is to be told of a STUN or TURN server. The same URL has the same stand-in.
    ///
    /// # Errors
    /// Why it cannot be used, for people.
    pub(super) fn tell_stack(&self, url: &str) -> Result<Told, String> {
        let unusable = |cause: &str| Err(format!("ICE server {url} left out: {cause}"));
        let parsed = match Url::parse_url(url) {
            Ok(parsed) => parsed,
            Err(error) => return unusable(&error.to_string()),
        };
        let tls = match (parsed.scheme, parsed.proto) {
            (SchemeType::Stun, _) | (SchemeType::Turn, ProtoType::Udp) => return Ok(Told::Plainly),
            (SchemeType::Turn, _) => false,
            (SchemeType::Turns, ProtoType::Tcp) => true,
            (SchemeType::Turns, _) => {
                return unusable("native agents have no TURN over DTLS: write transport=tcp");
            }
            _ => return unusable("native agents have no STUN over TLS: write stun:"),
        };
        if !cfg!(unix) {
            return unusable("native agents have TURN over TCP and TLS on Unix only");
        }
        let server = StreamServer {
            host: parsed.host,
            port: parsed.port,
            tls,
        };
        match self.intern(server) {
            Some(index) => Ok(Told::StandIn(format!(
                "turn:{index}{STAND_IN}:{STAND_IN_PORT}?transport=udp"
            ))),
            None => unusable(&format!(
                "a link takes {SERVERS_MAX} over TCP or TLS at most"
            )),
        }
    }

    fn intern(&self, server: StreamServer) -> Option<usize> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = servers.iter().position(|known| *known == server) {
            return Some(known);
        }
        (servers.len() < SERVERS_MAX).then(|| {
            servers.push(server);
            servers.len() - 1
        })
    }

    /// The server behind an address of a stand-in.
    fn behind(&self, address: SocketAddr) -> Option<StreamServer> {
        let index = index_of(address.ip())?;
        let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.get(index).cloned()
    }

    /// The addresses of a stand-in: one of each family in which the server, or the proxy before it,
    /// can be reached. Nothing if the name, with or without a port, is none of a stand-in.
    pub(super) async fn resolve(&self, name: &str) -> Option<io::Result<Vec<SocketAddr>>> {
        let index: usize = name.split_once(STAND_IN)?.0.parse().ok()?;
        let server = {
            let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
            servers.get(index)?.clone()
        };
        let proxies = Proxies::of_environment();
        let families = proxy::families(proxies, &server.host, server.port).await;
        Some(match families {
            Ok((v4, v6)) => Ok(stand_ins(index)
                .into_iter()
                .filter(|address| if address.is_ipv4() { v4 } else { v6 })
                .collect()),
            Err(error) => {
                self.settings
                    .tell(&format!("{server} is of no use: {error}"));
                Err(io::Error::other(error))
            }
        })
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_list().entries(&*servers).finish()
    }
}

/// The addresses of a stand-in in both families.
fn stand_ins(index: usize) -> [SocketAddr; 2] {
    let number = index as u8 + 1; // There are at most SERVERS_MAX.
    let [a, b, c, d] = STAND_IN_V6;
    let v4 = Ipv4Addr::new(STAND_IN_V4, 0, 0, number);
    let v6 = Ipv6Addr::new(a, b, c, d, 0, 0, 0, number.into());
    [IpAddr::V4(v4), IpAddr::V6(v6)].map(|ip| SocketAddr::new(ip, STAND_IN_PORT))
}

fn index_of(ip: IpAddr) -> Option<usize> {
    let number = match ip {
        _ if !is_stand_in(ip) => None,
        IpAddr::V4(ip) => Some(usize::from(ip.octets()[3])),
        IpAddr::V6(ip) => Some(usize::from(ip.segments()[7])),
    };
    number?.checked_sub(1)
}

/// Whether an address may be that of a stand-in: a peer must not name one as its own, or our checks
/// would go to a TURN server.
pub(super) fn is_stand_in(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[0] == STAND_IN_V4,
        IpAddr::V6(ip) => ip.segments()[..4] == STAND_IN_V6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streams() -> Arc<Streams> {
        Streams::new(Arc::default())
    }

    #[test]
    fn the_stack_is_told_of_stand_ins_for_servers_on_streams_and_of_others_as_they_are() {
        let streams = streams();
        for plain in [
            "stun:s.example:1",
            "turn:t.example",
            "turn:t.example:9?transport=udp",
        ] {
            assert_eq!(streams.tell_stack(plain), Ok(Told::Plainly), "{plain}");
        }
        for (url, index, tls, port) in [
            ("turn:t.example?transport=tcp", 0, false, 3478),
            ("turns:t.example", 1, true, 5349),
            ("turns:t.example:5349?transport=tcp", 1, true, 5349),
            ("turns:[2001:db8::1]:443?transport=tcp", 2, true, 443),
        ] {
            let expected = format!("turn:{index}.turn-stream.invalid:3478?transport=udp");
            assert_eq!(
                streams.tell_stack(url),
                Ok(Told::StandIn(expected)),
                "{url}"
            );
            for address in stand_ins(index) {
                let server = streams.behind(address).expect(url);
                assert_eq!((server.tls, server.port), (tls, port), "{url}");
                assert!(is_stand_in(address.ip()));
            }
        }
    }

    #[test]
    fn servers_that_cannot_be_used_are_named_with_the_cause() {
        let streams = streams();
        for (url, cause) in [
            ("stuns:s.example", "write stun:"),
            ("turns:t.example?transport=udp", "write transport=tcp"),
            ("http://t.example", "invalid url"),
        ] {
            let told = streams.tell_stack(url).expect_err(url);
            assert!(told.contains(cause) && told.contains(url), "{told}");
        }
        for number in 0..SERVERS_MAX {
            let url = format!("turns:t{number}.example");
            streams.tell_stack(&url).expect("there is room");
        }
        let told = streams.tell_stack("turns:more.example").expect_err("full");
        assert!(told.contains("at most"), "{told}");
        assert!(
            streams.tell_stack("turns:t0.example").is_ok(),
            "it is known"
        );
    }

    #[tokio::test]
    async fn a_stand_in_has_the_families_of_its_server() {
        let streams = streams();
        for url in ["turns:127.0.0.1", "turn:[::1]?transport=tcp"] {
            streams.tell_stack(url).expect(url);
        }
        let resolve = async |name: &str| streams.resolve(name).await;
        let [first_v4, _] = stand_ins(0);
        let [_, second_v6] = stand_ins(1);
        let found = resolve("0.turn-stream.invalid:3478").await.expect("ours");
        assert_eq!(found.expect("resolved"), [first_v4]);
        let found = resolve("1.turn-stream.invalid:3478").await.expect("ours");
        assert_eq!(found.expect("resolved"), [second_v6]);
        for other in [
            "2.turn-stream.invalid:3478",
            "localhost:1",
            "x.turn-stream.invalid",
        ] {
            assert!(resolve(other).await.is_none(), "{other}");
        }
    }

    #[test]
    fn no_other_address_is_a_stand_ins() {
        let streams = streams();
        streams.tell_stack("turns:t.example").expect("fine");
        for other in [
            "192.0.2.1:3478",
            "240.0.0.0:1",
            "240.0.0.2:1",
            "[100::]:1",
            "[2001:db8::1]:1",
        ] {
            let address = other.parse().expect(other);
            assert!(streams.behind(address).is_none(), "{other}");
        }
    }
}
