//! Real agents on hosts between which the network fails while there is no hub.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use mesh_tests::agents::AgentProcess;
use mesh_tests::hosts::{self, Network};
use mesh_tests::member::{Member, peers, until_complete};
use mesh_tests::process::MeshProcess;
use mesh_tests::report;
use mesh_tests::wait::{SOON, until};

const ROOM: &str = "partition";

/// Where the hub listens: on a host of its own.
const HUB: &str = "192.168.8.9:9600";

/// How long the network is in two parts: so long that SCTP sends nothing again by itself.
const PARTED: Duration = Duration::from_secs(40);

/// Bytes that each agent sends into the network that has just failed: several datagrams.
const UNDER_WAY_BYTES: usize = 8_000;

/// How soon after the network works again all agents reach each other, at the latest: they ask for
/// a sign of life every 2 s.
const MERGED: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_heals_while_the_hub_is_dead_merges() -> Result<()> {
    if !hosts::can_be_made("a partition that heals while the hub is dead").await {
        return Ok(());
    }
    let network = Network::new().await?;
    let server = network.host("hub", "eth0", &["192.168.8.9/24"]).await?;
    let left = network.host("left", "eth0", &["192.168.8.1/24"]).await?;
    let right = network.host("right", "eth0", &["192.168.8.2/24"]).await?;
    let hub = MeshProcess::start_on(&server, &["signal", "--listen", HUB])?;
    let url = format!("ws://{HUB}/signal");
    let hosts = [
        (&left, "anna"),
        (&left, "abel"),
        (&right, "ben"),
        (&right, "bo"),
    ];
    let joining = hosts.map(|(host, name)| AgentProcess::join_on(host, &url, ROOM, name, &[]));
    let agents = try_join_all(joining).await?;
    let members: Vec<_> = agents.iter().map(|agent| agent as &dyn Member).collect();
    until_complete(&members, SOON).await?;

    drop(hub);
    network.isolate(["left", "right"], true).await?;
    let parted = Instant::now();
    // More than SCTP sends at once after a loss: it has no room left for a sign of life.
    let under_way = "x".repeat(UNDER_WAY_BYTES);
    try_join_all(
        members
            .iter()
            .map(|member| member.broadcast("lost", &under_way)),
    )
    .await?;
    until_each_reaches(&members, 1).await?;
    tokio::time::sleep(PARTED.saturating_sub(parted.elapsed())).await;
    network.isolate(["left", "right"], false).await?;
    let healed = Instant::now();
    until_each_reaches(&members, 3).await?;
    let took = healed.elapsed();
    report(&format!(
        "merged {took:?} after a partition of {PARTED:?}, without a hub"
    ));
    ensure!(took < MERGED, "it takes {took:?}");
    let reply = agents[0].request(agents[3].id(), "merged?").await?;
    ensure!(reply == "merged?", "the reply is {reply}");
    Ok(())
}

/// Waits until every member has a way to so many others.
async fn until_each_reaches(members: &[&dyn Member], others: usize) -> Result<()> {
    let what = format!("every member to reach {others} others");
    until(&what, SOON, async || {
        for member in members {
            let peers = peers(*member).await?;
            let reached = peers.iter().filter(|peer| peer.hops.is_some()).count();
            ensure!(reached == others, "{} reaches {reached}", member.name());
        }
        Ok(())
    })
    .await
}
