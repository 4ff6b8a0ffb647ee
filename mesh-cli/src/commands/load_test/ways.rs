//! The ways that links take: between which kinds of addresses, over a relay or not, how far.

use std::collections::BTreeMap;

use mesh_core::PingCounts;
use serde::Serialize;

use super::fleet::Fleet;
use super::recorder::{histogram, record_ms};
use super::report::{Latency, Report};
use super::text::{Text, ms, share};

/// Ends of links that take the same kind of way.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Way {
    /// The kinds of addresses (RFC 8839, section 5.1) at this end and at the other; empty where
    /// an agent does not know them.
    pub(super) local: String,
    pub(super) remote: String,
    /// Over a TURN server.
    pub(super) relayed: bool,
    pub(super) ends: usize,
    /// Smoothed round trips of these links, as their ends have them.
    pub(super) rtt_ms: Latency,
}

/// The ways of all open links, those of most ends first.
pub(super) async fn of(fleet: &Fleet) -> Vec<Way> {
    let mut found = BTreeMap::new();
    for agent in &fleet.agents {
        let peers = agent.peers().await.unwrap_or_default();
        for peer in peers.iter().filter(|peer| peer.direct) {
            let kind = peer.path.map_or(("", "", false), |path| {
                (path.local.as_str(), path.remote.as_str(), path.relayed)
            });
            let (ends, rtt) = found.entry(kind).or_insert_with(|| (0, histogram()));
            *ends += 1;
            if let Some(rtt_ms) = peer.rtt_ms {
                record_ms(rtt, rtt_ms);
            }
        }
    }
    let ways = found
        .into_iter()
        .map(|((local, remote, relayed), (ends, rtt))| Way {
            local: local.to_owned(),
            remote: remote.to_owned(),
            relayed,
            ends,
            rtt_ms: Latency::of(&rtt),
        });
    let mut ways: Vec<_> = ways.collect();
    ways.sort_by_key(|way| std::cmp::Reverse(way.ends));
    ways
}

/// The section of the report.
pub(super) fn section(text: &mut Text, report: &Report) {
    text.section("Ways of links");
    text.line(
        "Between which kinds of addresses (`host`: the agent's own, `srflx` and `prflx`: as others \
         see it through a NAT, `relay`: at a TURN server), and the round trip in milliseconds:\n",
    );
    let row = |way: &Way| {
        let kind = |kind: &str| if kind.is_empty() { "unknown" } else { kind }.to_owned();
        let rtt = way.rtt_ms;
        [
            kind(&way.local),
            kind(&way.remote),
            if way.relayed { "TURN" } else { "direct" }.to_owned(),
            way.ends.to_string(),
            ms(rtt.p50),
            ms(rtt.p95),
            ms(rtt.max),
        ]
    };
    let heads = ["Here", "There", "Way", "Ends", "p50", "p95", "max"];
    text.table(heads, report.ways.iter().map(row));
    let PingCounts { answered, lost } = report.pings;
    text.line(format_args!(
        "Of {} pings that are not sent again, {lost} were lost there or back ({}).\n",
        answered + lost,
        share(lost, answered + lost)
    ));
}
