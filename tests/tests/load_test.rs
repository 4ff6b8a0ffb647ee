//! `mesh load-test`: its report, and agents in processes and tabs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mesh_tests::browser::are_wanted;
use mesh_tests::hub::HubProcess;
use mesh_tests::process::{MeshProcess, free_port, run_mesh};
use mesh_tests::wait::{SOON, until};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_load_test_reports_what_it_measured() -> Result<()> {
    let out = std::env::temp_dir().join(format!("mesh-load-test-{}", std::process::id()));
    let folder = out.to_str().context("the path is text")?;
    let arguments = [
        "load-test",
        "--agents",
        "8",
        "--k",
        "4",
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
        ("/k", json!(4)),
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
    // 4 links for each of 8, and for each at most one more.
    let open = links["open"].as_u64().context("links are counted")?;
    ensure!(
        links["planned"] == 16 && (16..=20).contains(&open) && report["topology"]["edges"] == open,
        "the links are {links}"
    );
    let rotations = &report["rotations"];
    let done = rotations["done"]
        .as_u64()
        .context("rotations are counted")?;
    ensure!(
        done >= 32 && rotations["asked"] == done && rotations["failed"] == 0,
        "the rotations are {rotations}"
    );
    let ways = report["ways"].as_array().context("ways are told")?;
    let direct = |way: &Value| way["relayed"] == false && way["rtt_ms"]["p50"].as_f64() > Some(0.0);
    ensure!(
        !ways.is_empty() && ways.iter().all(direct),
        "the ways are {ways:?}"
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

#[tokio::test(flavor = "multi_thread")]
async fn a_load_test_measures_agents_in_processes_and_in_tabs() -> Result<()> {
    let wanted = are_wanted("a load test with agents in Chrome and Firefox");
    let browsers = if wanted { "2" } else { "0" };
    let arguments =
        "load-test --agents 5 --k 4 --duration 2s --rate 10 --isolate --json --browsers";
    let arguments: Vec<_> = arguments.split(' ').chain([browsers]).collect();
    let ended = run_mesh(&arguments, Duration::from_secs(120)).await?;
    let report: Value = serde_json::from_str(&ended.stdout)
        .with_context(|| format!("no JSON but {:?}, {:?}", ended.stdout, ended.stderr))?;
    // 100 messages of 5 agents in 2 s, over the links of a full mesh.
    for (pointer, expected) in [
        ("/isolated", json!(true)),
        ("/browsers", json!(browsers.parse::<u8>()?)),
        ("/links/open", json!(10)),
        ("/delivered", json!(100)),
        ("/lost", json!({})),
        ("/missed_events", json!(0)),
    ] {
        let found = report.pointer(pointer);
        ensure!(found == Some(&expected), "{pointer} is {found:?}: {report}");
    }
    for phase in ["offer_ms", "answer_ms", "ice_ms", "dtls_ms"] {
        let p50 = report["links"][phase]["p50"].as_f64();
        ensure!(p50 > Some(0.0), "{phase} is {p50:?}");
    }
    let memory = &report["memory_mb"];
    ensure!(
        memory["before"]["resident"] == 0.0 && memory["formed"]["heap"].as_f64() > Some(1.0),
        "processes that start with the test have {memory}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_test_that_cannot_be_says_why() -> Result<()> {
    for (arguments, cause) in [
        (
            "--agents 2 --browsers 3",
            "3 of 2 agents cannot be browsers",
        ),
        ("--agents 300 --isolate", "--isolate takes up to 200 agents"),
    ] {
        let arguments = ["load-test"].into_iter().chain(arguments.split(' '));
        let arguments: Vec<_> = arguments.collect();
        let ended = run_mesh(&arguments, Duration::from_secs(20)).await?;
        ensure!(
            ended.code == Some(1) && ended.stderr.contains(cause),
            "{arguments:?}: {:?}, {}",
            ended.code,
            ended.stderr
        );
    }
    Ok(())
}

/// What is wrong from the start is told before anything is measured.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_test_that_cannot_run_says_so_at_once() -> Result<()> {
    let dead = format!("ws://127.0.0.1:{}/signal", free_port()?);
    let page = "ws://127.0.0.1:1";
    let file = std::env::current_exe()?;
    let file = file.to_str().context("the path is text")?;
    for (arguments, words) in [
        (["--signaling", &dead], "cannot be reached"),
        (["--signaling", page], "write ws://127.0.0.1:1/signal"),
        (["--out", file], "--out"),
    ] {
        // Joining gives up after 5 s.
        for how in [&[][..], &["--isolate"]] {
            let all = [&["load-test", "--agents", "4"], &arguments[..], how].concat();
            let ended = run_mesh(&all, Duration::from_secs(15)).await?;
            ensure!(ended.code == Some(1), "{all:?}: {ended:?}");
            ensure!(ended.stderr.contains(words), "{all:?}: {}", ended.stderr);
        }
    }
    Ok(())
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_load_test_that_is_interrupted_before_it_sends_gives_no_verdict() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("mesh-tests-{}", free_port()?));
    let out = folder.to_str().context("the path is text")?;
    let hub = HubProcess::start().await?;
    let url = hub.url();
    for signal in ["INT", "TERM"] {
        let arguments = [
            "load-test",
            "--agents",
            "2",
            "--signaling",
            &url,
            "--out",
            out,
        ];
        let mut test = MeshProcess::start(&arguments)?;
        // It rests for 15 s before it sends.
        until("its agents have joined", SOON, async || {
            let health = hub.health().await?;
            ensure!(health["hub"]["members"] == 2, "{health}");
            Ok(())
        })
        .await?;
        test.signal(signal).await?;
        let ended = test.wait(SOON).await?;
        let code = if signal == "INT" { 130 } else { 143 };
        ensure!(ended.code() == Some(code), "{signal}: {ended}");
        let said = "interrupted before any message was sent";
        test.stderr
            .first(said, SOON, |line| line.contains(said))
            .await?;
        let verdict = test.stdout.all(|_| true);
        ensure!(verdict.is_empty(), "{signal}: {verdict:?}");
        let written = std::fs::read_dir(&folder)?.count();
        ensure!(written == 0, "{signal}: {written} files");
    }
    Ok(std::fs::remove_dir_all(folder)?)
}
