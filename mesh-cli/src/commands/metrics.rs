//! `--metrics`: what commands that go on tell Prometheus.

use std::net::SocketAddr;

use clap::Args;
use mesh_native::{Metrics, MetricsServer};

/// Where metrics are served.
#[derive(Debug, Args)]
pub(crate) struct MetricsArgs {
    /// Serve metrics for Prometheus at this address, as 127.0.0.1:9601; nowhere unless given. They
    /// tell whoever can reach it how much is sent and what fails, not what, and by no name.
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,
}

impl MetricsArgs {
    /// Takes the port and serves, for as long as the process runs.
    pub(crate) fn start(&self) -> anyhow::Result<Option<Metrics>> {
        let Some(address) = self.metrics else {
            return Ok(None);
        };
        let server = MetricsServer::bind(address)?;
        tracing::info!("metrics at http://{}/metrics", server.local_addr());
        let metrics = Metrics::default();
        tokio::spawn(server.serve(metrics.clone()));
        Ok(Some(metrics))
    }
}
