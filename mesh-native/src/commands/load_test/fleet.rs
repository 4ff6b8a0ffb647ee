//! The agents under test, and the signaling server beside them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::future::join_all;
use indicatif::ProgressBar;
use mesh_native::core::{HubConfig, Stats, Topology};
use mesh_native::hub::HubServer;
use mesh_native::{Agent, JoinOptions};

use super::super::count_settled;
use super::LoadTest;
use super::recorder::Recorder;
use super::traffic::listen;

/// How long the mesh may take to form, and how much longer for each agent: in one process all of
/// them share its cores, and everybody verifies the link state of its shard.
const FORMING: Duration = Duration::from_secs(120);
const FORMING_EACH: Duration = Duration::from_millis(500);

/// How long nobody is asked whether it has, for each agent: asking is work too.
const LOOK_EACH: Duration = Duration::from_micros(500);

pub(super) struct Fleet {
    pub(super) agents: Vec<Agent>,
    /// Until the hub had admitted all, in seconds.
    admitted_s: f64,
    started: Instant,
    /// How long it may take to form.
    forming: Duration,
    recorder: Arc<Recorder>,
    /// Ends with the test.
    _hub: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
}

/// How long the mesh took, in seconds from the first agent's start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Formed {
    pub(super) admitted_s: f64,
    pub(super) links_s: f64,
    pub(super) tables_s: f64,
}

impl Fleet {
    /// Starts all agents at once.
    pub(super) async fn start(test: &LoadTest, recorder: &Arc<Recorder>) -> anyhow::Result<Self> {
        let (url, hub) = match &test.signaling {
            Some(url) => (url.clone(), None),
            None => {
                let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                let hub = HubServer::bind(any, HubConfig::default()).await?;
                let address = hub.local_addr().context("the server has no address")?;
                let serving = tokio::spawn(hub.serve(std::future::pending()));
                (format!("ws://{address}/signal"), Some(serving))
            }
        };
        // One socket an end is enough for agents that are all here.
        let addresses = match hub {
            Some(_) => vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            None => Vec::new(),
        };
        // A room of its own, should the server have others.
        let room = format!("load-test-{}", std::process::id());
        let started = Instant::now();
        let forming = FORMING + FORMING_EACH * u32::from(test.agents);
        let joining = (0..test.agents).map(|number| {
            let options = JoinOptions {
                k: Some(test.links_each().max(2)),
                metric: test.metric,
                timeout: forming,
                addresses: addresses.clone(),
                ..JoinOptions::new(&url, &room, &format!("agent-{number:03}"))
            };
            async move {
                let joined = Agent::join_with_events(options).await;
                (joined, started.elapsed().as_secs_f64())
            }
        });
        let (mut agents, mut admitted_s) = (Vec::new(), 0.0f64);
        for (joined, after_s) in join_all(joining).await {
            let (agent, events) = joined?;
            tokio::spawn(listen(agent.id(), events, Arc::clone(recorder)));
            agents.push(agent);
            admitted_s = admitted_s.max(after_s);
        }
        Ok(Self {
            agents,
            admitted_s,
            started,
            forming,
            recorder: Arc::clone(recorder),
            _hub: hub,
        })
    }

    /// Waits until every agent has its links and routes.
    pub(super) async fn settle(
        &self,
        stop: &tokio::task::JoinHandle<()>,
        bar: &ProgressBar,
    ) -> anyhow::Result<Formed> {
        bar.set_message("linking");
        bar.set_length(self.agents.len() as u64);
        let agents = u32::try_from(self.agents.len()).unwrap_or(u32::MAX);
        while self.started.elapsed() < self.forming {
            let settled = count_settled(&self.agents).await;
            bar.set_position(settled as u64);
            if settled == self.agents.len() {
                let tables_s = self.started.elapsed().as_secs_f64();
                let last = self.recorder.seen().links.last_opened;
                let begun = self.recorder.since_start(self.started);
                let links_s = last.map_or(0.0, |at| at.saturating_sub(begun).as_secs_f64());
                return Ok(Formed {
                    admitted_s: self.admitted_s,
                    links_s,
                    tables_s,
                });
            }
            if stop.is_finished() {
                bail!("interrupted before the mesh had formed: {settled} agents had");
            }
            tokio::time::sleep(LOOK_EACH * agents).await;
        }
        let settled = count_settled(&self.agents).await;
        bail!(
            "after {} s only {settled} of {} agents have their links and routes: try fewer agents, \
             or a smaller k",
            self.forming.as_secs(),
            self.agents.len()
        )
    }

    /// The links that these members want: with few of them, or an odd k, some want fewer than k.
    pub(super) fn planned_links(&self, k: usize) -> usize {
        let members = self.agents.iter().map(Agent::id).collect();
        Topology::sharded(&members, k).links().count()
    }

    pub(super) async fn stats(&self) -> Vec<Stats> {
        let asking = self.agents.iter().map(Agent::stats);
        let stats = join_all(asking).await.into_iter();
        stats.map(Result::unwrap_or_default).collect()
    }

    /// Bytes that all have sent in frames so far.
    pub(super) async fn bytes(&self) -> u64 {
        self.stats().await.iter().map(|stats| stats.bytes_out).sum()
    }

    pub(super) async fn close(self) {
        join_all(self.agents.iter().map(Agent::close)).await;
    }
}
