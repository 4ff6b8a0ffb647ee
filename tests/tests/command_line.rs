//! `mesh agent` and `mesh signal` as programs use them: JSON lines, exit codes, errors that help.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mesh_tests::agents::AgentProcess;
use mesh_tests::hub::HubProcess;
use mesh_tests::member::{Member, until_complete};
use mesh_tests::process::{Ended, free_port, run_mesh};
use mesh_tests::wait::{SOON, until};
use serde_json::{Value, json};

const ROOM: &str = "command-line";

/// Joining gives up after 5 s.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_talk_in_json_lines() -> Result<()> {
    let hub = HubProcess::start().await?;
    let (anna, ben) = join_two(&hub).await?;

    let sent = anna.command(json!({
        "type": "send", "to": "ben", "payload": {"n": 1}, "delivery": "acknowledged",
    }));
    let sent = sent.await?;
    ensure!(
        sent["type"] == "result" && sent["id"].is_string(),
        "the result of send is {sent}"
    );
    let got = ben
        .line("the message", |line| line["type"] == "message")
        .await?;
    ensure!(got["id"] == sent["id"], "ben got another message: {got}");
    ensure!(
        got["payload"] == json!({"n": 1}) && got["name"] == "anna",
        "ben got {got}"
    );
    ensure!(
        got["from"] == json!(anna.id()) && got["wantsReply"] == false,
        "ben got {got}"
    );
    ensure!(got["topic"].is_null() && got["hops"] == 1, "ben got {got}");
    let delivered = anna
        .line("the receipt", |line| line["type"] == "delivered")
        .await?;
    ensure!(
        delivered["id"] == sent["id"],
        "another message was delivered: {delivered}"
    );

    let asked = anna.command(json!({"type": "request", "to": ben.id(), "payload": "echo"}));
    let asked = asked.await?;
    ensure!(
        asked["type"] == "result" && asked["payload"] == "echo",
        "the reply is {asked}"
    );

    let news = ben.command(json!({"type": "broadcast", "topic": "news", "payload": "hi"}));
    let news = news.await?;
    let heard = anna
        .line("the broadcast", |line| line["topic"] == "news")
        .await?;
    ensure!(
        heard["id"] == news["id"] && heard["payload"] == "hi",
        "anna heard {heard}"
    );

    closes(&anna).await?;
    let left = ben
        .line("peerLeft", |line| line["type"] == "peerLeft")
        .await?;
    ensure!(
        left["peer"] == json!(anna.id()),
        "somebody else left: {left}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_lines_are_answered_and_the_agent_goes_on() -> Result<()> {
    let hub = HubProcess::start().await?;
    let (anna, ben) = join_two(&hub).await?;
    for bad in [
        "no json",
        r#"{"type":"dance"}"#,
        r#"{"type":"send","to":"ben"}"#,
        "[]",
    ] {
        anna.write_line(bad).await?;
    }
    let errors = |line: &Value| line["type"] == "error";
    let error = anna.line("an error", errors).await?;
    ensure!(
        error["code"] == "bad-command",
        "a bad line is answered by {error}"
    );
    ensure!(
        error["message"]
            .as_str()
            .is_some_and(|text| text.len() > 10),
        "{error}"
    );

    let nobody = anna
        .command(json!({"type": "send", "to": "nobody", "payload": ""}))
        .await?;
    ensure!(
        nobody["type"] == "error" && nobody["code"] == "unknown-peer",
        "{nobody}"
    );
    let message = nobody["message"]
        .as_str()
        .context("an error has a message")?;
    ensure!(
        message.contains("nobody"),
        "the error does not say who is unknown: {message}"
    );

    let count = anna.events("error").await?.len();
    ensure!(count == 5, "5 bad commands, {count} errors");
    let reply = anna.request(ben.id(), "still here?").await?;
    ensure!(
        reply == "still here?",
        "after the errors the reply is {reply}"
    );
    closes(&anna).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_file_keeps_the_agent_who_it_is() -> Result<()> {
    let hub = HubProcess::start().await?;
    let file = std::env::temp_dir().join(format!("mesh-tests-{}", free_port()?));
    let path = file.to_str().context("the path is text")?;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let agent = AgentProcess::join(&hub.url(), ROOM, "anna", &["--identity", path]).await?;
        ids.push(agent.id());
        closes(&agent).await?;
    }
    std::fs::write(&file, "short")?;
    let arguments = [
        "agent",
        "--signaling",
        &hub.url(),
        "--room",
        ROOM,
        "--identity",
        path,
    ];
    let refused = run_mesh(&arguments, PATIENCE).await?;
    std::fs::remove_file(&file)?;
    ensure!(
        ids[0] == ids[1],
        "the identity changed from {:?} to {:?}",
        ids[0],
        ids[1]
    );
    fails_with(&refused, 1, &["is no identity", "32"])
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_end_with_a_code_and_a_remedy() -> Result<()> {
    let hub = HubProcess::start().await?;
    let url = hub.url();
    let dead = format!("ws://127.0.0.1:{}/signal", free_port()?);
    let cases: [(&[&str], i32, &[&str]); 8] = [
        (
            &["agent", "--room", "r", "--speed", "9"],
            2,
            &["--speed", "--help"],
        ),
        (&["agent"], 2, &["--room"]),
        (
            &["agent", "--room", "r", "--signaling", "http://127.0.0.1:1"],
            1,
            &["http://127.0.0.1:1", "ws://host:9600/signal"],
        ),
        (
            &["agent", "--room", "r", "--signaling", &url, "--k", "1"],
            1,
            &["k is 1", "2 to 64"],
        ),
        (
            &["agent", "--room", "", "--signaling", &url],
            1,
            &["room", "0 bytes", "1 to 64"],
        ),
        (
            &["agent", "--room", "r", "--signaling", &dead],
            1,
            &[&dead, "cannot be reached", "mesh up"],
        ),
        (
            &[
                "agent",
                "--room",
                "r",
                "--signaling",
                &url,
                "--address",
                "203.0.113.8",
            ],
            1,
            &["203.0.113.8", "127.0.0.1"],
        ),
        (
            &[
                "signal",
                "--listen",
                "127.0.0.1:0",
                "--connections-per-address",
                "0",
            ],
            2,
            &["--connections-per-address", "at least 1"],
        ),
    ];
    for (arguments, code, words) in cases {
        let ended = run_mesh(arguments, PATIENCE).await?;
        fails_with(&ended, code, words).with_context(|| arguments.join(" "))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_about_several_hubs_name_the_address() -> Result<()> {
    let dead = format!("ws://127.0.0.1:{}/signal", free_port()?);
    let gone = format!("ws://127.0.0.1:{}/signal", free_port()?);
    let agent = ["agent", "--room", "r", "--signaling", &dead, "--signaling"];
    for (second, words) in [
        (&dead, ["is there twice", &*dead]),
        (&"ws://:1".to_owned(), ["ws://:1", "ws://host:9600/signal"]),
        (&gone, [&*gone, "none of the 2"]),
    ] {
        let ended = run_mesh(&[&agent[..], &[second]].concat(), PATIENCE).await?;
        fails_with(&ended, 1, &words)?;
    }
    let proxy = ["signal", "--trusted-proxy", "10.0.0.0/40"];
    let ended = run_mesh(&proxy, PATIENCE).await?;
    fails_with(&ended, 2, &["--trusted-proxy", "10.0.0.0/8"])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_usable_file_is_named_at_once() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("mesh-tests-{}", free_port()?));
    std::fs::create_dir(&folder)?;
    let (pipe, large) = (folder.join("pipe"), folder.join("large"));
    let made = std::process::Command::new("mkfifo").arg(&pipe).status()?;
    ensure!(made.success(), "mkfifo fails with {made}");
    std::fs::write(&large, vec![b' '; 1_100_000])?;
    let (pipe, large) = (pipe.to_str(), large.to_str());
    let (pipe, large) = (pipe.context("text")?, large.context("text")?);
    let agent: &[&str] = &[
        "agent",
        "--room",
        "r",
        "--signaling",
        "wss://127.0.0.1:1/signal",
    ];
    let test: &[&str] = &["load-test", "--signaling", "wss://127.0.0.1:1/signal"];
    let hub: &[&str] = &["signal", "--listen", "127.0.0.1:0"];
    for (arguments, option) in [
        (agent, "--identity"),
        (agent, "--ca"),
        (test, "--ca"),
        (hub, "--ice-servers"),
    ] {
        for (path, cause) in [
            ("/dev/zero", "not a file"),
            (pipe, "not a file"),
            (large, "bytes"),
        ] {
            let arguments = [arguments, &[option, path]].concat();
            let ended = run_mesh(&arguments, PATIENCE).await?;
            fails_with(&ended, 1, &[path, cause]).with_context(|| arguments.join(" "))?;
        }
    }
    std::fs::write(large, "no PEM")?;
    for arguments in [agent, test] {
        let ended = run_mesh(&[arguments, &["--ca", large]].concat(), PATIENCE).await?;
        fails_with(&ended, 1, &[large, "no certificate (PEM)"])?;
    }
    Ok(std::fs::remove_dir_all(folder)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_told_with_the_way_out() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    for command in ["signal", "up"] {
        let ended = run_mesh(&[command, "--listen", &address], PATIENCE).await?;
        fails_with(&ended, 1, &[&address, "--listen"])?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hub_tells_how_it_is() -> Result<()> {
    let hub = HubProcess::start().await?;
    let health = hub.health().await?;
    ensure!(
        health["status"] == "ok" && health["hub"]["members"] == 0,
        "empty: {health}"
    );
    let (_anna, _ben) = join_two(&hub).await?;
    let health = hub.health().await?;
    ensure!(health["status"] == "ok", "with two members: {health}");
    ensure!(
        health["hub"]["members"] == 2 && health["hub"]["rooms"] == 1,
        "{health}"
    );
    ensure!(
        health["hub"]["signals"].as_u64() > Some(0),
        "no signals: {health}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_tells_what_it_decides_and_what_it_waits_for_if_asked() -> Result<()> {
    let hub = HubProcess::start().await?;
    let url = hub.url();
    let (anna, ben) = tokio::try_join!(
        AgentProcess::join(&url, ROOM, "anna", &["--log", "debug"]),
        AgentProcess::join(&url, ROOM, "ben", &[])
    )?;
    until_complete(&[&anna, &ben], SOON).await?;
    let ids = [anna.id().short(), ben.id().short()];
    let [agent, peer] =
        [("agent", &ids[0]), ("peer", &ids[1])].map(|(field, id)| format!("{field}={id}"));
    until("the decision in the log", SOON, async || {
        let logged = anna.logged().await;
        let told = |line: &String| {
            let of_links = line.contains("DEBUG mesh_core::links");
            of_links
                && line.contains("a link is open")
                && line.contains(&agent)
                && line.contains(&peer)
        };
        ensure!(logged.iter().any(told), "{logged:#?}");
        Ok(())
    })
    .await?;
    for (agent, words) in [
        (&anna, &["TRACE", " rtc", "webrtc"][..]),
        (&ben, &["DEBUG", "TRACE"]),
    ] {
        let loud = |line: &String| words.iter().any(|word| line.contains(word));
        let logged = agent.logged().await;
        ensure!(!logged.iter().any(loud), "{logged:#?}");
    }

    let stats = anna.command(json!({"type": "stats"})).await?;
    let next = &stats["stats"]["nextTimeout"];
    // At rest the next is a ping at the latest, every 5 s.
    let is_soon = next["inMs"]
        .as_f64()
        .is_some_and(|ms| (0.0..=10_000.0).contains(&ms));
    ensure!(is_soon && next["reason"].is_string(), "{stats}");
    ensure!(
        stats["stats"]["links"]["open"] == 1,
        "the counters are beside it: {stats}"
    );

    let wrong = run_mesh(&["agent", "--room", ROOM, "--log", "loud"], PATIENCE).await?;
    fails_with(&wrong, 2, &["--log", "loud", "debug"])
}

async fn join_two(hub: &HubProcess) -> Result<(AgentProcess, AgentProcess)> {
    let url = hub.url();
    let (anna, ben) = tokio::try_join!(
        AgentProcess::join(&url, ROOM, "anna", &[]),
        AgentProcess::join(&url, ROOM, "ben", &[])
    )?;
    until_complete(&[&anna, &ben], SOON).await?;
    Ok((anna, ben))
}

async fn closes(agent: &AgentProcess) -> Result<()> {
    agent.write_line(r#"{"type":"close"}"#).await?;
    let code = agent.exit_code().await?;
    ensure!(
        code == Some(0),
        "{} ends with {code:?} when told to close",
        agent.name()
    );
    Ok(())
}

/// Programs read the code, and people the words.
fn fails_with(ended: &Ended, code: i32, words: &[&str]) -> Result<()> {
    let Ended { stdout, stderr, .. } = ended;
    ensure!(
        ended.code == Some(code),
        "the code is {:?}, not {code}: {stderr}",
        ended.code
    );
    ensure!(
        stdout.is_empty(),
        "stdout is for results, not for {stdout:?}"
    );
    ensure!(stderr.contains("error: "), "no error in {stderr:?}");
    let unsaid: Vec<_> = words
        .iter()
        .filter(|word| !stderr.contains(**word))
        .collect();
    ensure!(unsaid.is_empty(), "{stderr:?} lacks {unsaid:?}");
    Ok(())
}
