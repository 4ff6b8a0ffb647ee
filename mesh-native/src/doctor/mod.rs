//! What this machine can do: what `mesh doctor` asks, step by step, and what is to be done about
//! what does not work. And of a running mesh, why two members are not linked.

mod hub;
mod interfaces;
mod nat;
mod pair;
mod report;
mod stun;
#[cfg(test)]
mod tests;
mod turn;

use std::collections::BTreeSet;

use mesh_core::IceServer;
pub use mesh_core::doctor::{Check, Finding, Outcome};

pub use self::nat::{Behaviour, NatType};
pub use self::pair::{PairOptions, examine_pair};
pub use self::report::Report;
use crate::link::StreamSettings;

/// STUN and TURN servers that are asked: a hub hands out a few.
const SERVERS_MAX: usize = 16;

/// What is to be looked at.
#[derive(Clone, Debug, Default)]
pub struct DoctorOptions {
    /// Where the signaling servers are.
    pub signaling: Vec<String>,
    /// Certificates in PEM that servers may be certified by, beside those that the machine trusts.
    pub ca: Option<Vec<u8>>,
    /// STUN and TURN servers beside those that the signaling servers hand out.
    pub ice_servers: Vec<IceServer>,
}

/// Looks at everything. What fails is a finding, never an error.
pub async fn examine(options: DoctorOptions) -> Report {
    let mut report = Report::default();
    interfaces::examine(&mut report);
    let mut servers = options.ice_servers;
    for url in &options.signaling {
        servers.extend(hub::examine(url, options.ca.as_deref(), &mut report).await);
    }
    let servers = one_by_one(servers);
    if servers.is_empty() {
        report.note(
            Check::Servers,
            "",
            "no STUN or TURN server is known: links open only where agents reach each other",
            Some("have the hub hand some out (mesh signal --ice-servers FILE), or name one here"),
        );
        return report;
    }
    let settings = StreamSettings::new(options.ca);
    nat::examine(&servers, &mut report).await;
    turn::examine(&servers, &settings, &mut report).await;
    report
}

/// A server for each URL, each URL once.
fn one_by_one(servers: Vec<IceServer>) -> Vec<IceServer> {
    let mut seen = BTreeSet::new();
    let each = servers.into_iter().flat_map(|server| {
        let urls = server.urls.clone();
        urls.into_iter().map(move |url| IceServer {
            urls: vec![url],
            ..server.clone()
        })
    });
    each.filter(|server| seen.insert((server.urls.clone(), server.username.clone())))
        .take(SERVERS_MAX)
        .collect()
}
