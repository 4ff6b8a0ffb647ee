//! What a path costs: throughput and round trips over paths with delay, jitter and loss, of the
//! mesh over one link and three, of bare `webrtc`, and of two tabs of Chromium. `cargo xtask paths`
//! makes the tables of docs/paths.md of it.

mod bare;
mod end;
mod ours;
mod run;
mod switch;
mod table;

use std::time::Duration;

use tracing_subscriber::EnvFilter;

pub use run::{Ends, Figures, System, measure};
pub use switch::{Path, Switch};
pub use table::{Row, tables};

/// Questions of which the round trips are told.
const ASKED: usize = 100;

/// How many times as much is measured where packets get lost: which ones is chance.
const TIMES: u32 = 3;

/// What is measured over one path.
#[derive(Clone, Copy, Debug)]
struct Load {
    /// Questions of which the round trips are told.
    asked: usize,
    /// How long as much is sent as is taken.
    flood: Duration,
}

impl Load {
    fn on(path: Path, flood: Duration) -> Self {
        let times = if path.loss > 0.0 { TIMES } else { 1 };
        Self {
            asked: ASKED * times as usize,
            flood: flood * times,
        }
    }
}

/// Time between two questions, and the bytes of one.
const ASKED_EVERY: Duration = Duration::from_millis(20);
const ASKED_BYTES: usize = 100;

/// The bytes of a message of a flood: nearly as many as one has that is not sent in parts.
const FLOOD_BYTES: usize = 15_000;

/// The bytes of a large message: the most that an agent takes by default.
const LARGE_BYTES: usize = 16 << 20;

/// One end, in the process that was started for it. Its log, and that of the WebRTC library, goes
/// to stderr if `MESH_PATHS_LOG` asks for it, as in `MESH_PATHS_LOG=rtc_sctp=trace`.
///
/// # Errors
/// What went wrong.
pub async fn run_end(arguments: &[String]) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_env("MESH_PATHS_LOG"))
        .with_writer(std::io::stderr)
        .init();
    match arguments {
        [kind, hub, name] if kind == "ours" => ours::run(hub, name).await,
        [kind, address] if kind == "bare" => bare::run(address).await,
        _ => anyhow::bail!("an unknown kind of end: {arguments:?}"),
    }
}
