//! One client's WebSocket: moves texts, knows nothing of them.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Extension, State};
use axum::response::Response;
use futures::{SinkExt, StreamExt};
use mesh_core::ClientId;
use tokio::sync::mpsc;

use super::door::Visit;
use super::driver::Fact;
use super::{Shared, TEXTS_A_CLIENT};
use crate::signaling::READ_BYTES;

/// How long a client may take to read what it was sent; one that never does would hold its socket.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn upgrade(
    State(shared): State<Shared>,
    Extension(visit): Extension<Arc<Visit>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    // The hub answers texts somewhat too long with the cause; far longer ones end the connection.
    upgrade
        .read_buffer_size(READ_BYTES)
        .max_frame_size(2 * shared.text_bytes_max)
        .max_message_size(2 * shared.text_bytes_max)
        .on_upgrade(async move |socket| {
            run(socket, shared).await;
            drop(visit); // The connection counts until here.
        })
}

async fn run(socket: WebSocket, shared: Shared) {
    let client = shared.next_client();
    let (texts, queue) = mpsc::channel(TEXTS_A_CLIENT);
    if shared
        .facts
        .send(Fact::Connected(client, texts))
        .await
        .is_err()
    {
        return; // The server is stopping.
    }
    if let Err(error) = move_texts(socket, client, queue, &shared).await {
        tracing::debug!(?client, %error, "WebSocket failed");
    }
    let _ = shared.facts.send(Fact::Closed(client)).await;
}

async fn move_texts(
    socket: WebSocket,
    client: ClientId,
    mut queue: mpsc::Receiver<String>,
    shared: &Shared,
) -> Result<(), axum::Error> {
    let (mut sink, mut stream) = socket.split();
    loop {
        tokio::select! {
            text = queue.recv() => {
                let Some(text) = text else {
                    return sink.close().await; // The hub closed it.
                };
                sink.feed(Message::text(text)).await?;
                while let Ok(text) = queue.try_recv() {
                    sink.feed(Message::text(text)).await?;
                }
                let flushed = tokio::time::timeout(WRITE_TIMEOUT, sink.flush()).await;
                flushed.map_err(axum::Error::new)??;
            }
            message = stream.next() => match message.transpose()? {
                None | Some(Message::Close(_)) => return Ok(()),
                Some(Message::Text(text)) => {
                    let fact = Fact::Received(client, text.as_str().to_owned());
                    if shared.facts.send(fact).await.is_err() {
                        return Ok(());
                    }
                }
                // Bytes are no message of the protocol: the hub says so.
                Some(Message::Binary(_)) => {
                    let _ = shared.facts.send(Fact::Received(client, String::new())).await;
                }
                Some(Message::Ping(_) | Message::Pong(_)) => {}
            },
        }
    }
}
