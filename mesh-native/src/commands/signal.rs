//! `mesh signal`: the signaling server and the page.

use std::net::SocketAddr;

use anyhow::Context;
use clap::Args;
use mesh_native::core::{HubConfig, IceServer};
use mesh_native::hub::{HubServer, has_package};

use super::{DEFAULT_LISTEN, interrupted, parse_ice_server, reachable};

/// Runs the signaling server and the page.
///
/// Example: mesh signal --listen 0.0.0.0:9600 --ice-server stun:stun.example.org:3478
#[derive(Debug, Args)]
pub(crate) struct Signal {
    /// The address to listen on.
    #[arg(long, default_value_t = DEFAULT_LISTEN)]
    listen: SocketAddr,
    /// A STUN or TURN server that members should use: stun:host:port or
    /// turn:host:port,user,password. May be repeated.
    #[arg(long, value_parser = parse_ice_server, value_name = "SERVER")]
    ice_server: Vec<IceServer>,
}

impl Signal {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let config = HubConfig {
            ice_servers: self.ice_server,
            ..HubConfig::default()
        };
        let server = HubServer::bind(self.listen, config)?;
        let address = server.local_addr().context("the server has no address")?;
        tracing::info!("signaling at ws://{}/signal", reachable(address));
        announce_page(address);
        server
            .serve(interrupted())
            .await
            .context("the server failed")
    }
}

/// Tells where the page is, or what it lacks.
pub(super) fn announce_page(address: SocketAddr) {
    if has_package() {
        tracing::info!("the page is at http://{}", reachable(address));
    } else {
        tracing::warn!(
            "the page at http://{} lacks its wasm package: run `cargo xtask wasm`, then build again",
            reachable(address)
        );
    }
}
