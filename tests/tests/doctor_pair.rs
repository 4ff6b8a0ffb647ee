//! `mesh doctor --pair` with real agents: why two of them are not linked, or that all is well.

use anyhow::{Context as _, Result, ensure};
use mesh_native::JoinOptions;
use mesh_tests::agents::{AgentProcess, Native};
use mesh_tests::doctor::Diagnosis;
use mesh_tests::hosts;
use mesh_tests::hub::HubProcess;
use mesh_tests::member::{Member, until_complete};
use mesh_tests::nat::{HUB_URL, Internet, Nat, Pair, Place, SERVERS_HUB_URL, Servers, Side};
use mesh_tests::wait::{SOON, until};
use serde_json::Value;

const ROOM: &str = "pair";

async fn diagnosis(hub: &HubProcess, pair: [&str; 2]) -> Result<Diagnosis> {
    let url = hub.url();
    let arguments = ["--signaling", &url, "--room", ROOM, "--pair"];
    Diagnosis::of(None, &[&arguments[..], &pair].concat()).await
}

async fn join(hub: &HubProcess, name: &str, k: Option<usize>) -> Result<Native> {
    Native::join(JoinOptions {
        k,
        ..JoinOptions::new(&hub.url(), ROOM, name)
    })
    .await
}

/// The words of the finding about both.
fn verdict(found: &Diagnosis) -> Result<&str> {
    let pair = found.all("pair").next();
    let pair = pair.with_context(|| format!("no finding about both: {:#}", found.report))?;
    pair["found"].as_str().context("no words")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_cannot_link_say_so_through_a_third() -> Result<()> {
    if !hosts::can_be_made("two agents that cannot link, and a third").await {
        return Ok(());
    }
    let internet = Internet::new().await?;
    let places = Pair::Apart([Place::Behind(Nat::Symmetric); 2]);
    let sides = Side::pair(&internet, places).await?;
    let _hub = internet.hub(&Servers::Stun.urls()).await?;
    let (one, other) = (&sides[0].host, &sides[1].host);
    let (anna, ben, carol) = tokio::try_join!(
        AgentProcess::join_on(one, HUB_URL, ROOM, "anna", &[]),
        AgentProcess::join_on(other, HUB_URL, ROOM, "ben", &[]),
        AgentProcess::join_on(internet.servers(), SERVERS_HUB_URL, ROOM, "carol", &[]),
    )?;
    for agent in [&anna, &ben] {
        let failed = |line: &Value| line["type"] == "linkFailed";
        agent.line("an attempt that fails", failed).await?;
    }
    let arguments = ["--signaling", SERVERS_HUB_URL, "--room", ROOM, "--pair"];
    let pair = [&arguments[..], &["anna", "ben"]].concat();
    let found = Diagnosis::of(Some(internet.servers()), &pair).await?;
    found.require_wrong(
        "pair-end",
        "ICE has found no path",
        "hand out a TURN server",
    )?;
    for end in found.all("pair-end") {
        ensure!(end["outcome"] == "wrong", "{:#}", found.report);
    }
    ensure!(found.all("pair-end").count() == 2, "{:#}", found.report);
    let verdict = verdict(&found)?;
    ensure!(
        verdict.starts_with("not linked") && verdict.ends_with("2 hops, through carol"),
        "{:#}",
        found.report
    );
    // With the third the first is well; the id will do for a name.
    let id = carol.id().to_string();
    let pair = [&arguments[..], &["anna", &id[..12]]].concat();
    let found = Diagnosis::of(Some(internet.servers()), &pair).await?;
    found.require_ok("pair")?;
    ensure!(found.code == Some(0), "{:#}", found.report);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_is_linked_is_well_and_the_doctor_leaves_no_trace() -> Result<()> {
    let hub = HubProcess::start().await?;
    let (anna, bert) = (
        join(&hub, "anna", None).await?,
        join(&hub, "bert", None).await?,
    );
    until_complete(&[&anna, &bert], SOON).await?;
    let found = diagnosis(&hub, ["anna", "bert"]).await?;
    for check in ["room", "pair", "pair-end"] {
        found.require_ok(check)?;
    }
    ensure!(found.code == Some(0), "{:#}", found.report);
    ensure!(verdict(&found)?.starts_with("linked"), "{:#}", found.report);
    until("the doctor has left", SOON, async || {
        let health: Value = hub.health().await?;
        ensure!(health["hub"]["members"] == 2, "{health}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_reach_each_other_through_others_need_no_link() -> Result<()> {
    let hub = HubProcess::start().await?;
    let mut members = Vec::new();
    for number in 0..7 {
        members.push(join(&hub, &format!("agent-{number}"), Some(2)).await?);
    }
    let all: Vec<&dyn Member> = members.iter().map(|member| member as &dyn Member).collect();
    until_complete(&all, SOON).await?;
    until("a pair without a link, and all is calm", SOON, async || {
        let peers = members[0].agent().peers()?;
        let apart = peers
            .iter()
            .find(|peer| !peer.direct && peer.hops.is_some());
        let apart = apart.context("all are linked")?;
        let found = diagnosis(&hub, ["agent-0", &apart.name]).await?;
        found.require_ok("pair")?;
        let verdict = verdict(&found)?;
        ensure!(verdict.contains("need not be"), "{:#}", found.report);
        ensure!(found.code == Some(0), "{:#}", found.report);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_pair_of_members_is_told_with_what_may_be_meant() -> Result<()> {
    let hub = HubProcess::start().await?;
    let anna = join(&hub, "anna", None).await?;
    let twins = [
        join(&hub, "eve", None).await?,
        join(&hub, "eve", None).await?,
    ];
    until_complete(&[&anna, &twins[0], &twins[1]], SOON).await?;
    let found = diagnosis(&hub, ["anna", "eve"]).await?;
    found.require_wrong("member", "2 members are called so", "more of the id")?;
    let id = anna.id().to_string();
    let found = diagnosis(&hub, ["anna", &id]).await?;
    found.require_wrong("member", "both are this one member", "name two")?;
    let found = diagnosis(&hub, ["Ana", &id]).await?;
    found.require_wrong("member", "no member is called so", "did you mean \"anna\"?")?;
    let arguments = ["--signaling", "ws://127.0.0.1:1/signal", "--room", ROOM];
    let nowhere = [&arguments[..], &["--pair", "anna", "eve"]].concat();
    let found = Diagnosis::of(None, &nowhere).await?;
    found.require_wrong("room", "cannot be joined", "mesh doctor --signaling")
}
