//! coturn on a host of a test's own, and what it says of its allocations.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;
use tokio::time::timeout;

use crate::child::OwnChild;
use crate::hosts::Host;
use crate::tls::certify;
use crate::wait::{SOON, until};

/// What every configuration has: the tests' networks are no secret, and nothing lies about.
const COMMON: [&str; 6] = [
    "realm=test",
    "fingerprint",
    "no-cli",
    "verbose",
    "simple-log",
    "log-file=stdout",
];

/// What those have that speak no TLS.
const PLAIN: [&str; 2] = ["no-tls", "no-dtls"];

/// The only user of a server that is reached by all ways.
pub const USER: &str = "mesh";
/// Its password.
pub const PASSWORD: &str = "right";

/// Its ports: of UDP and TCP, and of TLS, where firewalls let through what looks like the Web.
pub const PORT: u16 = 3478;
/// The port of TLS.
pub const TLS_PORT: u16 = 443;

/// How long coturn's client has: with a good password it takes about a second.
const CLIENT_PATIENCE: Duration = Duration::from_secs(6);

/// A TURN server. Dropped, it is killed.
#[derive(Debug)]
pub struct TurnServer {
    child: OwnChild,
    folder: PathBuf,
    host: Option<String>,
    port: u16,
}

impl TurnServer {
    /// Starts one on a host, else on this machine, at an address of it, with these lines of
    /// configuration.
    ///
    /// # Errors
    /// If coturn is missing, or does not serve.
    pub async fn start(host: Option<&Host>, at: (&str, u16), lines: &[&str]) -> Result<Self> {
        Self::start_certified(host, at, None, &[&PLAIN, lines].concat()).await
    }

    /// Starts one that is reached by UDP, TCP and TLS, certified for its address by a CA made for
    /// the test. It has one user, [`USER`] with [`PASSWORD`].
    ///
    /// # Errors
    /// As [`TurnServer::start`].
    pub async fn start_on(host: &Host, address: &str, lines: &[&str]) -> Result<Self> {
        Self::start_named(host, address, address, lines).await
    }

    /// The same, certified for a name.
    ///
    /// # Errors
    /// As [`TurnServer::start`].
    pub async fn start_named(
        host: &Host,
        address: &str,
        name: &str,
        lines: &[&str],
    ) -> Result<Self> {
        let own = [
            "lt-cred-mech".to_owned(),
            format!("user={USER}:{PASSWORD}"),
            format!("relay-ip={address}"),
            format!("tls-listening-port={TLS_PORT}"),
            "cert=certificate.pem".to_owned(),
            "pkey=key.pem".to_owned(),
        ];
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        let lines = [&own[..], lines].concat();
        let at = (address, PORT);
        let server = Self::start_certified(Some(host), at, Some(name), &lines).await?;
        for port in [PORT, TLS_PORT] {
            let listening = host.until_listening("tcp", port).await;
            listening.with_context(|| server.log())?;
        }
        Ok(server)
    }

    async fn start_certified(
        host: Option<&Host>,
        (address, port): (&str, u16),
        certified: Option<&str>,
        lines: &[&str],
    ) -> Result<Self> {
        let name = format!(
            "mesh-turn-{}-{}-{port}",
            std::process::id(),
            host.map_or("here", Host::name)
        );
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder)?;
        if let Some(name) = certified {
            certify(&folder, name, false)?;
        }
        let listening = [
            format!("listening-ip={address}"),
            format!("listening-port={port}"),
        ];
        let all = COMMON.iter().chain(lines).map(|line| (*line).to_owned());
        // The first address is that whose questions the second may answer.
        let all: Vec<String> = listening.into_iter().chain(all).collect();
        fs::write(folder.join("turnserver.conf"), all.join("\n"))?;
        let child = Self::spawn(host, &folder)?;
        let server = Self {
            child,
            folder,
            host: host.map(|host| host.name().to_owned()),
            port,
        };
        server.until_it_serves().await?;
        Ok(server)
    }

    fn spawn(host: Option<&Host>, folder: &PathBuf) -> Result<OwnChild> {
        // A restart goes on with the same log.
        let log = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(folder.join("log"))?;
        let mut turn = on(host.map(Host::name), "turnserver");
        turn.args(["-c", "turnserver.conf", "--pidfile", "pid"])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null());
        OwnChild::spawn(&mut turn)
            .context("turnserver cannot be started: install it (Debian: coturn)")
    }

    async fn until_it_serves(&self) -> Result<()> {
        until("the TURN server serves", SOON, async || {
            let mut sockets = on(self.host.as_deref(), "ss");
            let sockets = sockets.arg("-uln");
            let open = String::from_utf8(sockets.output().await?.stdout)?;
            ensure!(open.contains(&format!(":{} ", self.port)), "{open}");
            Ok(())
        })
        .await
        .with_context(|| self.log())
    }

    /// A file with the certificate of its CA.
    pub fn ca_file(&self) -> String {
        self.folder.join("ca.pem").display().to_string()
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// If it cannot be killed.
    pub async fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill().await?)
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
    pub async fn restart(&mut self, host: Option<&Host>) -> Result<()> {
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

/// A program on a host, or on this machine.
fn on(host: Option<&str>, program: &str) -> Command {
    let Some(host) = host else {
        return Command::new(program);
    };
    let mut command = Command::new("ip");
    command.args(["netns", "exec", host, program]);
    command
}

/// Whether a server relays for a user with this password, as coturn's own client finds.
///
/// # Errors
/// If coturn's client is missing.
pub async fn relays((address, port): (&str, u16), user: &str, password: &str) -> Result<bool> {
    let mut client = Command::new("turnutils_uclient");
    let client = client
        .args(["-y", "-n", "1", "-m", "1", "-u", user, "-w", password])
        .args(["-p", &port.to_string(), address])
        .kill_on_drop(true)
        .output();
    match timeout(CLIENT_PATIENCE, client).await {
        Ok(ended) => {
            let said = ended.context("there is no turnutils_uclient: install coturn")?;
            Ok(String::from_utf8_lossy(&said.stdout).contains("Total lost packets 0"))
        }
        Err(_) => Ok(false), // It asks again and again.
    }
}

impl Drop for TurnServer {
    fn drop(&mut self) {
        // Its folder holds nothing that a failed test does not tell.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The server of a URL with its user, as `--ice-server` has it.
pub fn with_user(url: &str) -> String {
    format!("{url},{USER},{PASSWORD}")
}
