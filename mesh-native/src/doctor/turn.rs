//! TURN servers, by a real allocation on each: over UDP, TCP and TLS.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use mesh_core::IceServer;
use rtc::ice::url::{ProtoType, SchemeType, Url};
use rtc::sansio::Protocol;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use rtc::turn::client::{Client, ClientConfig, Event};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::nat::reachable;
use super::stun::socket_for;
use super::{Check, Report};
use crate::link::{StreamServer, StreamSettings, TurnStream, crypto_provider};

/// How long an allocation may take, with a connection and its retransmissions.
const PATIENCE: Duration = Duration::from_secs(10);

/// The stack's own clock is looked at this often.
const TICK: Duration = Duration::from_millis(100);

/// Stands for a server on a stream, whose address is of no consequence to the client.
const ON_A_STREAM: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 3478);

/// Allocates at each server.
pub(super) async fn examine(servers: &[IceServer], settings: &StreamSettings, report: &mut Report) {
    for server in servers {
        let url = server.urls.first().map_or("", String::as_str);
        let Ok(parsed) = Url::parse_url(url) else {
            let found = "it is no URL of a STUN or TURN server";
            report.wrong(
                Check::Servers,
                url,
                found,
                "write turn:host:port or stun:host:port",
            );
            continue;
        };
        let check = match (parsed.scheme, parsed.proto) {
            (SchemeType::Turn, ProtoType::Udp) => Check::TurnUdp,
            (SchemeType::Turn, _) => Check::TurnTcp,
            (SchemeType::Turns, ProtoType::Tcp) => Check::TurnTls,
            (SchemeType::Turns | SchemeType::Stuns, _) => {
                let found = "native agents cannot use it: they speak neither DTLS to a server nor \
                             STUN over TLS";
                let remedy = "name it by turns:…?transport=tcp, or stun:";
                report.note(Check::Servers, url, found, Some(remedy));
                continue;
            }
            _ => continue,
        };
        let began = Instant::now();
        match over_either(server, &parsed, check, settings).await {
            Ok(relayed) => {
                let found = format!("it relays at {relayed}");
                report.ok(check, url, &found, Some(began.elapsed()));
            }
            Err(reason) => report.wrong(check, url, &reason, remedy(&reason)),
        }
    }
}

/// Over UDP the families of addresses are tried one after the other; streams do it themselves.
async fn over_either(
    server: &IceServer,
    parsed: &Url,
    check: Check,
    settings: &StreamSettings,
) -> Result<SocketAddr, String> {
    let ways = match check {
        Check::TurnUdp => reachable(parsed).await?,
        _ => vec![ON_A_STREAM],
    };
    let mut outcome = Err("it has no address".to_owned());
    for way in ways {
        let allocated = timeout(PATIENCE, allocate(server, parsed, (check, way), settings)).await;
        outcome = allocated.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")));
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// What to do about a failed allocation.
fn remedy(reason: &str) -> &'static str {
    if reason.contains("error 401") {
        "correct the username and credential that the hub hands out, or that are given here; those \
         made of a secret expire, and need the right time on the server"
    } else if reason.contains("error 440") {
        "give the server a relay address of IPv4, or coturn's option \
         allocation-default-address-family=keep"
    } else if reason.contains("error 486") || reason.contains("error 508") {
        "the server has no more to give: raise its quotas, or its range of ports"
    } else if reason.contains("certificate") {
        "have the server show a certificate for that very name that this machine trusts"
    } else if reason.contains("proxy") || reason.contains("PROXY") {
        "see what the proxy answers, or name the server in NO_PROXY"
    } else {
        "let this machine out to that address and port, and see in the server's log whether \
         anything comes"
    }
}

/// How the server is reached.
enum Pipe {
    Datagrams(UdpSocket, SocketAddr),
    Stream(Box<TurnStream>),
}

impl Pipe {
    async fn open(
        parsed: &Url,
        (check, way): (Check, SocketAddr),
        settings: &StreamSettings,
    ) -> Result<Self, String> {
        if check != Check::TurnUdp {
            let server = StreamServer {
                host: parsed.host.clone(),
                port: parsed.port,
                tls: check == Check::TurnTls,
            };
            let stream = TurnStream::open(&server, settings).await?;
            return Ok(Self::Stream(Box::new(stream)));
        }
        let socket = socket_for(way).await;
        Ok(Self::Datagrams(
            socket.map_err(|error| error.to_string())?,
            way,
        ))
    }

    async fn send(&mut self, datagram: &[u8]) -> Result<(), String> {
        match self {
            Self::Datagrams(socket, server) => {
                let sent = socket.send_to(datagram, *server).await;
                sent.map(drop)
                    .map_err(|error| format!("nothing can be sent to it: {error}"))
            }
            Self::Stream(stream) => stream.send(datagram).await,
        }
    }

    async fn receive(&mut self) -> Result<BytesMut, String> {
        match self {
            Self::Datagrams(socket, _) => {
                let mut buffer = [0; 2_048];
                let received = socket.recv_from(&mut buffer).await;
                let (len, _) = received.map_err(|error| error.to_string())?;
                Ok(BytesMut::from(&buffer[..len]))
            }
            Self::Stream(stream) => Ok(BytesMut::from(&stream.receive().await?[..])),
        }
    }
}

/// The relayed address that the server gives. It is given back.
async fn allocate(
    server: &IceServer,
    parsed: &Url,
    (check, address): (Check, SocketAddr),
    settings: &StreamSettings,
) -> Result<SocketAddr, String> {
    let mut pipe = Pipe::open(parsed, (check, address), settings).await?;
    let local = SocketAddr::new(
        if address.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            std::net::Ipv6Addr::UNSPECIFIED.into()
        },
        0,
    );
    let config = ClientConfig {
        stun_serv_addr: address.to_string(),
        turn_serv_addr: address.to_string(),
        local_addr: local,
        transport_protocol: TransportProtocol::UDP,
        username: server.username.clone().unwrap_or_default(),
        password: server.credential.clone().unwrap_or_default(),
        ..ClientConfig::default()
    };
    let crypto = crypto_provider().map_err(|error| error.to_string())?;
    let failed = |error: rtc::shared::error::Error| error.to_string();
    let mut client = Client::new(config, crypto).map_err(failed)?;
    client.allocate(Instant::now()).map_err(failed)?;
    loop {
        while let Some(out) = client.poll_write() {
            pipe.send(&out.message).await?;
        }
        match client.poll_event() {
            Some(Event::AllocateResponse(_, relayed)) => {
                give_back(&mut client, relayed, &mut pipe).await;
                return Ok(relayed);
            }
            Some(Event::AllocateError(_, error)) => return Err(told(&error.to_string())),
            Some(Event::TransactionTimeout(_)) => return Err("no answer".to_owned()),
            Some(_) => continue,
            None => {}
        }
        match timeout(TICK, pipe.receive()).await {
            Ok(received) => {
                let message = TaggedBytesMut {
                    now: Instant::now(),
                    transport: TransportContext {
                        local_addr: local,
                        peer_addr: address,
                        transport_protocol: TransportProtocol::UDP,
                        ecn: None,
                    },
                    message: received?,
                };
                client.handle_read(message).map_err(failed)?;
            }
            Err(_) => client.handle_timeout(Instant::now()).map_err(failed)?,
        }
    }
}

/// What the library says of an error, without the zeroes in which coturn ends its reasons.
fn told(error: &str) -> String {
    let plain: String = error
        .chars()
        .filter(|letter| !letter.is_control())
        .collect();
    if plain.contains("error 401") {
        format!("it does not take the username and credential: {plain}")
    } else {
        format!("it gives no relay: {plain}")
    }
}

/// Ends the allocation, as far as it can: if not, it expires.
async fn give_back(client: &mut Client, relayed: SocketAddr, pipe: &mut Pipe) {
    if let Ok(mut relay) = client.relay(relayed) {
        let _ = relay.close(Instant::now());
    }
    while let Some(out) = client.poll_write() {
        let _ = pipe.send(&out.message).await;
    }
}
