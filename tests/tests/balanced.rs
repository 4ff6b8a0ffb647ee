//! Hubs behind a plain load balancer, by the files of `deploy/`, and a rolling restart of all of
//! them under a room.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use mesh_native::core::{Delivery, PeerId};
use mesh_native::{Agent, JoinOptions, SendOptions};
use mesh_tests::agents::Native;
use mesh_tests::balancer::{Balancer, Kind};
use mesh_tests::hub::{HubProcess, get};
use mesh_tests::member::{Member, times_received, until_complete};
use mesh_tests::process::free_port;
use mesh_tests::wait::{SOON, until};
use tokio::task::JoinHandle;
use tokio::time::sleep;

const AGENTS: usize = 8;
const ROOM: &str = "balanced";

/// How long a hub drains: a second for load balancers to notice, two for the moves.
const DRAIN: Duration = Duration::from_secs(4);

/// How soon a newcomer is to be in the room.
const JOINED_IN: Duration = Duration::from_secs(3);

/// Time between two messages of an agent.
const PACE: Duration = Duration::from_millis(20);

/// A message that was sent: to whom, and its id.
type Sent = (PeerId, String);

/// Agents that send to those whom they are linked with, one after the other, until told to stop.
struct Streams {
    stop: Arc<AtomicBool>,
    sending: Vec<JoinHandle<Result<Vec<Sent>>>>,
}

impl Streams {
    fn start(agents: &[Native]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sending = agents.iter().map(|agent| {
            let (agent, stop) = (agent.agent().clone(), Arc::clone(&stop));
            tokio::spawn(send_until(agent, stop))
        });
        Self {
            sending: sending.collect(),
            stop,
        }
    }

    /// Checks that each message has arrived, once. Returns how many.
    async fn check(self, agents: &[Native]) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        let mut count = 0;
        for sending in self.sending {
            for (to, id) in sending.await?? {
                let target = agents.iter().find(|agent| agent.id() == to);
                // The target may be a newcomer that has left again.
                let Some(target) = target else { continue };
                until("a message has arrived", SOON, async || {
                    let times = times_received(target, &id).await?;
                    ensure!(times == 1, "{} has it {times} times", target.name());
                    Ok(())
                })
                .await?;
                count += 1;
            }
        }
        Ok(count)
    }
}

async fn send_until(agent: Agent, stop: Arc<AtomicBool>) -> Result<Vec<Sent>> {
    let options = SendOptions {
        delivery: Delivery::Reliable,
        deadline: None,
    };
    let mut sent = Vec::new();
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let peers = agent.peers()?;
        let linked: Vec<_> = peers.iter().filter(|peer| peer.direct).collect();
        if let Some(peer) = linked.get(turn % linked.len().max(1)) {
            let id = agent.send(peer.id, turn.to_string(), options).await?;
            sent.push((peer.id, id.to_string()));
        }
        sleep(PACE).await;
    }
    Ok(sent)
}

async fn join(url: &str, name: &str) -> Result<Native> {
    Native::join(JoinOptions::new(url, ROOM, name)).await
}

/// How many events of a type each agent has had.
async fn count(agents: &[Native], kind: &str) -> Result<Vec<usize>> {
    let counts = agents.iter().map(async |agent| {
        let events = agent.events(kind).await?;
        Ok(events.len())
    });
    try_join_all(counts).await
}

async fn rolling_restart(kind: Kind) -> Result<()> {
    let ports = [free_port()?, free_port()?, free_port()?];
    let drain = format!("{}s", DRAIN.as_secs());
    let start = async |hub: usize| HubProcess::start_at(ports[hub % 3], &["--drain", &drain]).await;
    let mut active = start(0).await?;
    let balancer = Balancer::start(kind, ports).await?;
    until("the load balancer has found the hub", SOON, async || {
        let (status, _) = get(balancer.port(), "/readyz").await?;
        ensure!(status == 200, "status {status}");
        Ok(())
    })
    .await?;
    let url = balancer.url();
    let names: Vec<_> = (0..AGENTS).map(|n| format!("agent-{n}")).collect();
    let agents = try_join_all(names.iter().map(|name| join(&url, name))).await?;
    let members: Vec<_> = agents.iter().map(|agent| agent as &dyn Member).collect();
    until_complete(&members, SOON).await?;
    // While the load balancer did not know yet which hubs are there, it may have refused some.
    let lost = count(&agents, "signalingLost").await?;
    let streams = Streams::start(&agents);
    for round in 1..=3 {
        let next = start(round).await?;
        active.stop(DRAIN + Duration::from_secs(1)).await?;
        active = next;
        let moves = count(&agents, "signalingMoved").await?;
        ensure!(moves == [round; AGENTS], "round {round}: {moves:?} moves");
        let since = Instant::now();
        let newcomer = join(&url, &format!("newcomer-{round}")).await?;
        let all = [&members[..], &[&newcomer]].concat();
        until_complete(&all, JOINED_IN.saturating_sub(since.elapsed())).await?;
        newcomer.agent().close().await;
    }
    let sent = streams.check(&agents).await?;
    ensure!(sent > 1_000, "{sent} messages are no stream");
    ensure!(
        count(&agents, "signalingLost").await? == lost,
        "a hub was lost"
    );
    for agent in &agents {
        let left = agent.events("peerLeft").await?;
        let left: Vec<_> = left
            .iter()
            .filter_map(|event| event["name"].as_str())
            .collect();
        ensure!(
            left.iter().all(|name| name.starts_with("newcomer")),
            "{} saw {left:?} leave",
            agent.name()
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn all_hubs_behind_haproxy_restart_one_by_one_and_no_message_or_member_is_lost() -> Result<()>
{
    rolling_restart(Kind::Haproxy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_hubs_behind_nginx_restart_one_by_one_and_no_message_or_member_is_lost() -> Result<()> {
    rolling_restart(Kind::Nginx).await
}
