//! `mesh-native`: agents that join a room over the signaling server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use futures::future::try_join_all;
use mesh_native::core::wire::LinkState;
use mesh_native::core::{Event, HubConfig, Identity, Payload};
use mesh_native::hub::HubServer;
use mesh_native::{Agent, JoinOptions, Process, SendOptions};

use crate::trial::{Figures, Mesh, PAYLOAD, PEERS, Sink};

/// How long the mesh may take to form.
const FORMING: Duration = Duration::from_secs(60);

/// Ends of links that are open.
type Open = Arc<AtomicUsize>;

pub struct Ours {
    agents: Vec<Agent>,
}

#[async_trait::async_trait]
impl Mesh for Ours {
    async fn open(sink: &'static Sink) -> anyhow::Result<Self> {
        let open = Open::default();
        let agents = join(PEERS, PEERS - 1, Some(sink), &open).await?;
        until_linked(&open, PEERS * (PEERS - 1) / 2).await?;
        Ok(Self { agents })
    }

    async fn send(&self, from: usize, to: usize, payload: Vec<u8>) -> anyhow::Result<()> {
        let to = self.agents[to].id();
        let payload = Payload::Bytes(payload);
        let sent = self.agents[from].send(to, payload, SendOptions::default());
        sent.await?;
        Ok(())
    }
}

/// Forms a mesh, and measures no more than that.
pub async fn form(agents: usize, k: usize) -> anyhow::Result<Figures> {
    let started = Instant::now();
    let open = Open::default();
    let agents = join(agents, k, None, &open).await?;
    until_linked(&open, agents.len() * k / 2).await?;
    Ok(Figures::of_forming(started))
}

/// What signing and verifying a message takes, in microseconds.
pub fn signatures_us() -> anyhow::Result<f64> {
    const TIMES: u32 = 2_000;
    let identity = Identity::from_secret([7; 32]);
    let statement = LinkState {
        version: 1,
        name: "x".repeat(PAYLOAD),
        departed: false,
        lacks: 0,
        links: Vec::new(),
    };
    let started = Instant::now();
    for _ in 0..TIMES {
        let signed = identity.sign("versus", &statement);
        signed.verify::<LinkState>("versus")?;
    }
    Ok(started.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES))
}

async fn join(
    count: usize,
    k: usize,
    sink: Option<&'static Sink>,
    open: &Open,
) -> anyhow::Result<Vec<Agent>> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let hub = HubServer::bind(any, HubConfig::default())?;
    let url = format!("ws://{}/signal", hub.local_addr()?);
    tokio::spawn(hub.serve(std::future::pending()));
    let process = Process::new();
    let joining = (0..count).map(|number| {
        let options = JoinOptions {
            k: Some(k),
            process: process.clone(),
            addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            ..JoinOptions::new(&url, "versus", &format!("agent-{number:03}"))
        };
        Agent::join_with_events(options)
    });
    let mut agents = Vec::new();
    for (agent, mut events) in try_join_all(joining).await? {
        let open = Arc::clone(open);
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                match event {
                    Event::LinkOpened { .. } => _ = open.fetch_add(1, Ordering::Relaxed),
                    Event::LinkClosed { .. } => _ = open.fetch_sub(1, Ordering::Relaxed),
                    Event::Message(message) => {
                        if let (Payload::Bytes(bytes), Some(sink)) = (message.payload, sink) {
                            sink.received(&bytes);
                        }
                    }
                    _ => {}
                }
            }
        });
        agents.push(agent);
    }
    Ok(agents)
}

/// Waits until so many links are open at both ends.
async fn until_linked(open: &Open, links: usize) -> anyhow::Result<()> {
    let until = Instant::now() + FORMING;
    loop {
        let ends = open.load(Ordering::Relaxed);
        if ends >= 2 * links {
            return Ok(());
        }
        ensure!(
            Instant::now() < until,
            "{ends} of {} ends are open",
            2 * links
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
