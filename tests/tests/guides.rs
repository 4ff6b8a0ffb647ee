//! The guides in `docs/`: every command in them runs as it stands there, every option exists, every
//! link leads somewhere, and the runbook of every alert is there.
//!
//! Each command block runs in a network of its own, in which the names of the guides lead to this
//! machine. What takes minutes is run by `cargo xtask guides`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use mesh_tests::agents::AgentProcess;
use mesh_tests::hosts::{self, Network};
use mesh_tests::markdown::{Fence, anchors, fences, links, words_of_code};
use mesh_tests::member::{Member, until_complete};
use mesh_tests::npm::{copy_folder, root, scratch};
use mesh_tests::process::{MeshProcess, run_mesh};
use mesh_tests::wait::SOON;
use mesh_tests::{report, script, tls};
use serde_json::Value;
use tokio::process::Command;

#[path = "guides/blocks.rs"]
mod blocks;

use blocks::{BLOCKS, HOSTS, NETWORK, WATCHED};

/// Only a failure takes so long, in a build without optimisation on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The same for what takes minutes.
const MUCH_PATIENCE: Duration = Duration::from_secs(600);

/// Where documents are.
const DOCUMENTS: [&str; 17] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "PROTOCOL.md",
    "docs/commands.md",
    "docs/deploy.md",
    "docs/foreign.md",
    "docs/library.md",
    "docs/measured.md",
    "docs/monitoring.md",
    "docs/nat.md",
    "docs/sizing.md",
    "docs/testing.md",
    "docs/troubleshooting.md",
    "docs/upgrade.md",
    "docs/versus.md",
];

#[tokio::test]
async fn the_commands_of_the_guide_to_deployment_run() -> Result<()> {
    run_guide("deploy", "sh", PATIENCE).await
}

#[tokio::test]
async fn the_commands_of_the_guide_to_sizing_run() -> Result<()> {
    run_guide("sizing", "sh", PATIENCE).await
}

#[tokio::test]
async fn the_commands_of_the_guide_to_upgrades_run() -> Result<()> {
    run_guide("upgrade", "sh", PATIENCE).await
}

#[tokio::test]
async fn the_commands_of_the_guide_to_trouble_run() -> Result<()> {
    run_guide("troubleshooting", "sh", PATIENCE).await
}

#[tokio::test]
#[ignore = "takes minutes: `cargo xtask guides` runs it"]
async fn the_commands_that_take_minutes_run() -> Result<()> {
    run_guide("sizing", "sh slow", MUCH_PATIENCE).await
}

/// Runs the blocks of a guide that are marked so, one after the other.
async fn run_guide(guide: &str, language: &str, patience: Duration) -> Result<()> {
    if script::isolation().await.is_none() {
        report(&format!(
            "SKIPPED (needs Linux's namespaces): the commands of docs/{guide}.md"
        ));
        return Ok(());
    }
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut ran = 0;
    for fence in fences(&read(&format!("docs/{guide}.md"))?) {
        if !fence.language.starts_with("sh") {
            continue;
        }
        ensure!(
            ["sh", "sh slow"].contains(&&*fence.language),
            "docs/{guide}.md has a block {:?}, which no test runs",
            fence.language
        );
        let count = counts.entry(fence.heading.clone()).or_default();
        *count += 1;
        if fence.language == language {
            run_block(guide, &fence, *count, patience)
                .await
                .with_context(|| format!("{guide}, {}, {count}:\n{}", fence.heading, fence.code))?;
            ran += 1;
        }
    }
    ensure!(ran > 0, "docs/{guide}.md has no block {language:?}");
    let listed = BLOCKS.iter().filter(|block| block.0 == guide);
    for (_, heading, number, ..) in listed {
        let there = counts.get(*heading).is_some_and(|count| count >= number);
        ensure!(
            there,
            "docs/{guide}.md has no block {number} under {heading:?}"
        );
    }
    Ok(())
}

async fn run_block(guide: &str, fence: &Fence, number: usize, patience: Duration) -> Result<()> {
    let listed = BLOCKS
        .iter()
        .find(|block| block.0 == guide && block.1 == fence.heading && block.2 == number);
    let in_trouble = guide == "troubleshooting";
    let (before, after) = match listed {
        Some(&(_, _, _, before, after)) => (before, after),
        None if in_trouble && fence.heading == "origin-refused" => (WATCHED, "ready 9700"),
        None if in_trouble => (WATCHED, ""),
        None => ("", ""),
    };
    let stays = fence
        .code
        .lines()
        .any(|line| line.trim_end().ends_with('&'));
    ensure!(
        !stays || !after.is_empty(),
        "it leaves something running, and nothing is listed that checks it"
    );
    let folder = scratch(&format!("guide-{guide}"))?;
    copy_folder(&root().join("deploy"), &folder.join("deploy"))?;
    fs::write(folder.join("hosts"), HOSTS)?;
    tls::certify(&folder, "hub.example.org", false)?;
    let pem = ["certificate.pem", "key.pem"].map(|file| fs::read_to_string(folder.join(file)));
    let [certificate, key] = pem;
    fs::write(folder.join("mesh.pem"), certificate? + &key?)?;
    let code = &fence.code;
    let script = format!("{NETWORK}\n{before}\n{{\n{code}}} > told\n{after}");
    script::run(&folder, &script, patience).await
}

#[tokio::test]
async fn options_in_the_guides_exist_where_they_stand() -> Result<()> {
    let mut helps = BTreeMap::new();
    let commands = [
        "signal",
        "agent",
        "up",
        "topology",
        "simulate",
        "load-test",
        "hub-test",
        "doctor",
    ];
    for command in commands {
        let help = run_mesh(&[command, "--help"], SOON).await?;
        helps.insert(command, help.stdout);
    }
    let help = run_mesh(&["config", "print", "--help"], SOON).await?;
    helps.insert("config", help.stdout);
    let has = |command: &str, option: &str| {
        let help = helps.get(command).map_or("", String::as_str);
        let mut words = help.split([' ', '\n', ',', '[']);
        words.any(|word| word == option)
    };
    let mut seen = 0;
    for guide in [
        "commands",
        "deploy",
        "library",
        "sizing",
        "testing",
        "troubleshooting",
        "upgrade",
    ] {
        let text = read(&format!("docs/{guide}.md"))?;
        let shown = fences(&text)
            .into_iter()
            .filter(|fence| fence.language.starts_with("sh"));
        let shown = shown.map(|fence| fence.code.replace("\\\n", " "));
        for code in shown.chain(words_of_code(&text)) {
            for piece in code.split(['\n', '|', ';', '&']) {
                let words: Vec<_> = piece.split_whitespace().collect();
                let mesh = words.iter().position(|word| *word == "mesh");
                let command = mesh.and_then(|at| words.get(at + 1)).copied();
                let is_option = |word: &&&str| word.starts_with("--") && word.len() > 2;
                for option in words.iter().filter(is_option) {
                    let option = option.split('=').next().unwrap_or_default();
                    let exists = match (command, words.first()) {
                        (Some("--version"), _) => true, // It runs.
                        (Some(command), _) => has(command, option),
                        (None, Some(first)) if first.starts_with("--") => {
                            commands.iter().any(|command| has(command, option))
                        }
                        _ => continue, // Other programs' options are run.
                    };
                    ensure!(exists, "docs/{guide}.md: {piece:?}: there is no {option}");
                    seen += 1;
                }
            }
        }
    }
    ensure!(seen > 50, "only {seen} options were found");
    Ok(())
}

#[test]
fn links_between_documents_lead_to_what_is_there() -> Result<()> {
    let mut seen = 0;
    for document in DOCUMENTS {
        for link in links(&read(document)?) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            leads_somewhere(document, &link).with_context(|| format!("{document}: {link}"))?;
            seen += 1;
        }
    }
    ensure!(seen > 40, "only {seen} links were found");
    Ok(())
}

#[test]
fn the_runbook_of_every_alert_is_there() -> Result<()> {
    let rules = read("deploy/prometheus/rules.yml")?;
    let after = |line: &str, key: &str| line.trim().strip_prefix(key).map(str::to_owned);
    let alerts = rules.lines().filter_map(|line| after(line, "- alert: "));
    let runbooks: Vec<_> = rules
        .lines()
        .filter_map(|line| after(line, "runbook: "))
        .collect();
    ensure!(
        alerts.count() == runbooks.len() && !runbooks.is_empty(),
        "{} runbooks, and another number of alerts",
        runbooks.len()
    );
    for runbook in runbooks {
        leads_somewhere("README.md", &runbook).with_context(|| runbook.clone())?;
    }
    Ok(())
}

/// Follows a relative link in a document: a file, and a heading of it if it names one.
fn leads_somewhere(document: &str, link: &str) -> Result<()> {
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let path = match file {
        "" => root().join(document),
        file => {
            let folder = Path::new(document).parent().unwrap_or(Path::new(""));
            root().join(folder).join(file)
        }
    };
    ensure!(path.exists(), "there is no {}", path.display());
    if !anchor.is_empty() {
        let found = anchors(&fs::read_to_string(&path)?);
        ensure!(found.iter().any(|one| one == anchor), "it has {found:?}");
    }
    Ok(())
}

#[tokio::test]
async fn the_table_of_links_is_what_mesh_topology_prints() -> Result<()> {
    let text = read("docs/sizing.md")?;
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let members = cells.first()?.parse::<usize>().ok()?;
        (cells.len() == 5).then(|| (members, cells.join(" ")))
    });
    let mut seen = 0;
    for (members, row) in rows {
        let members = members.to_string();
        let arguments = ["topology", "--agents", &members, "--format", "json"];
        let printed: Value = serde_json::from_str(&run_mesh(&arguments, PATIENCE).await?.stdout)?;
        let analysis = &printed["analysis"];
        let mean = analysis["averagePathLength"].as_f64().context("a mean")?;
        let expected = format!(
            "{members} {} {} {} {mean:.2}",
            printed["k"], analysis["edges"], analysis["diameter"]
        );
        ensure!(row.replace(',', "") == expected, "{row:?} is {expected:?}");
        seen += 1;
    }
    ensure!(seen == 5, "{seen} rows");
    Ok(())
}

/// Two hosts that reach a third one alone: what `deploy/turnserver.conf` is for.
#[tokio::test(flavor = "multi_thread")]
async fn agents_that_reach_only_the_turn_server_link_through_it() -> Result<()> {
    const ROOM: &str = "relayed";
    const HUB: &str = "203.0.113.1:9600";
    if !hosts::can_be_made("agents that reach only the TURN server").await {
        return Ok(());
    }
    let network = Network::new().await?;
    let between = network.host("turn", "eth0", &["203.0.113.1/24"]).await?;
    let anna = network.host("anna", "eth0", &["203.0.113.2/24"]).await?;
    let ben = network.host("ben", "eth0", &["203.0.113.3/24"]).await?;
    network.isolate(["anna", "ben"], true).await?;
    let folder = scratch("guide-relay")?;
    let conf = read("deploy/turnserver.conf")?;
    fs::write(folder.join("turnserver.conf"), &conf)?;
    let log = folder.join("turn.log");
    let mut turn = between.command();
    let _turn = turn
        .args([
            "turnserver",
            "-c",
            "turnserver.conf",
            "--log-file",
            "stdout",
        ])
        .args(["--pidfile", "turn.pid"])
        .current_dir(&folder)
        .stdout(fs::File::create(&log)?)
        .kill_on_drop(true)
        .spawn()?;
    between
        .until_listening("udp", 3478)
        .await
        .with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
    let password = conf
        .lines()
        .find_map(|line| line.strip_prefix("user=mesh:"));
    let password = password.context("it has a user")?;
    let url = format!("ws://{HUB}/signal");
    for (ice, works) in [
        (format!("turn:203.0.113.1:3478,mesh,{password}"), true),
        ("stun:203.0.113.1:3478".to_owned(), false),
    ] {
        let _hub =
            MeshProcess::start_on(&between, &["signal", "--listen", HUB, "--ice-server", &ice])?;
        between.until_listening("tcp", 9600).await?;
        let (anna, ben) = tokio::try_join!(
            AgentProcess::join_on(&anna, &url, ROOM, "anna", &[]),
            AgentProcess::join_on(&ben, &url, ROOM, "ben", &[])
        )?;
        if works {
            until_complete(&[&anna, &ben], SOON).await?;
            let reply = anna.request(ben.id(), "over the relay").await?;
            ensure!(reply == "over the relay", "the reply is {reply}");
        } else {
            let failed = |line: &Value| line["type"] == "linkFailed";
            tokio::select! {
                line = anna.line("a link fails", failed) => line?,
                line = ben.line("a link fails", failed) => line?,
            };
        }
    }
    Ok(fs::remove_dir_all(folder)?)
}

#[tokio::test]
async fn the_configuration_of_coturn_has_no_option_that_coturn_does_not_know() -> Result<()> {
    let help = Command::new("turnserver").arg("--help").output().await;
    let help = help.context("turnserver cannot be started: install it (Debian: coturn)")?;
    let help = String::from_utf8_lossy(&[help.stdout, help.stderr].concat()).into_owned();
    let mut seen = 0;
    for line in read("deploy/turnserver.conf")?.lines() {
        // Options that are commented out stand right behind the #.
        let Some(option) = line.strip_prefix('#').or(Some(line)) else {
            continue;
        };
        if option.is_empty() || option.starts_with(' ') {
            continue;
        }
        let name = format!("--{}", option.split('=').next().unwrap_or_default());
        let mut words = help.split(|letter: char| letter != '-' && !letter.is_alphanumeric());
        if !words.any(|word| word == name) {
            bail!("turnserver has no {name}");
        }
        seen += 1;
    }
    ensure!(seen > 15, "only {seen} options");
    Ok(())
}

fn read(file: &str) -> Result<String> {
    fs::read_to_string(root().join(file)).with_context(|| format!("cannot read {file}"))
}
