//! What one agent sends to another arrives whole and in order, however fast it is sent and however
//! many agents pass it on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;
use mesh_native::core::{Event, Payload, PeerId};
use mesh_native::{Agent, Events, JoinOptions, SendOptions};
use mesh_tests::hub::HubProcess;
use mesh_tests::report;
use mesh_tests::wait::{SOON, until};

const ROOM: &str = "flow";

/// Agents in a ring, so that members four hops apart are there.
const AGENTS: usize = 9;

/// Links of each: its neighbours in the ring.
const K: usize = 2;

/// Messages sent to each target, as fast as they are taken.
const MESSAGES: usize = 10_000;

/// How long a burst may take: a tenth of the rate that a debug build on a busy machine reaches.
const PATIENCE: Duration = Duration::from_secs(120);

/// Agents in a ring, with a path from each to each.
async fn ring(hub: &HubProcess) -> Result<Vec<(Agent, Events)>> {
    let joining = (0..AGENTS).map(|n| {
        Agent::join_with_events(JoinOptions {
            k: Some(K),
            ..JoinOptions::new(&hub.url(), ROOM, &format!("agent-{n}"))
        })
    });
    let agents = try_join_all(joining).await?;
    until("a ring with all paths", SOON, async || {
        for (agent, _) in &agents {
            let settled = agent.is_settled()? && agent.members()? == AGENTS - 1;
            ensure!(settled, "{} is not settled", agent.name());
        }
        Ok(())
    })
    .await?;
    Ok(agents)
}

/// The members by how many hops they are away.
fn by_hops(agent: &Agent) -> Result<BTreeMap<u8, PeerId>> {
    let routes = agent.routes()?.into_iter();
    Ok(routes
        .map(|route| (route.hops, route.destination))
        .collect())
}

/// Reads until all of a burst has come, each in its turn.
async fn read_burst(events: &mut Events, from: PeerId) -> Result<()> {
    let mut next = 0;
    while next < MESSAGES {
        match events.next().await.context("the agent lives")? {
            Event::Message(message) if message.from == from => {
                let expected = Payload::from(next.to_string());
                let payload = message.payload;
                ensure!(payload == expected, "{payload:?} in place of {expected:?}");
                next += 1;
            }
            Event::Lagged { missed } => bail!("the test reads too slowly: {missed} missed"),
            _ => {}
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_messages_over_one_to_four_hops_all_arrive_in_order() -> Result<()> {
    let hub = HubProcess::start().await?;
    let mut agents = ring(&hub).await?;
    let author = agents[0].0.clone();
    for (hops, to) in by_hops(&author)? {
        let target = agents.iter_mut().find(|(agent, _)| agent.id() == to);
        let (_, events) = target.context("a member of the test")?;
        let began = Instant::now();
        let sending = async {
            for number in 0..MESSAGES {
                let options = SendOptions::default();
                author.send(to, number.to_string(), options).await?;
            }
            Ok(began.elapsed())
        };
        let both = futures::future::try_join(sending, read_burst(events, author.id()));
        let arrived = tokio::time::timeout(PATIENCE, both).await;
        let (sent, ()) = arrived.with_context(|| format!("over {hops} hops in {PATIENCE:?}"))??;
        let rate = MESSAGES as f64 / began.elapsed().as_secs_f64();
        report(&format!(
            "{hops} hops: {MESSAGES} messages sent in {sent:.2?}, all arrived in order, {rate:.0}/s"
        ));
    }
    for (agent, _) in &agents {
        let lost: u64 = agent.stats()?.lost.values().sum();
        ensure!(lost == 0, "{} lost {lost}", agent.name());
    }
    Ok(())
}

/// The bytes of a large message.
const LARGE: usize = 16 << 20;

/// Requests of which the median counts.
const REQUESTS: usize = 15;

/// How long 16 MiB may take.
const LARGE_PATIENCE: Duration = Duration::from_secs(120);

fn large() -> Payload {
    Payload::Bytes((0..LARGE).map(|n| (n * n / 7) as u8).collect())
}

/// Answers every request, and tells of every large message.
async fn serve(agent: Agent, mut events: Events, whole: tokio::sync::mpsc::Sender<Payload>) {
    while let Some(event) = events.next().await {
        if let Event::Message(message) = event {
            if message.wants_reply {
                let _ = agent.reply(message.id, message.payload); // Who asked may have gone.
            } else {
                let _ = whole.send(message.payload).await; // The test may be over.
            }
        }
    }
}

/// How long a request of 100 bytes takes, in the median.
async fn asked(author: &Agent, to: PeerId) -> Result<Duration> {
    let mut took = Vec::new();
    for _ in 0..REQUESTS {
        let began = Instant::now();
        author.request(to, "x".repeat(100), None).await?;
        took.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await; // Not one behind the other.
    }
    took.sort_unstable();
    Ok(took[REQUESTS / 2])
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_mib_over_three_hops_arrive_whole_while_small_requests_pass_them() -> Result<()> {
    let hub = HubProcess::start().await?;
    let mut agents = ring(&hub).await?;
    let author = agents[0].0.clone();
    let to = *by_hops(&author)?.get(&3).context("three hops")?;
    let place = agents.iter().position(|(agent, _)| agent.id() == to);
    let (target, events) = agents.swap_remove(place.context("a member of the test")?);
    let (tell, mut whole) = tokio::sync::mpsc::channel(4);
    tokio::spawn(serve(target, events, tell));

    let (beside, took) = beside_large(&author, to, &mut whole).await?;
    // A request that waited for the large message would take as long as that.
    ensure!(beside * 20 < took, "{beside:?} beside one of {took:?}");
    Ok(())
}

/// Sends 16 MiB, and requests of 100 bytes beside it. Returns what one of these takes, in the
/// median, and the large message.
async fn beside_large(
    author: &Agent,
    to: PeerId,
    whole: &mut tokio::sync::mpsc::Receiver<Payload>,
) -> Result<(Duration, Duration)> {
    let alone = asked(author, to).await?;
    let payload = large();
    let began = Instant::now();
    let sending = author.start_send(to, payload.clone(), SendOptions::default());
    let mut sending = sending.await?;
    let (tell_done, mut done) = tokio::sync::oneshot::channel();
    let following = tokio::spawn(async move {
        let mut steps = 0;
        while sending.progress().await?.is_some() {
            steps += 1;
        }
        let _ = tell_done.send(()); // The test may be over.
        anyhow::Ok((steps, began.elapsed()))
    });
    // As long as it is under way.
    let mut beside = Vec::new();
    while done.try_recv().is_err() {
        let began = Instant::now();
        author.request(to, "x".repeat(100), None).await?;
        beside.push(began.elapsed());
    }
    let arrived = tokio::time::timeout(LARGE_PATIENCE, whole.recv()).await?;
    ensure!(arrived.as_ref() == Some(&payload), "it is damaged");
    let (steps, took) = following.await??;
    ensure!(steps >= 8, "it tells {steps} times how far it has come");
    beside.sort_unstable();
    let median = *beside.get(beside.len() / 2).context("some beside")?;
    report(&format!(
        "16 MiB over 3 hops in {took:.2?}; 100 bytes and back {alone:.2?} alone, {median:.2?} \
         beside them ({} times)",
        beside.len()
    ));
    Ok((median, took))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_message_that_is_cancelled_stops_at_once() -> Result<()> {
    let hub = HubProcess::start().await?;
    let agents = ring(&hub).await?;
    let author = agents[0].0.clone();
    let to = *by_hops(&author)?.get(&3).context("three hops")?;
    let mut events = author.events();
    let mut sending = author
        .start_send(to, large(), SendOptions::default())
        .await?;
    sending.progress().await?.context("it is under way")?;
    let id = sending.id();
    drop(sending);
    let began = Instant::now();
    let cancelled = async {
        while let Some(event) = events.next().await {
            if matches!(&event, Event::DeliveryFailed { id: failed, .. } if *failed == id) {
                return Ok(());
            }
        }
        bail!("the agent has left")
    };
    tokio::time::timeout(SOON, cancelled).await??;
    // Nothing more of it leaves: all agents together send little now.
    let sent = || -> Result<u64> {
        let stats = agents.iter().map(|(agent, _)| agent.stats());
        stats.map(|stats| Ok(stats?.bytes_out)).sum()
    };
    let quiet = async {
        loop {
            let before = sent()?;
            tokio::time::sleep(Duration::from_millis(20)).await;
            if sent()? - before < 16 << 10 {
                return anyhow::Ok(());
            }
        }
    };
    tokio::time::timeout(SOON, quiet).await??;
    let took = began.elapsed();
    report(&format!("cancelled: quiet after {took:.2?}"));
    ensure!(took < Duration::from_millis(200), "{took:?}");
    Ok(())
}
