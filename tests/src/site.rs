//! A web site of a test: files of a folder, under a Content-Security-Policy, with the hub behind
//! the same address, as a site has it that passes `/signal` on.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::process::free_port;

/// The head of a request has some hundred bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// A site on a port of its own; ends when dropped.
#[derive(Debug)]
pub struct Site {
    port: u16,
    serving: JoinHandle<()>,
}

#[derive(Debug)]
struct Content {
    root: PathBuf,
    hub: u16,
    policy: String,
}

impl Site {
    /// Serves the files below `root`, and the hub on port `hub` as `/signal`.
    ///
    /// # Errors
    /// If no port is free.
    pub async fn start(root: &Path, hub: u16, policy: &str) -> Result<Self> {
        let port = free_port()?;
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let content = Arc::new(Content {
            root: root.to_owned(),
            hub,
            policy: policy.to_owned(),
        });
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let content = Arc::clone(&content);
                // A browser that hangs up early has what it wanted.
                tokio::spawn(async move { content.answer(stream).await.is_ok() });
            }
        });
        Ok(Self { port, serving })
    }

    /// What makes Chromium find this site, and so the hub, where the documents' examples look for
    /// it, whatever the port is.
    pub fn at(&self, address: &str) -> String {
        let port = self.port;
        format!("--host-resolver-rules=MAP {address} 127.0.0.1:{port}")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Content {
    async fn answer(&self, mut stream: TcpStream) -> Result<()> {
        let mut head = Vec::new();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            ensure!(head.len() < HEAD_BYTES_MAX, "the head has no end");
            ensure!(stream.read_buf(&mut head).await? > 0, "hung up");
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        let path = text.split(' ').nth(1).context("no path")?;
        if path == "/signal" {
            let mut hub = TcpStream::connect(("127.0.0.1", self.hub)).await?;
            hub.write_all(&head).await?;
            copy_bidirectional(&mut stream, &mut hub).await?;
            return Ok(());
        }
        let (status, body) = match self.read(path) {
            Some(body) => ("200 OK", body),
            None => ("404 Not Found", b"there is no such file here".to_vec()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\
             Content-Security-Policy: {}\r\nConnection: close\r\n\r\n",
            kind(path),
            body.len(),
            self.policy
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&body).await?;
        stream.shutdown().await?;
        Ok(())
    }

    fn read(&self, path: &str) -> Option<Vec<u8>> {
        let path = Path::new(if path == "/" {
            "index.html"
        } else {
            &path[1..]
        });
        let inside = |part: Component<'_>| matches!(part, Component::Normal(_));
        let path = path
            .components()
            .all(inside)
            .then(|| self.root.join(path))?;
        std::fs::read(path).ok()
    }
}

fn kind(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "js" => "text/javascript",
        "wasm" => "application/wasm",
        _ => "text/html; charset=utf-8",
    }
}
