//! Many agents in one process: what a mesh of them takes in time and memory.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::{join_all, try_join_all};
use mesh_native::core::HubConfig;
use mesh_native::hub::HubServer;
use mesh_native::{Agent, JoinOptions, Process};
use mesh_tests::report;
use mesh_tests::wait::until;
use tokio::sync::Mutex;

/// Generous: a slow machine is no failure, a mesh that does not form is one.
const FORMING: Duration = Duration::from_secs(120);

/// One mesh at a time, so that the figures are its own.
static ALONE: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_agents_keep_twenty_links_each() -> Result<()> {
    let _alone = ALONE.lock().await;
    let (url, _hub) = start_hub()?;
    let before = resident_bytes();
    let started = Instant::now();
    let agents = join(&url, 100, 20).await?;
    let left = FORMING.saturating_sub(started.elapsed());
    let links = until("100 agents form a mesh", left, async || {
        let links = open_links(&agents)?;
        ensure!(
            (980..=1_020).contains(&links),
            "{links} of 1,000 links are open"
        );
        for agent in &agents {
            knows_all(agent, 99)?;
        }
        Ok(links)
    })
    .await?;
    let took = started.elapsed().as_secs_f64();
    report(&format!(
        "100 agents, k = 20: {links} links and all routes in {took:.2} s"
    ));
    if let (Some(before), Some(after)) = (before, resident_bytes()) {
        let each = after.saturating_sub(before) / 1024 / 100;
        report(&format!("resident memory: {each} KiB an agent"));
    }
    report_troubles(&agents)?;
    close(agents).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_agents_are_a_full_mesh() -> Result<()> {
    let _alone = ALONE.lock().await;
    let (url, _hub) = start_hub()?;
    let started = Instant::now();
    let agents = join(&url, 20, 19).await?;
    let left = FORMING.saturating_sub(started.elapsed());
    until("20 agents are all linked", left, async || {
        let links = open_links(&agents)?;
        ensure!(links == 190, "{links} of 190 links are open");
        Ok(())
    })
    .await?;
    let took = started.elapsed().as_secs_f64();
    report(&format!(
        "20 agents, full mesh: 190 links in {took:.2} s from the first join"
    ));
    until("everybody knows everybody", FORMING, async || {
        for agent in &agents {
            knows_all(agent, 19)?;
        }
        Ok(())
    })
    .await?;
    close(agents).await;
    Ok(())
}

/// A hub in this process, which ends with the test's runtime.
fn start_hub() -> Result<(String, tokio::task::JoinHandle<std::io::Result<()>>)> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let hub = HubServer::bind(any, HubConfig::default())?;
    let url = format!("ws://{}/signal", hub.local_addr()?);
    Ok((url, tokio::spawn(hub.serve(std::future::pending()))))
}

async fn join(url: &str, agents: usize, k: usize) -> Result<Vec<Agent>> {
    let process = Process::new();
    let joining = (1..=agents).map(|number| {
        Agent::join(JoinOptions {
            k: Some(k),
            process: process.clone(),
            timeout: FORMING,
            ..JoinOptions::new(url, "scale", &format!("agent-{number:03}"))
        })
    });
    try_join_all(joining).await.context("an agent cannot join")
}

fn open_links(agents: &[Agent]) -> Result<usize> {
    let mut ends = 0;
    for agent in agents {
        ends += agent.stats()?.links.open;
    }
    Ok(ends / 2)
}

fn knows_all(agent: &Agent, others: usize) -> Result<()> {
    let peers = agent.peers()?;
    let routed = peers.iter().filter(|peer| peer.hops.is_some()).count();
    let known = peers.len();
    ensure!(
        known == others && routed == others,
        "{} knows {known} others and routes to {routed}, not {others}",
        agent.name()
    );
    Ok(())
}

/// Attempts that failed and links that closed again: none if all went straight.
fn report_troubles(agents: &[Agent]) -> Result<()> {
    let (mut failed, mut closed, mut lost) = (0, 0, 0);
    for agent in agents {
        let stats = agent.stats()?;
        failed += stats.links.failed;
        closed += stats.links.closed;
        lost += stats.lost.values().sum::<u64>();
    }
    report(&format!(
        "on the way {failed} attempts failed, {closed} ends of links closed, {lost} lost"
    ));
    Ok(())
}

async fn close(agents: Vec<Agent>) {
    let started = Instant::now();
    join_all(agents.iter().map(Agent::close)).await;
    report(&format!(
        "all have left after {:.2} s",
        started.elapsed().as_secs_f64()
    ));
}

/// What this process holds in memory; `None` where there is no /proc.
fn resident_bytes() -> Option<u64> {
    const PAGE_BYTES: u64 = 4_096;
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(pages.split(' ').nth(1)?.parse::<u64>().ok()? * PAGE_BYTES)
}
