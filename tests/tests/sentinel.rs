//! Hubs on a Redis that Sentinels watch: one mesh, whichever server is the master.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use mesh_native::JoinOptions;
use mesh_tests::agents::Native;
use mesh_tests::hub::HubProcess;
use mesh_tests::member::{Member, stayed, until_complete, until_reaches};
use mesh_tests::process::{free_port, run_mesh};
use mesh_tests::redis::{REPLICA, Redis, SENTINEL};
use mesh_tests::report;
use mesh_tests::sentinels::{MASTER, Sentinels};
use mesh_tests::streams::Streams;
use mesh_tests::wait::{SOON, until};

const ROOM: &str = "watched";
const HUBS: usize = 2;
const AGENTS: usize = 8;
const K: usize = 4;

/// How soon newcomers are to be in the room once a replica is the master.
const JOINED_IN: Duration = Duration::from_secs(3);

/// How long that may take on a machine that is busy with other tests.
const JOINED_IN_BUSY: Duration = Duration::from_secs(15);

/// Time between two messages of an agent.
const PACE: Duration = Duration::from_millis(50);

/// A Redis of two servers, of which one is the master, and hubs with a room on it.
struct Mesh {
    servers: [Redis; 2],
    sentinels: Sentinels,
    hubs: Vec<HubProcess>,
    agents: Vec<Native>,
}

impl Mesh {
    async fn form() -> Result<Self> {
        let servers = [Redis::start_guarded().await?, Redis::start_guarded().await?];
        servers[1].replicate(&servers[0]).await?;
        let sentinels = Sentinels::watch(&servers[0]).await?;
        let url = sentinels.url();
        let hubs = (0..HUBS)
            .map(|_| async { HubProcess::start_at(free_port()?, &["--redis", &url]).await });
        let mut mesh = Self {
            hubs: try_join_all(hubs).await?,
            servers,
            sentinels,
            agents: Vec::new(),
        };
        mesh.enter("agent", AGENTS).await?;
        Ok(mesh)
    }

    /// So many more agents join, at each hub alike.
    async fn enter(&mut self, name: &str, count: usize) -> Result<()> {
        let joining = (0..count).map(|n| join(&self.hubs[n % HUBS], format!("{name}-{n}")));
        let joined = try_join_all(joining).await?;
        self.agents.extend(joined);
        until_complete(&self.members(), SOON).await?;
        self.hubs_agree().await
    }

    fn members(&self) -> Vec<&dyn Member> {
        let agents = self.agents.iter();
        agents.map(|agent| agent as &dyn Member).collect()
    }

    /// Every hub has the Redis, and lists the room.
    async fn hubs_agree(&self) -> Result<()> {
        until("every hub lists everybody", SOON, async || {
            for hub in &self.hubs {
                let health = hub.health().await?;
                ensure!(health["hub"]["directory"] == "shared", "{health}");
                ensure!(health["hub"]["members"] == self.agents.len(), "{health}");
            }
            Ok(())
        })
        .await
    }

    /// Waits until one server follows the other, and returns the number of the one that is
    /// followed. After a restart that may be either: Sentinels count a master that pauses for
    /// longer than their patience as dead, and promote the other.
    async fn until_followed(&self) -> Result<usize> {
        until("one server follows the other", SOON, async || {
            let [first, second] = &self.servers;
            if second.follows().await.is_ok() {
                return Ok(0);
            }
            first.follows().await?;
            Ok(1)
        })
        .await
    }

    /// A server holds an entry of each member.
    async fn holds_all(&self, server: usize) -> Result<()> {
        until("the server has heard of everybody", SOON, async || {
            let held = entries(&self.servers[server]).await?;
            ensure!(held == self.agents.len(), "it holds {held}");
            Ok(())
        })
        .await
    }

    /// A server becomes the master, and a newcomer at each hub is soon linked with all, and with
    /// the other newcomer.
    async fn goes_on_with(&self, server: usize, what: &str) -> Result<()> {
        self.servers[server].until_master().await?;
        let promoted = Instant::now();
        let joining = (0..HUBS).map(|n| join(&self.hubs[n], format!("newcomer-{n}")));
        let newcomers = try_join_all(joining).await?;
        let everybody = self.agents.iter().chain(&newcomers);
        let everybody: Vec<_> = everybody.map(|agent| agent as &dyn Member).collect();
        let linking = newcomers.iter().map(|newcomer| {
            let mut others = everybody.clone();
            others.retain(|other| other.id() != newcomer.id());
            async move { until_reaches(newcomer, &others).await }
        });
        try_join_all(linking)
            .await
            .with_context(|| what.to_owned())?;
        let took = promoted.elapsed();
        report(&format!("{what}: newcomers linked after {took:.2?}"));
        ensure!(took < JOINED_IN_BUSY, "{what}: newcomers took {took:?}");
        if took > JOINED_IN {
            report(&format!(
                "WARNING: longer than {JOINED_IN:?}; is the machine busy?"
            ));
        }
        for newcomer in newcomers {
            newcomer.agent().close().await;
        }
        until_complete(&self.members(), SOON).await?;
        self.hubs_agree().await?;
        self.holds_all(server).await
    }

    /// No message between linked agents was lost, and no agent was told that another had left.
    async fn was_whole(&self, streams: Streams) -> Result<()> {
        let members = self.members();
        let tally = streams.end(&members).await?;
        report(&tally.to_string());
        tally.is_whole(members.len())?;
        stayed(&members).await
    }
}

async fn join(hub: &HubProcess, name: String) -> Result<Native> {
    let options = JoinOptions {
        k: Some(K),
        ..JoinOptions::new(&hub.url(), ROOM, &name)
    };
    Native::join(options).await
}

/// Members of which a server holds an entry.
async fn entries(server: &Redis) -> Result<usize> {
    let count = server.say(&["HLEN", "mesh:members"]).await?;
    count.parse().context("HLEN tells no number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_outlives_each_master_and_the_return_of_the_first_as_a_replica() -> Result<()> {
    let mut mesh = Mesh::form().await?;
    let streams = Streams::start(&mesh.agents, &mesh.members(), PACE);
    mesh.servers[0].kill().await?;
    mesh.goes_on_with(1, "the master was killed").await?;
    mesh.servers[0].restart().await?;
    let master = mesh.until_followed().await?;
    mesh.hubs_agree().await?;
    mesh.holds_all(1 - master).await?;
    // One Sentinel less: two are still a majority.
    mesh.sentinels.kill_first().await?;
    mesh.servers[master].kill().await?;
    mesh.goes_on_with(1 - master, "the next was killed too")
        .await?;
    mesh.was_whole(streams).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_outlives_a_master_that_pauses_as_the_first_comes_back() -> Result<()> {
    let mut mesh = Mesh::form().await?;
    let streams = Streams::start(&mesh.agents, &mesh.members(), PACE);
    mesh.servers[0].kill().await?;
    mesh.goes_on_with(1, "the master was killed").await?;
    mesh.servers[1].signal("STOP").await?;
    mesh.servers[0].restart().await?;
    mesh.sentinels.until_master(&mesh.servers[0]).await?;
    mesh.goes_on_with(0, "the first is the master again")
        .await?;
    mesh.servers[1].signal("CONT").await?;
    mesh.until_followed().await?;
    mesh.hubs_agree().await?;
    mesh.was_whole(streams).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lacks_the_last_members_is_told_of_them_when_it_is_promoted() -> Result<()> {
    let mut mesh = Mesh::form().await?;
    mesh.holds_all(1).await?;
    mesh.servers[0].admit(REPLICA, false).await?;
    mesh.enter("late", 2).await?;
    let lacking = entries(&mesh.servers[1]).await?;
    ensure!(lacking == AGENTS, "the replica holds {lacking}");
    let streams = Streams::start(&mesh.agents, &mesh.members(), PACE);
    mesh.servers[0].kill().await?;
    mesh.goes_on_with(1, "the replica lacked two members")
        .await?;
    // It comes back with a past that no hub has read on from.
    mesh.servers[0].restart().await?;
    let master = mesh.until_followed().await?;
    mesh.hubs_agree().await?;
    mesh.holds_all(1 - master).await?;
    mesh.was_whole(streams).await
}

#[tokio::test(flavor = "multi_thread")]
async fn hubs_leave_a_master_that_the_sentinels_gave_up_though_it_still_answers() -> Result<()> {
    let mesh = Mesh::form().await?;
    mesh.holds_all(1).await?;
    let streams = Streams::start(&mesh.agents, &mesh.members(), PACE);
    // No hub notices: the network between hubs and the master is well.
    mesh.servers[0].admit(REPLICA, false).await?;
    mesh.servers[0].admit(SENTINEL, false).await?;
    mesh.servers[1].until_master().await?;
    mesh.goes_on_with(1, "the master was cut off").await?;
    until("all hubs have left the old master", SOON, async || {
        let hubs = mesh.servers[0].say(&["PUBSUB", "CHANNELS", "mesh:hub:*"]);
        let hubs = hubs.await?;
        ensure!(hubs.is_empty(), "{hubs}");
        Ok(())
    })
    .await?;
    mesh.servers[0].until_master().await?; // It never knew.
    mesh.servers[0].admit(REPLICA, true).await?;
    mesh.servers[0].admit(SENTINEL, true).await?;
    mesh.until_followed().await?;
    mesh.hubs_agree().await?;
    mesh.was_whole(streams).await
}

/// Starts a hub by this URL, which warns that it is without the Redis, for this cause.
async fn is_without(redis: &str, cause: &str) -> Result<()> {
    let hub = HubProcess::start_at(free_port()?, &["--redis", redis]).await?;
    let log = &hub.process().stderr;
    let warning = log.first("a warning", SOON, |line| line.contains("is out of reach"));
    let warning = warning.await?;
    ensure!(warning.contains(cause), "{warning}");
    ensure!(!warning.contains("password"), "{warning}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_keeps_a_hub_from_the_master_is_told() -> Result<()> {
    let master = Redis::start_guarded().await?;
    let replica = Redis::start_guarded().await?;
    replica.replicate(&master).await?;
    let sentinels = Sentinels::watch(&master).await?;
    is_without(&replica.url(), "it is a replica, which takes no changes").await?;
    let url = sentinels.url();
    let other = url.replace(MASTER, "other");
    is_without(&other, "Master with given name not found in sentinel").await?;
    let (without_password, _) = url.split_once('?').context("a password")?;
    is_without(without_password, "Authentication required").await?;
    let no_sentinel = format!("redis+sentinel://127.0.0.1:{}/{MASTER}", free_port()?);
    is_without(&no_sentinel, "Connection refused").await?;
    let plain = Redis::start().await?;
    let none = format!("redis+sentinel://127.0.0.1:{}/{MASTER}", plain.port());
    is_without(&none, "Address does not point to a sentinel node").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_url_of_sentinels_is_refused_by_the_hub_and_by_the_check_of_its_file() -> Result<()>
{
    let file = std::env::temp_dir().join(format!("mesh-sentinel-{}.toml", free_port()?));
    let path = file.to_str().context("a path of letters")?;
    for (url, cause) in [
        (
            "redis+sentinel://one:26379,two:26379",
            "no name of a master",
        ),
        (
            "redis+sentinel://one,,two/mymaster",
            "no address of a Sentinel",
        ),
        ("redis+sentinel://one/mymaster/zero", "database"),
    ] {
        let ended = run_mesh(&["signal", "--redis", url], SOON).await?;
        ensure!(ended.code == Some(2), "{ended:?}");
        std::fs::write(&file, format!("[hub]\nredis = \"{url}\"\n"))?;
        let checked = run_mesh(&["config", "check", path], SOON).await?;
        ensure!(checked.code == Some(1), "{checked:?}");
        for said in [ended.stderr, checked.stderr] {
            ensure!(
                said.contains(cause) && said.contains("redis+sentinel://host:26379"),
                "{url}: {said}"
            );
        }
    }
    std::fs::remove_file(&file)?;
    Ok(())
}
