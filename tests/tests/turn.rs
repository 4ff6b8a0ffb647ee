//! Links through a TURN server: a real coturn, between hosts whose network the test changes.

use anyhow::{Context, Result, ensure};
use mesh_tests::agents::AgentProcess;
use mesh_tests::hosts::{self, Host, Network};
use mesh_tests::member::{Member, until_complete};
use mesh_tests::process::MeshProcess;
use mesh_tests::turn::TurnServer;
use mesh_tests::wait::SOON;

const ROOM: &str = "relayed";

/// The host that all others reach: the hub and the TURN server.
const BETWEEN: &str = "203.0.113.1";
const HUB: &str = "203.0.113.1:9600";
const URL: &str = "ws://203.0.113.1:9600/signal";

/// A network with a host for the servers, and others.
struct Hosts {
    _network: Network,
    between: Host,
    others: Vec<Host>,
}

impl Hosts {
    async fn new(names: &[&str]) -> Result<Self> {
        let network = Network::new().await?;
        let between = network
            .host("turn", "eth0", &[&format!("{BETWEEN}/24")])
            .await?;
        let mut others = Vec::new();
        for (name, number) in names.iter().zip(2..) {
            let address = format!("203.0.113.{number}/24");
            others.push(network.host(name, "eth0", &[&address]).await?);
        }
        Ok(Self {
            _network: network,
            between,
            others,
        })
    }

    /// A hub with these options.
    async fn hub(&self, more: &[&str]) -> Result<MeshProcess> {
        let arguments = [&["signal", "--listen", HUB], more].concat();
        let hub = MeshProcess::start_on(&self.between, &arguments)?;
        let serves = |line: &String| line.contains("listen") || line.contains("page");
        hub.stderr.first("the hub serves", SOON, serves).await?;
        Ok(hub)
    }

    /// An agent on a host.
    async fn agent(&self, host: usize, name: &str, more: &[&str]) -> Result<AgentProcess> {
        AgentProcess::join_on(&self.others[host], URL, ROOM, name, more).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_that_may_only_be_relayed_link_over_servers_with_their_own_users() -> Result<()> {
    if !hosts::can_be_made("an agent that may only be relayed").await {
        return Ok(());
    }
    let hosts = Hosts::new(&["anna", "ben"]).await?;
    let users = |user| ["lt-cred-mech", user];
    let one = TurnServer::start(&hosts.between, (BETWEEN, 3478), &users("user=one:first")).await?;
    let two = TurnServer::start(&hosts.between, (BETWEEN, 3479), &users("user=two:other")).await?;
    let _hub = hosts
        .hub(&[
            "--ice-server",
            "turn:203.0.113.1:3478,one,first",
            "--ice-server",
            "turn:203.0.113.1:3479?transport=udp,two,other",
        ])
        .await?;
    let relay = ["--ice-transport-policy", "relay"];
    let (anna, ben) = tokio::try_join!(
        hosts.agent(0, "anna", &relay),
        hosts.agent(1, "ben", &relay)
    )?;
    until_complete(&[&anna, &ben], SOON).await?;
    let reply = anna.request(ben.id(), "over a relay").await?;
    ensure!(reply == "over a relay", "the reply is {reply}");
    for (server, user) in [(&one, "one"), (&two, "two")] {
        let users = server.allocations();
        let all = !users.is_empty() && users.iter().all(|of| of == user);
        ensure!(all, "allocations of {users:?}: {}", server.log());
    }
    // Nothing else leads from one to the other.
    let opened = anna.events("linkOpened").await?;
    let setup = opened.first().context("it has opened")?["setupMs"].as_f64();
    ensure!(
        setup.is_some_and(|ms| ms < 2_000.0),
        "opened in {setup:?} ms"
    );
    Ok(())
}
