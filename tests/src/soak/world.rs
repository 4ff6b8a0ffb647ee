//! The world of a soak: a hub and agents, each a process on a host of its own, on one switch that
//! can drop whatever passes, without a word.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::{join_all, try_join_all};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::agent::SoakAgent;
use super::ledger::{Ledger, Life, Scope};
use crate::hosts::{Host, Network};
use crate::process::MeshProcess;
use crate::wait::until;

const ROOM: &str = "soak";
const HUB: &str = "10.77.255.1";
const PORT: u16 = 9600;

/// How long a mesh may take until nothing is left of the last fault: agents dial a hub that was
/// gone again after 12.5 s at most.
const CALM: Duration = Duration::from_secs(90);

/// What the switch drops.
#[derive(Clone, Debug, Default)]
pub struct Drops {
    /// All of these hosts.
    pub silent: BTreeSet<usize>,
    /// Those between two groups of hosts.
    pub between: Option<Between>,
    /// So many of a thousand packets.
    pub permille: u32,
}

/// Packets between two groups of hosts that are dropped.
#[derive(Clone, Debug)]
pub struct Between {
    /// The groups.
    pub hosts: [BTreeSet<usize>; 2],
    /// Which of the packets are not dropped.
    pub passes: Passes,
}

/// What passes between two groups of hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passes {
    /// Nothing.
    Nothing,
    /// What goes from the second to the first.
    Back,
    /// What has 1,000 bytes at most: as over a tunnel that tells nobody of what it drops.
    Small,
}

/// A hub and agents. All ends with it.
#[derive(Debug)]
pub struct World {
    /// What was sent, and what came of it.
    pub ledger: Ledger,
    /// Links that each agent keeps.
    pub k: usize,
    /// Whether agents are told to send.
    pub talks: AtomicBool,
    agents: Mutex<Vec<Arc<SoakAgent>>>,
    hub: tokio::sync::Mutex<Option<MeshProcess>>,
    drops: Mutex<Drops>,
    moves: AtomicU32,
    server: Host,
    hosts: Vec<Host>,
    network: Network,
}

impl World {
    /// A mesh of so many agents that keep k links each, at peace.
    ///
    /// # Errors
    /// If it does not form.
    pub async fn form(agents: usize, k: usize) -> Result<Self> {
        let network = Network::new().await?;
        let server = network.host("hub", "eth0", &[&format!("{HUB}/16")]).await?;
        let mut hosts = Vec::new();
        for number in 0..agents {
            let name = format!("h{number}");
            hosts.push(network.host(&name, "eth0", &[&address(0, number)]).await?);
        }
        let world = Self {
            ledger: Ledger::default(),
            k,
            talks: AtomicBool::new(true),
            agents: Mutex::default(),
            hub: tokio::sync::Mutex::default(),
            drops: Mutex::default(),
            moves: AtomicU32::new(0),
            server,
            hosts,
            network,
        };
        world.start_hub().await?;
        let joining = (0..agents).map(|number| world.start(number));
        let joined = try_join_all(joining).await?;
        world.agents().extend(joined.into_iter().map(Arc::new));
        world.calm().await?;
        Ok(world)
    }

    fn agents(&self) -> std::sync::MutexGuard<'_, Vec<Arc<SoakAgent>>> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn start(&self, number: usize) -> Result<SoakAgent> {
        let url = format!("ws://{HUB}:{PORT}/signal");
        let (name, k) = (format!("agent-{number}"), self.k.to_string());
        let arguments = [
            "--signaling",
            &*url,
            "--room",
            ROOM,
            "--name",
            &*name,
            "--k",
            &*k,
            "--join-timeout",
            "20s",
        ];
        SoakAgent::join(self.hosts[number].command(), &arguments, &self.ledger)
            .await
            .context(name)
    }

    /// All agents, by their hosts.
    pub fn all(&self) -> Vec<Arc<SoakAgent>> {
        self.agents().clone()
    }

    /// The agent of a host.
    pub fn agent(&self, number: usize) -> Arc<SoakAgent> {
        Arc::clone(&self.agents()[number])
    }

    /// How many agents there are.
    pub fn size(&self) -> usize {
        self.hosts.len()
    }

    /// The processes of all agents.
    pub fn lives(&self) -> BTreeSet<Life> {
        self.agents().iter().map(|agent| agent.life).collect()
    }

    /// SIGKILL for the agent of a host.
    ///
    /// # Errors
    /// If it cannot be killed.
    pub async fn kill(&self, number: usize) -> Result<()> {
        let agent = self.agent(number);
        self.ledger.open().dies(agent.life);
        agent.kill().await
    }

    /// Another agent in the place of one that was killed.
    ///
    /// # Errors
    /// If it does not join.
    pub async fn replace(&self, number: usize) -> Result<()> {
        let agent = Arc::new(self.start(number).await?);
        self.agents()[number] = agent;
        Ok(())
    }

    /// The hub starts.
    ///
    /// # Errors
    /// If it cannot be started.
    pub async fn start_hub(&self) -> Result<()> {
        let listen = format!("{HUB}:{PORT}");
        let started = MeshProcess::start_on(&self.server, &["signal", "--listen", &listen])?;
        *self.hub.lock().await = Some(started);
        Ok(())
    }

    /// SIGKILL for the hub.
    ///
    /// # Errors
    /// If it cannot be killed.
    pub async fn kill_hub(&self) -> Result<()> {
        match self.hub.lock().await.take() {
            Some(mut hub) => hub.kill().await,
            None => Ok(()),
        }
    }

    /// A signal, `STOP` or `CONT`, for agents, and for the hub too.
    ///
    /// # Errors
    /// If it cannot be sent.
    pub async fn signal(&self, name: &str, agents: &[usize], and_hub: bool) -> Result<()> {
        let mut processes: Vec<_> = agents.iter().map(|it| self.agent(*it).process).collect();
        if let (true, Some(hub)) = (and_hub, &*self.hub.lock().await) {
            processes.push(hub.id()?);
        }
        let processes = processes.iter().map(u32::to_string);
        let status = Command::new("kill")
            .args(["-s", name])
            .args(processes)
            .status()
            .await?;
        ensure!(status.success(), "kill -s {name} fails with {status}");
        Ok(())
    }

    /// A host loses its address, and gets another.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn move_host(&self, number: usize) -> Result<()> {
        let host = &self.hosts[number];
        host.ip(&["address", "flush", "dev", "eth0"]).await?;
        let generation = 1 + self.moves.fetch_add(1, Ordering::Relaxed) % 250;
        host.add_address("eth0", &address(generation, number)).await
    }

    /// Changes what the switch drops, all at once.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn drop_packets(&self, change: impl FnOnce(&mut Drops)) -> Result<()> {
        let script = {
            let mut drops = self.drops.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut drops);
            drops.script()
        };
        let mut nft = self
            .network
            .switch()
            .command()
            .args(["nft", "-f", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("there is no nft: install nftables")?;
        let mut input = nft.stdin.take().context("its stdin is piped")?;
        input.write_all(script.as_bytes()).await?;
        drop(input);
        let ended = nft.wait_with_output().await?;
        let said = String::from_utf8_lossy(&ended.stderr);
        ensure!(ended.status.success(), "nft refuses {script}: {said}");
        Ok(())
    }

    /// Waits until the mesh is at peace: all have their links and are listed by the hub.
    ///
    /// # Errors
    /// If that takes too long.
    pub async fn calm(&self) -> Result<()> {
        let scope = Scope {
            living: self.lives(),
            cut: None,
        };
        until("the mesh is at peace", CALM, async || {
            self.linked(&scope, true).await
        })
        .await
    }

    /// Whether all of a scope have their links and routes to each other, and, if asked, the hub
    /// lists each of them and none else.
    ///
    /// # Errors
    /// What is missing.
    pub async fn linked(&self, scope: &Scope, listed: bool) -> Result<()> {
        let all = self.all();
        let living: Vec<_> = all
            .iter()
            .filter(|agent| scope.living.contains(&agent.life))
            .collect();
        let tables = join_all(living.iter().map(|agent| agent.peers())).await;
        for (agent, peers) in living.iter().zip(tables) {
            let peers = peers?;
            let (mut links, mut routes, mut known) = (0, 0, 0);
            for other in living.iter().filter(|other| other.life != agent.life) {
                let Some(peer) = peers.iter().find(|peer| peer.id == other.id) else {
                    continue;
                };
                let pair = [(agent.life, other.life), (other.life, agent.life)];
                let cut = scope.cut.is_some_and(|cut| pair.contains(&cut));
                links += usize::from(peer.direct && !cut);
                routes += usize::from(peer.hops.is_some());
                known += usize::from(peer.in_hub);
            }
            let others = living.len() - 1;
            let (life, wanted) = (agent.life, self.k.min(others));
            ensure!(links >= wanted, "{life} has {links} of {wanted} links");
            ensure!(routes == others, "{life} has {routes} of {others} routes");
            ensure!(
                !listed || known == others,
                "the hub lists {known} for {life}"
            );
        }
        Ok(())
    }
}

impl Drops {
    /// For nft: a table that replaces the one before.
    fn script(&self) -> String {
        let ports = |hosts: &BTreeSet<usize>| {
            let ports: Vec<_> = hosts.iter().map(|host| format!("\"to-h{host}\"")).collect();
            format!("{{ {} }}", ports.join(", "))
        };
        let mut rules = String::new();
        if !self.silent.is_empty() {
            let silent = ports(&self.silent);
            rules += &format!("iifname {silent} drop\noifname {silent} drop\n");
        }
        if let Some(Between { hosts, passes }) = &self.between {
            let [one, other] = hosts.each_ref().map(ports);
            let which = match passes {
                Passes::Nothing | Passes::Back => "",
                Passes::Small => "meta length > 1000 ",
            };
            rules += &format!("iifname {one} oifname {other} {which}drop\n");
            if *passes != Passes::Back {
                rules += &format!("iifname {other} oifname {one} {which}drop\n");
            }
        }
        if self.permille > 0 {
            let permille = self.permille;
            rules += &format!("ether type ip numgen random mod 1000 < {permille} drop\n");
        }
        format!(
            "table bridge soak\ndelete table bridge soak\ntable bridge soak {{\n\
             chain forward {{\ntype filter hook forward priority 0\n{rules}}}\n}}\n"
        )
    }
}

/// The address of a host after so many moves.
fn address(generation: u32, host: usize) -> String {
    format!("10.77.{generation}.{}/16", host + 1)
}
