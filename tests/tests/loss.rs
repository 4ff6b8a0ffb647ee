//! A path that loses packets: the agents at its ends tell so.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use mesh_native::core::PeerId;
use mesh_tests::agents::AgentProcess;
use mesh_tests::browser::{self, Tab};
use mesh_tests::hosts::{self, Network};
use mesh_tests::member::{Member, until_complete};
use mesh_tests::process::MeshProcess;
use mesh_tests::report;
use mesh_tests::wait::{SOON, until};

const ROOM: &str = "loss";

/// Where the hub listens: on a host of its own.
const HUB: &str = "192.168.8.9:9600";

/// What the switch drops: a sixth of the datagrams to the host of `ben`.
const LOSSY: &str = "table bridge lossy {\nchain forward {\n\
    type filter hook forward priority 0\n\
    ether type ip ip daddr 192.168.8.2 meta l4proto udp numgen random mod 6 == 0 drop\n}\n}\n";

/// The least share that is told of it once it shows.
const TOLD_MIN: f64 = 0.05;

/// How long that may take. Three round trips and eight pings, which the ends of a quiet link send
/// in turn, take a minute and a half, and now and then none of the eight is lost.
const TOLD_WITHIN: Duration = Duration::from_secs(240);

/// The share of pings to a peer that are lost, as a member has it; `None` while it is not known.
async fn loss(member: &dyn Member, peer: PeerId) -> Result<Option<f64>> {
    let peers = member.table("peers").await?;
    let mut peers = peers.as_array().context("no list")?.iter();
    let row = peers.find(|row| row["id"] == peer.to_string());
    let row = row.context("it is no member")?;
    ensure!(row.get("loss").is_some(), "its loss is not told: {row}");
    Ok(row["loss"].as_f64())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "pings are seldom: two minutes; the simulator has it as sim::rough"]
async fn what_a_path_loses_is_told_by_native_agents_and_tabs() -> Result<()> {
    const WHAT: &str = "a path that loses packets";
    if !browser::are_wanted(WHAT) || !hosts::can_be_made(WHAT).await {
        return Ok(());
    }
    let network = Network::new().await?;
    let server = network.host("hub", "eth0", &["192.168.8.9/24"]).await?;
    let [left, right, far] = [
        network.host("left", "eth0", &["192.168.8.1/24"]).await?,
        network.host("right", "eth0", &["192.168.8.2/24"]).await?,
        network.host("tab", "eth0", &["192.168.8.3/24"]).await?,
    ];
    let _hub = MeshProcess::start_on(&server, &["signal", "--listen", HUB])?;
    let url = format!("ws://{HUB}/signal");
    let anna = AgentProcess::join_on(&left, &url, ROOM, "anna", &[]).await?;
    let ben = AgentProcess::join_on(&right, &url, ROOM, "ben", &[]).await?;
    let page = format!("http://{HUB}/?room={ROOM}&name=tab");
    let tab = Tab::open_on(&far, &page).await?;
    until_complete(&[&anna, &ben, &tab], SOON).await?;
    network.switch().nft(LOSSY).await?;
    for (member, what) in [(&anna as &dyn Member, "native"), (&tab, "tab")] {
        let told = until("the loss is told", TOLD_WITHIN, async || {
            let told = loss(member, ben.id()).await?;
            let Some(told) = told else {
                bail!("it is not known yet: {}", member.table("stats").await?);
            };
            ensure!(told > TOLD_MIN, "a sixth is lost, and told is {told}");
            Ok(told)
        })
        .await?;
        report(&format!(
            "{what}: {:.0} % of a path that loses a sixth",
            told * 100.0
        ));
    }
    let other = until("the other loss is told", TOLD_WITHIN, async || {
        let told = loss(&anna, tab.id()).await?;
        told.context("it is not known yet")
    })
    .await?;
    ensure!(other < TOLD_MIN, "nothing is lost there, but {other}");
    let select = format!(
        "document.querySelector('[data-peer=\"{}\"] button').click()",
        ben.id()
    );
    tab.evaluate(&select, &[]).await?;
    until("the page shows it", SOON, async || {
        let facts = tab.text("#inspector .facts").await?;
        ensure!(facts.contains("% lost"), "it shows {facts:?}");
        Ok(())
    })
    .await?;
    tab.close().await
}
