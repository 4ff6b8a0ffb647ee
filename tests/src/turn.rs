//! coturn on a host of a test's own, and what it says of its allocations.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::process::{Child, Command};

use crate::hosts::Host;
use crate::wait::{SOON, until};

/// What every configuration has: the tests' networks are no secret, and nothing lies about.
const COMMON: [&str; 8] = [
    "realm=test",
    "fingerprint",
    "no-cli",
    "no-tls",
    "no-dtls",
    "verbose",
    "simple-log",
    "log-file=stdout",
];

/// A TURN server. Dropped, it is killed.
#[derive(Debug)]
pub struct TurnServer {
    child: Child,
    folder: PathBuf,
    host: String,
    port: u16,
}

impl TurnServer {
    /// Starts one on a host, at an address of it, with these lines of configuration.
    ///
    /// # Errors
    /// If coturn is missing, or does not serve.
    pub async fn start(host: &Host, (address, port): (&str, u16), lines: &[&str]) -> Result<Self> {
        let name = format!("mesh-turn-{}-{}-{port}", std::process::id(), host.name());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder)?;
        let listening = [
            format!("listening-ip={address}"),
            format!("listening-port={port}"),
        ];
        let all = COMMON.iter().chain(lines).map(|line| (*line).to_owned());
        let all: Vec<String> = all.chain(listening).collect();
        fs::write(folder.join("turnserver.conf"), all.join("\n"))?;
        let child = Self::spawn(host, &folder)?;
        let server = Self {
            child,
            folder,
            host: host.name().to_owned(),
            port,
        };
        server.until_it_serves().await?;
        Ok(server)
    }

    fn spawn(host: &Host, folder: &PathBuf) -> Result<Child> {
        // A restart goes on with the same log.
        let log = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(folder.join("log"))?;
        let mut turn = host.command();
        turn.args(["turnserver", "-c", "turnserver.conf", "--pidfile", "pid"])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("turnserver cannot be started: install it (Debian: coturn)")
    }

    async fn until_it_serves(&self) -> Result<()> {
        until("the TURN server serves", SOON, async || {
            let mut sockets = Command::new("ip");
            let sockets = sockets.args(["netns", "exec", &self.host, "ss", "-uln"]);
            let open = String::from_utf8(sockets.output().await?.stdout)?;
            ensure!(open.contains(&format!(":{} ", self.port)), "{open}");
            Ok(())
        })
        .await
        .with_context(|| self.log())
    }

    /// All that it said so far.
    pub fn log(&self) -> String {
        let log = fs::read(self.folder.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// The users of all allocations that it has made, one for each.
    pub fn allocations(&self) -> Vec<String> {
        let log = self.log();
        let made = log.lines().filter_map(|line| {
            let (_, after) = line.split_once(": new, realm=")?;
            let (_, user) = after.split_once("username=<")?;
            Some(user.split_once('>')?.0.to_owned())
        });
        made.collect()
    }

    /// SIGKILL, and another on the same host.
    ///
    /// # Errors
    /// If it does not serve again.
    pub async fn restart(&mut self, host: &Host) -> Result<()> {
        self.child.kill().await?;
        self.child = Self::spawn(host, &self.folder)?;
        self.until_it_serves().await
    }

    /// Sends it a signal by name, as `STOP` or `CONT`.
    ///
    /// # Errors
    /// If it has ended.
    pub async fn signal(&self, name: &str) -> Result<()> {
        let id = self.child.id().context("it has ended")?.to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status();
        ensure!(status.await?.success(), "it cannot be sent {name}");
        Ok(())
    }
}

impl Drop for TurnServer {
    fn drop(&mut self) {
        // Its folder holds nothing that a failed test does not tell.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
