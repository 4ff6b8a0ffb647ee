//! Processes that are stopped and continued, as a paused virtual machine or a frozen laptop does.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use mesh_tests::agents::AgentProcess;
use mesh_tests::hub::HubProcess;
use mesh_tests::member::{Member, until_complete};
use mesh_tests::wait::{SOON, until};
use serde_json::json;

const AGENTS: usize = 8;

/// Longer than a neighbour may acknowledge nothing (15 s).
const STOPPED_FOR: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_mesh_that_is_stopped_as_a_whole_under_traffic_keeps_its_links() -> Result<()> {
    let hub = HubProcess::start().await?;
    let url = hub.url();
    let names: Vec<_> = (0..AGENTS).map(|n| format!("agent-{n}")).collect();
    let joining = names
        .iter()
        .map(|name| AgentProcess::join(&url, "stopped", name, &["--k", "4"]));
    let agents = try_join_all(joining).await?;
    let members: Vec<_> = agents.iter().map(|agent| agent as &dyn Member).collect();
    until_complete(&members, SOON).await?;
    // What is sent last is still to be acknowledged when everything stops.
    for agent in &agents {
        for other in agents.iter().filter(|other| other.id() != agent.id()) {
            let send = json!({"type": "send", "to": other.id(), "payload": "x"});
            agent.write_line(&send.to_string()).await?;
        }
    }
    try_join_all(agents.iter().map(|agent| agent.signal("STOP"))).await?;
    tokio::time::sleep(STOPPED_FOR).await; // The fault itself.
    try_join_all(agents.iter().map(|agent| agent.signal("CONT"))).await?;

    until("each message has arrived", SOON, async || {
        for member in &members {
            let received = member.events("message").await?.len();
            let name = member.name();
            ensure!(received == AGENTS - 1, "{name} has {received} messages");
        }
        Ok(())
    })
    .await?;
    until_complete(&members, Duration::from_secs(5)).await?;
    for member in &members {
        let closed = member.events("linkClosed").await?;
        // A surplus link of the join may be given up at any time.
        let dead = closed
            .iter()
            .find(|event| event["reason"] != "no longer wanted");
        ensure!(dead.is_none(), "{} closed a link: {dead:?}", member.name());
    }
    Ok(())
}
