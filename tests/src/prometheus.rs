//! The real Prometheus, its tools, and what it says.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::child::OwnChild;
use crate::hub::get;
use crate::npm::{root, scratch};
use crate::process::{free_port, lines_of};
use crate::wait::{SOON, until};

/// What Prometheus is to scrape: the name of a job, and the ports on loopback.
pub type Job<'a> = (&'a str, Vec<u16>);

/// A running Prometheus, killed when dropped.
#[derive(Debug)]
pub struct Prometheus {
    server: Server,
}

/// A running Alertmanager, killed when dropped.
#[derive(Debug)]
pub struct Alertmanager {
    server: Server,
}

/// What both have in common.
#[derive(Debug)]
struct Server {
    _child: OwnChild,
    port: u16,
}

impl Server {
    async fn start(mut command: Command, folder: &Path, port: u16) -> Result<Self> {
        command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = OwnChild::spawn(&mut command).with_context(|| {
            format!("{command:?}: install Debian's prometheus and prometheus-alertmanager")
        })?;
        let log = lines_of(child.stderr.take().context("its stderr is piped")?);
        let ready = until("it is ready", SOON, async || {
            let (status, _) = get(port, "/-/ready").await?;
            ensure!(status == 200, "it says {status}");
            Ok(())
        });
        ready
            .await
            .with_context(|| format!("{command:?} logs {:#?}", log.last()))?;
        let _child = child;
        Ok(Self { _child, port })
    }
}

impl Alertmanager {
    /// Starts one with this configuration in a folder of its own.
    ///
    /// # Errors
    /// If Alertmanager is missing, or does not serve.
    pub async fn start(name: &str, configuration: &str) -> Result<Self> {
        let folder = scratch(name)?;
        std::fs::write(folder.join("alertmanager.yml"), configuration)?;
        let port = free_port()?;
        // Debian calls it otherwise than its makers do.
        let debian = Path::new("/usr/bin/prometheus-alertmanager");
        let makers = Path::new("alertmanager");
        let mut command = Command::new(if debian.is_file() { debian } else { makers });
        command
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--config.file=alertmanager.yml", "--storage.path=data"])
            .arg("--cluster.listen-address=");
        let server = Server::start(command, &folder, port).await?;
        Ok(Self { server })
    }

    /// Tells it of an alert, as Prometheus does.
    ///
    /// # Errors
    /// If it does not take it.
    pub async fn alert(&self, labels: &[&str], annotation: &str) -> Result<()> {
        let url = format!("--alertmanager.url=http://127.0.0.1:{}", self.server.port);
        let annotation = format!("--annotation={annotation}");
        let arguments = [&["alert", "add", &url, &annotation], labels].concat();
        tool("amtool", &arguments, None).await?;
        Ok(())
    }
}

/// One sample of an answer.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The labels of its series.
    pub labels: Value,
    /// Its value, which may be no number.
    pub value: f64,
}

impl Prometheus {
    /// Starts one that scrapes these jobs each second, with these rules, in a folder of its own.
    ///
    /// # Errors
    /// If Prometheus is missing, or does not serve.
    pub async fn start(name: &str, jobs: &[Job<'_>], rules: &str) -> Result<Self> {
        let folder = scratch(name)?;
        std::fs::write(folder.join("rules.yml"), rules)?;
        std::fs::write(folder.join("prometheus.yml"), configuration(jobs))?;
        let port = free_port()?;
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data");
        let server = Server::start(command, &folder, port).await?;
        Ok(Self { server })
    }

    /// What a query returns now.
    ///
    /// # Errors
    /// If Prometheus refuses it.
    pub async fn query(&self, query: &str) -> Result<Vec<Sample>> {
        let path = format!("/api/v1/query?query={}", percent_encoded(query));
        let (_, body) = get(self.server.port, &path).await?;
        let answer: Value = serde_json::from_str(&body).with_context(|| body.clone())?;
        ensure!(answer["status"] == "success", "{query}: {answer}");
        let result = answer["data"]["result"].as_array();
        let result = result.with_context(|| format!("{query}: {answer}"))?;
        let sample = |sample: &Value| {
            let value = sample["value"][1].as_str()?.parse().ok()?;
            let labels = sample["metric"].clone();
            Some(Sample { labels, value })
        };
        let samples = result.iter().map(sample).collect::<Option<_>>();
        samples.with_context(|| format!("{query} is no instant vector: {answer}"))
    }

    /// The names of the alerts that fire now.
    ///
    /// # Errors
    /// If Prometheus does not answer.
    pub async fn firing(&self) -> Result<Vec<String>> {
        let firing = self.query("ALERTS{alertstate=\"firing\"}").await?;
        let name = |sample: &Sample| sample.labels["alertname"].as_str().map(str::to_owned);
        Ok(firing.iter().filter_map(name).collect())
    }
}

/// As often as Prometheus can, so that tests need not wait.
fn configuration(jobs: &[Job<'_>]) -> String {
    let mut text = "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n\
                    rule_files: [rules.yml]\n\
                    scrape_configs:\n"
        .to_owned();
    for (job, ports) in jobs {
        let targets = ports.iter().map(|port| format!("'127.0.0.1:{port}'"));
        let targets: Vec<_> = targets.collect();
        let targets = targets.join(", ");
        text += &format!("  - job_name: {job}\n    static_configs: [{{targets: [{targets}]}}]\n");
    }
    text
}

fn percent_encoded(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    encoded.collect()
}

/// The rules of the repository, in a hurry: what they wait for and look back on is seconds.
///
/// # Errors
/// If they cannot be read, or no longer have anything to shorten.
pub fn hurried_rules(wait: &str, window: &str) -> Result<String> {
    let rules = std::fs::read_to_string(deployed("prometheus/rules.yml"))?;
    let mut hurried = String::new();
    let mut shortened = 0;
    for line in rules.lines() {
        let line = match line.trim_start().strip_prefix("for: ") {
            Some(_) => line[..line.len() - line.trim_start().len()].to_owned() + "for: " + wait,
            None => {
                let line = line.replace("[5m]", &format!("[{window}]"));
                let line = line.replace("[10m]", &format!("[{window}]"));
                line.replace("[10m:]", &format!("[{window}:]"))
            }
        };
        shortened += usize::from(line.contains(wait)) + usize::from(line.contains(window));
        hurried += &line;
        hurried.push('\n');
    }
    ensure!(shortened > 20 && !hurried.contains("0m]"), "{hurried}");
    Ok(hurried)
}

/// A file of those that operators take.
pub fn deployed(path: &str) -> PathBuf {
    root().join("deploy").join(path)
}

/// Runs a tool over a file of the repository, or over a text, and returns what it says.
///
/// # Errors
/// If it is missing, or finds something to complain about.
pub async fn tool(program: &str, arguments: &[&str], input: Option<&str>) -> Result<String> {
    const PATIENCE: Duration = Duration::from_secs(60);
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(deployed(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| {
            format!("{program} cannot be started: install Debian's prometheus and its alertmanager")
        })?;
    let mut stdin = child.stdin.take().context("its stdin is piped")?;
    stdin
        .write_all(input.unwrap_or_default().as_bytes())
        .await?;
    drop(stdin);
    let output = timeout(PATIENCE, child.wait_with_output()).await??;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if !output.status.success() {
        bail!("{program} {}: {said}", arguments.join(" "));
    }
    Ok(said)
}

/// The text of a file that operators take.
///
/// # Errors
/// If it cannot be read.
pub fn read_deployed(path: &str) -> Result<String> {
    let path = deployed(path);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// The names of all alerts of the repository, in order.
///
/// # Errors
/// If the rules cannot be read.
pub fn alerts(file: &Path) -> Result<Vec<String>> {
    let rules = std::fs::read_to_string(file)?;
    let names = rules.lines().filter_map(|line| {
        let name = line.trim().strip_prefix("- alert: ")?;
        Some(name.to_owned())
    });
    Ok(names.collect())
}
