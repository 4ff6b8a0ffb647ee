//! `mesh signal`: the signaling server and the page.

use anyhow::Context;
use clap::Args;

use super::hub::{HubArgs, announce_page, signaling_url};
use super::interrupted;
use super::metrics::MetricsArgs;

/// Runs the signaling server and the page.
///
/// Example: mesh signal --listen 0.0.0.0:9600 --ice-server stun:stun.example.org:3478
#[derive(Debug, Args)]
pub(crate) struct Signal {
    #[command(flatten)]
    hub: HubArgs,
    #[command(flatten)]
    metrics: MetricsArgs,
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
        server
            .serve(interrupted())
            .await
            .context("the server failed")
    }
}
