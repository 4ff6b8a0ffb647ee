//! One member of a room, as small as can be: joins like an agent, then pings like one, and answers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::{SinkExt as _, StreamExt as _};
use mesh_core::signaling::{ClientMessage, HubMessage, PROTOCOL_VERSION};
use mesh_core::wire::Admit;
use mesh_core::{Identity, PeerId, Shards};
use mesh_native::random_seed;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep_until, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::recorder::{Failure, Recorder};

/// Time between two pings of a member, as of an agent.
const PING_INTERVAL: Duration = Duration::from_secs(15);

/// So many times in that interval some members ping first.
const PING_TIMES: u32 = 16;

/// How long a member may take to join, or the hub to answer a ping, before that is a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes that a member's WebSocket reads at once: many of them are in one process.
const READ_BYTES: usize = 1_024;

/// Addresses of this machine that connections to it leave from, in turn: one alone has 28,000 ports
/// for them, and a flood uses them up.
const SOURCES: usize = 8;

pub(super) type Socket = WebSocketStream<TcpStream>;

/// The hub to be tested.
#[derive(Clone, Debug)]
pub(super) struct Target {
    url: String,
    address: SocketAddr,
}

/// A member that was admitted.
#[derive(Debug)]
pub(super) struct Member {
    socket: Socket,
    /// When it pings first: each at another time, so that at any time some do.
    ping_at: Instant,
}

impl Target {
    /// Finds the server of a URL.
    pub(super) async fn new(url: &str) -> anyhow::Result<Self> {
        let request = url.into_client_request();
        let request = request.with_context(|| format!("{url} is no URL of a signaling server"))?;
        let uri = request.uri();
        anyhow::ensure!(
            uri.scheme_str() == Some("ws"),
            "a hub is tested without TLS, which would be measured with it: give its ws: address"
        );
        let host = uri.host().context("the URL names no host")?;
        let host = host.trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(80);
        let found = tokio::net::lookup_host((host, port)).await;
        let mut found = found.with_context(|| format!("{host} cannot be found"))?;
        let address = found.next();
        let address = address.with_context(|| format!("{host} has no address"))?;
        let url = url.to_owned();
        Ok(Self { url, address })
    }

    /// Opens a TCP connection; `n` tells connections apart. `receive_bytes` bounds what the system
    /// keeps of what is not read.
    pub(super) async fn connect(
        &self,
        n: usize,
        receive_bytes: Option<u32>,
    ) -> std::io::Result<TcpStream> {
        let socket = if self.address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        // Linux alone has all of 127.0.0.0/8.
        if cfg!(target_os = "linux") && self.address.ip() == IpAddr::from(Ipv4Addr::LOCALHOST) {
            let last = u8::try_from(1 + n % SOURCES).unwrap_or(1);
            socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into())?;
        }
        if let Some(bytes) = receive_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Makes a WebSocket of a connection.
    pub(super) async fn upgrade(&self, stream: TcpStream) -> Result<Socket, Failure> {
        let config = WebSocketConfig::default().read_buffer_size(READ_BYTES);
        let upgraded = client_async_with_config(&self.url, stream, Some(config)).await;
        upgraded
            .map(|(socket, _)| socket)
            .map_err(|error| cause(&error))
    }
}

impl Member {
    /// Joins a room, within [`PATIENCE`].
    pub(super) async fn join(target: &Target, n: usize, room: &str) -> Result<Self, Failure> {
        let joining = async {
            let stream = target
                .connect(n, None)
                .await
                .map_err(|e| e.kind().to_string())?;
            let mut socket = target.upgrade(stream).await?;
            admit(&mut socket, room, &format!("member-{n}")).await?;
            let part = u32::try_from(n).unwrap_or(0) % PING_TIMES;
            let ping_at = Instant::now() + PING_INTERVAL / PING_TIMES * (part + 1);
            Ok(Self { socket, ping_at })
        };
        let joined = timeout(PATIENCE, joining).await;
        joined.unwrap_or_else(|_| Err("not admitted in time".to_owned()))
    }

    /// Pings every now and then and reads what comes, until the connection ends; returns why.
    pub(super) async fn stay(mut self, recorder: &Recorder) -> Failure {
        let mut ping_at = self.ping_at;
        let mut asked_at = None;
        loop {
            let due = asked_at.map_or(ping_at, |asked_at| asked_at + PATIENCE);
            let message = tokio::select! {
                message = self.socket.next() => message,
                () = sleep_until(due.into()) => {
                    if asked_at.is_some() {
                        return "a ping was not answered in time".to_owned();
                    }
                    asked_at = Some(Instant::now());
                    ping_at = Instant::now() + PING_INTERVAL;
                    if let Err(error) = say(&mut self.socket, &ClientMessage::Ping).await {
                        return error;
                    }
                    continue;
                }
            };
            let text = match message {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(_)) => continue, // The library answers pings.
                Some(Err(error)) => return cause(&error),
                None => return "closed by the hub".to_owned(),
            };
            recorder.read(text.len());
            // Long texts are not decoded: that would cost more than the hub spends on them.
            if text.starts_with(r#"{"type":"pong""#) {
                if let Some(asked_at) = asked_at.take() {
                    recorder.pinged(asked_at.elapsed());
                }
            } else if text.starts_with(r#"{"type":"error""#) {
                return refusal(&text);
            }
        }
    }
}

/// Says hello and proves an identity of its own; returns that.
pub(super) async fn admit(socket: &mut Socket, room: &str, name: &str) -> Result<PeerId, Failure> {
    let identity = Identity::from_secret(random_seed());
    say(socket, &hello(&identity, room, name)).await?;
    let challenge = hear(socket).await?;
    let HubMessage::Challenge { nonce } = decode(&challenge)? else {
        return Err(refusal(&challenge));
    };
    let name = name.to_owned();
    let proof = identity.sign(room, &Admit { nonce, name });
    say(socket, &ClientMessage::Prove { proof }).await?;
    let welcome = hear(socket).await?;
    match decode(&welcome)? {
        HubMessage::Welcome { .. } => Ok(identity.peer()),
        _ => Err(refusal(&welcome)),
    }
}

pub(super) fn hello(identity: &Identity, room: &str, name: &str) -> ClientMessage {
    ClientMessage::Hello {
        version: PROTOCOL_VERSION,
        room: room.to_owned(),
        peer: identity.peer(),
        name: name.to_owned(),
        shards: Shards::default(),
        again: false,
    }
}

pub(super) async fn say(socket: &mut Socket, message: &ClientMessage) -> Result<(), Failure> {
    let text = serde_json::to_string(message).map_err(|error| error.to_string())?;
    let sent = socket.send(Message::text(text)).await;
    sent.map_err(|error| cause(&error))
}

/// The next text.
async fn hear(socket: &mut Socket) -> Result<String, Failure> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(cause(&error)),
            None => return Err("closed by the hub".to_owned()),
        }
    }
}

fn decode(text: &str) -> Result<HubMessage, Failure> {
    serde_json::from_str(text).map_err(|_| "not a text of a hub".to_owned())
}

/// What the hub says is wrong, by its code.
fn refusal(text: &str) -> Failure {
    match decode(text) {
        Ok(HubMessage::Error { code, .. }) => format!("error {}", code.as_str()),
        Ok(_) => "not the text that is due".to_owned(),
        Err(failure) => failure,
    }
}

/// What went wrong with a WebSocket, in few words.
fn cause(error: &Error) -> Failure {
    match error {
        Error::Io(error) => error.kind().to_string(),
        Error::Http(response) => format!("HTTP {}", response.status()),
        error => error.to_string(),
    }
}
