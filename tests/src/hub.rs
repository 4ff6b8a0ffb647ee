//! The signaling server as a child process on a fixed port, to be killed and started again.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::process::{MeshProcess, free_port};
use crate::wait::{SOON, until};

/// `mesh signal`, with the page.
#[derive(Debug)]
pub struct HubProcess {
    process: MeshProcess,
    port: u16,
}

impl HubProcess {
    /// Starts a hub on a free port and waits until it serves.
    ///
    /// # Errors
    /// If it does not.
    pub async fn start() -> Result<Self> {
        Self::start_at(free_port()?, &[]).await
    }

    /// Starts a hub from a shell that limits it with `ulimit`.
    ///
    /// # Errors
    /// If it does not serve.
    pub async fn start_limited(limit: &str) -> Result<Self> {
        let port = free_port()?;
        let listen = format!("127.0.0.1:{port}");
        let process = MeshProcess::start_limited(limit, &["signal", "--listen", &listen])?;
        Self::serving(process, port).await
    }

    /// Starts a hub on a port, with further arguments, and waits until it serves.
    ///
    /// # Errors
    /// If it does not.
    pub async fn start_at(port: u16, more: &[&str]) -> Result<Self> {
        let listen = format!("127.0.0.1:{port}");
        let process = MeshProcess::start(&[&["signal", "--listen", &listen], more].concat())?;
        Self::serving(process, port).await
    }

    async fn serving(mut process: MeshProcess, port: u16) -> Result<Self> {
        tokio::select! {
            served = until("the hub serves", SOON, async || health(port).await) => served?,
            ended = process.wait(SOON * 2) => {
                bail!("the hub ends, {}: {:#?}", ended?, process.stderr.last())
            }
        };
        Ok(Self { process, port })
    }

    /// SIGTERM. Returns when it has ended, well.
    ///
    /// # Errors
    /// If it does not, within `patience`.
    pub async fn stop(mut self, patience: Duration) -> Result<()> {
        self.process.signal("TERM").await?;
        let status = self.process.wait(patience).await?;
        ensure!(status.success(), "the hub ends with {status}");
        Ok(())
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// If it cannot be killed.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }

    /// Starts it again on the same port.
    ///
    /// # Errors
    /// If it does not serve.
    pub async fn restart(&mut self) -> Result<()> {
        *self = Self::start_at(self.port, &[]).await?;
        Ok(())
    }

    /// Its process.
    pub fn process(&self) -> &MeshProcess {
        &self.process
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where agents signal.
    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}/signal", self.port)
    }

    /// The page with a query.
    pub fn page(&self, query: &str) -> String {
        format!("http://127.0.0.1:{}/?{query}", self.port)
    }

    /// What `/healthz` says.
    ///
    /// # Errors
    /// If it says nothing, or no JSON.
    pub async fn health(&self) -> Result<Value> {
        health(self.port).await
    }

    /// Fails with the remedy if the page lacks its wasm package.
    ///
    /// # Errors
    /// As said.
    pub async fn require_page(&self) -> Result<()> {
        let (status, _) = get(self.port, "/pkg/mesh_wasm.js").await?;
        ensure!(
            status == 200,
            "the hub serves no wasm package (status {status}): run `cargo xtask test e2e`, or \
             `cargo xtask wasm` and then `cargo build --release -p mesh-cli`"
        );
        Ok(())
    }
}

async fn health(port: u16) -> Result<Value> {
    let (status, body) = get(port, "/healthz").await?;
    ensure!(status == 200, "/healthz answers {status}");
    serde_json::from_str(&body).with_context(|| format!("/healthz says {body:?}"))
}

/// The status and body of a page of a local server.
///
/// # Errors
/// If there is no server, or it does not speak HTTP.
pub async fn get(port: u16, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    // HTTP/1.0: the answer ends with the connection, in one piece.
    let request = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("the answer has no head")?;
    let status = head.split(' ').nth(1).context("the answer has no status")?;
    Ok((status.parse()?, body.to_owned()))
}
