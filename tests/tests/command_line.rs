//! `mesh agent` and `mesh signal` as programs use them: JSON lines, exit codes, errors that help.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mesh_tests::agents::AgentProcess;
use mesh_tests::hub::HubProcess;
use mesh_tests::member::{Member, until_complete};
use mesh_tests::process::{Ended, free_port, run_mesh};
use mesh_tests::wait::SOON;
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
    let cases: [(&[&str], i32, &[&str]); 6] = [
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
            &["room", "1 to 64 bytes"],
        ),
        (
            &["agent", "--room", "r", "--signaling", &dead],
            1,
            &[&dead, "cannot be reached", "mesh up"],
        ),
    ];
    for (arguments, code, words) in cases {
        let ended = run_mesh(arguments, PATIENCE).await?;
        fails_with(&ended, code, words).with_context(|| arguments.join(" "))?;
    }
    Ok(())
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
async fn a_load_test_reports_what_it_measured() -> Result<()> {
    let out = std::env::temp_dir().join(format!("mesh-load-test-{}", std::process::id()));
    let folder = out.to_str().context("the path is text")?;
    let arguments = [
        "load-test",
        "--agents",
        "8",
        "--k",
        "3",
        "--duration",
        "2s",
        "--rate",
        "10",
        "--json",
        "--out",
        folder,
    ];
    let ended = run_mesh(&arguments, Duration::from_secs(90)).await?;
    let report: Value = serde_json::from_str(&ended.stdout)
        .with_context(|| format!("no JSON but {:?}, {:?}", ended.stdout, ended.stderr))?;
    // 160 messages of 8 agents in 2 s.
    for (pointer, expected) in [
        ("/agents", json!(8)),
        ("/k", json!(3)),
        ("/rate_per_agent", json!(10.0)),
        ("/links/failed", json!(0)),
        ("/sent", json!(160)),
        ("/delivered", json!(160)),
        ("/lost", json!({})),
        ("/rejected", json!({})),
    ] {
        let found = report.pointer(pointer);
        ensure!(found == Some(&expected), "{pointer} is {found:?}");
    }
    let links = &report["links"];
    ensure!(
        links["open"] == links["planned"] && links["open"] == report["topology"]["edges"],
        "the links are {links}"
    );
    has_figures(&report)?;
    ensure!(ended.code == Some(0), "it ended with {:?}", ended.code);
    let page = std::fs::read_to_string(out.join("report.html"))?;
    ensure!(
        page.matches("<svg").count() == 3,
        "the page has not its plots"
    );
    let text = std::fs::read_to_string(out.join("report.md"))?;
    ensure!(
        text.contains("| delivered | 99 % | 100.00 % | PASS |"),
        "{text}"
    );
    std::fs::remove_dir_all(out)?;
    Ok(())
}

/// What a load test measures is there, and makes sense.
fn has_figures(report: &Value) -> Result<()> {
    let number = |pointer: &str| {
        let found = report.pointer(pointer).and_then(Value::as_f64);
        found.with_context(|| format!("{pointer} is no number"))
    };
    for pointer in [
        "/duration_s",
        "/links/setup_s",
        "/latency_ms/p50",
        "/latency_ms/p99",
        "/latency_ms/mean",
        "/latency_ms/min",
        "/latency_by_hops/1/p50",
        "/throughput_msg_s/mean",
        "/throughput_msg_s/peak",
        "/memory_mb_per_agent",
        "/cpu_percent_per_agent",
        "/sign_us",
        "/verify_us",
        "/topology/diameter",
        "/topology/average_path_length",
    ] {
        ensure!(
            number(pointer)? > 0.0,
            "{pointer} is {:?}",
            report.pointer(pointer)
        );
    }
    ensure!(number("/latency_ms/min")? <= number("/latency_ms/p50")?);
    ensure!(number("/latency_ms/p95")? <= number("/latency_ms/max")?);
    let targets = report["targets"].as_array().context("there are targets")?;
    ensure!(targets.len() == 5 && targets.iter().all(|target| target["pass"] == true));
    Ok(())
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
