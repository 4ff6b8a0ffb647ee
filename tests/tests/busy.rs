//! A hub that answers `busy` to signals: the Redis that it shares with another hub is gone, so that
//! it cannot reach the other, and its newcomers want links with members at the other all the same.
//!
//! `MESH_BUSY_AGENTS` sets the number of agents.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use mesh_native::JoinOptions;
use mesh_tests::agents::Native;
use mesh_tests::exposition::Exposition;
use mesh_tests::hub::HubProcess;
use mesh_tests::member::{Member, peers, stayed, until_complete};
use mesh_tests::process::free_port;
use mesh_tests::redis::Redis;
use mesh_tests::report;
use mesh_tests::wait::{SOON, until};

const ROOM: &str = "busy";

/// Half of them are in the room before Redis goes, the other half comes meanwhile.
const AGENTS: usize = 32;
const K: usize = 6;

/// How long the hubs are without Redis: longer than an attempt to link may take, so that an attempt
/// whose signals are refused fails unless its agent gives it more time.
const AWAY: Duration = Duration::from_secs(15);

/// Within which all are linked once Redis is back. It is printed; on a machine that has other work
/// it may take longer.
const LINKED: Duration = Duration::from_secs(3);

/// How many signals a hub has refused as `busy`.
async fn refused(metrics: u16) -> Result<f64> {
    let exposition = Exposition::of(metrics).await?;
    exposition.value("mesh_hub_errors_total{code=\"busy\"}")
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

/// Attempts to link that these agents gave up.
async fn failures(agents: &[Native]) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    for agent in agents {
        let failed = agent.events("linkFailed").await?;
        failures.extend(
            failed
                .iter()
                .map(|event| format!("{}: {event}", agent.name())),
        );
    }
    Ok(failures)
}

#[tokio::test(flavor = "multi_thread")]
async fn newcomers_whose_signals_a_hub_refuses_as_busy_are_linked_once_it_is_not() -> Result<()> {
    let count = std::env::var("MESH_BUSY_AGENTS");
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
    let newcomers = all_join(half, &hub.url(), "newcomer").await?;
    until(
        "a newcomer asks for links with the settled",
        SOON,
        async || {
            let peers = peers(&newcomers[0]).await?;
            let told = peers.iter().filter(|peer| known.contains(&peer.id)).count();
            ensure!(told == half, "it knows {told} of {half}");
            ensure!(refused(metrics).await? > 0.0, "no signal was refused");
            Ok(())
        },
    )
    .await?;
    tokio::time::sleep_until((away + AWAY).into()).await; // That Redis is away, itself.
    // Agents go on to give the hub their signals.
    let before = refused(metrics).await?;
    until("signals are given again", SOON, async || {
        ensure!(refused(metrics).await? > before, "none since {before}");
        Ok(())
    })
    .await?;
    let failed = failures(&newcomers).await?;
    ensure!(failed.is_empty(), "attempts failed meanwhile: {failed:#?}");

    redis.restart().await?;
    let back = Instant::now();
    let all = members([&settled, &newcomers]);
    until_complete(&all, SOON).await.context("Redis is back")?;
    let took = back.elapsed();
    report(&format!(
        "{} signals refused as busy; {} agents linked {:.2} s after Redis was back",
        refused(metrics).await?,
        all.len(),
        took.as_secs_f64()
    ));
    if took > LINKED {
        report(&format!(
            "WARNING: longer than {LINKED:?}; is the machine busy?"
        ));
    }
    stayed(&all).await
}

fn members<const N: usize>(groups: [&Vec<Native>; N]) -> Vec<&dyn Member> {
    let agents = groups.into_iter().flatten();
    agents.map(|agent| agent as &dyn Member).collect()
}
