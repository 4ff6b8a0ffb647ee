//! Hosts with many addresses, most of them of no use to a peer.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mesh_tests::agents::AgentProcess;
use mesh_tests::hosts::{self, Host, Network};
use mesh_tests::member::{Member, until_complete};
use mesh_tests::process::MeshProcess;
use mesh_tests::report;
use mesh_tests::wait::SOON;
use serde_json::Value;

const ROOM: &str = "addresses";

/// Where the hub listens: on anna's host, which is of the test alone.
const HUB: &str = "192.168.7.1:9600";

/// Lines that an agent may log while it links: what the stack beneath says of dead ends is many
/// times as much.
const LOGGED_MAX: usize = 20;

/// Seven networks that sort before the one that works, others for each host: without a default
/// route the other cannot even send there.
fn dead(host: usize) -> Vec<String> {
    (1..=7).map(|n| format!("10.{host}.{n}.1/24")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_works_is_used_beside_seven_that_do_not() -> Result<()> {
    if !hosts::can_be_made("agents on hosts with many addresses").await {
        return Ok(());
    }
    for (dead_end, has_default_route) in [("cni0", true), ("cni0", false), ("lab0", false)] {
        let network = Network::new().await?;
        let anna = network.host("anna", "eth0", &["192.168.7.1/24"]).await?;
        let ben = network.host("ben", "eth0", &["192.168.7.2/24"]).await?;
        let hosts = [(&anna, "192.168.7.2"), (&ben, "192.168.7.1")];
        for (number, (host, gateway)) in hosts.into_iter().enumerate() {
            host.add_dead_end(dead_end, &dead(number)).await?;
            if has_default_route {
                host.ip(&["route", "add", "default", "via", gateway])
                    .await?;
            }
        }
        link(&anna, &ben)
            .await
            .with_context(|| format!("{dead_end}, default route: {has_default_route}"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_address_changes_is_back_before_its_old_one_times_out() -> Result<()> {
    /// A restart of ICE takes two signals through the hub and the checks of a path; a machine that
    /// is busy with other tests takes longer. `cargo xtask soak` measures many such changes.
    const BACK: Duration = Duration::from_secs(4);
    if !hosts::can_be_made("an agent whose address changes").await {
        return Ok(());
    }
    let network = Network::new().await?;
    let [anna, ben] = [
        network.host("anna", "eth0", &["192.168.7.1/24"]).await?,
        network.host("ben", "eth0", &["192.168.7.2/24"]).await?,
    ];
    let _hub = MeshProcess::start_on(&anna, &["signal", "--listen", HUB])?;
    let url = format!("ws://{HUB}/signal");
    let agents = tokio::try_join!(
        AgentProcess::join_on(&anna, &url, ROOM, "anna", &[]),
        AgentProcess::join_on(&ben, &url, ROOM, "ben", &[])
    )?;
    until_complete(&[&agents.0, &agents.1], SOON).await?;
    ben.ip(&["address", "flush", "dev", "eth0"]).await?;
    let moved = Instant::now();
    ben.add_address("eth0", "192.168.7.9/24").await?;
    // Anna hears of it by the offer to restart, if not by her own keepalive.
    for kind in ["linkClosed", "linkOpened"] {
        let is_next = |line: &Value| line["type"] == kind;
        agents.1.line("the link's end and return", is_next).await?;
    }
    let took = moved.elapsed();
    report(&format!("linked again {took:?} after a change of address"));
    ensure!(took < BACK, "it takes {took:?}");
    let reply = agents.0.request(agents.1.id(), "moved?").await?;
    ensure!(reply == "moved?", "the reply is {reply}");
    let stats = agents.1.table("stats").await?;
    let repairs = &stats["repairs"];
    // Its address may be gone for a moment, in which there is nothing to bind: then it is another
    // connection that opens.
    ensure!(
        repairs["restart"].as_u64() >= Some(1),
        "no restart was tried: {repairs}"
    );
    until_complete(&[&agents.0, &agents.1], SOON).await?;
    Ok(())
}

async fn link(anna: &Host, ben: &Host) -> Result<()> {
    let _hub = MeshProcess::start_on(anna, &["signal", "--listen", HUB])?;
    let url = format!("ws://{HUB}/signal");
    let (anna, ben) = tokio::try_join!(
        AgentProcess::join_on(anna, &url, ROOM, "anna", &[]),
        AgentProcess::join_on(ben, &url, ROOM, "ben", &[])
    )?;
    until_complete(&[&anna, &ben], SOON).await?;
    let reply = anna.request(ben.id(), "over what works").await?;
    ensure!(reply == "over what works", "the reply is {reply}");
    for agent in [&anna, &ben] {
        let logged = agent.logged().await;
        ensure!(
            logged.len() < LOGGED_MAX,
            "{} lines, {:?}",
            logged.len(),
            logged.first()
        );
    }
    Ok(())
}
