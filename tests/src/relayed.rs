//! Hosts around a hub and a TURN server, between which a test blocks direct paths.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::agents::AgentProcess;
use crate::hosts::{Host, Network};
use crate::member::Member;
use crate::process::MeshProcess;
use crate::wait::{SOON, until};

/// The room of all agents.
pub const ROOM: &str = "relayed";

/// The host that all others reach: the hub and the TURN server.
pub const BETWEEN: &str = "203.0.113.1";
/// Where the hub listens.
pub const HUB: &str = "203.0.113.1:9600";
/// Where agents signal.
pub const URL: &str = "ws://203.0.113.1:9600/signal";

/// What hub and TURN server share.
pub const SECRET: &str = "a-secret-of-hub-and-coturn-alone";

/// What coturn needs for that.
pub const SHARED: [&str; 2] = [
    "use-auth-secret",
    "static-auth-secret=a-secret-of-hub-and-coturn-alone",
];

/// A file with the secret, removed when dropped.
#[derive(Debug)]
pub struct SecretFile(PathBuf);

impl SecretFile {
    /// One, with a name of its own.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn new(of: &str) -> Result<Self> {
        let name = format!("mesh-turn-secret-{}-{of}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, format!("{SECRET}\n"))?;
        Ok(Self(path))
    }

    /// Where it is.
    ///
    /// # Errors
    /// If that is no text.
    pub fn path(&self) -> Result<&str> {
        self.0.to_str().context("the folder's name is no text")
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        // Nothing real is secret in it.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A network with a host for the servers, and others.
#[derive(Debug)]
pub struct Hosts {
    _network: Network,
    /// The host of the servers.
    pub between: Host,
    /// The others.
    pub others: Vec<Host>,
}

impl Hosts {
    /// A host of each name, from 203.0.113.2 on.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn new(names: &[&str]) -> Result<Self> {
        let network = Network::new().await?;
        let between = network
            .host("turn", "eth0", &[&format!("{BETWEEN}/24")])
            .await?;
        let mut others = Vec::new();
        for (name, number) in names.iter().zip(2..) {
            let address = format!("203.0.113.{number}/24");
            others.push(network.host(name, "eth0", &[&address]).await?);
        }
        Ok(Self {
            _network: network,
            between,
            others,
        })
    }

    /// A hub with these options.
    ///
    /// # Errors
    /// If it does not serve.
    pub async fn hub(&self, more: &[&str]) -> Result<MeshProcess> {
        let arguments = [&["signal", "--listen", HUB], more].concat();
        let hub = MeshProcess::start_on(&self.between, &arguments)?;
        let serves = |line: &String| line.contains("listen") || line.contains("page");
        hub.stderr.first("the hub serves", SOON, serves).await?;
        Ok(hub)
    }

    /// Lets no packet pass between the first two hosts, or all again.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn block(&self, blocked: bool) -> Result<()> {
        for (host, other) in [(0, "203.0.113.3"), (1, "203.0.113.2")] {
            let others: &[&str] = if blocked { &[other] } else { &[] };
            self.others[host].drop_from(others).await?;
        }
        Ok(())
    }

    /// An agent on a host.
    ///
    /// # Errors
    /// If it does not join.
    pub async fn agent(&self, host: usize, name: &str, more: &[&str]) -> Result<AgentProcess> {
        AgentProcess::join_on(&self.others[host], URL, ROOM, name, more).await
    }
}

/// The way of an agent's link to a peer, as `peers()` tells it.
///
/// # Errors
/// If it does not answer.
pub async fn path(agent: &dyn Member, peer: &dyn Member) -> Result<Value> {
    let mut peers = agent.table("peers").await?;
    let rows = peers.as_array_mut().context("peers() is a list")?;
    let id = peer.id().to_string();
    let row = rows.iter_mut().find(|row| row["id"] == *id);
    Ok(row.context("it knows the peer")?["path"].take())
}

/// Waits until either end's link is relayed, or both are direct.
///
/// # Errors
/// If that takes longer than `within`.
pub async fn until_relayed(ends: [&dyn Member; 2], relayed: bool, within: Duration) -> Result<()> {
    let what = format!("a link whose way is relayed: {relayed}");
    until(&what, within, async || {
        let paths = [path(ends[0], ends[1]).await?, path(ends[1], ends[0]).await?];
        ensure!(paths.iter().all(|path| !path.is_null()), "{paths:?}");
        let is_relayed = paths.iter().any(|path| path["relayed"] == true);
        ensure!(is_relayed == relayed, "{paths:?}");
        Ok(())
    })
    .await
}

/// A hub that makes credentials, with the file of its secret.
///
/// # Errors
/// If it does not serve.
pub async fn minting_hub(hosts: &Hosts, of: &str) -> Result<(MeshProcess, SecretFile)> {
    let secret = SecretFile::new(of)?;
    let hub = hosts
        .hub(&[
            "--turn-url",
            "turn:203.0.113.1:3478",
            "--turn-secret-file",
            secret.path()?,
        ])
        .await?;
    Ok((hub, secret))
}
