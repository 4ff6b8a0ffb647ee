//! Links through a TURN server: a real coturn, between hosts whose network the test changes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use mesh_tests::agents::AgentProcess;
use mesh_tests::exposition::Exposition;
use mesh_tests::hosts;
use mesh_tests::member::{Member, stats, until_complete};
use mesh_tests::process::{MeshProcess, free_port};
use mesh_tests::recorder::Recorder;
use mesh_tests::relayed::{BETWEEN, Hosts, ROOM, SECRET, SHARED, SecretFile, minting_hub, path};
use mesh_tests::report;
use mesh_tests::turn::{self, TurnServer};
use mesh_tests::wait::{SOON, until};
use serde_json::Value;

/// How long credentials hold, and how long links go on with and after them: for the whole of it set
/// MESH_TURN_LONG.
fn lifetimes() -> (Duration, Duration) {
    match std::env::var_os("MESH_TURN_LONG") {
        None => (Duration::from_secs(10), Duration::from_secs(40)),
        Some(_) => (Duration::from_secs(60), Duration::from_secs(600)),
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

/// Waits until a server relays for the newest user that a hub has told, whom it returns with its
/// password.
async fn until_newest_relay(
    recorder: &Recorder,
    here: (&str, u16),
    server: &TurnServer,
) -> Result<(String, String)> {
    until("the newest credentials to be good", SOON, async || {
        let (user, password) = users(&recorder.told()).pop().context("none are told")?;
        let good = turn::relays(here, &user, &password).await?;
        ensure!(good, "coturn does not relay for them: {}", server.log());
        Ok((user, password))
    })
    .await
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
    // coturn's client may lose a packet, or be late, where many programs run: it is asked again.
    let (user, password) = until_newest_relay(&recorder, here, &server).await?;
    let first = users(&recorder.told()).len();
    until("new credentials", SOON, async || {
        ensure!(users(&recorder.told()).len() > first, "none yet");
        Ok(())
    })
    .await?;
    until("coturn refuses what has expired", SOON, async || {
        ensure!(!turn::relays(here, &user, &password).await?, "it relays");
        Ok(())
    })
    .await?;
    let (_, password) = until_newest_relay(&recorder, here, &server).await?;
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
