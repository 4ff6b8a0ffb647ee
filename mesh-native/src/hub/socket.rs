//! One client's WebSocket: moves texts, knows nothing of them.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{FutureExt, SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use mesh_core::ClientId;
use mesh_core::signaling::PROTOCOL_VERSION;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::door::Visit;
use super::driver::Fact;
use super::health::Phase;
use super::metered::Metered;
use super::queue::{Item, Receipt, Receiver, queue};
use super::{Shared, drain, origin};

/// How long a client may take to read a text; one that never does would hold its socket.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes that are read at once. Each client has as many for as long as it is here: pings take a
/// hundredth of them, an offer with its candidates one to four times as many.
const READ_BYTES: usize = 1_024;

/// Bytes of a frame at most; longer texts are sent in several (RFC 6455, 5.4). A client's write
/// buffer never shrinks, and has to hold a frame: the listing of a large room would have it keep a
/// hundred kilobytes for good.
const FRAME_BYTES: usize = 4_000;

/// Bytes that are written at once: frames that are as long, and their heads.
const WRITE_BYTES: usize = 4_096;

/// How long the socket stays open for a client to read why it was closed: closed before all was
/// read that the client sent, it would be reset, and what the client has not read yet be lost.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// In a place of its own: a task holds room for what it hands to its parts, once for each.
type Socket = Box<WebSocketStream<Metered>>;

/// `/signal`: a WebSocket for those that may have one, and words for those that ask otherwise.
pub(super) async fn upgrade(
    State(shared): State<Shared>,
    Extension(visit): Extension<Arc<Visit>>,
    mut request: Request,
) -> Response {
    let headers = request.headers();
    // The words are for everybody: so a page can tell its user why it may not use the hub.
    let open = [(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")];
    if let Some(origin) = origin::refused(headers, &shared.allow_origins) {
        shared.warn_of(&origin);
        let remedy = origin::remedy(&origin);
        let message =
            format!("pages of {origin:?} may not use this hub: if they are to, {remedy}\n");
        return (StatusCode::FORBIDDEN, open, message).into_response();
    }
    if shared.health.is_past(Phase::Moving) {
        return drain::refusal();
    }
    let Ok(response) = create_response_with_body(&request, Body::empty) else {
        let host = origin::host_of(headers).unwrap_or("this server");
        let (ws, http) = (
            origin::scheme_of(headers, "ws"),
            origin::scheme_of(headers, "http"),
        );
        let message = format!(
            "This is a signaling server of the WebRTC agent mesh, protocol version \
             {PROTOCOL_VERSION}. Agents join it by WebSocket at {ws}://{host}/signal, or wss: where \
             a proxy adds TLS; the page is at {http}://{host}/.\n"
        );
        let websocket = [
            (header::UPGRADE, "websocket"),
            (header::CONNECTION, "upgrade"),
        ];
        return (StatusCode::UPGRADE_REQUIRED, open, websocket, message).into_response();
    };
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let socket = match upgraded.await {
            Ok(upgraded) => socket_of(upgraded, &shared).await,
            Err(error) => {
                tracing::debug!(%error, "connection failed");
                None
            }
        };
        if let Some(socket) = socket {
            run(socket, shared).await;
        }
        drop(visit); // The connection counts until here.
    });
    response
}

/// The WebSocket of a connection that has changed to it. What HTTP needed is let go.
async fn socket_of(upgraded: Upgraded, shared: &Shared) -> Option<Socket> {
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().ok()?;
    // A copy: the original is as large as what HTTP reads at once.
    let read = parts.read_buf.to_vec();
    let stream = Metered::new(parts.io.into_inner(), Arc::clone(&shared.unfinished));
    // The hub answers texts somewhat too long with the cause; far longer ones end the connection.
    let bytes_max = Some(2 * shared.text_bytes_max);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(WRITE_BYTES)
        .max_frame_size(bytes_max)
        .max_message_size(bytes_max);
    let opening = WebSocketStream::from_partially_read(stream, read, Role::Server, Some(config));
    Some(Box::new(opening.await))
}

async fn run(socket: Socket, shared: Shared) {
    let client = shared.next_client();
    let (sender, receiver) = queue(&shared.queued);
    let connected = Fact::Connected(client, sender);
    if shared.facts.send(connected).await.is_err() {
        return; // The server is stopping.
    }
    if let Err(error) = move_texts(socket, client, receiver, &shared).await {
        tracing::debug!(?client, %error, "WebSocket failed");
    }
    let _ = shared.facts.send(Fact::Closed(client)).await;
}

async fn move_texts(
    mut socket: Socket,
    client: ClientId,
    mut queue: Receiver,
    shared: &Shared,
) -> Result<(), Error> {
    loop {
        tokio::select! {
            next = queue.next() => {
                if queue.is_given_up() {
                    return Ok(());
                }
                let Some(next) = next else { // The hub closes it.
                    return close(socket).await;
                };
                write(&mut socket, next, &mut queue).await?;
            }
            message = socket.next() => {
                if !read(&mut socket, message, client, shared).await? {
                    return Ok(());
                }
            }
        }
    }
}

/// Tells the hub of a message, and of those that follow if it is long. Returns whether the client
/// and the hub go on.
async fn read(
    socket: &mut Socket,
    message: Option<Result<Message, Error>>,
    client: ClientId,
    shared: &Shared,
) -> Result<bool, Error> {
    let mut next = Some(message);
    while let Some(message) = next {
        let Some(message) = message.transpose()? else {
            return Ok(false);
        };
        let is_control = message.is_ping() || message.is_pong();
        let stream = socket.get_mut();
        match is_control {
            true => stream.control_ended(message.len()),
            false => stream.text_ended(),
        }
        // The library reads on in the buffer that the message is in, if that is free by then, and
        // otherwise has a new one of the usual size: so no client keeps a long one.
        let kept = (message.len() > READ_BYTES).then(|| message.clone());
        let Some(fact) = told(client, message) else {
            return Ok(false);
        };
        if shared.facts.send(fact).await.is_err() {
            return Ok(false);
        }
        next = kept.and_then(|_kept| socket.next().now_or_never());
    }
    Ok(true)
}

/// Writes an item and those that wait behind it. They count until all of it is written: of what is
/// not, no more than a write buffer is kept beside.
async fn write(
    socket: &mut Socket,
    first: (Item, Receipt),
    queue: &mut Receiver,
) -> Result<(), Error> {
    let (mut next, mut buffered) = (Some(first), 0);
    let mut unwritten = Vec::new();
    while let Some((item, receipt)) = next {
        let written = async {
            for frame in frames(item) {
                if buffered + frame.len() > WRITE_BYTES {
                    socket.flush().await?;
                    buffered = 0;
                    unwritten.clear();
                }
                buffered += frame.len();
                socket.feed(Message::Frame(frame)).await?;
            }
            Ok(())
        };
        in_time(written).await?;
        unwritten.push(receipt);
        next = queue.try_next().filter(|_| !queue.is_given_up());
    }
    in_time(socket.flush()).await
}

/// What an item is sent in.
fn frames(item: Item) -> impl Iterator<Item = Frame> {
    let (bytes, is_text) = match item {
        Item::Text(text) => (Bytes::from(text), true),
        Item::Ping => (Bytes::new(), false),
    };
    let count = bytes.len().div_ceil(FRAME_BYTES).max(1);
    (0..count).map(move |n| {
        if !is_text {
            return Frame::ping(Bytes::new());
        }
        let (start, end) = (n * FRAME_BYTES, (n + 1) * FRAME_BYTES);
        let part = bytes.slice(start..end.min(bytes.len()));
        let data = if n == 0 { Data::Text } else { Data::Continue };
        Frame::message(part, OpCode::Data(data), n + 1 == count)
    })
}

/// What a message tells the hub; nothing if it is the last.
fn told(client: ClientId, message: Message) -> Option<Fact> {
    match message {
        Message::Text(text) => Some(Fact::Received(client, text.as_str().to_owned())),
        // Bytes are no message of the protocol: the hub says so.
        Message::Binary(_) => Some(Fact::Received(client, String::new())),
        Message::Ping(_) | Message::Pong(_) => Some(Fact::Answered(client)),
        Message::Close(_) | Message::Frame(_) => None,
    }
}

/// Says goodbye, and leaves the client some time to read it.
async fn close(mut socket: Socket) -> Result<(), Error> {
    in_time(socket.close()).await?;
    let read = async { while let Some(Ok(_)) = socket.next().await {} };
    let _ = timeout(LAST_WORDS, read).await;
    Ok(())
}

/// What the client is to take, if it takes it in time.
async fn in_time(written: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let written = timeout(WRITE_TIMEOUT, written).await;
    written.map_err(|slow| Error::Io(slow.into()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_sent_in_frames_of_bounded_size_and_a_short_one_in_one() {
        for (bytes, count) in [(0, 1), (1, 1), (FRAME_BYTES, 1), (FRAME_BYTES + 1, 2)] {
            let text = "x".repeat(bytes);
            let frames: Vec<_> = frames(Item::Text(text.clone())).collect();
            assert_eq!(frames.len(), count, "{bytes}");
            let ends = frames.iter().map(|frame| frame.header().is_final);
            assert!(ends.eq((1..=count).map(|n| n == count)), "{bytes}");
            assert!(frames.iter().all(|frame| frame.len() <= WRITE_BYTES));
            let joined = frames.iter().flat_map(|frame| frame.payload().to_vec());
            assert!(joined.eq(text.bytes()), "{bytes}");
        }
    }
}
