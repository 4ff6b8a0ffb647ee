//! Agents that know several hubs, without anything in front of them.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use mesh_native::JoinOptions;
use mesh_tests::agents::{AgentProcess, Native};
use mesh_tests::browser::{Browser, Tab, are_wanted};
use mesh_tests::hub::HubProcess;
use mesh_tests::member::{Member, request_all_pairs, until_complete};
use mesh_tests::process::free_port;
use mesh_tests::wait::{SOON, until};
use serde_json::{Value, json};
use tokio::time::timeout;

const AGENTS: usize = 6;
const ROOM: &str = "failover";

/// How soon an agent is at the next hub, and a newcomer in the room.
const OVER_IN: Duration = Duration::from_secs(3);

/// How long a hub waits for its agents to move.
const DRAIN: Duration = Duration::from_secs(4);

/// Two hubs, of which agents like the first best.
struct Hubs {
    urls: Vec<String>,
    ports: [u16; 2],
}

impl Hubs {
    fn new() -> Result<Self> {
        let ports = [free_port()?, free_port()?];
        let urls = ports.map(|port| format!("ws://127.0.0.1:{port}/signal"));
        Ok(Self {
            urls: urls.to_vec(),
            ports,
        })
    }

    async fn start(&self, hub: usize) -> Result<HubProcess> {
        let drain = format!("{}s", DRAIN.as_secs());
        // Pages of the first use the second too.
        let page = format!("http://127.0.0.1:{}", self.ports[0]);
        let more = ["--drain", &drain, "--allow-origin", &page];
        HubProcess::start_at(self.ports[hub], &more).await
    }

    async fn join(&self, name: &str) -> Result<Native> {
        let options = JoinOptions::with_hubs(self.urls.clone(), ROOM, name);
        Native::join(options).await
    }

    async fn join_many(&self) -> Result<Vec<Native>> {
        let names: Vec<_> = (0..AGENTS).map(|n| format!("agent-{n}")).collect();
        try_join_all(names.iter().map(|name| self.join(name))).await
    }
}

fn members(agents: &[Native]) -> Vec<&dyn Member> {
    agents.iter().map(|agent| agent as &dyn Member).collect()
}

/// Waits until each has an event of this type that names this hub.
async fn until_told(members: &[&dyn Member], kind: &str, hub: usize) -> Result<()> {
    until(&format!("{kind} of hub {hub}"), OVER_IN, async || {
        for member in members {
            let told = member.events(kind).await?;
            let named = told.iter().any(|event| event["hub"] == hub);
            ensure!(named, "{} was told {told:?}", member.name());
        }
        Ok(())
    })
    .await
}

/// No link of theirs has closed, but those that were surplus.
async fn keep_their_links(members: &[&dyn Member]) -> Result<()> {
    for member in members {
        let closed = member.events("linkClosed").await?;
        let dead = |event: &&Value| event["reason"] != "no longer wanted";
        let dead = closed.iter().find(dead);
        ensure!(dead.is_none(), "{} closed a link: {dead:?}", member.name());
        let left = member.events("peerLeft").await?;
        ensure!(left.is_empty(), "{} saw {left:?} leave", member.name());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_hub_dies_its_agents_go_to_the_next_and_newcomers_find_them_there() -> Result<()> {
    let hubs = Hubs::new()?;
    let mut first = hubs.start(0).await?;
    let second = hubs.start(1).await?;
    let mut agents = hubs.join_many().await?;
    until_complete(&members(&agents), SOON).await?;
    first.kill().await?;
    until_told(&members(&agents), "signalingLost", 0).await?;
    until_told(&members(&agents), "signalingRestored", 1).await?;
    agents.push(timeout(OVER_IN, hubs.join("newcomer")).await??);
    until_complete(&members(&agents), OVER_IN).await?;
    keep_their_links(&members(&agents)).await?;
    let health = second.health().await?;
    ensure!(health["hub"]["members"] == AGENTS + 1, "{health}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_hangs_keeps_a_newcomer_from_the_next_for_two_seconds() -> Result<()> {
    let hubs = Hubs::new()?;
    let first = hubs.start(0).await?;
    let _second = hubs.start(1).await?;
    first.process().signal("STOP").await?;
    let joined = timeout(OVER_IN, hubs.join("newcomer")).await;
    first.process().signal("CONT").await?;
    let newcomer = joined??;
    until_told(&[&newcomer], "signalingLost", 0).await?;
    let lost = newcomer.events("signalingLost").await?;
    ensure!(lost.len() == 1 && lost[0]["hub"] == 0, "{lost:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_is_told_to_stop_waits_until_its_agents_have_moved() -> Result<()> {
    let hubs = Hubs::new()?;
    let first = hubs.start(0).await?;
    let _second = hubs.start(1).await?;
    let url = hubs.urls[1].clone();
    let agents = hubs.join_many().await?;
    let more = ["--signaling", &url];
    let process = AgentProcess::join(&hubs.urls[0], ROOM, "process", &more).await?;
    let all = [members(&agents), vec![&process]].concat();
    until_complete(&all, SOON).await?;
    first.stop(DRAIN).await?;
    until_told(&all, "signalingMoved", 1).await?;
    for member in &all {
        let lost = member.events("signalingLost").await?;
        ensure!(lost.is_empty(), "{} lost {lost:?}", member.name());
    }
    keep_their_links(&all).await?;
    request_all_pairs(&all, "after the move").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tab_moves_to_the_next_hub_and_goes_on_when_that_dies() -> Result<()> {
    if !are_wanted("tabs that know several hubs") {
        return Ok(());
    }
    let hubs = Hubs::new()?;
    for browser in [Browser::Chrome, Browser::Firefox] {
        let first = hubs.start(0).await?;
        first.require_page().await?;
        let mut second = hubs.start(1).await?;
        let native = hubs.join("native").await?;
        let [one, two] = &hubs.urls[..] else {
            unreachable!()
        };
        let query = format!("room={ROOM}&name=tab&signaling={one}&signaling={two}");
        let tab = Tab::open(browser, &first.page(&query)).await?;
        let both: [&dyn Member; 2] = [&native, &tab];
        until_complete(&both, SOON).await?;
        first.stop(DRAIN).await?;
        until_told(&both, "signalingMoved", 1).await?;
        request_all_pairs(&both, "after the move").await?;
        let first = hubs.start(0).await?;
        second.kill().await?;
        until_told(&both, "signalingRestored", 0).await?;
        keep_their_links(&both).await?;
        ensure!(first.health().await?["hub"]["members"] == json!(2));
        tab.close().await?;
    }
    Ok(())
}
