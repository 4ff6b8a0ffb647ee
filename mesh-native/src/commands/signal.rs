//! `mesh signal`: the signaling server and the page.

use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::hub::{HubArgs, announce_page, signaling_url};
use super::interrupted;
use super::metrics::MetricsArgs;

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
    metrics: MetricsArgs,
    /// How long agents have to move before the server ends: a quarter for load balancers to notice,
    /// half for the moves. The default stays below the 10 s after which `docker stop` kills. 0 ends
    /// at once.
    #[arg(long, value_name = "SECONDS", default_value_t = 8)]
    #[arg(value_parser = clap::value_parser!(u64).range(0..=3_600))]
    drain: u64,
}

impl Signal {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let server = self.hub.bind(0)?;
        if let Some(metrics) = self.metrics.start()? {
            metrics.watch_hub(&server);
        }
        let addresses = server.local_addrs().context("the server has no address")?;
        for &address in &addresses {
            tracing::info!("signaling at {}", signaling_url(address));
        }
        if let Some(&address) = addresses.first() {
            announce_page(address);
        }
        let drain = Duration::from_secs(self.drain);
        server
            .serve_and_drain(interrupted(), drain, interrupted())
            .await
            .context("the server failed")
    }
}
