//! Hosts with many addresses, most of them of no use to a peer.

use anyhow::{Context, Result, ensure};
use mesh_tests::agents::AgentProcess;
use mesh_tests::hosts::{self, Host, Network};
use mesh_tests::member::{Member, until_complete};
use mesh_tests::process::MeshProcess;
use mesh_tests::wait::SOON;

const ROOM: &str = "addresses";

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

async fn link(anna: &Host, ben: &Host) -> Result<()> {
    let _hub = MeshProcess::start_on(anna, &["signal", "--listen", "192.168.7.1:9600"])?;
    let url = "ws://192.168.7.1:9600/signal";
    let (anna, ben) = tokio::try_join!(
        AgentProcess::join_on(anna, url, ROOM, "anna"),
        AgentProcess::join_on(ben, url, ROOM, "ben")
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
