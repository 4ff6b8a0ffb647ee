//! `mesh doctor`: what this machine can do, and what to do about what it cannot.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use mesh_core::IceServer;
use mesh_native::doctor::{DoctorOptions, examine};

use super::agent::read_ca;
use super::ice::parse_ice_server;
use super::print;

/// Looks at what agents on this machine need, step by step: addresses, the signaling server (name,
/// connection, certificate, proxy, admission, clock), STUN and the NAT, and TURN over UDP, TCP and
/// TLS. Each finding has its remedy; the exit code is 1 if something is wrong.
///
/// Example: mesh doctor --signaling wss://mesh.example.org/signal
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Where the signaling server is; repeated for several. Its STUN and TURN servers are looked at
    /// too.
    #[arg(long, value_name = "URL", default_value = "ws://localhost:9600/signal")]
    signaling: Vec<String>,
    /// Certificates (PEM) that servers may be certified by, beside those that this machine trusts.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A STUN or TURN server beside those of the signaling server: stun:host:port, or
    /// turn:host:port,user,password. May be repeated.
    #[arg(long, value_parser = parse_ice_server, value_name = "SERVER")]
    ice_server: Vec<IceServer>,
    /// Tell it as JSON.
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let report = examine(DoctorOptions {
            signaling: self.signaling,
            ca: self.ca.as_deref().map(read_ca).transpose()?,
            ice_servers: self.ice_server,
        });
        let report = report.await;
        let text = if self.json {
            serde_json::to_string_pretty(&report).context("the report is no JSON")?
        } else {
            report.to_string()
        };
        print(&format!("{text}\n"))?;
        Ok(if report.is_wrong() {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }
}
