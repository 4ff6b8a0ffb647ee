//! One cell of the table: two agents, the servers that they have, and whether and how they link.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::internet::TURN;
use super::place::outer_addresses;
use super::{HUB_URL, Internet, Place, Side};
use crate::agents::AgentProcess;
use crate::hosts::Host;
use crate::member::Member;
use crate::turn::with_user;

/// How long a link may take: an agent gives an attempt up after ten seconds, and tries again.
const PATIENCE: Duration = Duration::from_secs(25);

/// Messages by whose way the path of a link is told.
const MESSAGES: usize = 20;

/// What agents have to link with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Servers {
    /// Nothing.
    None,
    /// STUN.
    Stun,
    /// TURN over UDP.
    TurnUdp,
    /// TURN over TCP.
    TurnTcp,
    /// TURN over TLS, at port 443.
    TurnTls,
}

impl Servers {
    /// All, in the order of the table.
    pub const ALL: [Self; 5] = [
        Self::None,
        Self::Stun,
        Self::TurnUdp,
        Self::TurnTcp,
        Self::TurnTls,
    ];

    /// As the table has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "no server",
            Self::Stun => "STUN",
            Self::TurnUdp => "TURN, UDP",
            Self::TurnTcp => "TURN, TCP",
            Self::TurnTls => "TURN, TLS",
        }
    }

    /// As `--ice-server` has them.
    pub fn urls(self) -> Vec<String> {
        let turn = |transport| with_user(&Internet::turn_url(transport));
        match self {
            Self::None => Vec::new(),
            Self::Stun => vec!["stun:turn.example:3478".to_owned()],
            Self::TurnUdp => vec![turn("udp")],
            Self::TurnTcp => vec![turn("tcp")],
            Self::TurnTls => vec![turn("tls")],
        }
    }
}

/// How a link goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// From host to host.
    Host,
    /// Through the mapping of a NAT.
    Nat,
    /// Through the TURN server.
    Relay,
}

/// What became of two agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// They linked, so long after both had joined.
    Linked(Path, Duration),
    /// They did not.
    Apart,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linked(path, after) => {
                let path = match path {
                    Path::Host => "host",
                    Path::Nat => "through NAT",
                    Path::Relay => "relay",
                };
                write!(f, "{path}, {:.1} s", after.as_secs_f64())
            }
            Self::Apart => write!(f, "–"),
        }
    }
}

/// Puts two agents in their places, gives them servers, and looks whether they link.
///
/// # Errors
/// If they cannot be put there, or do not join.
pub async fn measure(places: [Place; 2], servers: Servers) -> Result<Cell> {
    let internet = Internet::new().await?;
    let sides = Side::pair(&internet, places).await?;
    let _hub = internet.hub(&servers.urls()).await?;
    let join = |side: usize, name: &'static str| {
        AgentProcess::join_on(&sides[side].host, HUB_URL, "nat", name, &[])
    };
    let (anna, ben) = tokio::try_join!(join(0, "anna"), join(1, "ben"))?;
    let began = Instant::now();
    let is_open = |line: &Value| line["type"] == "linkOpened";
    let opened = async {
        loop {
            let told = anna.printed().iter().any(is_open) && ben.printed().iter().any(is_open);
            if told {
                break began.elapsed();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let Ok(after) = timeout(PATIENCE, opened).await else {
        return Ok(Cell::Apart);
    };
    for side in &sides {
        count(&side.host, &outer_addresses(places)).await?;
    }
    for _ in 0..MESSAGES {
        anna.request(ben.id(), "which way?").await?;
    }
    let mut path = Path::Host;
    for side in &sides {
        match way(&side.host).await? {
            Path::Relay => path = Path::Relay,
            Path::Nat if path == Path::Host => path = Path::Nat,
            _ => {}
        }
    }
    Ok(Cell::Linked(path, after))
}

/// Begins to count what a host sends to the TURN server, and to the outer address of a NAT.
async fn count(host: &Host, outer: &[String]) -> Result<()> {
    let outer: String = outer
        .iter()
        .map(|ip| format!("ip daddr {ip} counter name nat\n"))
        .collect();
    host.nft(&format!(
        "table inet count {{\n counter relay {{ }}\n counter nat {{ }}\n\
         chain out {{\n type filter hook output priority 0\n\
         ip daddr {TURN} counter name relay\n\
         ip6 daddr 2001:db8::1 counter name relay\n{outer} }}\n}}\n"
    ))
    .await
}

/// By the counters: each message takes a datagram at least.
async fn way(host: &Host) -> Result<Path> {
    let mut list = host.command();
    let list = list
        .args(["nft", "--json", "list", "counters"])
        .output()
        .await?;
    let told: Value = serde_json::from_slice(&list.stdout).context("nft tells no JSON")?;
    let counters = told["nftables"].as_array().context("no counters")?;
    let packets = |name: &str| {
        let mut found = counters.iter().map(|entry| &entry["counter"]);
        let found = found.find(|counter| counter["name"] == json!(name));
        found.and_then(|counter| counter["packets"].as_u64())
    };
    let (relay, nat) = (packets("relay"), packets("nat"));
    ensure!(relay.is_some() && nat.is_some(), "{told}");
    let enough = |count: Option<u64>| count >= Some(MESSAGES as u64 * 3 / 4);
    Ok(if enough(relay) {
        Path::Relay
    } else if enough(nat) {
        Path::Nat
    } else {
        Path::Host
    })
}
