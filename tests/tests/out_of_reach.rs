//! A hub that answers `out-of-reach` to signals: the Redis that it shares with another hub is gone,
//! so that it cannot reach the other, and its newcomers want links with members at the other all
//! the same.
//!
//! `MESH_OUT_OF_REACH_AGENTS` sets the number of agents.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use mesh_native::JoinOptions;
use mesh_native::core::PeerId;
use mesh_tests::agents::Native;
use mesh_tests::exposition::Exposition;
use mesh_tests::hub::HubProcess;
use mesh_tests::member::{Member, peers, stayed, until_complete, until_reaches};
use mesh_tests::process::free_port;
use mesh_tests::redis::Redis;
use mesh_tests::report;
use mesh_tests::wait::{SOON, until};

const ROOM: &str = "out-of-reach";

/// Why attempts end meanwhile.
const REASON: &str = "the hub of the peer is out of reach";

/// Half of them are in the room before Redis goes, the other half comes meanwhile.
const AGENTS: usize = 32;
const K: usize = 6;

/// How long the hubs are without Redis: longer than an attempt to link may take, so that attempts
/// which wait for the hub would time out.
const AWAY: Duration = Duration::from_secs(15);

/// Within which all are linked once Redis is back. It is printed; on a machine that has other work
/// it may take longer.
const LINKED: Duration = Duration::from_secs(3);

/// How many signals a hub has refused as `out-of-reach`.
async fn refused(metrics: u16) -> Result<f64> {
    let exposition = Exposition::of(metrics).await?;
    exposition.value("mesh_hub_errors_total{code=\"out-of-reach\"}")
}

async fn join(url: String, name: String) -> Result<Native> {
    Native::join(JoinOptions {
        k: Some(K),
        ..JoinOptions::new(&url, ROOM, &name)
    })
    .await
}

async fn all_join(count: usize, url: &str, what: &str) -> Result<Vec<Native>> {
    let joining = (0..count).map(|n| join(url.to_owned(), format!("{what}-{n}")));
    try_join_all(joining).await
}

/// Attempts to link that these agents gave up for another reason.
async fn failures(agents: &[Native]) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    for agent in agents {
        let failed = agent.events("linkFailed").await?;
        let others = failed.iter().filter(|event| event["reason"] != REASON);
        failures.extend(others.map(|event| format!("{}: {event}", agent.name())));
    }
    Ok(failures)
}

/// As many newcomers as there are members at the other hub, which they know and want links with.
async fn newcomers_arrive(hub: &HubProcess, metrics: u16, known: &[PeerId]) -> Result<Vec<Native>> {
    let newcomers = all_join(known.len(), &hub.url(), "newcomer").await?;
    until(
        "newcomers ask for links with the settled",
        SOON,
        async || {
            let peers = peers(&newcomers[0]).await?;
            let told = peers.iter().filter(|peer| known.contains(&peer.id)).count();
            ensure!(told == known.len(), "it knows {told} of {}", known.len());
            ensure!(refused(metrics).await? > 0.0, "no signal was refused");
            Ok(())
        },
    )
    .await?;
    Ok(newcomers)
}

#[tokio::test(flavor = "multi_thread")]
async fn newcomers_link_with_each_other_while_others_are_out_of_reach_and_with_all_then()
-> Result<()> {
    let count = std::env::var("MESH_OUT_OF_REACH_AGENTS");
    let half = count.map_or(Ok(AGENTS), |count| count.parse())? / 2;
    let mut redis = Redis::start().await?;
    let metrics = free_port()?;
    let metrics_at = format!("127.0.0.1:{metrics}");
    let url = redis.url();
    let theirs = HubProcess::start_at(free_port()?, &["--redis", &url]).await?;
    let more = ["--redis", &url, "--metrics", &metrics_at];
    let hub = HubProcess::start_at(free_port()?, &more).await?;
    let settled = all_join(half, &theirs.url(), "settled").await?;
    let known: Vec<_> = settled.iter().map(Native::id).collect();
    until_complete(&members([&settled]), SOON).await?;
    until("both hubs list them", SOON, async || {
        let health = hub.health().await?;
        ensure!(health["hub"]["members"] == half, "{health}");
        Ok(())
    })
    .await?;

    redis.kill().await?;
    let away = Instant::now();
    until("the hub notices", SOON, async || {
        let health = hub.health().await?;
        ensure!(health["hub"]["directory"] == "away", "{health}");
        Ok(())
    })
    .await?;
    let newcomers = newcomers_arrive(&hub, metrics, &known).await?;
    for newcomer in &newcomers {
        until_reaches(newcomer, &others(newcomer, &newcomers)).await?;
    }
    let took = away.elapsed();
    report(&format!(
        "{half} newcomers are one mesh {:.2} s after Redis went",
        took.as_secs_f64()
    ));
    tokio::time::sleep_until((away + AWAY).into()).await; // That Redis is away, itself.
    // Agents that miss members go on to ask for them.
    let before = refused(metrics).await?;
    until(
        "members at the other hub are asked for again",
        SOON,
        async || {
            ensure!(refused(metrics).await? > before, "none since {before}");
            Ok(())
        },
    )
    .await?;
    let failed = failures(&newcomers).await?;
    ensure!(failed.is_empty(), "attempts failed meanwhile: {failed:#?}");

    redis.restart().await?;
    let back = Instant::now();
    let all = members([&settled, &newcomers]);
    until_complete(&all, SOON).await.context("Redis is back")?;
    let took = back.elapsed();
    report(&format!(
        "{} signals refused as out of reach; {} agents linked {:.2} s after Redis was back",
        refused(metrics).await?,
        all.len(),
        took.as_secs_f64()
    ));
    if took > LINKED {
        report("WARNING: longer than it should take; is the machine busy?");
    }
    stayed(&all).await
}

fn others<'a>(of: &Native, all: &'a [Native]) -> Vec<&'a dyn Member> {
    let others = all.iter().filter(|agent| agent.id() != of.id());
    others.map(|agent| agent as &dyn Member).collect()
}

fn members<const N: usize>(groups: [&Vec<Native>; N]) -> Vec<&dyn Member> {
    let agents = groups.into_iter().flatten();
    agents.map(|agent| agent as &dyn Member).collect()
}
