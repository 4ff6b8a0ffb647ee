//! The agents under test, and the signaling server beside them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::future::{join_all, try_join_all};
use indicatif::ProgressBar;
use mesh_core::Stats;
use mesh_native::hub::{HubOptions, HubServer, has_package};
use mesh_native::{Agent, JoinError, JoinOptions, Process};
use tokio::process::Child;

use super::super::agent::{naming_ca, read_ca};
use super::super::count_settled;
use super::browsers::{self, Browser};
use super::process::{self, Join};
use super::recorder::{Recorder, listen};
use super::remote::Remote;
use super::tested::{Tested, Told};
use super::usage::Usage;
use super::{LoadTest, Stop};

/// How long the mesh may take to form, and how much longer for each agent: in one process all of
/// them share its cores, and everybody verifies the link state of its shard.
const FORMING: Duration = Duration::from_secs(120);
const FORMING_EACH: Duration = Duration::from_millis(500);

/// How long nobody is asked whether it has, for each agent: asking is work too.
const LOOK_EACH: Duration = Duration::from_micros(500);

pub(super) struct Fleet {
    pub(super) agents: Vec<Tested>,
    /// Until the hub had admitted all, in seconds.
    admitted_s: f64,
    started: Instant,
    /// How long it may take to form.
    forming: Duration,
    recorder: Arc<Recorder>,
    /// The processes that memory and CPU are read of: this one, or those of the agents.
    processes: Vec<String>,
    /// These end with the test.
    _hub: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
    _children: Vec<Child>,
    _browsers: Vec<Browser>,
}

/// Agents that have joined, with what they tell.
#[derive(Default)]
struct Joined {
    agents: Vec<(Tested, Told)>,
    children: Vec<Child>,
    browsers: Vec<Browser>,
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
        if test.browsers > 0 && test.signaling.is_empty() && !has_package() {
            bail!("this program was built without the page for --browsers: cargo xtask wasm first");
        }
        let (signaling, hub) = match &test.signaling[..] {
            urls @ [_, ..] => {
                let ca = test.ca.as_deref().map(read_ca).transpose()?;
                let looked = look(urls.to_vec(), ca).await;
                looked.map_err(|error| naming_ca(error, test.ca.as_deref()))?;
                (urls.to_vec(), None)
            }
            [] => {
                let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                let options = HubOptions {
                    drive_page: test.browsers > 0,
                    ..HubOptions::default()
                };
                let hub = HubServer::bind(any, options)?;
                let address = hub.local_addr().context("the server has no address")?;
                let serving = tokio::spawn(hub.serve(std::future::pending()));
                (vec![format!("ws://{address}/signal")], Some(serving))
            }
        };
        let started = Instant::now();
        let forming = FORMING + FORMING_EACH * u32::from(test.agents);
        let here = hub.is_some();
        let joins = (0..test.agents).map(|number| Join {
            signaling: signaling.clone(),
            ca: test.ca.clone(),
            // A room of its own, should the server have others.
            room: format!("load-test-{}", std::process::id()),
            name: format!("agent-{number:03}"),
            k: test.links_each().max(2),
            metric: test.metric,
            here,
        });
        let joins: Vec<_> = joins.collect();
        let (tabs, natives) = joins.split_at(usize::from(test.browsers));
        let (tabs, natives) = if test.isolate {
            tokio::try_join!(in_tabs(tabs, forming), in_processes(natives, forming))?
        } else {
            tokio::try_join!(in_tabs(tabs, forming), in_this_process(natives, forming))?
        };
        let admitted_s = started.elapsed().as_secs_f64();
        let ids = natives.children.iter().filter_map(Child::id);
        let processes = if test.isolate {
            ids.map(|id| id.to_string()).collect()
        } else {
            vec!["self".to_owned()]
        };
        let mut agents = Vec::new();
        for (agent, told) in tabs.agents.into_iter().chain(natives.agents) {
            tokio::spawn(listen(agent.id(), told, Arc::clone(recorder)));
            agents.push(agent);
        }
        Ok(Self {
            agents,
            admitted_s,
            started,
            forming,
            recorder: Arc::clone(recorder),
            processes,
            _hub: hub,
            _children: natives.children,
            _browsers: tabs.browsers,
        })
    }

    /// What the agents take of the machine, but for those in tabs.
    pub(super) fn usage(&self) -> Usage {
        Usage::of(&self.processes)
    }

    /// Waits until every agent has its links and routes; none if the test is ended before.
    pub(super) async fn settle(
        &self,
        stop: &Stop,
        bar: &ProgressBar,
    ) -> anyhow::Result<Option<Formed>> {
        bar.set_message("linking");
        bar.set_length(self.agents.len() as u64);
        let agents = u32::try_from(self.agents.len()).unwrap_or(u32::MAX);
        while self.started.elapsed() < self.forming {
            let settled = self.count_settled().await;
            bar.set_position(settled as u64);
            if settled == self.agents.len() {
                let tables_s = self.started.elapsed().as_secs_f64();
                let last = self.recorder.seen().links.last_opened;
                let begun = self.recorder.since_start(self.started);
                let links_s = last.map_or(0.0, |at| at.saturating_sub(begun).as_secs_f64());
                return Ok(Some(Formed {
                    admitted_s: self.admitted_s,
                    links_s,
                    tables_s,
                }));
            }
            if stop.is_finished() {
                return Ok(None);
            }
            tokio::time::sleep(LOOK_EACH * agents).await;
        }
        bail!(
            "after {} s not all of {} agents have their links and routes: try fewer agents, or a \
             smaller k",
            self.forming.as_secs(),
            self.agents.len()
        )
    }

    /// How many agents, from the first, have their links and routes.
    async fn count_settled(&self) -> usize {
        let here = self.agents.iter().filter_map(|agent| match agent {
            Tested::Here(agent) => Some(agent.clone()),
            Tested::Elsewhere(_) => None,
        });
        let here: Vec<_> = here.collect();
        if here.len() == self.agents.len() {
            return count_settled(&here);
        }
        let others = self.agents.len() - 1;
        for (index, agent) in self.agents.iter().enumerate() {
            if !agent.is_settled(others).await.unwrap_or(false) {
                return index;
            }
        }
        self.agents.len()
    }

    pub(super) async fn stats(&self) -> Vec<Stats> {
        let asking = self.agents.iter().map(Tested::stats);
        let stats = join_all(asking).await.into_iter();
        stats.map(Result::unwrap_or_default).collect()
    }

    /// What all have done together.
    pub(super) async fn total(&self) -> Stats {
        let mut total = Stats::default();
        self.stats().await.iter().for_each(|stats| total.add(stats));
        total
    }

    /// Bytes that all have sent in frames so far.
    pub(super) async fn bytes(&self) -> u64 {
        self.total().await.bytes_out
    }

    pub(super) async fn close(self) {
        join_all(self.agents.iter().map(Tested::close)).await;
    }
}

/// Finds out whether agents can join there at all, before many of them try for minutes.
async fn look(signaling: Vec<String>, ca: Option<Vec<u8>>) -> Result<(), JoinError> {
    let room = format!("load-test-look-{}", std::process::id());
    let options = JoinOptions {
        ca,
        ..JoinOptions::with_hubs(signaling, &room, "look")
    };
    Agent::join(options).await?.close().await;
    Ok(())
}

async fn in_this_process(joins: &[Join], timeout: Duration) -> anyhow::Result<Joined> {
    let ca = joins.iter().find_map(|join| join.ca.as_deref());
    let ca = ca.map(read_ca).transpose()?;
    let process = Process::new();
    let joining = joins.iter().map(|join| {
        // One socket an end is enough for agents that are all here.
        let loopback = join.here.then_some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        Agent::join_with_events(JoinOptions {
            ca: ca.clone(),
            k: Some(join.k),
            metric: join.metric,
            timeout,
            addresses: loopback.into_iter().collect(),
            process: process.clone(),
            ..JoinOptions::with_hubs(join.signaling.clone(), &join.room, &join.name)
        })
    });
    let mut all = Joined::default();
    // The first that is refused ends the test: the others would be too.
    for (agent, events) in try_join_all(joining).await? {
        all.agents.push((Tested::Here(agent), Told::Here(events)));
    }
    Ok(all)
}

async fn in_processes(joins: &[Join], patience: Duration) -> anyhow::Result<Joined> {
    let mut all = Joined::default();
    let mut meeting = Vec::new();
    for join in joins {
        let (child, lines) = process::start(join)?;
        all.children.push(child);
        meeting.push(async {
            let met = Remote::meet(lines, patience).await;
            met.with_context(|| join.name.clone())
        });
    }
    for (remote, told) in try_join_all(meeting).await? {
        let agent = (Tested::Elsewhere(remote), Told::Elsewhere(told));
        all.agents.push(agent);
    }
    Ok(all)
}

async fn in_tabs(joins: &[Join], patience: Duration) -> anyhow::Result<Joined> {
    let starting = joins.iter().enumerate();
    let starting = starting.map(async |(number, join)| {
        let (browser, lines) = browsers::start(number, join).await?;
        let met = Remote::meet(lines, patience).await;
        let (remote, told) = met.with_context(|| format!("{} in a tab", join.name))?;
        anyhow::Ok((browser, remote, told))
    });
    let mut all = Joined::default();
    for (browser, remote, told) in try_join_all(starting).await? {
        all.browsers.push(browser);
        let agent = (Tested::Elsewhere(remote), Told::Elsewhere(told));
        all.agents.push(agent);
    }
    Ok(all)
}
