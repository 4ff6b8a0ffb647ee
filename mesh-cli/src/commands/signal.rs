//! `mesh signal`: the signaling server and the page.

use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::config::limits::{self, Fault};
use super::config::units::Span;
use super::hub::{HubArgs, announce_page, signaling_url};
use super::interrupted;
use super::service::{self, State};

/// The longest drain: a longer one is a slip of the unit.
const DRAIN_MAX: Duration = Duration::from_secs(3_600);

/// Runs the signaling server and the page.
///
/// /healthz tells whether it lives, /readyz whether it wants clients. SIGTERM, SIGHUP and Ctrl-C
/// drain it: /readyz turns first, then connected agents are asked to move to another server, and it
/// ends when the last is gone. A second signal ends it at once.
///
/// Example: mesh signal --listen 0.0.0.0:9600 --ice-server stun:stun.example.org:3478
#[derive(Debug, Args)]
pub(crate) struct Signal {
    #[command(flatten)]
    hub: HubArgs,
    #[command(flatten)]
    signal: SignalArgs,
}

/// How the server ends.
#[derive(Debug, Args)]
pub(crate) struct SignalArgs {
    /// How long agents have to move before the server ends: a quarter for load balancers to notice,
    /// half for the moves. The default stays below the 10 s after which `docker stop` kills. 0s
    /// ends at once.
    #[arg(long, value_name = "DURATION", default_value_t = Span::from(Duration::from_secs(8)))]
    drain: Span,
}

impl SignalArgs {
    /// What is wrong with these options.
    pub(crate) fn faults(&self) -> Vec<Fault> {
        let drain = Duration::from(self.drain);
        let too_long = (drain > DRAIN_MAX).then(|| Fault {
            option: "drain",
            reason: format!("{drain:?} is more than {DRAIN_MAX:?}"),
        });
        too_long.into_iter().collect()
    }
}

impl Signal {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        limits::refuse(&self.signal.faults())?;
        let server = self.hub.bind(0)?;
        if let Some(metrics) = self.hub.metrics()? {
            metrics.watch_hub(&server);
        }
        let addresses = server.local_addrs().context("the server has no address")?;
        for &address in &addresses {
            tracing::info!("signaling at {}", signaling_url(address));
        }
        if let Some(&address) = addresses.first() {
            announce_page(address);
        }
        let drain = self.signal.drain.into();
        let stopped = async {
            interrupted().await;
            service::tell(State::Stopping);
        };
        service::watched(server)
            .serve_and_drain(stopped, drain, interrupted())
            .await
            .context("the server failed")
    }
}
