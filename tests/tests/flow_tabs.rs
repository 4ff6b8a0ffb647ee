//! What one tab sends to another arrives whole and in order, over every number of hops.

use std::collections::BTreeSet;
use std::slice::from_ref;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::{try_join, try_join_all};
use mesh_native::{Agent, JoinOptions};
use mesh_tests::browser::{Browser, Tab, are_wanted};
use mesh_tests::hub::HubProcess;
use mesh_tests::report;
use mesh_tests::wait::{SOON, until};
use serde_json::{Value, json};

const ROOM: &str = "flow";

/// Native agents beside the two tabs: a ring of nine has members that are four hops apart.
const AGENTS: usize = 7;

/// Links of each: its neighbours in the ring.
const K: usize = 2;

/// The numbers of hops, each of which is tried.
const HOPS: std::ops::RangeInclusive<u64> = 1..=4;

/// Messages sent to the other tab, as fast as they are taken.
const MESSAGES: usize = 10_000;

/// How often the other tab joins anew at most: each place in the ring is as likely as the others.
const JOINS: usize = 80;

/// How often a forwarder is looked at.
const LOOK: Duration = Duration::from_millis(50);

const JOIN: &str = "
    const [room, name, k] = arguments;
    return (async () => {
        const { default: init, Mesh } = await import('/pkg/mesh_wasm.js');
        await init();
        await window.mesh?.close();
        const signaling = `ws://${location.host}/signal`;
        window.mesh = await Mesh.join({ signaling, room, name, k });
        return window.mesh.id;
    })();";

/// How many members there are routes to, and the hops to one of them.
const ROUTES: &str = "
    const routes = window.mesh.routes();
    const [to] = arguments;
    return [routes.length, routes.find(({ destination }) => destination === to)?.hops ?? null];";

/// Reads until all of a burst has come, each in its turn.
const READ: &str = "
    const [from, count] = arguments;
    const read = async () => {
        let next = 0;
        for await (const event of window.mesh.events()) {
            if (event.type === 'lagged') throw new Error(`${event.missed} events missed`);
            if (event.type !== 'message' || event.from !== from) continue;
            if (event.payload !== String(next)) {
                throw new Error(`${event.payload} in place of ${next}`);
            }
            if (++next === count) return next;
        }
        throw new Error(`the agent has left after ${next}`);
    };
    window.burst = read();
    window.burst.catch(() => {}); // It is awaited later.
    return 0;";

/// Sends a burst. Returns how long that took, in milliseconds.
const SEND: &str = "
    const [to, count] = arguments;
    return (async () => {
        const began = performance.now();
        for (let number = 0; number < count; number++) await window.mesh.send(to, String(number));
        return performance.now() - began;
    })();";

struct Ring {
    agents: Vec<Agent>,
    author: (Tab, Value),
    target: Tab,
}

impl Ring {
    async fn form(hub: &HubProcess) -> Result<Self> {
        hub.require_page().await?;
        let joining = (0..AGENTS).map(|n| {
            Agent::join(JoinOptions {
                k: Some(K),
                ..JoinOptions::new(&hub.url(), ROOM, &format!("agent-{n}"))
            })
        });
        let agents = try_join_all(joining).await?;
        let page = format!("http://127.0.0.1:{}/drive.html", hub.port());
        let author = Tab::load(Browser::Chrome, &page).await?;
        let target = Tab::load(Browser::Firefox, &page).await?;
        let id = join(&author, "author").await?;
        Ok(Self {
            agents,
            author: (author, id),
            target,
        })
    }

    /// Has the target join as another agent. Returns its id, and how many hops it is away.
    async fn place(&self) -> Result<(Value, u64)> {
        let id = join(&self.target, "target").await?;
        let hops = until("a ring with all paths", SOON, async || {
            let others = AGENTS + 1;
            for agent in &self.agents {
                let settled = agent.is_settled()? && agent.members()? == others;
                ensure!(settled, "{} is not settled", agent.name());
            }
            let back = self
                .target
                .evaluate(ROUTES, from_ref(&self.author.1))
                .await?;
            let look = self.author.0.evaluate(ROUTES, from_ref(&id)).await?;
            ensure!(
                look[0] == others && back == look,
                "{look} there, {back} back"
            );
            look[1].as_u64().context("there is no route")
        });
        Ok((id.clone(), hops.await?))
    }

    /// Sends a burst to the target. Returns how long the sends took.
    async fn burst(&self, to: &Value) -> Result<Duration> {
        let read = [self.author.1.clone(), json!(MESSAGES)];
        self.target.evaluate(READ, &read).await?;
        let send = [to.clone(), json!(MESSAGES)];
        let sending = self.author.0.evaluate(SEND, &send);
        let reading = self.target.evaluate("return window.burst", &[]);
        let (took, arrived) = try_join(sending, reading).await?;
        ensure!(arrived == MESSAGES, "{arrived} arrived");
        let took = took.as_f64().context("milliseconds")?;
        Ok(Duration::from_secs_f64(took / 1_000.0))
    }

    /// How full the fullest queue of a forwarder gets.
    async fn fullest(&self, fullest: &mut f64) -> Result<()> {
        loop {
            for agent in &self.agents {
                *fullest = fullest.max(agent.gauges()?.fullest);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

async fn join(tab: &Tab, name: &str) -> Result<Value> {
    tab.evaluate(JOIN, &[ROOM.into(), name.into(), json!(K)])
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_messages_from_tab_to_tab_over_one_to_four_hops_arrive_in_order() -> Result<()>
{
    if !are_wanted("messages from tab to tab") {
        return Ok(());
    }
    let hub = HubProcess::start().await?;
    let ring = Ring::form(&hub).await?;
    let mut left: BTreeSet<u64> = HOPS.collect();
    for _ in 0..JOINS {
        let (to, hops) = ring.place().await?;
        if !left.remove(&hops) {
            continue;
        }
        let (began, mut fullest) = (Instant::now(), 0.0);
        let sent = tokio::select! {
            sent = ring.burst(&to) => sent.with_context(|| format!("over {hops} hops"))?,
            failed = ring.fullest(&mut fullest) => return failed,
        };
        let rate = MESSAGES as f64 / began.elapsed().as_secs_f64();
        report(&format!(
            "{hops} hops: {MESSAGES} messages sent in {sent:.2?}, all arrived in order, \
             {rate:.0}/s; the fullest queue of a forwarder {:.0} %",
            fullest * 100.0
        ));
        if left.is_empty() {
            break;
        }
    }
    ensure!(left.is_empty(), "no target was {left:?} hops away");
    for agent in &ring.agents {
        let lost: u64 = agent.stats()?.lost.values().sum();
        ensure!(lost == 0, "{} lost {lost}", agent.name());
    }
    ring.author.0.close().await?;
    ring.target.close().await
}
