//! The WebSocket to the signaling server: texts in, texts out; when to dial is the core's business.

mod address;
mod dial;
mod first_bytes;
mod tls;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use futures::{SinkExt, StreamExt, TryStreamExt};
use mesh_core::SocketId;
use mesh_core::signaling::HubMessage;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

pub(crate) use self::dial::Endpoint;
use self::dial::Socket;

/// Texts that may wait to be sent. A join at k = 64 sends some hundreds in a burst.
const QUEUE: usize = 1_024;

/// Bytes that a WebSocket reads at once, enough for some offers. The library would reserve and
/// clear 128 KiB at either end.
pub(crate) const READ_BYTES: usize = 8 * 1024;

/// A fact about the WebSocket.
#[derive(Debug)]
pub(crate) enum SignalingFact {
    Opened,
    Received(String),
    Closed { reason: String },
}

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
        facts: mpsc::Sender<(SocketId, SignalingFact)>,
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
            let reason = match dialled {
                Ok(socket) => match run(&endpoint, socket, number, &facts, queue).await {
                    Ok(()) => "closed by the server".to_owned(),
                    Err(reason) => reason,
                },
                Err(reason) => reason,
            };
            // The receiver is gone if the agent is.
            let _ = facts.send((number, SignalingFact::Closed { reason })).await;
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

async fn run(
    endpoint: &Endpoint,
    socket: Socket,
    number: SocketId,
    facts: &mpsc::Sender<(SocketId, SignalingFact)>,
    mut queue: mpsc::Receiver<String>,
) -> Result<(), String> {
    let (sink, stream) = socket.split();
    let mut sink = sink.sink_map_err(|error| error.to_string());
    let mut stream = stream.map_err(|error| error.to_string());
    let mut is_hub = false;
    if facts.send((number, SignalingFact::Opened)).await.is_err() {
        return Ok(());
    }
    loop {
        tokio::select! {
            text = queue.recv() => {
                let Some(text) = text else {
                    // Dropped by the agent; what it queued before, a goodbye perhaps, has left.
                    return sink.close().await;
                };
                sink.feed(Message::text(text)).await?;
                while let Ok(text) = queue.try_recv() {
                    sink.feed(Message::text(text)).await?;
                }
                sink.flush().await?;
            }
            message = stream.next() => match message.transpose()? {
                None | Some(Message::Close(_)) => return Ok(()),
                Some(Message::Text(text)) => {
                    // Anything may be served over a WebSocket.
                    if !is_hub && serde_json::from_str::<HubMessage>(&text).is_err() {
                        return Err(endpoint.speaks_otherwise(&text));
                    }
                    is_hub = true;
                    let fact = SignalingFact::Received(text.as_str().to_owned());
                    if facts.send((number, fact)).await.is_err() {
                        return Ok(());
                    }
                }
                Some(_) => {} // Pings are answered by the library.
            },
        }
    }
}
