//! A real Redis that a test stops, kills, empties and starts again.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::child::OwnChild;
use crate::process::free_port;
use crate::wait::{SOON, until};

const MISSING: &str = "redis-server cannot be started: install it (Debian: redis-server)";

/// The password of hubs, where the server wants one.
const PASSWORD: &str = "hub";

/// The user, and password, that replicas log in with where hubs need a password.
pub const REPLICA: &str = "replica";

/// The same of Sentinels.
pub const SENTINEL: &str = "sentinel";

/// `redis-server` on a port of its own, which writes down every change. Killed when dropped.
#[derive(Debug)]
pub struct Redis {
    child: OwnChild,
    port: u16,
    folder: PathBuf,
    /// Hubs, replicas and Sentinels log in, each as another user.
    guarded: bool,
}

impl Redis {
    /// Starts one on a free port, and waits until it answers.
    ///
    /// # Errors
    /// If it is missing, or does not answer.
    pub async fn start() -> Result<Self> {
        Self::start_as(false).await
    }

    /// Starts one that hubs, [replicas](REPLICA) and [Sentinels](SENTINEL) have to log in to.
    ///
    /// # Errors
    /// If it is missing, or does not answer.
    pub async fn start_guarded() -> Result<Self> {
        Self::start_as(true).await
    }

    async fn start_as(guarded: bool) -> Result<Self> {
        let port = free_port()?;
        let folder = std::env::temp_dir().join(format!("mesh-tests-redis-{port}"));
        std::fs::create_dir_all(&folder)?;
        let child = serve(port, &folder, guarded)?;
        let redis = Self {
            child,
            port,
            folder,
            guarded,
        };
        redis.answers().await?;
        Ok(redis)
    }

    /// Makes it the replica of another, and waits until it has what that has.
    ///
    /// # Errors
    /// If it does not follow.
    pub async fn replicate(&self, master: &Self) -> Result<()> {
        let port = master.port.to_string();
        self.say(&["REPLICAOF", "127.0.0.1", &port]).await?;
        until("the replica follows", SOON, || self.follows()).await
    }

    /// Checks that it is a replica that has what its master has.
    ///
    /// # Errors
    /// If it does not follow one, with what it says of itself.
    pub async fn follows(&self) -> Result<()> {
        let info = self.say(&["INFO", "replication"]).await?;
        ensure!(info.contains("master_link_status:up"), "{info}");
        Ok(())
    }

    /// Waits until it is the master.
    ///
    /// # Errors
    /// If it is not made one.
    pub async fn until_master(&self) -> Result<()> {
        until("the replica is promoted", SOON, async || {
            let role = self.say(&["ROLE"]).await?;
            ensure!(role.starts_with("master"), "{role}");
            Ok(())
        })
        .await
    }

    /// Lets a user in, or not: then its connections end.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn admit(&self, user: &str, admitted: bool) -> Result<()> {
        let state = if admitted { "on" } else { "off" };
        self.say(&["ACL", "SETUSER", user, state]).await?;
        if !admitted {
            self.say(&["CLIENT", "KILL", "USER", user]).await?;
        }
        Ok(())
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts it again after [`Redis::kill`], with what it had.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn restart(&mut self) -> Result<()> {
        self.child = serve(self.port, &self.folder, self.guarded)?;
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
        say(self.port, self.guarded.then_some(PASSWORD), words).await
    }

    /// Where hubs find it.
    pub fn url(&self) -> String {
        format!("redis://{}127.0.0.1:{}", self.login(), self.port)
    }

    /// What stands before the host in the URL.
    pub fn login(&self) -> String {
        match self.guarded {
            true => format!(":{PASSWORD}@"),
            false => String::new(),
        }
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

/// Says something to a server by `redis-cli`.
pub(crate) async fn say(port: u16, password: Option<&str>, words: &[&str]) -> Result<String> {
    let login = password.map(|password| ["--no-auth-warning", "-a", password]);
    let said = Command::new("redis-cli")
        .args(["-e", "-p", &port.to_string()])
        .args(login.iter().flatten())
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

fn serve(port: u16, folder: &Path, guarded: bool) -> Result<OwnChild> {
    let mut options = vec!["--appendonly", "yes", "--appendfsync", "always"];
    options.extend(["--enable-debug-command", "yes"]);
    let rights = ["on", "~*", "&*", "+@all"];
    let passwords = [REPLICA, SENTINEL].map(|user| format!(">{user}"));
    if guarded {
        for (user, password) in [REPLICA, SENTINEL].into_iter().zip(&passwords) {
            options.extend(["--user", user, password]);
            options.extend(rights);
        }
        options.extend(["--requirepass", PASSWORD]);
        options.extend(["--masteruser", REPLICA, "--masterauth", REPLICA]);
    }
    let mut server = Command::new("redis-server");
    server
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(options)
        .arg("--dir")
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    OwnChild::spawn(&mut server).context(MISSING)
}
