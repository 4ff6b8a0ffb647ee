//! The `mesh` command as a child process that a test reads, feeds, and may kill.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{ChildStdin, Command};
use tokio::time::timeout;

use crate::child::OwnChild;
use crate::hosts::Host;
use crate::wait::{Log, LogWriter, SOON, log, until};

/// Ports for tests lie below those that systems hand to outgoing connections (Linux from 32,768,
/// gVisor from 16,000): such a connection could hold the port of a hub that is down, and an agent
/// that dials it would now and then be handed that very port, and reach itself.
const PORTS: std::ops::Range<u16> = 10_000..16_000;

/// A port of this machine's loopback that nobody listens on, another for every call.
///
/// # Errors
/// If there is none left.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = PORTS.end - PORTS.start;
    // Test programs that run at the same time start at different places.
    let start = u16::try_from(std::process::id() % u32::from(count)).unwrap_or(0);
    for _ in 0..count {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + start.wrapping_add(offset) % count;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port from {} to {} is free", PORTS.start, PORTS.end)
}

/// Where the `mesh` command is.
///
/// # Errors
/// If it was not built, with the remedy.
pub fn mesh_binary() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let built = target
        .unwrap_or_else(|| root.join("target"))
        .join("release/mesh")
        .with_extension(std::env::consts::EXE_EXTENSION);
    let binary = std::env::var_os("MESH_BIN").map_or(built, PathBuf::from);
    ensure!(
        binary.is_file(),
        "{} does not exist: run `cargo xtask test e2e`, which builds it, or name it in MESH_BIN",
        binary.display()
    );
    Ok(binary)
}

/// A running `mesh` command, killed when dropped.
#[derive(Debug)]
pub struct MeshProcess {
    child: OwnChild,
    stdin: Option<ChildStdin>,
    /// What it printed, line by line.
    pub stdout: Log<String>,
    /// What it logged, line by line.
    pub stderr: Log<String>,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` if it was killed.
    pub code: Option<i32>,
    /// All that it printed.
    pub stdout: String,
    /// All that it logged.
    pub stderr: String,
}

impl MeshProcess {
    /// Starts `mesh` with these arguments.
    ///
    /// # Errors
    /// If it was not built or cannot be started.
    pub fn start(arguments: &[&str]) -> Result<Self> {
        Self::spawn(Command::new(mesh_binary()?).args(arguments))
    }

    /// Starts `mesh` from a shell that limits it with `ulimit`.
    ///
    /// # Errors
    /// If it was not built or cannot be started.
    pub fn start_limited(limit: &str, arguments: &[&str]) -> Result<Self> {
        let limited = format!("ulimit {limit} && exec \"$0\" \"$@\"");
        let mut shell = Command::new("sh");
        let shell = shell.arg("-c").arg(limited).arg(mesh_binary()?);
        Self::spawn(shell.args(arguments))
    }

    /// Starts `mesh` on a host of the test's own.
    ///
    /// # Errors
    /// As [`MeshProcess::start`].
    pub fn start_on(host: &Host, arguments: &[&str]) -> Result<Self> {
        let mut command = host.command();
        Self::spawn(command.arg(mesh_binary()?).args(arguments))
    }

    fn spawn(command: &mut Command) -> Result<Self> {
        let mut child = piped(command)?;
        let stdout = child.stdout.take().context("its stdout is piped")?;
        let stderr = child.stderr.take().context("its stderr is piped")?;
        Ok(Self {
            stdin: child.stdin.take(),
            child,
            stdout: lines_of(stdout),
            stderr: lines_of(stderr),
        })
    }

    /// Sends it a signal by name, as `STOP` or `CONT`.
    ///
    /// # Errors
    /// If it has ended, or there is no such signal.
    pub async fn signal(&self, name: &str) -> Result<()> {
        let id = self.child.id().context("it has ended")?.to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status().await;
        let status = status.context("cannot start kill")?;
        ensure!(status.success(), "kill -s {name} {id} fails with {status}");
        Ok(())
    }

    /// Writes a line to its stdin.
    ///
    /// # Errors
    /// If it has gone.
    pub async fn write_line(&mut self, line: &str) -> Result<()> {
        self.write(format!("{line}\n").as_bytes()).await
    }

    /// Writes to its stdin, whatever it is.
    ///
    /// # Errors
    /// If it has gone.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let stdin = self.stdin.as_mut().context("its stdin was closed")?;
        stdin
            .write_all(bytes)
            .await
            .context("the process reads no more")?;
        stdin.flush().await.context("the process reads no more")
    }

    /// Processor time that it has used, in seconds. Linux has it.
    ///
    /// # Errors
    /// If it has ended.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let id = self.child.id().context("the process has ended")?;
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
        let (_, fields) = stat.rsplit_once(')').context("no fields")?;
        // User and system time, in hundredths of a second (proc_pid_stat(5)).
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks = ticks.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
        Ok(ticks as f64 / 100.0)
    }

    /// Memory that it has, in bytes. Linux has it.
    ///
    /// # Errors
    /// If it has ended.
    pub fn memory(&self) -> Result<u64> {
        let id = self.child.id().context("the process has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let mut lines = status.lines();
        let kilobytes = lines.find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
        Ok(kilobytes.context("no VmRSS")?.trim().parse::<u64>()? * 1_024)
    }

    /// Files and sockets that it has open. Linux has them.
    ///
    /// # Errors
    /// If it has ended.
    pub fn open_files(&self) -> Result<usize> {
        let id = self.child.id().context("the process has ended")?;
        Ok(std::fs::read_dir(format!("/proc/{id}/fd"))?.count())
    }

    /// SIGINT, as Ctrl-C sends it.
    ///
    /// # Errors
    /// If it has ended.
    pub async fn interrupt(&self) -> Result<()> {
        self.signal("INT").await
    }

    /// Its process id.
    ///
    /// # Errors
    /// If it has ended.
    pub fn id(&self) -> Result<u32> {
        self.child.id().context("the process has ended")
    }

    /// SIGKILL: it can say goodbye to nobody. Returns when it is gone.
    ///
    /// # Errors
    /// If it cannot be killed.
    pub async fn kill(&mut self) -> Result<()> {
        self.child
            .kill()
            .await
            .context("the process cannot be killed")
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// If it does not within `patience`.
    pub async fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let ended = timeout(patience, self.child.wait()).await;
        ended
            .with_context(|| format!("the process still runs after {patience:?}"))?
            .context("the process cannot be waited for")
    }
}

/// Runs `mesh` to its end, without input.
///
/// # Errors
/// If it cannot be started, or goes on for longer than `patience`.
pub async fn run_mesh(arguments: &[&str], patience: Duration) -> Result<Ended> {
    let output = Command::new(mesh_binary()?)
        .args(arguments)
        .env_remove("RUST_LOG")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(patience, output)
        .await
        .with_context(|| format!("`mesh {}` runs after {patience:?}", arguments.join(" ")))?
        .context("mesh cannot be started")?;
    Ok(Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Starts a web server of the system, and waits until it listens on a port. It is killed when the
/// child is dropped.
///
/// # Errors
/// If it is missing, or does not serve.
pub(crate) async fn serve(
    program: &str,
    arguments: &[&str],
    folder: &Path,
    port: u16,
) -> Result<OwnChild> {
    // Debian keeps them where only root's path leads.
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command
        .env("PATH", format!("{path}:/usr/sbin"))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let child = OwnChild::spawn(&mut command);
    let mut child = child.with_context(|| format!("{program} cannot be started: install it"))?;
    let log = lines_of(child.stderr.take().context("its stderr is piped")?);
    until("the web server serves", SOON, async || {
        Ok(TcpStream::connect(("127.0.0.1", port)).await?)
    })
    .await
    .with_context(|| format!("{program} says {:?}", log.last()))?;
    Ok(child)
}

/// Starts `mesh`, wherever the command leads, with pipes to talk to it. Dropped, it is killed.
pub(crate) fn piped(command: &mut Command) -> Result<OwnChild> {
    command
        .env_remove("RUST_LOG") // The tests read its usual log.
        .env("NO_COLOR", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = OwnChild::spawn(command);
    child.with_context(|| format!("cannot start {command:?}"))
}

/// Reads to the end, or the process would block on a full pipe.
pub(crate) fn lines_of(stream: impl AsyncRead + Send + Unpin + 'static) -> Log<String> {
    let (writer, reader) = log();
    tokio::spawn(read_lines(stream, writer));
    reader
}

async fn read_lines(stream: impl AsyncRead + Unpin, writer: LogWriter<String>) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        writer.push(line);
    }
}
