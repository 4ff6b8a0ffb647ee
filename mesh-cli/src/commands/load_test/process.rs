//! An agent in a process of its own: `mesh agent`.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Context as _;
use mesh_core::Metric;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::remote::{LINES, Lines};

/// What the agent is told on its command line.
#[derive(Clone, Debug)]
pub(super) struct Join {
    pub(super) signaling: Vec<String>,
    /// A file with the certificates of a CA that the server may be certified by.
    pub(super) ca: Option<PathBuf>,
    pub(super) room: String,
    pub(super) name: String,
    pub(super) k: usize,
    pub(super) metric: Metric,
    /// Whether all agents and the hub are on this machine.
    pub(super) here: bool,
}

/// Starts it; killed when the child is dropped.
pub(super) fn start(join: &Join) -> anyhow::Result<(Child, Lines)> {
    let program = std::env::current_exe().context("where is this program?")?;
    let mut command = Command::new(&program);
    command
        .arg("agent")
        .args(join.signaling.iter().flat_map(|url| ["--signaling", url]))
        .args(
            join.ca
                .iter()
                .flat_map(|ca| ["--ca".as_ref(), ca.as_os_str()]),
        )
        .args(["--room", &join.room, "--name", &join.name])
        .args(["--k", &join.k.to_string()])
        .args(["--metric", &join.metric.to_string()])
        .args(
            join.here
                .then_some(["--address", "127.0.0.1"])
                .iter()
                .flatten(),
        )
        .env("RUST_LOG", "mesh=warn,mesh_native=warn")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command
        .spawn()
        .with_context(|| format!("{} cannot be started", program.display()))?;
    let mut stdin = child.stdin.take().context("its stdin is piped")?;
    let stdout = child.stdout.take().context("its stdout is piped")?;
    let (outgoing, mut commands) = mpsc::channel::<String>(LINES);
    let (told, incoming) = mpsc::channel(LINES);
    tokio::spawn(async move {
        while let Some(mut line) = commands.recv().await {
            line.push('\n');
            if stdin.write_all(line.as_bytes()).await.is_err() {
                return; // It has ended.
            }
        }
    });
    tokio::spawn(async move {
        let mut lines = BufReader::new(stdout).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if told.send(line).await.is_err() {
                return; // The test has.
            }
        }
    });
    Ok((child, Lines { incoming, outgoing }))
}
