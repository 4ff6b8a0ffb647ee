//! The WebSocket to the signaling server: texts in, texts out; when to dial is the core's business.

mod address;
mod dial;
mod first_bytes;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use futures::{SinkExt, StreamExt, TryStreamExt};
use mesh_core::SocketId;
use mesh_core::agent::{SocketEnd, SocketFact};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

pub(crate) use self::dial::{Endpoint, Socket};

/// Texts that may wait to be sent. A join at k = 64 sends some hundreds in a burst.
const QUEUE: usize = 1_024;

/// Bytes that a WebSocket reads at once, enough for some offers. The library would reserve and
/// clear 128 KiB at either end.
pub(crate) const READ_BYTES: usize = 8 * 1024;

/// One connection, open or opening. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct Signaling {
    texts: mpsc::Sender<String>,
    /// The address of this machine that it leaves from, once it is open.
    source: Arc<OnceLock<IpAddr>>,
}

impl Signaling {
    /// Dials. Facts carry the mesh's number of the WebSocket.
    pub(crate) fn open(
        endpoint: &Endpoint,
        number: SocketId,
        facts: mpsc::Sender<(SocketId, SocketFact)>,
    ) -> Self {
        let (texts, mut queue) = mpsc::channel(QUEUE);
        let endpoint = endpoint.clone();
        let source = Arc::new(OnceLock::new());
        let told = Arc::clone(&source);
        tokio::spawn(async move {
            let dialled = tokio::select! {
                dialled = endpoint.dial(&told) => dialled,
                // Nothing is sent before it is open: the agent has given it up.
                _ = queue.recv() => return,
            };
            let end = match dialled {
                Ok(socket) => match run(socket, number, &facts, queue).await {
                    Ok(end) => end,
                    Err(reason) => SocketEnd::Told(reason),
                },
                Err(reason) => SocketEnd::Told(reason),
            };
            tracing::debug!(?number, %end, "signaling closed");
            // The receiver is gone if the agent is.
            let _ = facts.send((number, SocketFact::Closed(end))).await;
        });
        Self { texts, source }
    }

    /// Whether the address that it leaves from is gone, by those that the machine has now.
    pub(crate) fn is_stranded(&self, present: &BTreeSet<IpAddr>) -> bool {
        let source = self.source.get();
        source.is_some_and(|source| !present.contains(source))
    }

    /// Sends a text. Returns false if the connection is too slow or gone, and should be dropped.
    pub(crate) fn send(&self, text: String) -> bool {
        self.texts.try_send(text).is_ok()
    }
}

/// Carries texts, until the WebSocket ends; returns why if that is not its failure.
async fn run(
    socket: Socket,
    number: SocketId,
    facts: &mpsc::Sender<(SocketId, SocketFact)>,
    mut queue: mpsc::Receiver<String>,
) -> Result<SocketEnd, String> {
    let (sink, stream) = socket.split();
    let mut sink = sink.sink_map_err(|error| error.to_string());
    let mut stream = stream.map_err(|error| error.to_string());
    if facts.send((number, SocketFact::Opened)).await.is_err() {
        return Ok(SocketEnd::ByServer); // The agent is gone.
    }
    loop {
        tokio::select! {
            text = queue.recv() => {
                let Some(text) = text else {
                    // Dropped by the agent; what it queued before, a goodbye perhaps, has left.
                    return sink.close().await.map(|()| SocketEnd::ByServer);
                };
                sink.feed(Message::text(text)).await?;
                while let Ok(text) = queue.try_recv() {
                    sink.feed(Message::text(text)).await?;
                }
                sink.flush().await?;
            }
            message = stream.next() => {
                let text = match message.transpose()? {
                    None | Some(Message::Close(None)) => return Ok(SocketEnd::ByServer),
                    Some(Message::Close(Some(frame))) => {
                        return Ok(SocketEnd::by_server(&frame.reason));
                    }
                    Some(Message::Text(text)) => text.as_str().to_owned(),
                    // Bytes are not in the protocol: the core takes the empty text for what it is.
                    Some(Message::Binary(_)) => String::new(),
                    // Pings are answered by the library.
                    Some(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
                };
                if facts.send((number, SocketFact::Received(text))).await.is_err() {
                    return Ok(SocketEnd::ByServer); // The agent is gone.
                }
            }
        }
    }
}
