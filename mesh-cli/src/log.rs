//! What the process says on stderr of itself.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload::Handle;

/// The level of the mesh unless `--log` or `RUST_LOG` says otherwise.
const USUAL: &str = "info";

/// The least that is worth a line of the log.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    /// And decisions: to dial, to drain, to decline, to repeat, to give up.
    Debug,
    /// And each fact, order and event of an agent.
    Trace,
}

/// The log of this process, once it has begun.
pub(crate) struct Log(Box<dyn Fn(EnvFilter) -> anyhow::Result<()>>);

/// Begins it, as `RUST_LOG` says: what is wrong with a command line may have to be told already.
pub(crate) fn start() -> Log {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| of_the_mesh(USUAL));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_filter_reloading();
    let handle = builder.reload_handle();
    builder.init();
    Log(Box::new(move |filter| set(&handle, filter)))
}

impl Log {
    /// Goes on with this level of the mesh, whatever the environment says.
    pub(crate) fn set_level(&self, level: LogLevel) -> anyhow::Result<()> {
        let value = level.to_possible_value();
        let name = value.as_ref().map_or(USUAL, |value| value.get_name());
        (self.0)(of_the_mesh(name))
    }
}

fn set<S>(handle: &Handle<EnvFilter, S>, filter: EnvFilter) -> anyhow::Result<()> {
    handle.reload(filter).context("the log cannot be changed")
}

/// The mesh at a level: `mesh` is the beginning of the names of all its crates. The WebRTC stack
/// warns in normal operation.
fn of_the_mesh(level: &str) -> EnvFilter {
    EnvFilter::new(format!(
        "warn,mesh={level},rtc=error,rtc_ice=error,rtc_dtls=error,rtc_sctp=error,webrtc=error"
    ))
}
