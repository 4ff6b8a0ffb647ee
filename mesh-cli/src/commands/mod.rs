//! The subcommands of `mesh`, one a file.

pub(crate) mod agent;
pub(crate) mod config;
pub(crate) mod doctor;
mod files;
mod hub;
pub(crate) mod hub_test;
mod ice;
mod lines;
pub(crate) mod load_test;
pub(crate) mod man;
mod mesh;
mod metrics;
mod service;
pub(crate) mod signal;
pub(crate) mod simulate;
pub(crate) mod topology;
mod turn;
pub(crate) mod up;
mod usage;

use std::io::Write as _;
use std::net::SocketAddr;

use anyhow::Context as _;
use mesh_native::Agent;

/// What most systems allow a process to open unless it asks for more.
const FILES_USUAL: u64 = 1_024;

/// Writes what a command is asked for. A reader that has seen enough is no failure.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("stdout cannot be written to"),
    }
}

/// How to reach a server that listens on an address: a wildcard is reached over loopback.
pub(crate) fn reachable(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    }
}

/// Open files: how many this process may have, and how many its links take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Files {
    pub(crate) limit: u64,
    pub(crate) wanted: u64,
}

/// Lets this process open as many files as it may. Each end of a link has a socket for each of the
/// machine's addresses, and what a shell allows by default is soon used up.
pub(crate) fn raise_file_limit(links: usize, addresses: usize) -> Files {
    // Each link has both its ends here, and more are tried than stay.
    let wanted = (links * 2 * addresses * 3 / 2) as u64;
    let limit = rlimit::increase_nofile_limit(u64::MAX).unwrap_or_else(|error| {
        tracing::warn!("the limit of open files cannot be raised: {error}");
        FILES_USUAL
    });
    if limit < wanted {
        tracing::warn!(
            "this process may open {limit} files, and {links} links take about {wanted}: raise the \
             limit (ulimit -n, as root), or start fewer agents"
        );
    }
    Files { limit, wanted }
}

/// How many agents, one after the other, have their links and know the way to all others. Asks no
/// more after the first that has not, which would only keep the rest from their work.
pub(crate) fn count_settled(agents: &[Agent]) -> usize {
    let Some(first) = agents.first() else {
        return 0;
    };
    let shards = first.shards().unwrap_or_default();
    let divided = shards.divide(agents.iter().map(Agent::id));
    for (index, agent) in agents.iter().enumerate() {
        let settled = agent.is_settled().unwrap_or(false);
        let alike = agent.shards().is_ok_and(|theirs| theirs == shards);
        // Others than these agents may be in the room too.
        let known = agent.members().unwrap_or(0);
        if !settled || !alike || known + 1 < divided[shards.of(agent.id())].len() {
            return index;
        }
    }
    agents.len()
}

/// What tells a process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// Ctrl-C.
    CtrlC,
    /// SIGTERM.
    Terminate,
    /// SIGHUP: the terminal is closed.
    Hangup,
}

impl Interrupt {
    /// What shells expect of a command that ends by this signal: 128 and its number.
    pub(crate) const fn exit_code(self) -> u8 {
        match self {
            Self::CtrlC => 128 + 2,
            Self::Terminate => 128 + 15,
            Self::Hangup => 128 + 1,
        }
    }
}

/// Completes on Ctrl-C, SIGTERM or SIGHUP.
pub(crate) async fn interrupted() {
    interruption().await;
}

/// Completes on Ctrl-C, SIGTERM or SIGHUP, and says on which.
pub(crate) async fn interruption() -> Interrupt {
    let ctrl_c = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let hangup = hangup_is_heard().then(|| signal(SignalKind::hangup()));
        let mut hangup = hangup.and_then(Result::ok);
        let hung_up = async {
            match &mut hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = ctrl_c => return Interrupt::CtrlC,
                _ = terminate.recv() => return Interrupt::Terminate,
                _ = hung_up => return Interrupt::Hangup,
            }
        }
    }
    let _ = ctrl_c.await;
    Interrupt::CtrlC
}

/// Whether SIGHUP may be waited for: `nohup` has it ignored, which waiting for it would undo. Where
/// there is no /proc it is left as it is, and ends the process at once.
#[cfg(unix)]
fn hangup_is_heard() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Bit n - 1 stands for signal n (proc_pid_status(5)); SIGHUP is 1.
    ignored.is_some_and(|mask| mask & 1 == 0)
}
