//! One client's WebSocket: moves texts, knows nothing of them.

use std::sync::Arc;
use std::time::Duration;

use axum::Error;
use axum::body::Bytes;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use mesh_core::ClientId;
use mesh_core::signaling::PROTOCOL_VERSION;
use tokio::time::timeout;

use super::door::Visit;
use super::driver::Fact;
use super::health::Phase;
use super::queue::{Item, Receiver, queue};
use super::{Shared, drain, origin};
use crate::signaling::READ_BYTES;

/// How long a client may take to read a text; one that never does would hold its socket.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes that are written at once, and wait outside of the queue's bound.
const WRITE_BYTES: usize = 16 * 1024;

/// How long the socket stays open for a client to read why it was closed: closed before all was
/// read that the client sent, it would be reset, and what the client has not read yet be lost.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// `/signal`: a WebSocket for those that may have one, and words for those that ask otherwise.
pub(super) async fn upgrade(
    State(shared): State<Shared>,
    Extension(visit): Extension<Arc<Visit>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    // The words are for everybody: so a page can tell its user why it may not use the hub.
    let open = [(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")];
    if let Some(origin) = origin::refused(&headers, &shared.allow_origins) {
        shared.warn_of(&origin);
        let remedy = origin::remedy(&origin);
        let message =
            format!("pages of {origin:?} may not use this hub: if they are to, {remedy}\n");
        return (StatusCode::FORBIDDEN, open, message).into_response();
    }
    if shared.health.is_past(Phase::Moving) {
        return drain::refusal();
    }
    let Ok(upgrade) = upgrade else {
        let host = origin::host_of(&headers).unwrap_or("this server");
        let (ws, http) = (
            origin::scheme_of(&headers, "ws"),
            origin::scheme_of(&headers, "http"),
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
    // The hub answers texts somewhat too long with the cause; far longer ones end the connection.
    upgrade
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(WRITE_BYTES)
        .max_frame_size(2 * shared.text_bytes_max)
        .max_message_size(2 * shared.text_bytes_max)
        .on_upgrade(async move |socket| {
            run(socket, shared).await;
            drop(visit); // The connection counts until here.
        })
}

async fn run(socket: WebSocket, shared: Shared) {
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
    socket: WebSocket,
    client: ClientId,
    mut queue: Receiver,
    shared: &Shared,
) -> Result<(), Error> {
    let (mut sink, mut stream) = socket.split();
    loop {
        tokio::select! {
            mut next = queue.next() => {
                if queue.is_given_up() {
                    return Ok(());
                }
                let closing = next.is_none(); // The hub closes it.
                while let Some((item, receipt)) = next {
                    in_time(sink.feed(item.into())).await?;
                    drop(receipt);
                    next = queue.try_next().filter(|_| !queue.is_given_up());
                }
                if closing {
                    return close(sink, stream).await;
                }
                in_time(sink.flush()).await?;
            }
            message = stream.next() => {
                let Some(message) = message.transpose()? else {
                    return Ok(());
                };
                let Some(fact) = told(client, message) else {
                    return Ok(());
                };
                if shared.facts.send(fact).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// What a message tells the hub; nothing if it is the last.
fn told(client: ClientId, message: Message) -> Option<Fact> {
    match message {
        Message::Text(text) => Some(Fact::Received(client, text.as_str().to_owned())),
        // Bytes are no message of the protocol: the hub says so.
        Message::Binary(_) => Some(Fact::Received(client, String::new())),
        Message::Ping(_) | Message::Pong(_) => Some(Fact::Answered(client)),
        Message::Close(_) => None,
    }
}

/// Says goodbye, and leaves the client some time to read it.
async fn close(
    mut sink: SplitSink<WebSocket, Message>,
    mut stream: SplitStream<WebSocket>,
) -> Result<(), Error> {
    in_time(sink.close()).await?;
    let read = async { while let Some(Ok(_)) = stream.next().await {} };
    let _ = timeout(LAST_WORDS, read).await;
    Ok(())
}

/// What the client is to take, if it takes it in time.
async fn in_time(written: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    timeout(WRITE_TIMEOUT, written).await.map_err(Error::new)?
}

impl From<Item> for Message {
    fn from(item: Item) -> Self {
        match item {
            Item::Text(text) => Self::text(text),
            Item::Ping => Self::Ping(Bytes::new()),
        }
    }
}
