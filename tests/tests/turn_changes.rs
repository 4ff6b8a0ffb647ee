//! Relayed links whose network or TURN server changes: a real coturn between hosts of the test.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mesh_tests::agents::AgentProcess;
use mesh_tests::browser::{self, Tab};
use mesh_tests::hosts;
use mesh_tests::member::{Member, peers, until_complete};
use mesh_tests::process::MeshProcess;
use mesh_tests::relayed::{
    BETWEEN, HUB, Hosts, ROOM, SHARED, SecretFile, minting_hub, path, until_relayed,
};
use mesh_tests::report;
use mesh_tests::turn::TurnServer;
use mesh_tests::wait::{SOON, until};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn a_relayed_link_is_direct_within_a_minute_after_the_block_ends() -> Result<()> {
    if !hosts::can_be_made("a relayed link becomes direct").await {
        return Ok(());
    }
    let hosts = Hosts::new(&["anna", "ben"]).await?;
    hosts.block(true).await?;
    let server = TurnServer::start(Some(&hosts.between), (BETWEEN, 3478), &SHARED).await?;
    let (_hub, _secret) = minting_hub(&hosts, "upgrade").await?;
    let (anna, ben) = tokio::try_join!(hosts.agent(0, "anna", &[]), hosts.agent(1, "ben", &[]))?;
    until_complete(&[&anna, &ben], SOON).await?;
    until_relayed([&anna, &ben], true, SOON).await?;
    let made = server.allocations().len();
    hosts.block(false).await?;
    let begun = Instant::now();
    let mut asked = 0;
    until(
        "the link to be direct",
        Duration::from_secs(60),
        async || {
            let reply = anna.request(ben.id(), "meanwhile").await?;
            ensure!(reply == "meanwhile", "the reply is {reply}");
            asked += 1;
            let paths = [path(&anna, &ben).await?, path(&ben, &anna).await?];
            ensure!(
                paths.iter().all(|path| path["relayed"] == false),
                "{paths:?}"
            );
            Ok(())
        },
    )
    .await?;
    let took = begun.elapsed();
    report(&format!(
        "direct {took:?} after the block ended, {asked} replies meanwhile"
    ));
    for agent in [&anna, &ben] {
        for kind in ["linkClosed", "linkFailed"] {
            let events = agent.events(kind).await?;
            ensure!(events.is_empty(), "{}: {events:?}", agent.name());
        }
        let ways = agent.events("linkPath").await?;
        let relayed: Vec<_> = ways.iter().map(|event| &event["path"]["relayed"]).collect();
        ensure!(
            relayed.last() == Some(&&Value::Bool(false)),
            "{}: {ways:?}",
            agent.name()
        );
    }
    ensure!(
        server.allocations().len() == made,
        "a direct try asks for no relay"
    );
    // The relays are given back.
    until("the allocations to end", SOON, async || {
        let log = server.log();
        let ended = log
            .lines()
            .filter(|line| line.contains(": delete: realm="))
            .count();
        ensure!(ended >= made, "{ended} of {made}: {log}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tab_is_relayed_without_a_direct_path_and_direct_once_there_is_one() -> Result<()> {
    const WHAT: &str = "a tab that is relayed";
    if !browser::are_wanted(WHAT) || !hosts::can_be_made(WHAT).await {
        return Ok(());
    }
    let hosts = Hosts::new(&["anna", "ben"]).await?;
    hosts.block(true).await?;
    let server = TurnServer::start(Some(&hosts.between), (BETWEEN, 3478), &SHARED).await?;
    let (_hub, _secret) = minting_hub(&hosts, "tab").await?;
    let page = format!("http://{HUB}/?room={ROOM}&name=tab");
    let tab = Tab::open_on(&hosts.others[0], &page).await?;
    let ben = hosts.agent(1, "ben", &[]).await?;
    until_complete(&[&tab, &ben], SOON).await?;
    until_relayed([&tab, &ben], true, SOON).await?;
    let made = server.allocations().len();
    ensure!(made > 0, "{}", server.log());
    let opened = ben.line("the link opens", |line| line["type"] == "linkOpened");
    let setup = opened.await?["setupMs"]
        .as_f64()
        .context("it took some time")?;
    report(&format!(
        "tab and agent relayed after {setup:.0} ms, {made} allocations"
    ));
    ensure!(setup > 2_000.0 && setup < 3_500.0, "it took {setup} ms");
    let reply = ben.request(tab.id(), "over a relay").await?;
    ensure!(reply == "over a relay", "the reply is {reply}");
    hosts.block(false).await?;
    let begun = Instant::now();
    until_relayed([&tab, &ben], false, Duration::from_secs(60)).await?;
    report(&format!(
        "direct {:?} after the block ended",
        begun.elapsed()
    ));
    let reply = ben.request(tab.id(), "directly").await?;
    ensure!(reply == "directly", "the reply is {reply}");
    ensure!(
        server.allocations().len() == made,
        "a direct try asks for no relay"
    );

    // Another agent of the same page, which may only be relayed.
    let arguments = [ROOM.into(), ben.id().to_string().into()];
    let told = tab.evaluate(RELAY_ONLY, &arguments).await?;
    ensure!(told["path"]["local"] == "relay", "the page tells {told}");
    ensure!(told["refused"] == "options", "the page tells {told}");
    ensure!(server.allocations().len() > made, "{}", server.log());
    tab.close().await
}

/// Joins a room, and returns the way of the link to a peer, and how a bad policy is refused.
const RELAY_ONLY: &str = "
    const [room, peer] = arguments;
    return (async () => {
        const { default: init, Mesh } = await import('/pkg/mesh_wasm.js');
        await init();
        const signaling = `ws://${location.host}/signal`;
        const options = { signaling, room, name: 'hidden', iceTransportPolicy: 'relay' };
        const bad = Mesh.join({ ...options, iceTransportPolicy: 'direct' });
        const refused = await bad.then(() => null, (error) => error.code);
        const mesh = await Mesh.join({ ...options, turnFallbackMs: 500 });
        for await (const event of mesh.events()) {
            if (event.type === 'linkPath' && event.peer === peer) break;
        }
        const path = mesh.peers().find(({ id }) => id === peer).path;
        await mesh.close();
        return { path, refused };
    })();";

/// Three agents of which two are linked over the TURN server alone, and the third to both.
struct Relayed {
    hosts: Hosts,
    server: TurnServer,
    _hub: (MeshProcess, SecretFile),
    anna: AgentProcess,
    ben: AgentProcess,
    _cleo: AgentProcess,
}

impl Relayed {
    async fn new(of: &str) -> Result<Self> {
        let hosts = Hosts::new(&["anna", "ben", "cleo"]).await?;
        hosts.block(true).await?;
        let server = TurnServer::start(Some(&hosts.between), (BETWEEN, 3478), &SHARED).await?;
        let hub = minting_hub(&hosts, of).await?;
        let (anna, ben, cleo) = tokio::try_join!(
            hosts.agent(0, "anna", &[]),
            hosts.agent(1, "ben", &[]),
            hosts.agent(2, "cleo", &[])
        )?;
        until_complete(&[&anna, &ben, &cleo], SOON).await?;
        until_relayed([&anna, &ben], true, SOON).await?;
        Ok(Self {
            hosts,
            server,
            _hub: hub,
            anna,
            ben,
            _cleo: cleo,
        })
    }

    /// Waits until the relayed link carries again what it did not, and asks all the while: each
    /// request must be answered, over the third agent if need be.
    async fn until_back(&self, broken: Instant) -> Result<Duration> {
        until("the relayed link is away", SOON, async || {
            self.ask().await?;
            let direct = self.linked().await?;
            ensure!(!direct, "it is linked");
            Ok(())
        })
        .await?;
        let away = broken.elapsed();
        until(
            "the relayed link is back",
            Duration::from_secs(20),
            async || {
                self.ask().await?;
                ensure!(self.linked().await?, "it is not linked");
                Ok(())
            },
        )
        .await?;
        let took = broken.elapsed();
        report(&format!(
            "away was noticed after {away:?}, and back after {took:?}"
        ));
        ensure!(took < Duration::from_secs(20), "it took {took:?}");
        until_relayed([&self.anna, &self.ben], true, SOON).await?;
        Ok(took)
    }

    async fn ask(&self) -> Result<()> {
        let reply = self.anna.request(self.ben.id(), "still?").await?;
        ensure!(reply == "still?", "the reply is {reply}");
        Ok(())
    }

    async fn linked(&self) -> Result<bool> {
        let peers = peers(&self.anna).await?;
        let ben = peers.iter().find(|peer| peer.id == self.ben.id());
        Ok(ben.context("it is a member")?.direct)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn relayed_links_are_back_within_20_s_after_the_turn_server_is_killed() -> Result<()> {
    if !hosts::can_be_made("a TURN server that is killed").await {
        return Ok(());
    }
    let mut relayed = Relayed::new("killed").await?;
    let broken = Instant::now();
    let Relayed { server, hosts, .. } = &mut relayed;
    server.restart(Some(&hosts.between)).await?;
    relayed.until_back(broken).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_go_over_others_while_the_turn_server_is_stalled() -> Result<()> {
    if !hosts::can_be_made("a TURN server that is stalled").await {
        return Ok(());
    }
    let relayed = Relayed::new("stalled").await?;
    relayed.server.signal("STOP").await?;
    let stalled = Instant::now();
    while stalled.elapsed() < Duration::from_secs(5) {
        relayed.ask().await?;
    }
    relayed.server.signal("CONT").await?;
    until(
        "the relayed link is there",
        Duration::from_secs(15),
        async || {
            relayed.ask().await?;
            ensure!(relayed.linked().await?, "it is not linked");
            Ok(())
        },
    )
    .await?;
    let took = stalled.elapsed();
    report(&format!("linked {took:?} after the stall began"));
    until_relayed([&relayed.anna, &relayed.ben], true, SOON).await
}
