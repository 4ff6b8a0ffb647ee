//! The server over real sockets, against clients of all kinds.

mod door;
mod drain;
mod health;
mod page;
mod slow;

use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use mesh_core::signaling::PROTOCOL_VERSION;
use mesh_core::wire::Admit;
use mesh_core::{Identity, PeerId};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::*;

/// Only a failure takes so long, on the slowest machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// Serves with these options until the test's runtime ends.
fn start(options: impl Into<HubOptions>) -> SocketAddr {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = HubServer::bind(any, options).expect("a port");
    let address = server.local_addr().expect("an address");
    tokio::spawn(server.serve(pending()));
    address
}

/// An answer to an HTTP request.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    /// A header.
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Asks on a connection of its own, which ends with the answer.
async fn ask(server: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    ask_by(server, method, path, "close", headers).await
}

/// Asks, with this `Connection`. Of an upgraded one the head is the answer.
async fn ask_by(
    server: SocketAddr,
    method: &str,
    path: &str,
    connection: &str,
    headers: &[(&str, &str)],
) -> Answer {
    let mut stream = TcpStream::connect(server).await.expect("connects");
    let start = format!("{method} {path} HTTP/1.1\r\nHost: {server}\r\n");
    let mut request = start + &format!("Connection: {connection}\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    let request = request + "\r\n";
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut answer = Vec::new();
    let end = loop {
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            break end + 4;
        }
        let read = timeout(DEADLINE, stream.read_buf(&mut answer)).await;
        let read = read.expect("answers in time").expect("reads");
        assert_ne!(read, 0, "an answer without a head: {answer:?}");
    };
    let mut body = answer.split_off(end);
    let head = String::from_utf8_lossy(&answer).into_owned();
    let status = head.split(' ').nth(1).expect("a status");
    let status = status.parse().expect("a number");
    if status != 101 {
        stream.shutdown().await.expect("shuts down");
        let read = timeout(DEADLINE, stream.read_to_end(&mut body)).await;
        read.expect("ends in time").expect("reads");
    }
    Answer { status, head, body }
}

async fn get(server: SocketAddr, path: &str) -> Answer {
    ask(server, "GET", path, &[]).await
}

/// A member of a room that speaks the protocol by hand.
struct Client {
    identity: Identity,
    socket: WebSocketStream<TcpStream>,
}

impl Client {
    /// Joins a room.
    async fn join(server: SocketAddr, room: &str) -> Self {
        let stream = TcpStream::connect(server).await.expect("connects");
        Self::join_by(stream, server, room).await
    }

    /// Joins by a connection of which the system keeps little that was not read.
    async fn join_narrow(server: SocketAddr, room: &str) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4_096).expect("a small one");
        let stream = socket.connect(server).await.expect("connects");
        Self::join_by(stream, server, room).await
    }

    async fn join_by(stream: TcpStream, server: SocketAddr, room: &str) -> Self {
        let upgraded = client_async(format!("ws://{server}/signal"), stream).await;
        let (socket, _) = upgraded.expect("a WebSocket");
        let identity = Identity::from_secret(random_seed());
        let mut client = Self { identity, socket };
        let hello = json!({
            "type": "hello", "version": PROTOCOL_VERSION,
            "room": room, "peer": client.peer(), "name": "client",
        });
        client.say(&hello).await;
        let challenge = client.hear("challenge").await;
        let nonce = challenge["nonce"].as_str().expect("a nonce").to_owned();
        let admit = Admit {
            nonce,
            name: "client".to_owned(),
        };
        let proof = client.identity.sign(room, &admit);
        client
            .say(&json!({ "type": "prove", "proof": proof }))
            .await;
        client.hear("welcome").await;
        client
    }

    fn peer(&self) -> PeerId {
        self.identity.peer()
    }

    async fn say(&mut self, message: &Value) {
        let said = self.socket.send(Message::text(message.to_string())).await;
        said.expect("sends");
    }

    /// The next text of this type; others are passed over.
    async fn hear(&mut self, kind: &str) -> Value {
        self.hear_until(kind, |_| true).await
    }

    /// The next text of this type that is wanted.
    async fn hear_until(&mut self, kind: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let heard = timeout(DEADLINE, async {
            loop {
                let message = self.socket.next().await.expect("open").expect("sound");
                let Message::Text(text) = message else {
                    continue;
                };
                let value: Value = serde_json::from_str(&text).expect("JSON");
                if value["type"] == kind && wanted(&value) {
                    return value;
                }
            }
        });
        heard.await.unwrap_or_else(|_| panic!("no {kind}"))
    }
}

/// Looks again and again until it holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let looking = timeout(DEADLINE, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    looking.await.unwrap_or_else(|_| panic!("never: {what}"));
}
