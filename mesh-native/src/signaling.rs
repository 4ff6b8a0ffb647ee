//! The WebSocket to the signaling server: texts in, texts out; when to dial is the core's business.

use std::net::IpAddr;

use futures::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio_tungstenite::connect_async_with_config;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::error::JoinError;

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
}

impl Signaling {
    /// Dials. Facts carry `epoch`, so that those of an abandoned connection can be told apart.
    pub(crate) fn open(url: &str, epoch: u64, facts: mpsc::Sender<(u64, SignalingFact)>) -> Self {
        let (texts, queue) = mpsc::channel(QUEUE);
        let url = url.to_owned();
        tokio::spawn(async move {
            let reason = match run(&url, epoch, &facts, queue).await {
                Ok(()) => "closed by the server".to_owned(),
                Err(error) => error.to_string(),
            };
            // The receiver is gone if the agent is.
            let _ = facts.send((epoch, SignalingFact::Closed { reason })).await;
        });
        Self { texts }
    }

    /// Sends a text. Returns false if the connection is too slow or gone, and should be dropped.
    pub(crate) fn send(&self, text: String) -> bool {
        self.texts.try_send(text).is_ok()
    }
}

async fn run(
    url: &str,
    epoch: u64,
    facts: &mpsc::Sender<(u64, SignalingFact)>,
    mut queue: mpsc::Receiver<String>,
) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    let config = WebSocketConfig::default().read_buffer_size(READ_BYTES);
    let connecting = connect_async_with_config(url, Some(config), false);
    let (socket, _response) = connecting.await?;
    let (mut sink, mut stream) = socket.split();
    if facts.send((epoch, SignalingFact::Opened)).await.is_err() {
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
                    let fact = SignalingFact::Received(text.as_str().to_owned());
                    if facts.send((epoch, fact)).await.is_err() {
                        return Ok(());
                    }
                }
                Some(_) => {} // Pings are answered by the library.
            },
        }
    }
}

/// Whether a signaling URL names this machine: agents of one machine can then use its loopback.
///
/// # Errors
/// If it is no `ws:` or `wss:` URL.
pub(crate) fn is_loopback(url: &str) -> Result<bool, JoinError> {
    let invalid = || JoinError::Url {
        url: url.to_owned(),
    };
    let parsed: Uri = url.parse().map_err(|_| invalid())?;
    if !matches!(parsed.scheme_str(), Some("ws" | "wss")) {
        return Err(invalid());
    }
    let host = parsed.host().ok_or_else(invalid)?;
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    Ok(host == "localhost" || address.is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked_before_dialling() {
        for (url, expected) in [
            ("ws://localhost:9600/signal", Some(true)),
            ("ws://127.0.0.1:9600/signal", Some(true)),
            ("ws://[::1]:9600/signal", Some(true)),
            ("wss://mesh.example.org/signal", Some(false)),
            ("http://localhost:9600", None),
            ("localhost", None),
            ("", None),
        ] {
            assert_eq!(is_loopback(url).ok(), expected, "{url}");
        }
    }
}
