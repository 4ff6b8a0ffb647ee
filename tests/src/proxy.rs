//! A hostile hub: it passes everything on as the real one does, but swaps the DTLS fingerprint
//! inside signals, as somebody would who wants to sit in the middle of a link.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use data_encoding::BASE64;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async, connect_async};

/// What stands before the digits of a certificate in a session description (RFC 8122).
const FINGERPRINT: &[u8] = b"a=fingerprint:sha-256 ";

/// How an offer, and no answer, tells who may start DTLS (RFC 5763).
const OFFER: &[u8] = b"a=setup:actpass";

/// Which fingerprints are swapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    /// None: the proxy is honest.
    Nothing,
    /// Those in offers.
    Offers,
    /// Those in answers.
    Answers,
    /// None, but the hub's time is told as an hour later.
    Time,
}

/// The proxy, closed when dropped.
#[derive(Debug)]
pub struct HostileHub {
    port: u16,
    swap: watch::Sender<Swap>,
    swapped: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl HostileHub {
    /// Starts one in front of the hub at `hub`.
    ///
    /// # Errors
    /// If there is no port.
    pub async fn start(hub: &str, swap: Swap) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (swap, mode) = watch::channel(swap);
        let swapped = Arc::new(AtomicU64::new(0));
        let relay = Relay {
            hub: hub.to_owned(),
            swap: mode,
            swapped: Arc::clone(&swapped),
        };
        let accepting = tokio::spawn(accept(listener, relay));
        Ok(Self {
            port,
            swap,
            swapped,
            accepting,
        })
    }

    /// Where agents signal.
    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}/signal", self.port)
    }

    /// Passes signals on as they are from now on.
    pub fn turn_honest(&self) {
        self.swap.send_replace(Swap::Nothing);
    }

    /// Signals that were tampered with.
    pub fn swapped(&self) -> u64 {
        self.swapped.load(Ordering::Relaxed)
    }
}

impl Drop for HostileHub {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

#[derive(Clone)]
struct Relay {
    hub: String,
    swap: watch::Receiver<Swap>,
    swapped: Arc<AtomicU64>,
}

async fn accept(listener: TcpListener, relay: Relay) {
    while let Ok((stream, _)) = listener.accept().await {
        let relay = relay.clone();
        tokio::spawn(async move {
            // Who is cut off dials again; a test that needs the connection fails by itself.
            let _ = relay.run(stream).await;
        });
    }
}

impl Relay {
    async fn run(self, stream: TcpStream) -> Result<()> {
        let agent = accept_async(stream).await?;
        let (hub, _) = connect_async(&self.hub).await?;
        let (to_agent, from_agent) = agent.split();
        let (to_hub, from_hub) = hub.split();
        tokio::select! {
            outcome = self.pass(from_agent, to_hub) => outcome,
            outcome = self.pass(from_hub, to_agent) => outcome,
        }
    }

    async fn pass<A, B>(
        &self,
        mut from: SplitStream<WebSocketStream<A>>,
        mut to: SplitSink<WebSocketStream<B>, Message>,
    ) -> Result<()>
    where
        A: AsyncRead + AsyncWrite + Unpin,
        B: AsyncRead + AsyncWrite + Unpin,
    {
        while let Some(message) = from.next().await {
            let message = match message? {
                Message::Text(text) => Message::text(self.tamper(text.as_str())?),
                message => message,
            };
            to.send(message).await?;
        }
        Ok(())
    }

    /// Only signals on their way to the hub are touched: once is enough.
    fn tamper(&self, text: &str) -> Result<String> {
        let swap = *self.swap.borrow();
        let mut message: Value = serde_json::from_str(text)?;
        if let (Swap::Time, Some(time)) = (swap, message["timeMs"].as_u64()) {
            message["timeMs"] = (time + 3_600_000).into();
            return Ok(message.to_string());
        }
        if swap == Swap::Nothing || message["type"] != "signal" || message["to"].is_null() {
            return Ok(text.to_owned());
        }
        let body = &mut message["message"]["body"];
        let mut bytes = BASE64.decode(body.as_str().context("a signal has a body")?.as_bytes())?;
        let is_offer = place_of(OFFER, &bytes).is_some();
        if is_offer != (swap == Swap::Offers) || !swap_fingerprint(&mut bytes) {
            return Ok(text.to_owned());
        }
        self.swapped.fetch_add(1, Ordering::Relaxed);
        *body = BASE64.encode(&bytes).into();
        Ok(message.to_string())
    }
}

/// Makes another fingerprint of the same length; false if there is none.
fn swap_fingerprint(description: &mut [u8]) -> bool {
    let Some(at) = place_of(FINGERPRINT, description) else {
        return false;
    };
    let digits = &mut description[at + FINGERPRINT.len()..];
    for byte in digits
        .iter_mut()
        .take_while(|byte| !byte.is_ascii_whitespace())
    {
        *byte = match *byte {
            b':' => b':',
            b'9' => b'A',
            b'F' | b'f' => b'0',
            digit => digit + 1,
        };
    }
    true
}

fn place_of(needle: &[u8], haystack: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swapped_fingerprint_is_another_one_of_the_same_length() {
        let mut description = b"v=0\r\na=fingerprint:sha-256 09:AF:f9\r\na=x".to_vec();
        assert!(swap_fingerprint(&mut description));
        assert_eq!(description, b"v=0\r\na=fingerprint:sha-256 1A:B0:0A\r\na=x");
        assert!(!swap_fingerprint(&mut b"a=candidate:1".to_vec()));
    }
}
