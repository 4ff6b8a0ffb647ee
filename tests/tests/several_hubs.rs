//! Several hubs on one Redis: one mesh, whatever happens to the hubs and to Redis.
//!
//! `MESH_SEVERAL_HUBS_AGENTS` sets the number of agents.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use mesh_native::JoinOptions;
use mesh_native::core::Identity;
use mesh_tests::agents::Native;
use mesh_tests::exposition::Exposition;
use mesh_tests::hub::{HubProcess, get};
use mesh_tests::member::{Member, stayed, until_complete, until_reaches};
use mesh_tests::process::{free_port, run_mesh};
use mesh_tests::redis::Redis;
use mesh_tests::report;
use mesh_tests::wait::{SOON, until};
use tokio::task::JoinHandle;
use tokio::time::interval;

const ROOM: &str = "several-hubs";
const HUBS: usize = 3;
const AGENTS: usize = 12;
const K: usize = 6;

/// Within which a newcomer is to be linked once a fault is over. It is printed; on a machine busy
/// with other tests it may take longer.
const NEWCOMER: Duration = Duration::from_secs(3);

/// How long it may take on a busy machine.
const NEWCOMER_BUSY: Duration = Duration::from_secs(15);

/// Time between two rounds in which each agent asks another, each time another one.
const ROUND: Duration = Duration::from_millis(200);

/// How long Redis stalls.
const STALL: Duration = Duration::from_secs(10);

/// The hubs, the Redis that they share, and the agents of the room, spread over the hubs.
struct Mesh {
    redis: Redis,
    hubs: Vec<HubProcess>,
    agents: Arc<Vec<Native>>,
    newcomers: usize,
}

/// What the agents say to each other all the time.
struct Talk {
    stop: Arc<AtomicBool>,
    requests: Arc<AtomicUsize>,
    talking: JoinHandle<Result<()>>,
}

impl Mesh {
    async fn form() -> Result<Self> {
        let redis = Redis::start().await?;
        let hubs = (0..HUBS).map(|_| async { start_hub(free_port()?, &redis.url()).await });
        let hubs = try_join_all(hubs).await?;
        let count = std::env::var("MESH_SEVERAL_HUBS_AGENTS");
        let count = count.map_or(Ok(AGENTS), |count| count.parse())?;
        let joining = (0..count).map(|n| join(hubs[n % HUBS].url(), format!("agent-{n}"), None));
        let mesh = Self {
            agents: Arc::new(try_join_all(joining).await?),
            redis,
            hubs,
            newcomers: 0,
        };
        until_complete(&mesh.members(), SOON * 2).await?;
        mesh.hubs_agree().await?;
        Ok(mesh)
    }

    fn members(&self) -> Vec<&dyn Member> {
        members(&self.agents)
    }

    /// Every hub knows the whole room.
    async fn hubs_agree(&self) -> Result<()> {
        let count = self.agents.len();
        until("every hub lists everybody", SOON, async || {
            for hub in &self.hubs {
                let health = hub.health().await?;
                ensure!(health["hub"]["members"] == count, "{}: {health}", hub.url());
                ensure!(health["hub"]["directory"] == "shared", "{health}");
            }
            Ok(())
        })
        .await
    }

    fn talk(&self) -> Talk {
        let (stop, requests) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let talking = tokio::spawn({
            let (stop, requests) = (Arc::clone(&stop), Arc::clone(&requests));
            let agents = Arc::clone(&self.agents);
            async move {
                // At a steady rate: a machine that does nothing else would link nobody.
                let mut round = interval(ROUND);
                for further in (1..agents.len()).cycle() {
                    round.tick().await;
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    ask_further(&agents, further).await?;
                    requests.fetch_add(agents.len(), Ordering::Relaxed);
                }
                Ok(())
            }
        });
        Talk {
            stop,
            requests,
            talking,
        }
    }

    /// A newcomer at each of these hubs is linked with all soon after a fault was over.
    async fn newcomers_arrive(&mut self, over: Instant, hubs: &[usize], what: &str) -> Result<()> {
        let arriving = hubs.iter().map(|&hub| {
            let name = format!("newcomer-{}-{hub}", self.newcomers);
            self.arrive(hub, name)
        });
        let newcomers = try_join_all(arriving).await?;
        self.newcomers += 1;
        let took = over.elapsed();
        report(&format!(
            "{what}: newcomers at {hubs:?} linked after {:.2} s",
            took.as_secs_f64()
        ));
        ensure!(took < NEWCOMER_BUSY, "{what}: newcomers took {took:?}");
        if took > NEWCOMER {
            report(&format!(
                "WARNING: longer than {NEWCOMER:?}; is the machine busy?"
            ));
        }
        drop(newcomers);
        until_complete(&self.members(), SOON).await
    }

    async fn arrive(&self, hub: usize, name: String) -> Result<Native> {
        let newcomer = join(self.hubs[hub].url(), name, None).await?;
        until_reaches(&newcomer, &self.members()).await?;
        Ok(newcomer)
    }

    async fn kill_hub(&mut self, hub: usize) -> Result<()> {
        self.hubs[hub].kill().await?;
        let others: Vec<_> = (0..HUBS).filter(|&other| other != hub).collect();
        let what = format!("hub {hub} killed");
        self.newcomers_arrive(Instant::now(), &others, &what)
            .await?;
        if hub == 0 {
            let left = self.agents.len() - self.agents.len().div_ceil(HUBS);
            until("the others forget its members", SOON, async || {
                let health = self.hubs[1].health().await?;
                ensure!(health["hub"]["members"] == left, "{health}");
                Ok(())
            })
            .await?;
        }
        self.hubs[hub] = start_hub(self.hubs[hub].port(), &self.redis.url()).await?;
        self.newcomers_arrive(Instant::now(), &[hub], "it is back")
            .await?;
        self.hubs_agree().await
    }

    async fn all_arrive(&mut self, what: &str) -> Result<()> {
        let all: Vec<_> = (0..HUBS).collect();
        self.newcomers_arrive(Instant::now(), &all, what).await?;
        self.hubs_agree().await
    }
}

impl Talk {
    /// Ends it. Every request was answered.
    async fn end(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.talking.await??;
        let requests = self.requests.load(Ordering::Relaxed);
        ensure!(requests > 0, "nothing was said");
        report(&format!("{requests} requests meanwhile, each answered"));
        Ok(())
    }
}

/// Each asks the one that comes so many after it, and gets its own words back.
async fn ask_further(agents: &[Native], further: usize) -> Result<()> {
    let asking = agents.iter().enumerate().map(|(n, asker)| async move {
        let asked = &agents[(n + further) % agents.len()];
        let reply = asker.request(asked.id(), "all the time").await;
        let reply = reply.with_context(|| format!("{} asks {}", asker.name(), asked.name()))?;
        ensure!(reply == "all the time", "{} answers {reply}", asked.name());
        Ok(())
    });
    try_join_all(asking).await?;
    Ok(())
}

async fn start_hub(port: u16, redis: &str) -> Result<HubProcess> {
    HubProcess::start_at(port, &["--redis", redis]).await
}

async fn join(url: String, name: String, identity: Option<Identity>) -> Result<Native> {
    join_k(K, url, name, identity).await
}

async fn join_k(k: usize, url: String, name: String, identity: Option<Identity>) -> Result<Native> {
    Native::join(JoinOptions {
        k: Some(k),
        identity,
        ..JoinOptions::new(&url, ROOM, &name)
    })
    .await
}

fn members(agents: &[Native]) -> Vec<&dyn Member> {
    agents.iter().map(|agent| agent as &dyn Member).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_over_several_hubs_outlives_each_of_them_and_the_faults_of_redis() -> Result<()> {
    let mut mesh = Mesh::form().await?;
    let talk = mesh.talk();
    for hub in 0..HUBS {
        mesh.kill_hub(hub).await?;
    }

    mesh.redis.say(&["FLUSHALL"]).await?;
    mesh.all_arrive("FLUSHALL").await?;

    mesh.redis.signal("STOP").await?;
    let stalled = Instant::now();
    mesh.newcomers_arrive(stalled, &[0], "Redis has just stalled")
        .await?;
    tokio::time::sleep_until((stalled + STALL).into()).await; // The stall itself.
    mesh.redis.signal("CONT").await?;
    mesh.all_arrive("Redis stalled for 10 s").await?;

    mesh.redis.say(&["DEBUG", "SLEEP", "10"]).await?;
    mesh.all_arrive("DEBUG SLEEP 10").await?;

    mesh.redis.remember().await?;
    mesh.redis.kill().await?;
    mesh.newcomers_arrive(Instant::now(), &[1], "Redis killed")
        .await?;
    mesh.redis.restart().await?;
    mesh.all_arrive("Redis back").await?;

    mesh.redis.kill().await?;
    mesh.redis.go_back().await?;
    mesh.all_arrive("Redis back with what it had a while ago")
        .await?;

    talk.end().await?;
    stayed(&mesh.members()).await
}

/// The most members of the room are at the other hub, which this one cannot reach: a newcomer
/// chooses some of them first.
#[tokio::test(flavor = "multi_thread")]
async fn newcomers_link_with_members_of_their_own_hub_while_redis_is_away() -> Result<()> {
    let mut redis = Redis::start().await?;
    let here = start_hub(free_port()?, &redis.url()).await?;
    let there = start_hub(free_port()?, &redis.url()).await?;
    let joining = (0..10).map(|n| {
        let hub = if n < 2 { &here } else { &there };
        join_k(3, hub.url(), format!("agent-{n}"), None)
    });
    let agents = try_join_all(joining).await?;
    until_complete(&members(&agents), SOON).await?;
    redis.remember().await?;
    redis.kill().await?;
    for n in 0..10 {
        let came = Instant::now();
        let newcomer = join_k(3, here.url(), format!("newcomer-{n}"), None).await?;
        until_reaches(&newcomer, &members(&agents)).await?;
        let took = came.elapsed();
        report(&format!(
            "newcomer {n} linked after {:.2} s",
            took.as_secs_f64()
        ));
        ensure!(took < NEWCOMER_BUSY, "newcomer {n} took {took:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_replaced_by_one_of_the_same_identity_at_another_hub() -> Result<()> {
    let redis = Redis::start().await?;
    let one = start_hub(free_port()?, &redis.url()).await?;
    let two = start_hub(free_port()?, &redis.url()).await?;
    let identity = Identity::from_secret([7; 32]);
    let first = join(one.url(), "first".to_owned(), Some(identity.clone())).await?;
    until("the other hub lists the first", SOON, async || {
        let health = two.health().await?;
        ensure!(health["hub"]["members"] == 1, "{health}");
        Ok(())
    })
    .await?; // Of two that come at once, either stays.
    let _second = join(two.url(), "second".to_owned(), Some(identity)).await?;
    until("the first is told", SOON, async || {
        let refused = first.events("refused").await?;
        ensure!(
            refused.iter().any(|event| event["code"] == "replaced"),
            "{refused:?}"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn hubs_with_another_prefix_on_the_same_redis_share_nothing() -> Result<()> {
    let redis = Redis::start().await?;
    let one = start_hub(free_port()?, &redis.url()).await?;
    let two = start_hub(free_port()?, &format!("{}?prefix=other", redis.url())).await?;
    let _first = join(one.url(), "first".to_owned(), None).await?;
    let _second = join(two.url(), "second".to_owned(), None).await?;
    for key in ["mesh:members", "other:members"] {
        until(key, SOON, async || {
            let count = redis.say(&["HLEN", key]).await?;
            ensure!(count == "1", "{key} has {count}");
            Ok(())
        })
        .await?;
    }
    for hub in [&one, &two] {
        let health = hub.health().await?;
        ensure!(health["hub"]["members"] == 1, "{health}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_serves_without_the_redis_that_it_is_to_share_and_says_so() -> Result<()> {
    let nowhere = format!("redis://127.0.0.1:{}", free_port()?);
    let hub = start_hub(free_port()?, &nowhere).await?;
    let agents = [
        join(hub.url(), "one".to_owned(), None).await?,
        join(hub.url(), "two".to_owned(), None).await?,
    ];
    until_complete(&members(&agents), SOON).await?;
    let health = hub.health().await?;
    ensure!(health["hub"]["directory"] == "away", "{health}");
    let log = &hub.process().stderr;
    let told = log.first("a warning", SOON, |line| line.contains("is out of reach"));
    ensure!(told.await?.contains("WARN"));
    let ended = run_mesh(&["signal", "--redis", "localhost"], SOON).await?;
    ensure!(
        ended.code == Some(2) && ended.stderr.contains("redis://host:6379"),
        "{ended:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_is_ready_once_it_has_reached_redis_and_stays_so_when_that_goes() -> Result<()> {
    let mut redis = Redis::start().await?;
    redis.kill().await?;
    let (port, metrics) = (free_port()?, free_port()?);
    let metrics_at = format!("127.0.0.1:{metrics}");
    let more = ["--redis", &redis.url(), "--metrics", &metrics_at];
    let hub = HubProcess::start_at(port, &more).await?;
    let (status, said) = get(port, "/readyz").await?;
    ensure!(
        status == 503 && said.contains("the Redis of --redis was never reached"),
        "{status}: {said}"
    );
    until_measured(metrics, "mesh_hub_directory{state=\"away\"}", 1.0).await?;
    redis.restart().await?;
    until("the hub is ready", SOON, async || {
        let (status, said) = get(port, "/readyz").await?;
        ensure!(status == 200, "{status}: {said}");
        Ok(())
    })
    .await?;
    until_measured(metrics, "mesh_hub_directory{state=\"shared\"}", 1.0).await?;
    let _agent = join(hub.url(), "one".to_owned(), None).await?;
    until_measured(metrics, "mesh_hub_directory_behind", 0.0).await?;
    redis.kill().await?;
    until_measured(metrics, "mesh_hub_directory{state=\"away\"}", 1.0).await?;
    let (status, said) = get(port, "/readyz").await?;
    ensure!(status == 200, "{status}: {said}");
    // Of what was written down nothing has changed: the hub goes on where it was.
    redis.restart().await?;
    let resumed = "mesh_hub_directory_connections_total{read=\"changes\"}";
    until_measured(metrics, resumed, 1.0).await?;
    until_measured(metrics, "mesh_hub_directory_losses_total", 1.0).await
}

async fn until_measured(port: u16, series: &str, wanted: f64) -> Result<()> {
    until(series, SOON, async || {
        let value = Exposition::of(port).await?.value(series)?;
        ensure!(value == wanted, "it is {value}");
        Ok(())
    })
    .await
}
