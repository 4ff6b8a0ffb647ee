//! Keys are rotated while messages travel: none is lost, none comes twice, no link goes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use mesh_native::core::{Delivery, PeerId};
use mesh_native::{JoinOptions, SendOptions};
use mesh_tests::agents::Native;
use mesh_tests::browser::{Browser, are_wanted};
use mesh_tests::hub::HubProcess;
use mesh_tests::member::{Member, until_complete};
use mesh_tests::page::Stage;
use mesh_tests::report;
use mesh_tests::wait::{SOON, until};
use serde_json::Value;
use tokio::sync::watch;

const ROOM: &str = "rotation";
const AGENTS: usize = 8;
const ROTATIONS: usize = 100;

/// Messages a second of the whole mesh.
const RATE: u32 = 1_000;

/// How long after one call of `rotateKeys` the next agent's is due: links younger than a second
/// are not rotated.
const TURN: Duration = Duration::from_millis(1_100);

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_rotations_under_traffic_lose_and_double_nothing() -> Result<()> {
    let hub = HubProcess::start().await?;
    let url = hub.url();
    let joining = (0..AGENTS).map(|number| {
        let name = format!("agent-{number}");
        let url = url.clone();
        async move { Native::join(JoinOptions::new(&url, ROOM, &name)).await }
    });
    let agents = try_join_all(joining).await?;
    let members: Vec<&dyn Member> = agents.iter().map(|agent| agent as &dyn Member).collect();
    until_complete(&members, SOON).await?;
    let closed_before = events(&members, "linkClosed").await?.len();

    let (done, over) = watch::channel(false);
    let started = Instant::now();
    let ((), sent) = tokio::try_join!(rotate(&agents, &members, done), send(&agents, over))?;
    let took = started.elapsed();

    until("every message has arrived", SOON, async || {
        let arrived = arrived(&members).await?;
        let missing = sent.iter().find(|text| !arrived.contains_key(*text));
        ensure!(
            missing.is_none(),
            "{missing:?} of {} is missing",
            sent.len()
        );
        Ok(())
    })
    .await?;
    let doubled = arrived(&members)
        .await?
        .into_iter()
        .find(|(_, times)| *times > 1);
    ensure!(doubled.is_none(), "it came twice: {doubled:?}");
    for (kind, before) in [("linkClosed", closed_before), ("deliveryFailed", 0)] {
        let told = events(&members, kind).await?;
        ensure!(told.len() == before, "{:?}", &told[before..]);
    }

    let mut times = rotations(&members).await?;
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    report(&format!(
        "{} rotations in {took:?} beside {} messages: median {:.1}, 95 % {:.1}, worst {:.1} ms",
        times.len(),
        sent.len(),
        at(0.5),
        at(0.95),
        at(1.0)
    ));
    for member in &members {
        let failed = &member.table("stats").await?["links"]["rotationsFailed"];
        ensure!(*failed == 0, "{failed} rotations failed");
    }
    Ok(())
}

/// One agent after the other gives its links fresh keys.
async fn rotate(
    agents: &[Native],
    members: &[&dyn Member],
    done: watch::Sender<bool>,
) -> Result<()> {
    for agent in agents.iter().cycle() {
        agent.agent().rotate_keys()?;
        tokio::time::sleep(TURN).await; // The pace of rotations, not a wait for one.
        if rotations(members).await?.len() >= ROTATIONS {
            break;
        }
    }
    done.send_replace(true);
    Ok(())
}

/// Every agent sends to every other in turn, until it is over. Returns the texts.
async fn send(agents: &[Native], mut over: watch::Receiver<bool>) -> Result<Vec<String>> {
    let ids: Vec<PeerId> = agents.iter().map(|agent| agent.agent().id()).collect();
    let mut sent = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
    while !*over.borrow_and_update() {
        ticks.tick().await;
        let number = sent.len();
        let from = number % AGENTS;
        let to = (from + 1 + number / AGENTS % (AGENTS - 1)) % AGENTS;
        let delivery = [Delivery::Reliable, Delivery::Acknowledged][number % 2];
        let options = SendOptions {
            delivery,
            ..SendOptions::default()
        };
        let text = format!("message {number}");
        let agent = agents[from].agent();
        agent.send(ids[to], text.as_str(), options).await?;
        sent.push(text);
    }
    Ok(sent)
}

/// How often each text has arrived somewhere.
async fn arrived(members: &[&dyn Member]) -> Result<BTreeMap<String, usize>> {
    let mut arrived = BTreeMap::new();
    for member in members {
        for event in member.events("message").await? {
            let text = event["payload"].as_str().context("a text")?.to_owned();
            *arrived.entry(text).or_default() += 1;
        }
    }
    Ok(arrived)
}

/// How long each rotation took that an agent began, in milliseconds.
async fn rotations(members: &[&dyn Member]) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for member in members {
        for event in member.events("linkRotated").await? {
            let peer: PeerId = serde_json::from_value(event["peer"].clone())?;
            if member.id() < peer {
                times.push(event["tookMs"].as_f64().context("a time")?);
            }
        }
    }
    Ok(times)
}

async fn events(members: &[&dyn Member], kind: &str) -> Result<Vec<Value>> {
    let mut events = Vec::new();
    for member in members {
        events.extend(member.events(kind).await?);
    }
    Ok(events)
}

/// Notes the fingerprints of both certificates of each connection that the page has.
const WATCH: &str = "
    window.connections = new Map();
    window.rotated = 0;
    for (const end of ['localDescription', 'remoteDescription']) {
        const method = end.replace(/^./, (first) => `set${first.toUpperCase()}`);
        const original = RTCPeerConnection.prototype[method];
        RTCPeerConnection.prototype[method] = async function (...described) {
            await original.apply(this, described);
            const fingerprint = /a=fingerprint:(\\S+ \\S+)/.exec(this[end].sdp)[1];
            const seen = window.connections.get(this) ?? {};
            window.connections.set(this, { ...seen, [end]: fingerprint });
        };
    }
    window.mesh = await Mesh.join(options);
    (async () => {
        for await (const event of window.mesh.events()) {
            if (event.type === 'linkRotated') window.rotated += 1;
        }
    })();
    await window.mesh.ready();";

#[tokio::test(flavor = "multi_thread")]
async fn each_rotation_gives_both_ends_another_certificate() -> Result<()> {
    const TIMES: usize = 3;
    if !are_wanted("the certificates of a tab's links") {
        return Ok(());
    }
    for browser in [Browser::Chrome, Browser::Firefox] {
        let stage = Stage::set(browser).await?;
        stage.run(WATCH).await?;
        for time in 1..=TIMES {
            tokio::time::sleep(TURN).await; // Younger links are not rotated.
            stage.agent.rotate_keys()?;
            stage.until("window.rotated", time.into()).await?;
        }
        let seen = stage.run("return [...window.connections.values()]").await?;
        for end in ["localDescription", "remoteDescription"] {
            let seen = seen.as_array().context("connections")?;
            let fingerprints = seen.iter().map(|connection| connection[end].as_str());
            let fingerprints: Option<BTreeSet<_>> = fingerprints.collect();
            let fingerprints = fingerprints.with_context(|| format!("{seen:?}"))?;
            ensure!(
                fingerprints.len() == TIMES + 1,
                "{browser:?}: {end}: {seen:?}"
            );
        }
        stage.tab.close().await?;
    }
    Ok(())
}
