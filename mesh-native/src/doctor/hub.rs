//! A signaling server, one step after the other: the first that fails says where the trouble is.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use mesh_core::agent::{AdmissionError, Finding as Found};
use mesh_core::signaling::{ClientMessage, HubMessage, PROTOCOL_VERSION};
use mesh_core::wire::Admit;
use mesh_core::{IceServer, Identity, Shards, UnixTime};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::{Check, Report};
use crate::clock::Clock;
use crate::proxy::{self, ConnectError, Proxies};
use crate::random_seed;
use crate::signaling::{Endpoint, Socket};

/// How long each step may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What this machine's clock may be off the hub's.
const CLOCK_OFF: Duration = Duration::from_secs(5);

/// Looks at one; returns the STUN and TURN servers that it hands out.
pub(super) async fn examine(url: &str, ca: Option<&[u8]>, report: &mut Report) -> Vec<IceServer> {
    let endpoint = match Endpoint::new(url, ca.filter(|_| url.starts_with("wss:"))) {
        Ok(endpoint) => endpoint,
        Err(error) => {
            let remedy = "write it as ws://host:9600/signal or wss://host/signal";
            report.wrong(Check::HubAddress, url, &error.to_string(), remedy);
            return Vec::new();
        }
    };
    if !reach(&endpoint, report).await {
        return Vec::new();
    }
    let Some(socket) = open(&endpoint, report).await else {
        return Vec::new();
    };
    let began = Instant::now();
    match timeout(PATIENCE, admit(socket)).await {
        Ok(Ok(admitted)) => {
            let found = format!(
                "it admits agents, and hands out {} servers",
                admitted.servers.len()
            );
            report.ok(Check::HubAdmission, url, &found, Some(began.elapsed()));
            tell_clock(url, &admitted, report);
            admitted.servers
        }
        Ok(Err(reason)) => {
            let remedy = "see the server's words; another version of it speaks another protocol";
            report.wrong(Check::HubAdmission, url, &reason, remedy);
            Vec::new()
        }
        Err(_) => {
            let found = format!("it admits no agent within {PATIENCE:?}");
            let remedy = "the server is overloaded, or what answers is none: see its log";
            report.wrong(Check::HubAdmission, url, &found, remedy);
            Vec::new()
        }
    }
}

/// Name and connection, through the proxy if there is one.
async fn reach(endpoint: &Endpoint, report: &mut Report) -> bool {
    let (host, port) = endpoint.host();
    let about = proxy::address(host, port);
    let proxies = Proxies::of_environment();
    match proxies.to(host, port) {
        Ok(Some(proxy)) => {
            let found = format!("it is reached through the proxy {proxy}");
            report.note(Check::Proxy, &about, &found, None);
        }
        Ok(None) => {}
        Err(error) => {
            let remedy = "correct the variable, or name the host in NO_PROXY";
            report.wrong(Check::Proxy, &about, &error.to_string(), remedy);
            return false;
        }
    }
    let began = Instant::now();
    match proxy::families(proxies, host, port).await {
        Ok((v4, v6)) => {
            let families = match (v4, v6) {
                (true, true) => "addresses of IPv4 and IPv6",
                (true, false) => "an address of IPv4",
                (false, _) => "an address of IPv6",
            };
            let found = format!("it has {families}");
            report.ok(Check::HubDns, &about, &found, Some(began.elapsed()));
        }
        Err(error) => {
            let remedy = "correct the name, or the DNS of this machine";
            report.wrong(Check::HubDns, &about, &error.to_string(), remedy);
            return false;
        }
    }
    let began = Instant::now();
    let silent = || ConnectError::Unreachable {
        reason: format!("no answer within {PATIENCE:?}"),
    };
    let connected = timeout(PATIENCE, proxy::connect(proxies, host, port, None)).await;
    match connected.unwrap_or_else(|_| Err(silent())) {
        Ok(_) => {
            report.ok(
                Check::HubTcp,
                &about,
                "it takes connections",
                Some(began.elapsed()),
            );
            true
        }
        Err(ConnectError::Unreachable { reason }) => {
            let remedy = "start the hub there (mesh signal), correct address and port, or have \
                          firewalls let TCP through to it";
            report.wrong(Check::HubTcp, &about, &reason, remedy);
            false
        }
        Err(error) => {
            let remedy = "set the proxy right, or its address and user in the variable";
            report.wrong(Check::Proxy, &about, &error.to_string(), remedy);
            false
        }
    }
}

/// TLS, if it is `wss:`, and the WebSocket.
async fn open(endpoint: &Endpoint, report: &mut Report) -> Option<Socket> {
    let url = endpoint.url();
    let began = Instant::now();
    let dialled = timeout(PATIENCE, endpoint.dial(&OnceLock::new())).await;
    let reason = match dialled {
        Ok(Ok(socket)) => {
            let took = Some(began.elapsed());
            if url.starts_with("wss:") {
                report.ok(Check::HubTls, url, "its certificate is to be trusted", None);
            }
            report.ok(Check::HubWebsocket, url, "it opens a WebSocket", took);
            return Some(socket);
        }
        Ok(Err(reason)) => reason,
        Err(_) => format!("no answer within {PATIENCE:?}"),
    };
    match endpoint.finding() {
        Found::Final(AdmissionError::Distrusted { reason, .. }) => {
            let remedy = "correct the name in the URL or the certificate, or trust its issuer with \
                          --ca FILE";
            report.wrong(Check::HubTls, url, &reason, remedy);
        }
        _ => {
            let remedy = "a hub is at ws://host:9600/signal, or where a proxy before it has it";
            report.wrong(Check::HubWebsocket, url, &reason, remedy);
        }
    }
    None
}

/// What a hub tells a newcomer.
struct Admitted {
    servers: Vec<IceServer>,
    /// Its time less ours, in milliseconds, and how exactly that is known.
    ahead_ms: Option<(i64, i64)>,
}

/// Joins a room of its own, asks for the time, and leaves.
async fn admit(mut socket: Socket) -> Result<Admitted, String> {
    let identity = Identity::from_secret(random_seed());
    let name = format!("doctor-{}", identity.peer().short());
    let hello = ClientMessage::Hello {
        version: PROTOCOL_VERSION,
        room: name.clone(),
        peer: identity.peer(),
        name: name.clone(),
        shards: Shards::default(),
        again: false,
    };
    say(&mut socket, &hello).await?;
    let mut servers = Vec::new();
    let mut asked = (Instant::now(), Clock::unix_now());
    loop {
        match hear(&mut socket).await? {
            HubMessage::Challenge { nonce } => {
                let admit = Admit {
                    nonce,
                    name: name.clone(),
                };
                let proof = identity.sign(&name, &admit);
                say(&mut socket, &ClientMessage::Prove { proof }).await?;
            }
            HubMessage::Welcome { ice_servers, .. } => {
                servers = ice_servers;
                asked = (Instant::now(), Clock::unix_now());
                say(&mut socket, &ClientMessage::Ping).await?;
            }
            HubMessage::Pong { time_ms, .. } => {
                let round_trip = i64::try_from(asked.0.elapsed().as_millis()).unwrap_or(i64::MAX);
                let ours = millis(asked.1) + round_trip / 2;
                let theirs = time_ms.and_then(|ms| i64::try_from(ms).ok());
                // It is of no use here any more, whether or not that is heard.
                let _ = say(&mut socket, &ClientMessage::Leave).await;
                return Ok(Admitted {
                    servers,
                    ahead_ms: theirs.map(|theirs| (theirs - ours, round_trip / 2 + 1)),
                });
            }
            HubMessage::Error { code, message, .. } => {
                return Err(format!("it refuses agents ({}): {message}", code.as_str()));
            }
            _ => {}
        }
    }
}

fn millis(time: UnixTime) -> i64 {
    i64::try_from(time.as_micros() / 1_000).unwrap_or(i64::MAX)
}

async fn say(socket: &mut Socket, message: &ClientMessage) -> Result<(), String> {
    let text = serde_json::to_string(message).map_err(|error| error.to_string())?;
    let sent = socket.send(Message::text(text)).await;
    sent.map_err(|error| error.to_string())
}

async fn hear(socket: &mut Socket) -> Result<HubMessage, String> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => {
                return serde_json::from_str(&text)
                    .map_err(|error| format!("it does not speak a hub's protocol: {error}"));
            }
            Some(Ok(Message::Close(_))) | None => return Err("it closes the connection".to_owned()),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.to_string()),
        }
    }
}

fn tell_clock(url: &str, admitted: &Admitted, report: &mut Report) {
    let Some((ahead, exact)) = admitted.ahead_ms else {
        return;
    };
    let off = Duration::from_millis(ahead.unsigned_abs());
    let word = if ahead > 0 { "behind" } else { "ahead of" };
    let seconds = off.as_secs_f64();
    let found = format!("this machine's clock is {seconds:.3} s {word} the hub's (± {exact} ms)");
    if off > CLOCK_OFF {
        let remedy = "set the clock (NTP does it), here or there; certificates and credentials are \
                      judged by it";
        report.wrong(Check::Clock, url, &found, remedy);
    } else {
        report.ok(Check::Clock, url, &found, None);
    }
}
