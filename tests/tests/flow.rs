//! What one agent sends to another arrives whole and in order, however fast it is sent and however
//! many agents pass it on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;
use mesh_native::core::{Event, Payload, PeerId};
use mesh_native::{Agent, Events, JoinOptions, SendOptions};
use mesh_tests::hub::HubProcess;
use mesh_tests::report;
use mesh_tests::wait::{SOON, until};

const ROOM: &str = "flow";

/// Agents in a ring, so that the last of three hops is there.
const AGENTS: usize = 7;

/// Links of each: its neighbours in the ring.
const K: usize = 2;

/// Messages sent to each target, as fast as they are taken.
const MESSAGES: usize = 10_000;

/// How long a burst may take: a tenth of the rate that a debug build on a busy machine reaches.
const PATIENCE: Duration = Duration::from_secs(120);

/// Agents in a ring, with a path from each to each.
async fn ring(hub: &HubProcess) -> Result<Vec<(Agent, Events)>> {
    let joining = (0..AGENTS).map(|n| {
        Agent::join_with_events(JoinOptions {
            k: Some(K),
            ..JoinOptions::new(&hub.url(), ROOM, &format!("agent-{n}"))
        })
    });
    let agents = try_join_all(joining).await?;
    until("a ring with all paths", SOON, async || {
        for (agent, _) in &agents {
            let settled = agent.is_settled()? && agent.members()? == AGENTS - 1;
            ensure!(settled, "{} is not settled", agent.name());
        }
        Ok(())
    })
    .await?;
    Ok(agents)
}

/// The members by how many hops they are away.
fn by_hops(agent: &Agent) -> Result<BTreeMap<u8, PeerId>> {
    let routes = agent.routes()?.into_iter();
    Ok(routes
        .map(|route| (route.hops, route.destination))
        .collect())
}

/// Reads until all of a burst has come, each in its turn.
async fn read_burst(events: &mut Events, from: PeerId) -> Result<()> {
    let mut next = 0;
    while next < MESSAGES {
        match events.next().await.context("the agent lives")? {
            Event::Message(message) if message.from == from => {
                let expected = Payload::from(next.to_string());
                let payload = message.payload;
                ensure!(payload == expected, "{payload:?} in place of {expected:?}");
                next += 1;
            }
            Event::Lagged { missed } => bail!("the test reads too slowly: {missed} missed"),
            _ => {}
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_messages_over_one_to_three_hops_all_arrive_in_order() -> Result<()> {
    let hub = HubProcess::start().await?;
    let mut agents = ring(&hub).await?;
    let author = agents[0].0.clone();
    for (hops, to) in by_hops(&author)? {
        let target = agents.iter_mut().find(|(agent, _)| agent.id() == to);
        let (_, events) = target.context("a member of the test")?;
        let began = Instant::now();
        let sending = async {
            for number in 0..MESSAGES {
                let options = SendOptions::default();
                author.send(to, number.to_string(), options).await?;
            }
            Ok(began.elapsed())
        };
        let both = futures::future::try_join(sending, read_burst(events, author.id()));
        let arrived = tokio::time::timeout(PATIENCE, both).await;
        let (sent, ()) = arrived.with_context(|| format!("over {hops} hops in {PATIENCE:?}"))??;
        let rate = MESSAGES as f64 / began.elapsed().as_secs_f64();
        report(&format!(
            "{hops} hops: {MESSAGES} messages sent in {sent:.2?}, all arrived in order, {rate:.0}/s"
        ));
    }
    for (agent, _) in &agents {
        let lost: u64 = agent.stats()?.lost.values().sum();
        ensure!(lost == 0, "{} lost {lost}", agent.name());
    }
    Ok(())
}
