//! `mesh up`: hub, page and agents in one process, to see the whole thing at work.

use std::future::pending;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use futures::TryStreamExt;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use mesh_core::{Event, default_k};
use mesh_native::{Agent, Events, JoinOptions, Metrics, Process};

use super::hub::{HubArgs, announce_page, signaling_url};
use super::mesh::MeshArgs;
use super::{count_settled, interrupted};

/// How long the mesh may take to form before we say that it has not.
const FORMING: Duration = Duration::from_secs(60);

/// Runs the signaling server, the page and a mesh of native agents, which answer requests.
///
/// Example: mesh up --agents 20, then open http://localhost:9600
#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    up: UpArgs,
    #[command(flatten)]
    mesh: MeshArgs,
    #[command(flatten)]
    hub: HubArgs,
}

/// Which agents start.
#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Native agents to start.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(0..=500))]
    agents: u16,
    /// The room that they join.
    #[arg(long, default_value = "demo")]
    room: String,
}

impl Up {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let agents = usize::from(self.up.agents);
        let k = self.mesh.k.unwrap_or_else(|| default_k(agents));
        let server = self.hub.bind(agents * k.min(agents) / 2)?;
        let metrics = self.hub.metrics()?;
        if let Some(metrics) = &metrics {
            metrics.watch_hub(&server);
            metrics.expect_agents();
        }
        let address = server.local_addr().context("the server has no address")?;
        // It serves until the agents have said goodbye.
        let mut serving = pin!(server.serve(pending()));
        let mut agents = Vec::new();
        tokio::select! {
            () = interrupted() => {}
            served = &mut serving => served.context("the server failed")?,
            failed = self.show(address, metrics, &mut agents) => failed?,
        }
        // All at once: closed one by one, those left would be busy healing a mesh that ends.
        let closing = join_all(agents.iter().map(Agent::close));
        tokio::select! {
            _ = closing => Ok(()),
            served = serving => served.context("the server failed"),
        }
    }

    /// Starts the agents, tells how far they are, and goes on until it is dropped.
    async fn show(
        &self,
        server: SocketAddr,
        metrics: Option<Metrics>,
        agents: &mut Vec<Agent>,
    ) -> anyhow::Result<()> {
        let url = signaling_url(server);
        let started = Instant::now();
        self.start_agents(&url, metrics, agents).await?;
        if settle(agents).await {
            tracing::info!(
                agents = agents.len(),
                links = count_links(agents),
                "the mesh is up after {:.2} s",
                started.elapsed().as_secs_f64()
            );
        } else {
            tracing::warn!(
                "the mesh has not formed in {} s; it goes on trying",
                FORMING.as_secs()
            );
        }
        tracing::info!("signaling at {url}, room {:?}", self.up.room);
        announce_page(server);
        pending().await
    }

    async fn start_agents(
        &self,
        url: &str,
        metrics: Option<Metrics>,
        agents: &mut Vec<Agent>,
    ) -> anyhow::Result<()> {
        let process = Process::new();
        let joining = (1..=self.up.agents).map(|n| {
            let options = JoinOptions {
                metrics: metrics.clone(),
                process: process.clone(),
                ..self.mesh.join(
                    vec![url.to_owned()],
                    &self.up.room,
                    &format!("agent-{n:03}"),
                )
            };
            Agent::join_with_events(options)
        });
        let mut joining: FuturesUnordered<_> = joining.collect();
        while let Some((agent, events)) = joining.try_next().await? {
            tokio::spawn(answer_requests(agent.clone(), events));
            agents.push(agent);
        }
        Ok(())
    }
}

/// What the agents of a demo do: answer every request with what it said and how it came.
async fn answer_requests(agent: Agent, mut events: Events) {
    while let Some(event) = events.next().await {
        match event {
            Event::Message(message) if message.wants_reply => {
                if let Err(error) = agent.reply(message.id, message.payload) {
                    tracing::debug!(%error, "not answered");
                }
            }
            Event::Rejected { via, reason, .. } => tracing::warn!(?via, "rejected: {reason}"),
            Event::SignalingLost { reason, .. } => tracing::debug!("hub lost: {reason}"),
            _ => {}
        }
    }
}

/// Waits until every agent has its links and routes.
async fn settle(agents: &[Agent]) -> bool {
    let deadline = Instant::now() + FORMING;
    while Instant::now() < deadline {
        if count_settled(agents) == agents.len() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

fn count_links(agents: &[Agent]) -> usize {
    let mut ends = 0;
    for agent in agents {
        ends += agent.stats().map_or(0, |stats| stats.links.open);
    }
    ends / 2
}
