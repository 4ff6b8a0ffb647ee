//! The hub of a test: `mesh signal` in a process of its own, or one that runs already.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

/// How long a hub may take to start.
const START: Duration = Duration::from_secs(10);

/// What the hub logs before its address.
const ADDRESS: &str = "signaling at ";

/// A hub that is tested.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) url: String,
    /// Its process, if that is known: it is read in /proc.
    pub(super) process: Option<String>,
    /// It is killed when this is dropped.
    _child: Option<Child>,
}

impl Hub {
    /// One that runs already.
    pub(super) fn elsewhere(url: String, process: Option<u32>) -> Self {
        Self {
            url,
            process: process.map(|id| id.to_string()),
            _child: None,
        }
    }

    /// Starts one on a free port of this machine.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("where is this program?")?;
        let mut child = Command::new(&program)
            .args(["signal", "--listen", "127.0.0.1:0"])
            .env("RUST_LOG", "warn,mesh=info,mesh_native=info")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        let stderr = child.stderr.take().context("its stderr is piped")?;
        let mut lines = BufReader::new(stderr).lines();
        let url = timeout(START, address(&mut lines)).await;
        let url = url.context("the hub did not start in time")??;
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                tracing::debug!("the hub: {line}");
            }
        });
        Ok(Self {
            url,
            process: child.id().map(|id| id.to_string()),
            _child: Some(child),
        })
    }
}

/// Reads what the hub logs until it tells its address.
async fn address(lines: &mut tokio::io::Lines<BufReader<ChildStderr>>) -> anyhow::Result<String> {
    let mut read = Vec::new();
    while let Some(line) = lines.next_line().await.context("its log cannot be read")? {
        if let Some((_, url)) = line.split_once(ADDRESS) {
            return Ok(url.trim().to_owned());
        }
        read.push(line);
    }
    anyhow::bail!("the hub ended: {}", read.join("\n"))
}
