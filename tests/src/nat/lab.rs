//! The lab: two hosts in their places, on which agents try to link with servers of each kind.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::end::{End, Runtime, Seat};
use super::internet::TURN;
use super::{Cell, Internet, Pair, Path, Servers, Side};
use crate::hosts::Host;
use crate::output::progress;

/// How long a link may take: an agent gives an attempt up after ten seconds, and tries again.
const PATIENCE: Duration = Duration::from_secs(25);

/// Messages by whose way the path of a link is told.
const MESSAGES: usize = 20;

/// Two hosts of a pair, with what agents run in there.
#[derive(Debug)]
pub struct Lab {
    pair: Pair,
    sides: [Side; 2],
    seats: [Seat; 2],
    internet: Internet,
}

impl Lab {
    /// Makes the hosts, and starts the browsers.
    ///
    /// # Errors
    /// If the system refuses, or a browser does not start.
    pub async fn new(pair: Pair, runtimes: [Runtime; 2]) -> Result<Self> {
        let internet = Internet::new().await?;
        let sides = Side::pair(&internet, pair).await?;
        let seats = tokio::try_join!(
            Seat::prepare(runtimes[0], &sides[0]),
            Seat::prepare(runtimes[1], &sides[1]),
        )?;
        Ok(Self {
            pair,
            sides,
            seats: seats.into(),
            internet,
        })
    }

    /// Has two agents join that have these servers, and looks whether they link.
    ///
    /// # Errors
    /// If they do not join, or lose each other.
    pub async fn measure(&self, servers: Servers) -> Result<Cell> {
        let mut hub = self.internet.hub(&servers.urls()).await?;
        let cell = self.meet(servers).await;
        // The next one has the same port.
        hub.kill().await?;
        cell
    }

    async fn meet(&self, servers: Servers) -> Result<Cell> {
        let [one, other] = &self.seats;
        tokio::try_join!(one.load(), other.load())?;
        let (anna, ben) = tokio::try_join!(
            one.join(&self.sides[0], "anna"),
            other.join(&self.sides[1], "ben"),
        )?;
        let began = Instant::now();
        let opened = tokio::try_join!(anna.opens(PATIENCE), ben.opens(PATIENCE))?;
        let after = began.elapsed();
        if opened != (true, true) {
            if !Cell::Apart.is_expected(self.pair, servers) {
                explain([&anna, &ben]).await?;
            }
            return Ok(Cell::Apart);
        }
        let path = self.path(&anna, &ben).await?;
        Ok(Cell::Linked(path, after))
    }

    /// The way that messages take from one end to the other and back.
    async fn path(&self, from: &End<'_>, to: &End<'_>) -> Result<Path> {
        for side in &self.sides {
            count(&side.host, &self.pair.outer_addresses()).await?;
        }
        from.ask(to.id(), MESSAGES).await?;
        let mut path = Path::Host;
        for side in &self.sides {
            match way(&side.host).await? {
                Path::Relay => path = Path::Relay,
                Path::Nat if path == Path::Host => path = Path::Nat,
                _ => {}
            }
        }
        Ok(path)
    }

    /// Ends all that runs there.
    ///
    /// # Errors
    /// If a browser does not close.
    pub async fn close(self) -> Result<()> {
        for seat in self.seats {
            seat.close().await?;
        }
        Ok(())
    }
}

/// Tells what the agents have told of a link that did not come.
async fn explain(ends: [&End<'_>; 2]) -> Result<()> {
    for end in ends {
        for event in end.told().await? {
            progress(&format!("{}: {event}", end.id()));
        }
    }
    Ok(())
}

/// Begins to count anew what a host sends to the TURN server, and to the outer address of a NAT.
async fn count(host: &Host, outer: &[String]) -> Result<()> {
    let outer: String = outer
        .iter()
        .map(|ip| format!("ip daddr {ip} counter name nat\n"))
        .collect();
    host.nft(&format!(
        "add table inet count\ndelete table inet count\n\
         table inet count {{\n counter relay {{ }}\n counter nat {{ }}\n\
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
