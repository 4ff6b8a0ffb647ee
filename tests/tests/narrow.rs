//! A path that drops large packets and says nothing: a black hole for everything over a size.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mesh_tests::agents::AgentProcess;
use mesh_tests::hosts::{self, Network};
use mesh_tests::member::{Member, until_complete};
use mesh_tests::process::MeshProcess;
use mesh_tests::report;
use mesh_tests::wait::{SOON, until};

const ROOM: &str = "narrow";

/// Where the hub listens: on a host of its own.
const HUB: &str = "192.168.8.9:9600";

/// What the switch drops: IP packets of more bytes than a tunnel in a tunnel passes.
const NARROW: &str = "table bridge narrow {\nchain forward {\n\
    type filter hook forward priority 0\n\
    ether type ip meta l4proto udp meta length > 1000 drop\n}\n}\n";

/// Bytes of each request, and of its reply: they fill several packets.
const REQUEST_BYTES: usize = 20_000;

/// How long requests follow each other, once packets are small enough.
const LASTS: Duration = Duration::from_secs(10);

/// How often a link may be lost until both ends send small packets: once for each.
const LOST_MAX: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_pass_a_path_that_drops_large_packets() -> Result<()> {
    if !hosts::can_be_made("a path that drops large packets").await {
        return Ok(());
    }
    let network = Network::new().await?;
    let server = network.host("hub", "eth0", &["192.168.8.9/24"]).await?;
    let left = network.host("left", "eth0", &["192.168.8.1/24"]).await?;
    let right = network.host("right", "eth0", &["192.168.8.2/24"]).await?;
    network.switch().nft(NARROW).await?;
    let _hub = MeshProcess::start_on(&server, &["signal", "--listen", HUB])?;
    let url = format!("ws://{HUB}/signal");
    let anna = AgentProcess::join_on(&left, &url, ROOM, "anna", &[]).await?;
    let ben = AgentProcess::join_on(&right, &url, ROOM, "ben", &[]).await?;
    until_complete(&[&anna, &ben], SOON).await?;

    let payload = "x".repeat(REQUEST_BYTES);
    let began = Instant::now();
    until("a large request is answered", SOON, async || {
        let reply = anna.request(ben.id(), &payload).await?;
        ensure!(reply == payload.as_str(), "the reply is another");
        Ok(())
    })
    .await?;
    let (took, lost) = (began.elapsed(), anna.events("linkClosed").await?.len());
    report(&format!(
        "the first request over a path that drops packets over 1,000 bytes took {took:?}, \
         and {lost} links"
    ));
    ensure!(lost <= LOST_MAX, "{lost} links were lost on the way");

    let (since, mut answered) = (Instant::now(), 0);
    while since.elapsed() < LASTS {
        for (from, to) in [(&anna, &ben), (&ben, &anna)] {
            let reply = from.request(to.id(), &payload).await?;
            ensure!(reply == payload.as_str(), "the reply is another");
            answered += 1;
        }
    }
    let later = anna.events("linkClosed").await?.len();
    report(&format!("{answered} requests after that in {LASTS:?}"));
    ensure!(later <= LOST_MAX, "links are lost again: {later}");
    Ok(())
}
