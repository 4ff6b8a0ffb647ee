//! Links through a TURN server: a real coturn, between hosts whose network the test changes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use mesh_tests::agents::AgentProcess;
use mesh_tests::browser::{self, Tab};
use mesh_tests::exposition::Exposition;
use mesh_tests::hosts::{self, Host, Network};
use mesh_tests::member::{Member, peers, stats, until_complete};
use mesh_tests::process::{MeshProcess, free_port};
use mesh_tests::recorder::Recorder;
use mesh_tests::report;
use mesh_tests::turn::{self, TurnServer};
use mesh_tests::wait::{SOON, until};
use serde_json::Value;

const ROOM: &str = "relayed";

/// The host that all others reach: the hub and the TURN server.
const BETWEEN: &str = "203.0.113.1";
const HUB: &str = "203.0.113.1:9600";
const URL: &str = "ws://203.0.113.1:9600/signal";

/// What hub and TURN server share.
const SECRET: &str = "a-secret-of-hub-and-coturn-alone";

/// What coturn needs for that.
const SHARED: [&str; 2] = [
    "use-auth-secret",
    "static-auth-secret=a-secret-of-hub-and-coturn-alone",
];

/// How long credentials hold, and how long links go on with and after them: for the whole of it set
/// MESH_TURN_LONG.
fn lifetimes() -> (Duration, Duration) {
    match std::env::var_os("MESH_TURN_LONG") {
        None => (Duration::from_secs(10), Duration::from_secs(40)),
        Some(_) => (Duration::from_secs(60), Duration::from_secs(600)),
    }
}

/// A file with the secret, removed when dropped.
struct SecretFile(std::path::PathBuf);

impl SecretFile {
    fn new(of: &str) -> Result<Self> {
        let name = format!("mesh-turn-secret-{}-{of}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, format!("{SECRET}\n"))?;
        Ok(Self(path))
    }

    fn path(&self) -> Result<&str> {
        self.0.to_str().context("the folder's name is no text")
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        // Nothing real is secret in it.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A network with a host for the servers, and others.
struct Hosts {
    _network: Network,
    between: Host,
    others: Vec<Host>,
}

impl Hosts {
    async fn new(names: &[&str]) -> Result<Self> {
        let network = Network::new().await?;
        let between = network
            .host("turn", "eth0", &[&format!("{BETWEEN}/24")])
            .await?;
        let mut others = Vec::new();
        for (name, number) in names.iter().zip(2..) {
            let address = format!("203.0.113.{number}/24");
            others.push(network.host(name, "eth0", &[&address]).await?);
        }
        Ok(Self {
            _network: network,
            between,
            others,
        })
    }

    /// A hub with these options.
    async fn hub(&self, more: &[&str]) -> Result<MeshProcess> {
        let arguments = [&["signal", "--listen", HUB], more].concat();
        let hub = MeshProcess::start_on(&self.between, &arguments)?;
        let serves = |line: &String| line.contains("listen") || line.contains("page");
        hub.stderr.first("the hub serves", SOON, serves).await?;
        Ok(hub)
    }

    /// Lets no packet pass between the first two hosts, or all again.
    async fn block(&self, blocked: bool) -> Result<()> {
        for (host, other) in [(0, "203.0.113.3"), (1, "203.0.113.2")] {
            let others: &[&str] = if blocked { &[other] } else { &[] };
            self.others[host].drop_from(others).await?;
        }
        Ok(())
    }

    /// An agent on a host.
    async fn agent(&self, host: usize, name: &str, more: &[&str]) -> Result<AgentProcess> {
        AgentProcess::join_on(&self.others[host], URL, ROOM, name, more).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_that_may_only_be_relayed_link_over_servers_with_their_own_users() -> Result<()> {
    if !hosts::can_be_made("an agent that may only be relayed").await {
        return Ok(());
    }
    let hosts = Hosts::new(&["anna", "ben"]).await?;
    let users = |user| ["lt-cred-mech", user];
    let one = TurnServer::start(
        Some(&hosts.between),
        (BETWEEN, 3478),
        &users("user=one:first"),
    )
    .await?;
    let two = TurnServer::start(
        Some(&hosts.between),
        (BETWEEN, 3479),
        &users("user=two:other"),
    )
    .await?;
    let _hub = hosts
        .hub(&[
            "--ice-server",
            "turn:203.0.113.1:3478,one,first",
            "--ice-server",
            "turn:203.0.113.1:3479?transport=udp,two,other",
        ])
        .await?;
    let relay = ["--ice-transport-policy", "relay"];
    let (anna, ben) = tokio::try_join!(
        hosts.agent(0, "anna", &relay),
        hosts.agent(1, "ben", &relay)
    )?;
    until_complete(&[&anna, &ben], SOON).await?;
    let reply = anna.request(ben.id(), "over a relay").await?;
    ensure!(reply == "over a relay", "the reply is {reply}");
    for (server, user) in [(&one, "one"), (&two, "two")] {
        let users = server.allocations();
        let all = !users.is_empty() && users.iter().all(|of| of == user);
        ensure!(all, "allocations of {users:?}: {}", server.log());
    }
    let way = path(&anna, &ben).await?;
    ensure!(
        way["local"] == "relay" && way["relayed"] == true,
        "the way is {way}"
    );
    let opened = anna.events("linkOpened").await?;
    let setup = opened.first().context("it has opened")?["setupMs"].as_f64();
    ensure!(
        setup.is_some_and(|ms| ms < 2_000.0),
        "opened in {setup:?} ms"
    );
    Ok(())
}

/// The way of an agent's link to a peer, as `peers()` tells it.
async fn path(agent: &dyn Member, peer: &dyn Member) -> Result<Value> {
    let mut peers = agent.table("peers").await?;
    let rows = peers.as_array_mut().context("peers() is a list")?;
    let id = peer.id().to_string();
    let row = rows.iter_mut().find(|row| row["id"] == *id);
    Ok(row.context("it knows the peer")?["path"].take())
}

/// Waits until either end's link is relayed, or both are direct.
async fn until_relayed(ends: [&dyn Member; 2], relayed: bool, within: Duration) -> Result<()> {
    let what = format!("a link whose way is relayed: {relayed}");
    until(&what, within, async || {
        let paths = [path(ends[0], ends[1]).await?, path(ends[1], ends[0]).await?];
        ensure!(paths.iter().all(|path| !path.is_null()), "{paths:?}");
        let is_relayed = paths.iter().any(|path| path["relayed"] == true);
        ensure!(is_relayed == relayed, "{paths:?}");
        Ok(())
    })
    .await
}

/// All user names and passwords in what a hub has said, in their order, each once.
fn users(told: &str) -> Vec<(String, String)> {
    let mut users = Vec::new();
    for part in told.split("\"username\":\"").skip(1) {
        let text = |part: &str| part.split('"').next().unwrap_or_default().to_owned();
        let password = part.split("\"credential\":\"").nth(1).unwrap_or_default();
        let user = (text(part), text(password));
        if !users.contains(&user) {
            users.push(user);
        }
    }
    users
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_gets_new_credentials_in_time_and_coturn_refuses_the_old_ones() -> Result<()> {
    let secret = SecretFile::new("refused")?;
    let [hub_port, metrics_port, port] = [free_port()?, free_port()?, free_port()?];
    let here = ("127.0.0.1", port);
    let lines = [&SHARED[..], &["allow-loopback-peers"]].concat();
    let server = TurnServer::start(None, here, &lines).await?;
    let (listen, metrics) = (
        format!("127.0.0.1:{hub_port}"),
        format!("127.0.0.1:{metrics_port}"),
    );
    let hub = MeshProcess::start(&[
        "signal",
        "--listen",
        &listen,
        "--metrics",
        &metrics,
        "--turn-url",
        &format!("turn:127.0.0.1:{port}"),
        "--turn-secret-file",
        secret.path()?,
        "--turn-ttl",
        "10s",
    ])?;
    let serves = |line: &String| line.contains("page");
    hub.stderr.first("the hub serves", SOON, serves).await?;
    let recorder = Recorder::start(hub_port).await?;
    let pings = ["--signaling-ping", "1s"];
    let agent = AgentProcess::join(&recorder.url(), ROOM, "anna", &pings).await?;
    let (user, password) = users(&recorder.told())
        .first()
        .cloned()
        .context("the welcome has credentials")?;
    let good = turn::relays(here, &user, &password).await?;
    ensure!(good, "coturn refuses new credentials: {}", server.log());
    until("new credentials", SOON, async || {
        ensure!(users(&recorder.told()).len() > 1, "none yet");
        Ok(())
    })
    .await?;
    until("coturn refuses what has expired", SOON, async || {
        ensure!(!turn::relays(here, &user, &password).await?, "it relays");
        Ok(())
    })
    .await?;
    let password = until("the newest credentials are good", SOON, async || {
        let (user, password) = users(&recorder.told()).pop().context("none")?;
        ensure!(
            turn::relays(here, &user, &password).await?,
            "refused: {}",
            server.log()
        );
        Ok(password)
    })
    .await?;
    let shown = format!("{:?}", Exposition::of(metrics_port).await?);
    let logs = [hub.stderr.all(|_| true), agent.logged().await].concat();
    for text in [recorder.told(), shown, logs.join(" ")] {
        ensure!(!text.contains(SECRET), "the secret shows: {text}");
    }
    ensure!(!logs.join(" ").contains(&password), "a password is logged");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn relayed_links_and_new_ones_go_on_when_credentials_expire() -> Result<()> {
    if !hosts::can_be_made("relayed links go on when credentials expire").await {
        return Ok(());
    }
    let secret = SecretFile::new("goes-on")?;
    let hosts = Hosts::new(&["anna", "ben", "cleo"]).await?;
    let server = TurnServer::start(Some(&hosts.between), (BETWEEN, 3478), &SHARED).await?;
    let (ttl, lasts) = lifetimes();
    let ttl = format!("{}s", ttl.as_secs());
    let _hub = hosts
        .hub(&[
            "--turn-url",
            "turn:203.0.113.1:3478",
            "--turn-secret-file",
            secret.path()?,
            "--turn-ttl",
            &ttl,
        ])
        .await?;
    let options = ["--ice-transport-policy", "relay", "--signaling-ping", "2s"];
    let (anna, ben) = tokio::try_join!(
        hosts.agent(0, "anna", &options),
        hosts.agent(1, "ben", &options)
    )?;
    until_complete(&[&anna, &ben], SOON).await?;
    let begun = Instant::now();
    let mut replies = 0;
    while begun.elapsed() < lasts {
        let reply = anna.request(ben.id(), "still?").await?;
        ensure!(reply == "still?", "the reply is {reply}");
        replies += 1;
        tokio::time::sleep(Duration::from_millis(500)).await; // The pace of the requests.
    }
    let cleo = hosts.agent(2, "cleo", &options).await?;
    until_complete(&[&anna, &ben, &cleo], SOON).await?;
    let reply = cleo.request(anna.id(), "new?").await?;
    ensure!(reply == "new?", "the reply is {reply}");
    for agent in [&anna, &ben] {
        for kind in ["linkClosed", "linkFailed", "linkRotated"] {
            let events: Vec<Value> = agent.events(kind).await?;
            ensure!(events.is_empty(), "{}: {events:?}", agent.name());
        }
    }
    let mut users = server.allocations();
    users.sort();
    users.dedup();
    report(&format!(
        "{replies} replies in {lasts:?}, users of allocations: {users:?}"
    ));
    let log = server.log();
    let lines = log.lines();
    let refreshed = lines
        .filter(|line| line.contains("REFRESH processed, success"))
        .count();
    // coturn gives each allocation ten minutes, and agents ask for more when half is over.
    let asked = lasts > Duration::from_secs(300);
    ensure!(
        !asked || refreshed >= 2,
        "refreshed {refreshed} times: {log}"
    );
    ensure!(
        users.len() >= 4,
        "each member and time has its user: {users:?}"
    );
    Ok(())
}

/// A hub that makes credentials, with the file of its secret.
async fn minting_hub(hosts: &Hosts, of: &str) -> Result<(MeshProcess, SecretFile)> {
    let secret = SecretFile::new(of)?;
    let hub = hosts
        .hub(&[
            "--turn-url",
            "turn:203.0.113.1:3478",
            "--turn-secret-file",
            secret.path()?,
        ])
        .await?;
    Ok((hub, secret))
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_open_directly_allocate_no_relay() -> Result<()> {
    if !hosts::can_be_made("links that open directly allocate no relay").await {
        return Ok(());
    }
    // Of all with all: 21 links, or 105.
    let members = match std::env::var_os("MESH_TURN_LONG") {
        None => 7,
        Some(_) => 15,
    };
    let hosts = Hosts::new(&["anna", "ben", "cleo"]).await?;
    let server = TurnServer::start(Some(&hosts.between), (BETWEEN, 3478), &SHARED).await?;
    let (_hub, _secret) = minting_hub(&hosts, "direct").await?;
    let names: Vec<String> = (0..members)
        .map(|number| format!("agent-{number}"))
        .collect();
    let joining = names.iter().enumerate();
    let joining = joining.map(|(number, name)| hosts.agent(number % 3, name, &[]));
    let agents = try_join_all(joining).await?;
    let all: Vec<_> = agents.iter().map(|agent| agent as &dyn Member).collect();
    until("all with all are linked", SOON, async || {
        for agent in &all {
            let open = stats(*agent).await?.links.open;
            ensure!(open == members - 1, "{} has {open} links", agent.name());
        }
        Ok(())
    })
    .await?;
    let users = server.allocations();
    ensure!(users.is_empty(), "allocations of {users:?}");
    report(&format!(
        "{} direct links, no allocation",
        members * (members - 1) / 2
    ));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_without_a_direct_path_is_relayed_within_a_second_after_the_wait() -> Result<()> {
    if !hosts::can_be_made("a link without a direct path is relayed").await {
        return Ok(());
    }
    let hosts = Hosts::new(&["anna", "ben"]).await?;
    hosts.block(true).await?;
    let server = TurnServer::start(Some(&hosts.between), (BETWEEN, 3478), &SHARED).await?;
    let (_hub, _secret) = minting_hub(&hosts, "fallback").await?;
    for wait_ms in [2_000.0, 500.0] {
        let before = server.allocations().len();
        let wait = format!("{wait_ms}ms");
        let options = ["--turn-fallback-timeout", &wait];
        let (anna, ben) = tokio::try_join!(
            hosts.agent(0, "anna", &options),
            hosts.agent(1, "ben", &options)
        )?;
        until_complete(&[&anna, &ben], SOON).await?;
        let reply = anna.request(ben.id(), "over a relay").await?;
        ensure!(reply == "over a relay", "the reply is {reply}");
        for agent in [&anna, &ben] {
            let opened = agent.line("a link opens", |line| line["type"] == "linkOpened");
            let setup = opened.await?["setupMs"]
                .as_f64()
                .context("it took some time")?;
            report(&format!(
                "{} opened after {setup:.0} ms of {wait_ms} ms",
                agent.name()
            ));
            let over = setup - wait_ms;
            ensure!(
                (0.0..1_000.0).contains(&over),
                "{setup} ms after a wait of {wait_ms} ms"
            );
            let failed = agent.events("linkFailed").await?;
            ensure!(failed.is_empty(), "not at once: {failed:?}");
        }
        let made = server.allocations().len() - before;
        ensure!(made == 2, "one allocation for each end, not {made}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relayed_link_is_direct_within_a_minute_after_the_block_ends() -> Result<()> {
    if !hosts::can_be_made("a relayed link becomes direct").await {
        return Ok(());
    }
    let hosts = Hosts::new(&["anna", "ben"]).await?;
    hosts.block(true).await?;
    let server = TurnServer::start(Some(&hosts.between), (BETWEEN, 3478), &SHARED).await?;
    let (_hub, _secret) = minting_hub(&hosts, "upgrade").await?;
    let (anna, ben) = tokio::try_join!(hosts.agent(0, "anna", &[]), hosts.agent(1, "ben", &[]))?;
    until_complete(&[&anna, &ben], SOON).await?;
    until_relayed([&anna, &ben], true, SOON).await?;
    let made = server.allocations().len();
    hosts.block(false).await?;
    let begun = Instant::now();
    let mut asked = 0;
    until(
        "the link to be direct",
        Duration::from_secs(60),
        async || {
            let reply = anna.request(ben.id(), "meanwhile").await?;
            ensure!(reply == "meanwhile", "the reply is {reply}");
            asked += 1;
            let paths = [path(&anna, &ben).await?, path(&ben, &anna).await?];
            ensure!(
                paths.iter().all(|path| path["relayed"] == false),
                "{paths:?}"
            );
            Ok(())
        },
    )
    .await?;
    let took = begun.elapsed();
    report(&format!(
        "direct {took:?} after the block ended, {asked} replies meanwhile"
    ));
    for agent in [&anna, &ben] {
        for kind in ["linkClosed", "linkFailed"] {
            let events = agent.events(kind).await?;
            ensure!(events.is_empty(), "{}: {events:?}", agent.name());
        }
        let ways = agent.events("linkPath").await?;
        let relayed: Vec<_> = ways.iter().map(|event| &event["path"]["relayed"]).collect();
        ensure!(
            relayed.last() == Some(&&Value::Bool(false)),
            "{}: {ways:?}",
            agent.name()
        );
    }
    ensure!(
        server.allocations().len() == made,
        "a direct try asks for no relay"
    );
    // The relays are given back.
    until("the allocations to end", SOON, async || {
        let log = server.log();
        let ended = log
            .lines()
            .filter(|line| line.contains(": delete: realm="))
            .count();
        ensure!(ended >= made, "{ended} of {made}: {log}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tab_is_relayed_without_a_direct_path_and_direct_once_there_is_one() -> Result<()> {
    const WHAT: &str = "a tab that is relayed";
    if !browser::are_wanted(WHAT) || !hosts::can_be_made(WHAT).await {
        return Ok(());
    }
    let hosts = Hosts::new(&["anna", "ben"]).await?;
    hosts.block(true).await?;
    let server = TurnServer::start(Some(&hosts.between), (BETWEEN, 3478), &SHARED).await?;
    let (_hub, _secret) = minting_hub(&hosts, "tab").await?;
    let page = format!("http://{HUB}/?room={ROOM}&name=tab");
    let tab = Tab::open_on(&hosts.others[0], &page).await?;
    let ben = hosts.agent(1, "ben", &[]).await?;
    until_complete(&[&tab, &ben], SOON).await?;
    until_relayed([&tab, &ben], true, SOON).await?;
    let made = server.allocations().len();
    ensure!(made > 0, "{}", server.log());
    let opened = ben.line("the link opens", |line| line["type"] == "linkOpened");
    let setup = opened.await?["setupMs"]
        .as_f64()
        .context("it took some time")?;
    report(&format!(
        "tab and agent relayed after {setup:.0} ms, {made} allocations"
    ));
    ensure!(setup > 2_000.0 && setup < 3_500.0, "it took {setup} ms");
    let reply = ben.request(tab.id(), "over a relay").await?;
    ensure!(reply == "over a relay", "the reply is {reply}");
    hosts.block(false).await?;
    let begun = Instant::now();
    until_relayed([&tab, &ben], false, Duration::from_secs(60)).await?;
    report(&format!(
        "direct {:?} after the block ended",
        begun.elapsed()
    ));
    let reply = ben.request(tab.id(), "directly").await?;
    ensure!(reply == "directly", "the reply is {reply}");
    ensure!(
        server.allocations().len() == made,
        "a direct try asks for no relay"
    );

    // Another agent of the same page, which may only be relayed.
    let arguments = [ROOM.into(), ben.id().to_string().into()];
    let told = tab.evaluate(RELAY_ONLY, &arguments).await?;
    ensure!(told["path"]["local"] == "relay", "the page tells {told}");
    ensure!(told["refused"] == "options", "the page tells {told}");
    ensure!(server.allocations().len() > made, "{}", server.log());
    tab.close().await
}

/// Joins a room, and returns the way of the link to a peer, and how a bad policy is refused.
const RELAY_ONLY: &str = "
    const [room, peer] = arguments;
    return (async () => {
        const { default: init, Mesh } = await import('/pkg/mesh_wasm.js');
        await init();
        const signaling = `ws://${location.host}/signal`;
        const options = { signaling, room, name: 'hidden', iceTransportPolicy: 'relay' };
        const bad = Mesh.join({ ...options, iceTransportPolicy: 'direct' });
        const refused = await bad.then(() => null, (error) => error.code);
        const mesh = await Mesh.join({ ...options, turnFallbackMs: 500 });
        for await (const event of mesh.events()) {
            if (event.type === 'linkPath' && event.peer === peer) break;
        }
        const path = mesh.peers().find(({ id }) => id === peer).path;
        await mesh.close();
        return { path, refused };
    })();";

/// Three agents of which two are linked over the TURN server alone, and the third to both.
struct Relayed {
    hosts: Hosts,
    server: TurnServer,
    _hub: (MeshProcess, SecretFile),
    anna: AgentProcess,
    ben: AgentProcess,
    _cleo: AgentProcess,
}

impl Relayed {
    async fn new(of: &str) -> Result<Self> {
        let hosts = Hosts::new(&["anna", "ben", "cleo"]).await?;
        hosts.block(true).await?;
        let server = TurnServer::start(Some(&hosts.between), (BETWEEN, 3478), &SHARED).await?;
        let hub = minting_hub(&hosts, of).await?;
        let (anna, ben, cleo) = tokio::try_join!(
            hosts.agent(0, "anna", &[]),
            hosts.agent(1, "ben", &[]),
            hosts.agent(2, "cleo", &[])
        )?;
        until_complete(&[&anna, &ben, &cleo], SOON).await?;
        until_relayed([&anna, &ben], true, SOON).await?;
        Ok(Self {
            hosts,
            server,
            _hub: hub,
            anna,
            ben,
            _cleo: cleo,
        })
    }

    /// Waits until the relayed link carries again what it did not, and asks all the while: each
    /// request must be answered, over the third agent if need be.
    async fn until_back(&self, broken: Instant) -> Result<Duration> {
        until("the relayed link is away", SOON, async || {
            self.ask().await?;
            let direct = self.linked().await?;
            ensure!(!direct, "it is linked");
            Ok(())
        })
        .await?;
        let away = broken.elapsed();
        until(
            "the relayed link is back",
            Duration::from_secs(20),
            async || {
                self.ask().await?;
                ensure!(self.linked().await?, "it is not linked");
                Ok(())
            },
        )
        .await?;
        let took = broken.elapsed();
        report(&format!(
            "away was noticed after {away:?}, and back after {took:?}"
        ));
        ensure!(took < Duration::from_secs(20), "it took {took:?}");
        until_relayed([&self.anna, &self.ben], true, SOON).await?;
        Ok(took)
    }

    async fn ask(&self) -> Result<()> {
        let reply = self.anna.request(self.ben.id(), "still?").await?;
        ensure!(reply == "still?", "the reply is {reply}");
        Ok(())
    }

    async fn linked(&self) -> Result<bool> {
        let peers = peers(&self.anna).await?;
        let ben = peers.iter().find(|peer| peer.id == self.ben.id());
        Ok(ben.context("it is a member")?.direct)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn relayed_links_are_back_within_20_s_after_the_turn_server_is_killed() -> Result<()> {
    if !hosts::can_be_made("a TURN server that is killed").await {
        return Ok(());
    }
    let mut relayed = Relayed::new("killed").await?;
    let broken = Instant::now();
    let Relayed { server, hosts, .. } = &mut relayed;
    server.restart(Some(&hosts.between)).await?;
    relayed.until_back(broken).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_go_over_others_while_the_turn_server_is_stalled() -> Result<()> {
    if !hosts::can_be_made("a TURN server that is stalled").await {
        return Ok(());
    }
    let relayed = Relayed::new("stalled").await?;
    relayed.server.signal("STOP").await?;
    let stalled = Instant::now();
    while stalled.elapsed() < Duration::from_secs(5) {
        relayed.ask().await?;
    }
    relayed.server.signal("CONT").await?;
    until(
        "the relayed link is there",
        Duration::from_secs(15),
        async || {
            relayed.ask().await?;
            ensure!(relayed.linked().await?, "it is not linked");
            Ok(())
        },
    )
    .await?;
    let took = stalled.elapsed();
    report(&format!("linked {took:?} after the stall began"));
    until_relayed([&relayed.anna, &relayed.ben], true, SOON).await
}
