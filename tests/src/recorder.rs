//! A relay before a hub that keeps all that the hub says.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The relay, closed when dropped.
#[derive(Debug)]
pub struct Recorder {
    port: u16,
    told: Arc<Mutex<Vec<u8>>>,
    accepting: JoinHandle<()>,
}

impl Recorder {
    /// Starts one before the hub at this port of this machine.
    ///
    /// # Errors
    /// If there is no port.
    pub async fn start(hub: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let told: Arc<Mutex<Vec<u8>>> = Arc::default();
        let to = Arc::clone(&told);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // A connection that fails is what its client notices.
                tokio::spawn(relay(client, hub, Arc::clone(&to)));
            }
        });
        Ok(Self {
            port,
            told,
            accepting,
        })
    }

    /// Where agents signal.
    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}/signal", self.port)
    }

    /// All that the hub has said. WebSocket frames of a server are plain text (RFC 6455, 5.1).
    pub fn told(&self) -> String {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&told).into_owned()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn relay(client: TcpStream, hub: u16, told: Arc<Mutex<Vec<u8>>>) -> Result<()> {
    let hub = TcpStream::connect(("127.0.0.1", hub)).await?;
    let (mut from_hub, mut to_hub) = hub.into_split();
    let (mut from_client, mut to_client) = client.into_split();
    tokio::spawn(async move { copy(&mut from_client, &mut to_hub).await });
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let count = from_hub.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        told.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(&bytes[..count]);
        to_client.write_all(&bytes[..count]).await?;
    }
}
