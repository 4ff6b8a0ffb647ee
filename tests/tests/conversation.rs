//! The lines of `mesh agent`: their order, their outcomes, their bounds, and how it ends.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mesh_tests::agents::AgentProcess;
use mesh_tests::hub::HubProcess;
use mesh_tests::member::{Member, until_complete};
use mesh_tests::process::free_port;
use mesh_tests::report;
use mesh_tests::wait::SOON;
use serde_json::{Value, json};

const ROOM: &str = "conversation";

/// What `close` may wait for outcomes, as its help says.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// What an agent may take to leave and end beside that.
const ENDING: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_an_agent_whose_stdin_is_open() -> Result<()> {
    let hub = HubProcess::start().await?;
    let url = hub.url();
    let ben = AgentProcess::join(&url, ROOM, "ben", &[]).await?;
    for (signal, code) in [("TERM", 143), ("INT", 130), ("HUP", 129)] {
        if signal == "HUP" && ignores_hangups()? {
            report("SKIPPED (these tests run under nohup, as their agents do): SIGHUP");
            continue;
        }
        let anna = AgentProcess::join(&url, ROOM, "anna", &[]).await?;
        until_complete(&[&anna, &ben], SOON).await?;
        let told = Instant::now();
        anna.signal(signal).await?;
        ensure!(anna.exit_code().await? == Some(code), "{signal}");
        ensure!(told.elapsed() < ENDING, "{signal}: {:?}", told.elapsed());
        left_last(&anna)?;
        let id = anna.id();
        ben.line("peerLeft", |line| {
            line["type"] == "peerLeft" && line["peer"] == json!(id)
        })
        .await?;
    }
    Ok(())
}

/// Whether SIGHUP is ignored here, which child processes inherit (proc_pid_status(5)).
fn ignores_hangups() -> Result<bool> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = u64::from_str_radix(ignored.context("no SigIgn")?.trim(), 16)?;
    Ok(ignored & 1 == 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn piped_commands_are_obeyed_in_their_order() -> Result<()> {
    const COUNT: usize = 300;
    let (_hub, anna, ben) = join_two().await?;
    let mut commands = String::new();
    for n in 0..COUNT {
        // A request in between waits for its reply and holds up nothing.
        let kind = if n % 50 == 7 { "request" } else { "send" };
        let line = json!({ "type": kind, "to": "ben", "payload": n.to_string(), "ref": [n] });
        writeln!(commands, "{line}")?;
    }
    let before = lines_so_far(&anna).await?;
    anna.write(commands.as_bytes()).await?;
    let last = (COUNT - 1).to_string();
    ben.line("the last", |line| line["payload"] == last).await?;
    let got = ben.events("message").await?;
    let got: Vec<_> = got.iter().map(|line| line["payload"].clone()).collect();
    let sent: Vec<Value> = (0..COUNT).map(|n| n.to_string().into()).collect();
    ensure!(got == sent, "they arrive as {got:?}");
    anna.line("the last reply", |line| line["ref"] == json!([257]))
        .await?;
    let mut results = anna.events("result").await?;
    results.retain(|line| line["ref"].is_array());
    ensure!(results.len() == COUNT, "{} results", results.len());
    for result in results {
        let number = result["ref"][0].as_u64().context("each has its ref")?;
        ensure!(result["line"] == before + number + 1, "{result}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_stands_still_holds_up_no_other() -> Result<()> {
    const COUNT: usize = 300;
    let (hub, anna, ben) = join_two().await?;
    let cleo = AgentProcess::join(&hub.url(), ROOM, "cleo", &[]).await?;
    until_complete(&[&anna, &ben, &cleo], SOON).await?;
    cleo.signal("STOP").await?;
    let mut commands = String::new();
    // 4.5 MB: more than leaves for an agent that takes nothing.
    let payload = "x".repeat(15_000);
    for n in 0..COUNT {
        let line = json!({ "type": "send", "to": "cleo", "payload": payload, "ref": ["cleo", n] });
        writeln!(commands, "{line}")?;
    }
    let line = json!({ "type": "send", "to": "ben", "payload": "here", "ref": "ben" });
    writeln!(commands, "{line}")?;
    anna.write(commands.as_bytes()).await?;
    ben.line("the message", |line| line["payload"] == "here")
        .await?;
    let done = anna.printed();
    let done = done.iter().filter(|line| line["ref"][0] == "cleo").count();
    ensure!(done < COUNT, "nothing waited: the test tells nothing");
    cleo.signal("CONT").await?;
    anna.command(json!({ "type": "stats" })).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn close_waits_for_what_was_sent_before_it() -> Result<()> {
    const COUNT: usize = 20;
    let (_hub, anna, ben) = join_two().await?;
    let mut commands = String::new();
    for n in 0..COUNT {
        let delivery = ["acknowledged", "reliable"][n % 2];
        let line = json!({ "type": "send", "to": "ben", "payload": n, "delivery": delivery });
        writeln!(commands, "{line}")?;
    }
    commands += r#"{"type":"request","to":"ben","payload":"?","ref":"asked"}"#;
    commands += "\n{\"type\":\"close\",\"ref\":\"closed\"}\n";
    let told = Instant::now();
    anna.write(commands.as_bytes()).await?;
    ensure!(anna.exit_code().await? == Some(0), "the code of close");
    // All have arrived at once: it does not wait for the time to pass.
    ensure!(told.elapsed() < CLOSE_PATIENCE, "{:?}", told.elapsed());
    left_last(&anna)?;
    let lines = anna.printed();
    let position = |reference: &str| lines.iter().position(|line| line["ref"] == reference);
    let (asked, closed) = (position("asked"), position("closed"));
    ensure!(asked.is_some() && asked < closed, "{asked:?}, {closed:?}");
    let count = |kind: &str| lines.iter().filter(|line| line["type"] == kind).count();
    ensure!(count("delivered") == COUNT / 2, "{lines:?}");
    ensure!(count("deliveryFailed") + count("error") == 0, "{lines:?}");
    let got = ben.events("message").await?.len();
    ensure!(
        got == COUNT + 1,
        "{got} of {COUNT} messages and a request arrive"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pending_at_the_end_of_close_fails_and_left_comes_last() -> Result<()> {
    let (_hub, anna, ben) = join_two().await?;
    ben.signal("STOP").await?;
    let mut commands = String::new();
    for kind in ["send", "send", "request"] {
        let mut line = json!({ "type": kind, "to": ben.id(), "payload": 1, "deadlineMs": 60_000 });
        if kind == "send" {
            line["delivery"] = "acknowledged".into();
        }
        writeln!(commands, "{line}")?;
    }
    commands += "{\"type\":\"close\"}\n";
    let before = lines_so_far(&anna).await?;
    let told = Instant::now();
    anna.write(commands.as_bytes()).await?;
    ensure!(anna.exit_code().await? == Some(0), "the code of close");
    let took = told.elapsed();
    ensure!(
        took > CLOSE_PATIENCE && took < CLOSE_PATIENCE + ENDING,
        "{took:?}"
    );
    left_last(&anna)?;
    let failed = anna.events("deliveryFailed").await?;
    let of_left = failed.iter().filter(|line| line["reason"] == "left");
    ensure!(of_left.count() == 3 && failed.len() == 3, "{failed:?}");
    let errors = anna.events("error").await?;
    ensure!(
        errors.len() == 1 && errors[0]["code"] == "closed",
        "{errors:?}"
    );
    ensure!(errors[0]["line"] == before + 3, "{errors:?}");
    Ok(())
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_stops_reading_while_its_messages_cannot_leave() -> Result<()> {
    const COUNT: usize = 200_000;
    const GROWTH_KB_MAX: u64 = 48 << 10;
    /// Less than it takes to find that ben is dead.
    const WHILE_FROZEN: Duration = Duration::from_millis(2_500);
    let (_hub, anna, ben) = join_two().await?;
    ben.signal("STOP").await?;
    let process = anna.process_id().await?;
    let before = resident_kb(process)?;
    let line = json!({ "type": "send", "to": ben.id(), "payload": "x".repeat(100) });
    let commands = format!("{line}\n").repeat(COUNT);
    let written = tokio::time::timeout(WHILE_FROZEN, anna.write(commands.as_bytes())).await;
    ensure!(
        written.is_err(),
        "it reads {COUNT} commands that it cannot obey"
    );
    let grown = resident_kb(process)?.saturating_sub(before);
    ensure!(grown < GROWTH_KB_MAX, "it has grown by {grown} kB");
    anna.signal("TERM").await?;
    ensure!(anna.exit_code().await? == Some(143), "it is told to end");
    left_last(&anna)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_line_is_one_error_with_its_number() -> Result<()> {
    let (_hub, anna, ben) = join_two().await?;
    let long = "x".repeat(20 << 20);
    let to = ben.id();
    let mut input = b"\xff\n\n".to_vec();
    input.extend_from_slice(long.as_bytes());
    let rest = format!(
        r#"
{{"type":"send","to":"{to}","payload":{{"base64":5}},"ref":"bytes"}}
{{"type":"send","to":"{to}","paylod":"x"}}
{{"type":"send","to":"{to}","payload":"x","deadline":5}}
{{"type":"snd","to":"{to}","payload":"x","ref":"misspelt"}}
{}
{{"type":"peers","ref":"last"}}
"#,
        "[".repeat(5_000)
    );
    input.extend_from_slice(rest.as_bytes());
    let before = lines_so_far(&anna).await?;
    anna.write(&input).await?;
    anna.line("the last result", |line| line["ref"] == "last")
        .await?;
    let expected = [
        (1, json!(null), "UTF-8"),
        (3, json!(null), "262144 bytes"),
        (4, json!("bytes"), "base64"),
        (5, json!(null), "\"payload\""),
        (6, json!(null), "deadlineMs"),
        (7, json!("misspelt"), "\"send\""),
        (8, json!(null), "nested too deep"),
    ];
    let errors = anna.events("error").await?;
    ensure!(errors.len() == expected.len(), "{errors:#?}");
    for (error, (line, reference, words)) in errors.iter().zip(expected) {
        ensure!(
            error["line"] == before + line && error["ref"] == reference,
            "{error}"
        );
        let message = error["message"].as_str().context("it says why")?;
        ensure!(
            error["code"] == "bad-command" && message.contains(words),
            "{error}"
        );
    }
    ensure!(
        anna.request(to, "still here?").await? == "still here?",
        "it goes on"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_identity_joins_elsewhere_says_so_and_ends() -> Result<()> {
    let hub = HubProcess::start().await?;
    let file = std::env::temp_dir().join(format!("mesh-tests-{}", free_port()?));
    let identity = ["--identity", file.to_str().context("the path is text")?];
    let first = AgentProcess::join(&hub.url(), ROOM, "anna", &identity).await?;
    let second = AgentProcess::join(&hub.url(), ROOM, "anna", &identity).await?;
    ensure!(first.exit_code().await? == Some(1), "the first ends");
    std::fs::remove_file(&file)?;
    let refused = first.events("refused").await?;
    ensure!(
        refused.len() == 1 && refused[0]["code"] == "replaced",
        "{refused:?}"
    );
    left_last(&first)?;
    ensure!(
        second.events("refused").await?.is_empty(),
        "the second lives"
    );
    second.table("stats").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_one_name_are_told_apart() -> Result<()> {
    let (hub, anna, ben) = join_two().await?;
    let other = AgentProcess::join(&hub.url(), ROOM, "ben", &[]).await?;
    until_complete(&[&anna, &ben, &other], SOON).await?;
    let error = anna
        .command(json!({ "type": "send", "to": "ben", "payload": "which?" }))
        .await?;
    let message = error["message"].as_str().context("an error says why")?;
    for named in [&ben, &other] {
        let short = named.id().short();
        ensure!(message.contains(&short), "{message:?} lacks {short}");
    }
    ensure!(error["code"] == "ambiguous-peer", "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_over_its_limit_is_told_how_long_to_wait() -> Result<()> {
    let hub = HubProcess::start().await?;
    let limits = ["--max-messages-per-second", "10", "--max-burst-size", "2"];
    let anna = AgentProcess::join(&hub.url(), ROOM, "anna", &limits).await?;
    let mut codes = Vec::new();
    let mut wait_ms = 0.0;
    for _ in 0..3 {
        let told = anna
            .command(json!({ "type": "broadcast", "payload": "to all" }))
            .await?;
        wait_ms = told["retryAfterMs"].as_f64().unwrap_or(wait_ms);
        codes.push(told["code"].clone());
    }
    ensure!(
        codes == [json!(null), json!(null), json!("rate-limited")],
        "{codes:?}"
    );
    ensure!(wait_ms > 0.0 && wait_ms <= 100.0, "{wait_ms}");
    tokio::time::sleep(Duration::from_secs_f64(wait_ms / 1e3)).await; // As long as it says.
    let told = anna
        .command(json!({ "type": "broadcast", "payload": "to all" }))
        .await?;
    ensure!(told["type"] == "result", "{told}");
    Ok(())
}

async fn join_two() -> Result<(HubProcess, AgentProcess, AgentProcess)> {
    let hub = HubProcess::start().await?;
    let url = hub.url();
    let (anna, ben) = tokio::try_join!(
        AgentProcess::join(&url, ROOM, "anna", &[]),
        AgentProcess::join(&url, ROOM, "ben", &[])
    )?;
    until_complete(&[&anna, &ben], SOON).await?;
    Ok((hub, anna, ben))
}

/// Lines that the test has written so far.
async fn lines_so_far(agent: &AgentProcess) -> Result<u64> {
    let result = agent.command(json!({ "type": "stats" })).await?;
    result["line"].as_u64().context("a result tells its line")
}

fn left_last(agent: &AgentProcess) -> Result<()> {
    let printed = agent.printed();
    let last = printed.last().context("it printed something")?;
    ensure!(
        *last == json!({ "type": "left" }),
        "the last line is {last}"
    );
    let lefts = printed.iter().filter(|line| line["type"] == "left").count();
    ensure!(lefts == 1, "it left {lefts} times");
    Ok(())
}

/// What a process has in memory now.
#[cfg(target_os = "linux")]
fn resident_kb(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kb = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kb.context("Linux tells it")?.parse()?)
}
