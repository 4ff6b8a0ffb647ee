//! `mesh doctor`: what this machine can do, and what to do about what it cannot; and why two
//! members of a running mesh are not linked.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use mesh_core::IceServer;
use mesh_native::doctor::{DoctorOptions, PairOptions, examine, examine_pair};

use super::agent::read_ca;
use super::ice::parse_ice_server;
use super::print;

/// Looks at what agents on this machine need, step by step: addresses, the signaling server (name,
/// connection, certificate, proxy, admission, clock), STUN and the NAT, and TURN over UDP, TCP and
/// TLS. Each finding has its remedy; the exit code is 1 if something is wrong.
///
/// With --pair it looks at a running mesh instead: it joins the room as one more member, asks both
/// members how they see the link between them, tells why they are not linked, or that they need not
/// be, and leaves.
///
/// Example: mesh doctor --signaling wss://mesh.example.org/signal
///
/// Example: mesh doctor --room demo --pair anna bert
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
    /// Two members of the room, each by its name, its id or the beginning of that: why are they
    /// not linked?
    #[arg(
        long,
        num_args = 2,
        value_names = ["A", "B"],
        requires = "room",
        conflicts_with = "ice_server"
    )]
    pair: Option<Vec<String>>,
    /// The room that they are in.
    #[arg(long, requires = "pair")]
    room: Option<String>,
    /// Tell it as JSON.
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let ca = self.ca.as_deref().map(read_ca).transpose()?;
        let pair = self.pair.map(<[String; 2]>::try_from);
        let report = match pair {
            Some(Ok(members)) => {
                let pair = PairOptions {
                    signaling: self.signaling,
                    ca,
                    room: self.room.unwrap_or_default(),
                    members,
                };
                examine_pair(pair).await
            }
            Some(Err(_)) => bail!("--pair takes two members"),
            None => {
                let machine = DoctorOptions {
                    signaling: self.signaling,
                    ca,
                    ice_servers: self.ice_server,
                };
                examine(machine).await
            }
        };
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
