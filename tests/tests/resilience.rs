//! The mesh lives on when the hub or an agent is killed, and takes the hub back when it returns.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use mesh_native::JoinOptions;
use mesh_tests::agents::{AgentProcess, Native};
use mesh_tests::hub::HubProcess;
use mesh_tests::member::{
    Member, peers, request_all_pairs, request_everybody, until_all_had, until_complete,
};
use mesh_tests::report;
use mesh_tests::wait::{SOON, until};

const ROOM: &str = "resilience";
const K: usize = 4;
const NATIVES: usize = 8;
const PROCESSES: usize = 3;

/// Within which the mesh must have closed the gap that a killed agent leaves.
const HEALING: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn the_mesh_outlives_its_hub_and_its_dead() -> Result<()> {
    let mut hub = HubProcess::start().await?;
    let (natives, mut processes) = join_all(&hub.url()).await?;
    let members = members_of(&natives, &processes);
    until_complete(&members, SOON).await?;
    request_all_pairs(&members, "with the hub").await?;

    hub.kill().await?;
    until_all_had(&members, "signalingLost", SOON).await?;
    let asked = request_all_pairs(&members, "without the hub").await?;
    report(&format!(
        "hub killed: all {asked} ordered pairs of {} go on",
        members.len()
    ));

    drop(members);
    let victim = processes.remove(0);
    victim.kill().await?;
    let members = members_of(&natives, &processes);
    let took = heals(&natives, &members).await?;
    let asked = request_all_pairs(&members, "without the dead").await?;
    report(&format!(
        "agent killed: healed in {:.2} s without a hub",
        took.as_secs_f64()
    ));
    ensure!(
        asked == members.len() * (members.len() - 1),
        "{asked} requests"
    );

    hub.restart().await?;
    until_all_had(&members, "signalingRestored", SOON).await?;
    all_are_registered(&hub, members.len()).await?;
    newcomer_reaches_everybody(&hub.url(), &members).await
}

async fn join_all(url: &str) -> Result<(Vec<Native>, Vec<AgentProcess>)> {
    let natives = (1..=NATIVES).map(|number| native(url, format!("native-{number}")));
    let k = K.to_string();
    let more = ["--k", &k];
    let processes = (1..=PROCESSES).map(|number| {
        let name = format!("process-{number}");
        async move { AgentProcess::join(url, ROOM, &name, &more).await }
    });
    tokio::try_join!(try_join_all(natives), try_join_all(processes))
}

async fn native(url: &str, name: String) -> Result<Native> {
    Native::join(JoinOptions {
        k: Some(K),
        ..JoinOptions::new(url, ROOM, &name)
    })
    .await
}

fn members_of<'a>(natives: &'a [Native], processes: &'a [AgentProcess]) -> Vec<&'a dyn Member> {
    let natives = natives.iter().map(|native| native as &dyn Member);
    natives
        .chain(processes.iter().map(|process| process as &dyn Member))
        .collect()
}

/// Waits until nobody knows the dead any more and every link has been replaced.
async fn heals(natives: &[Native], living: &[&dyn Member]) -> Result<Duration> {
    let killed = Instant::now();
    until_complete(living, HEALING).await?;
    let left = HEALING.saturating_sub(killed.elapsed());
    until("everybody has the links that it wants", left, async || {
        for native in natives {
            let settled = native.agent().is_settled()?;
            ensure!(settled, "{} has not", native.name());
        }
        Ok(())
    })
    .await?;
    until_complete(living, HEALING.saturating_sub(killed.elapsed())).await?;
    Ok(killed.elapsed())
}

async fn all_are_registered(hub: &HubProcess, count: usize) -> Result<()> {
    until("the hub knows everybody again", SOON, async || {
        let health = hub.health().await?;
        ensure!(health["hub"]["members"] == count, "it says {health}");
        Ok(())
    })
    .await
}

async fn newcomer_reaches_everybody(url: &str, members: &[&dyn Member]) -> Result<()> {
    let newcomer = native(url, "newcomer".to_owned()).await?;
    let mut all = members.to_vec();
    all.push(&newcomer);
    until_complete(&all, SOON).await?;
    // The hub lists the very identities that joined before it died.
    let peers = peers(&newcomer).await?;
    let listed: BTreeSet<_> = peers
        .iter()
        .filter(|peer| peer.in_hub)
        .map(|p| p.id)
        .collect();
    let expected: BTreeSet<_> = members.iter().map(|member| member.id()).collect();
    ensure!(
        listed == expected,
        "the hub lists {listed:?}, not {expected:?}"
    );
    request_everybody(&newcomer, &all, "the newcomer").await?;
    for member in members {
        let asked = "who are you?";
        let reply = member.request(newcomer.id(), asked).await?;
        ensure!(
            reply == asked,
            "the newcomer answers {reply} to {}",
            member.name()
        );
    }
    report("hub restarted: everybody is back under its identity, a newcomer reaches all");
    Ok(())
}
