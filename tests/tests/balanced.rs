//! Hubs behind a plain load balancer, by the files of `deploy/`: under a room they restart one by
//! one, die and stall, and so does the Redis that they share.
//!
//! `MESH_SEVERAL_HUBS_AGENTS` sets the number of agents of the faults; 60 is the figure to show.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::{try_join, try_join_all};
use mesh_native::JoinOptions;
use mesh_tests::agents::Native;
use mesh_tests::balancer::{Balancer, Kind};
use mesh_tests::browser::{Browser, Tab, are_wanted};
use mesh_tests::hub::{HubProcess, get};
use mesh_tests::member::{Member, stayed, until_complete, until_reaches};
use mesh_tests::process::free_port;
use mesh_tests::redis::Redis;
use mesh_tests::report;
use mesh_tests::streams::Streams;
use mesh_tests::wait::{SOON, until};
use tokio::time::sleep_until;

const HUBS: usize = 3;
const ROOM: &str = "balanced";

/// Agents of a rolling restart.
const FEW: usize = 8;

/// Agents of the faults, unless the environment says how many.
const AGENTS: usize = 12;
const K: usize = 6;

/// How long a hub drains: a second for load balancers to notice, two for the moves.
const DRAIN: Duration = Duration::from_secs(4);

/// How soon a newcomer is to be in the room.
const JOINED_IN: Duration = Duration::from_secs(3);

/// How long that may take on a machine that is busy with other tests.
const JOINED_IN_BUSY: Duration = Duration::from_secs(15);

/// How long Redis stalls.
const STALL: Duration = Duration::from_secs(10);

/// Time between two messages of an agent, of few and of many.
const PACE: Duration = Duration::from_millis(20);
const PACE_OF_MANY: Duration = Duration::from_millis(100);

/// Hubs, what is in front of them, and the Redis that they share.
struct Site {
    ports: [u16; HUBS],
    redis: Option<Redis>,
    /// Those that serve; without Redis one at a time has the room.
    hubs: [Option<HubProcess>; HUBS],
    balancer: Balancer,
}

impl Site {
    async fn open(kind: Kind, redis: Option<Redis>) -> Result<Self> {
        let ports = [free_port()?, free_port()?, free_port()?];
        let mut hubs = [const { None }; HUBS];
        let active = if redis.is_some() { HUBS } else { 1 };
        for (port, hub) in ports.into_iter().zip(&mut hubs).take(active) {
            *hub = Some(start_hub(port, redis.as_ref()).await?);
        }
        // After the hubs: it takes them for well until it knows better.
        let balancer = Balancer::start(kind, ports).await?;
        until("the load balancer has found a hub", SOON, async || {
            let (status, _) = get(balancer.port(), "/readyz").await?;
            ensure!(status == 200, "status {status}");
            Ok(())
        })
        .await?;
        Ok(Self {
            ports,
            redis,
            hubs,
            balancer,
        })
    }

    async fn start(&mut self, hub: usize) -> Result<()> {
        let started = start_hub(self.ports[hub], self.redis.as_ref()).await?;
        self.hubs[hub] = Some(started);
        Ok(())
    }

    /// SIGTERM. Returns when it has drained.
    async fn stop(&mut self, hub: usize) -> Result<()> {
        let hub = self.hubs[hub].take().context("the hub is not there")?;
        hub.stop(DRAIN + Duration::from_secs(1)).await
    }

    /// SIGKILL.
    async fn kill(&mut self, hub: usize) -> Result<()> {
        let mut hub = self.hubs[hub].take().context("the hub is not there")?;
        hub.kill().await
    }

    fn redis(&mut self) -> Result<&mut Redis> {
        self.redis.as_mut().context("there is no Redis")
    }

    fn serving(&self) -> impl Iterator<Item = &HubProcess> {
        self.hubs.iter().flatten()
    }

    /// How many have a WebSocket at a hub.
    async fn clients_of(&self, hub: usize) -> Result<usize> {
        let hub = self.hubs[hub].as_ref().context("the hub is not there")?;
        let clients = hub.health().await?["hub"]["clients"].as_u64();
        Ok(usize::try_from(clients.context("no clients are told")?)?)
    }

    /// What a hub says of itself, of all that serve.
    async fn told(&self, what: &str) -> Result<Vec<u64>> {
        let told = self.serving().map(async |hub| {
            let health = hub.health().await?;
            let told = health["hub"][what].as_u64();
            told.with_context(|| format!("no {what} in {health}"))
        });
        try_join_all(told).await
    }

    /// Waits until each hub lists so many members, and has no others' WebSockets.
    async fn agrees(&self, members: usize) -> Result<()> {
        let members = members as u64;
        until("each hub lists the room", SOON, async || {
            let listed = self.told("members").await?;
            let clients: u64 = self.told("clients").await?.iter().sum();
            ensure!(
                listed.iter().all(|count| *count == members) && clients == members,
                "{listed:?} members, {clients} clients of {members}"
            );
            Ok(())
        })
        .await
    }

    /// The load balancer, and each hub.
    fn ways(&self) -> Vec<(String, String)> {
        let hubs = self.hubs.iter().enumerate();
        let hubs = hubs.filter_map(|(n, hub)| Some((format!("hub {n}"), hub.as_ref()?.url())));
        let mut ways: Vec<_> = hubs.collect();
        ways.push(("balancer".to_owned(), self.balancer.url()));
        ways
    }
}

/// Returns when it is ready.
async fn start_hub(port: u16, redis: Option<&Redis>) -> Result<HubProcess> {
    let (drain, redis) = (format!("{}s", DRAIN.as_secs()), redis.map(Redis::url));
    let mut more = vec!["--drain", &drain];
    more.extend(redis.iter().flat_map(|url| ["--redis", url]));
    let hub = HubProcess::start_at(port, &more).await?;
    until("the hub is ready", SOON, async || {
        let (status, said) = get(port, "/readyz").await?;
        ensure!(status == 200, "{status}: {said}");
        Ok(())
    })
    .await?;
    Ok(hub)
}

async fn join(url: &str, name: &str) -> Result<Native> {
    let options = JoinOptions {
        k: Some(K),
        ..JoinOptions::new(url, ROOM, name)
    };
    Native::join(options).await
}

async fn join_many(url: &str, count: usize) -> Result<Vec<Native>> {
    let names: Vec<_> = (0..count).map(|n| format!("agent-{n}")).collect();
    try_join_all(names.iter().map(|name| join(url, name))).await
}

/// How many events of a type each agent has had.
async fn count(agents: &[Native], kind: &str) -> Result<Vec<usize>> {
    let counts = agents.iter().map(async |agent| {
        let events = agent.events(kind).await?;
        Ok(events.len())
    });
    try_join_all(counts).await
}

/// A newcomer joins, and has a route to all of `members`.
async fn arrive(url: &str, members: &[&dyn Member]) -> Result<Native> {
    let newcomer = join(url, "newcomer").await?;
    until_reaches(&newcomer, members).await?;
    Ok(newcomer)
}

/// All hubs restart one by one: with Redis while the others serve, else after the next has begun.
async fn rolling_restart(kind: Kind, redis: Option<Redis>) -> Result<()> {
    let mut site = Site::open(kind, redis).await?;
    let url = site.balancer.url();
    let agents = join_many(&url, FEW).await?;
    let members: Vec<_> = agents.iter().map(|agent| agent as &dyn Member).collect();
    until_complete(&members, SOON).await?;
    // While the load balancer did not know yet which hubs are there, it may have refused some.
    let lost = count(&agents, "signalingLost").await?;
    let streams = Streams::start(&agents, &members, PACE);
    let mut moves = 0;
    for hub in 0..HUBS {
        site.agrees(FEW).await?;
        if site.redis.is_none() {
            site.start((hub + 1) % HUBS).await?;
        }
        moves += site.clients_of(hub).await?;
        let during = arrive(&url, &members);
        let (newcomer, ()) = try_join(during, site.stop(hub)).await?;
        newcomer.agent().close().await;
        let moved: usize = count(&agents, "signalingMoved").await?.iter().sum();
        ensure!(moved == moves, "hub {hub}: {moved} moves, not {moves}");
        let since = Instant::now();
        let newcomer = arrive(&url, &members).await?;
        let took = since.elapsed();
        ensure!(took < JOINED_IN, "hub {hub}: a newcomer took {took:?}");
        newcomer.agent().close().await;
        if site.redis.is_some() {
            site.start(hub).await?;
        }
    }
    let tally = streams.end(&members).await?;
    report(&format!("{kind:?}: {tally}"));
    tally.is_whole(1_000)?;
    let now_lost = count(&agents, "signalingLost").await?;
    ensure!(now_lost == lost, "a hub was lost");
    stayed(&members).await
}

#[tokio::test(flavor = "multi_thread")]
async fn hubs_that_share_redis_behind_haproxy_restart_one_by_one_and_nothing_is_lost() -> Result<()>
{
    rolling_restart(Kind::Haproxy, Some(Redis::start().await?)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn hubs_that_share_redis_behind_nginx_restart_one_by_one_and_nothing_is_lost() -> Result<()> {
    rolling_restart(Kind::Nginx, Some(Redis::start().await?)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_of_memory_behind_haproxy_hands_over_to_the_next_and_nothing_is_lost() -> Result<()> {
    rolling_restart(Kind::Haproxy, None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_of_memory_behind_nginx_hands_over_to_the_next_and_nothing_is_lost() -> Result<()> {
    rolling_restart(Kind::Nginx, None).await
}

/// A room over a site, for one fault after the other.
struct Ordeal {
    site: Site,
    agents: Vec<Native>,
    tab: Option<Tab>,
}

impl Ordeal {
    async fn begin(redis: Option<Redis>) -> Result<Self> {
        let count = std::env::var("MESH_SEVERAL_HUBS_AGENTS");
        let count = count.map_or(Ok(AGENTS), |count| count.parse())?;
        let site = Site::open(Kind::Haproxy, redis).await?;
        let agents = join_many(&site.balancer.url(), count).await?;
        let tab = if are_wanted("a tab through the load balancer") {
            let hub = site.serving().next().context("no hub")?;
            hub.require_page().await?;
            let port = site.balancer.port();
            let page = format!("http://127.0.0.1:{port}/?room={ROOM}&k={K}&name=tab");
            Some(Tab::open(Browser::Chrome, &page).await?)
        } else {
            None
        };
        let ordeal = Self { site, agents, tab };
        until_complete(&ordeal.members(), SOON * 2).await?;
        ordeal.site.agrees(ordeal.members().len()).await?;
        Ok(ordeal)
    }

    fn members(&self) -> Vec<&dyn Member> {
        let agents = self.agents.iter().map(|agent| agent as &dyn Member);
        agents
            .chain(self.tab.iter().map(|tab| tab as &dyn Member))
            .collect()
    }

    /// A fault, from its start to its end, and what came of it: newcomers at each hub and at the
    /// load balancer, messages between linked members, the room.
    async fn fault(
        &mut self,
        what: &str,
        fault: impl AsyncFnOnce(&mut Site) -> Result<()>,
    ) -> Result<()> {
        let streams = Streams::start(&self.agents, &self.members(), PACE_OF_MANY);
        fault(&mut self.site)
            .await
            .with_context(|| what.to_owned())?;
        let over = Instant::now();
        let members = self.members();
        let arriving = self.site.ways().into_iter().map(|(way, url)| {
            let members = &members;
            async move {
                let newcomer = arrive(&url, members).await;
                Ok((newcomer.with_context(|| way.clone())?, way, over.elapsed()))
            }
        });
        let arrived: Result<Vec<_>> = try_join_all(arriving).await;
        let arrived = arrived.with_context(|| format!("newcomers after {what}"))?;
        let longest = arrived
            .iter()
            .map(|(.., took)| *took)
            .max()
            .unwrap_or_default();
        let ways = arrived
            .iter()
            .map(|(_, way, took)| format!("{way} {:.2} s", took.as_secs_f64()));
        let ways = ways.collect::<Vec<_>>().join(", ");
        drop(arrived);
        until_complete(&members, SOON)
            .await
            .with_context(|| what.to_owned())?;
        self.site
            .agrees(members.len())
            .await
            .with_context(|| what.to_owned())?;
        let tally = streams.end(&members).await?;
        report(&format!("{what:<28} | {ways} | {tally}"));
        tally.is_whole(members.len())?;
        ensure!(
            longest < JOINED_IN_BUSY,
            "{what}: a newcomer took {longest:?}"
        );
        if longest > JOINED_IN {
            report(&format!(
                "WARNING: longer than {JOINED_IN:?}; is the machine busy?"
            ));
        }
        stayed(&members).await
    }

    async fn end(self) -> Result<()> {
        match self.tab {
            Some(tab) => tab.close().await,
            None => Ok(()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_with_a_tab_outlives_every_fault_of_three_hubs_and_their_redis() -> Result<()> {
    let mut ordeal = Ordeal::begin(Some(Redis::start().await?)).await?;
    for hub in 0..HUBS {
        let what = format!("SIGKILL of hub {hub}");
        ordeal
            .fault(&what, async |site| site.kill(hub).await)
            .await?;
        let what = format!("hub {hub} is back");
        ordeal
            .fault(&what, async |site| site.start(hub).await)
            .await?;
    }
    for hub in 0..HUBS {
        let what = format!("SIGTERM of hub {hub}");
        ordeal
            .fault(&what, async |site| site.stop(hub).await)
            .await?;
        let what = format!("hub {hub} is back");
        ordeal
            .fault(&what, async |site| site.start(hub).await)
            .await?;
    }
    let restart = async |site: &mut Site| {
        site.redis()?.kill().await?;
        site.redis()?.restart().await
    };
    ordeal.fault("Redis restarts", restart).await?;
    let flush = async |site: &mut Site| {
        let said = site.redis()?.say(&["FLUSHALL"]).await;
        said.map(drop)
    };
    ordeal.fault("FLUSHALL", flush).await?;
    let stall = async |site: &mut Site| {
        let until = tokio::time::Instant::now() + STALL;
        site.redis()?.signal("STOP").await?;
        sleep_until(until).await; // The stall itself.
        site.redis()?.signal("CONT").await
    };
    ordeal.fault("Redis stalls for 10 s", stall).await?;
    ordeal.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_with_a_tab_outlives_every_fault_of_a_hub_with_memory_alone() -> Result<()> {
    let mut ordeal = Ordeal::begin(None).await?;
    let kill = async |site: &mut Site| {
        site.kill(0).await?;
        site.start(0).await
    };
    ordeal.fault("SIGKILL and restart", kill).await?;
    let drain = async |site: &mut Site| {
        site.start(1).await?;
        site.stop(0).await
    };
    ordeal.fault("SIGTERM, the next has begun", drain).await?;
    ordeal.end().await
}
