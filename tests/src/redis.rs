//! A real Redis that a test stops, kills, empties and starts again.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::process::{Child, Command};

use crate::process::free_port;
use crate::wait::{SOON, until};

const MISSING: &str = "redis-server cannot be started: install it (Debian: redis-server)";

/// `redis-server` on a port of its own, which writes down every change. Killed when dropped.
#[derive(Debug)]
pub struct Redis {
    child: Child,
    port: u16,
    folder: PathBuf,
}

impl Redis {
    /// Starts one on a free port, and waits until it answers.
    ///
    /// # Errors
    /// If it is missing, or does not answer.
    pub async fn start() -> Result<Self> {
        let port = free_port()?;
        let folder = std::env::temp_dir().join(format!("mesh-tests-redis-{port}"));
        std::fs::create_dir_all(&folder)?;
        let child = serve(port, &folder)?;
        let redis = Self {
            child,
            port,
            folder,
        };
        redis.answers().await?;
        Ok(redis)
    }

    /// Starts it again after [`Redis::kill`], with what it had.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn restart(&mut self) -> Result<()> {
        self.child = serve(self.port, &self.folder)?;
        self.answers().await
    }

    /// Keeps what it has now, for [`Redis::go_back`].
    ///
    /// # Errors
    /// If that cannot be copied.
    pub async fn remember(&self) -> Result<()> {
        copy(&self.folder, &self.remembered()).await
    }

    /// Starts it after [`Redis::kill`] with what it had at [`Redis::remember`], as a replica does
    /// that lagged when it took over.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn go_back(&mut self) -> Result<()> {
        std::fs::remove_dir_all(&self.folder)?;
        copy(&self.remembered(), &self.folder).await?;
        self.restart().await
    }

    fn remembered(&self) -> PathBuf {
        self.folder.with_extension("before")
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// If it cannot be killed.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.context("Redis cannot be killed")
    }

    /// Sends it a signal by name, as `STOP` or `CONT`.
    ///
    /// # Errors
    /// If it has ended.
    pub async fn signal(&self, name: &str) -> Result<()> {
        let id = self.child.id().context("Redis has ended")?.to_string();
        let status = Command::new("kill")
            .args(["-s", name, &id])
            .status()
            .await?;
        ensure!(status.success(), "kill -s {name} {id} fails with {status}");
        Ok(())
    }

    /// Says something to it by `redis-cli`, and returns what it answers.
    ///
    /// # Errors
    /// If it answers with an error, or not at all.
    pub async fn say(&self, words: &[&str]) -> Result<String> {
        let port = self.port.to_string();
        let said = Command::new("redis-cli")
            .args(["-e", "-p", &port])
            .args(words)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("redis-cli cannot be started: install it (Debian: redis-tools)")?;
        let answer = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        ensure!(said.status.success(), "{words:?} is answered {answer:?}");
        Ok(answer)
    }

    /// Where hubs find it.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    async fn answers(&self) -> Result<()> {
        until("Redis answers", SOON, async || {
            let answer = self.say(&["PING"]).await?;
            ensure!(answer == "PONG", "it says {answer}");
            Ok(())
        })
        .await
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
        let _ = std::fs::remove_dir_all(self.remembered());
    }
}

async fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut command = Command::new("cp");
    let status = command.arg("-r").arg(from).arg(to).status().await?;
    ensure!(status.success(), "cp fails with {status}");
    Ok(())
}

fn serve(port: u16, folder: &Path) -> Result<Child> {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--appendonly", "yes", "--appendfsync", "always"])
        .args(["--enable-debug-command", "yes"])
        .arg("--dir")
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context(MISSING)
}
