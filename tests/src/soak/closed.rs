//! What a closed connection leaves behind: one agent whose links open and close in a row.

use anyhow::{Context, Result, ensure};
use futures::future::{join_all, try_join_all};
use mesh_native::{Agent, JoinOptions};
use serde_json::Value;
use tokio::process::Command;

use super::agent::SoakAgent;
use super::ledger::Ledger;
use super::process::Taken;
use crate::browser::{Browser, Tab};
use crate::hub::HubProcess;
use crate::member::Member as _;
use crate::output::progress;
use crate::wait::{SOON, until};

const ROOM: &str = "closed";

/// Links that open and close at the same time.
const AT_ONCE: usize = 10;

/// What a closed connection may leave at a process at most, in KB.
const LEFT_KB_MAX: f64 = 4.0;

/// The same at a browser: a connection that stays costs it hundreds, and what its collector has not
/// yet cleaned up comes to tens.
const LEFT_IN_TAB_KB_MAX: f64 = 64.0;

/// Descriptors that a process may have more at the end than after a third: one link is closing.
const MORE_DESCRIPTORS_MAX: f64 = 2.0;

/// The same at a browser, whose own work takes tens: a link that stays takes one, of 400.
const MORE_IN_TAB_DESCRIPTORS_MAX: f64 = 40.0;

/// The agent whose links open and close.
enum Anchor {
    Process(SoakAgent),
    Tab(Tab),
}

impl Anchor {
    async fn join(hub: &HubProcess, browser: Option<Browser>) -> Result<Self> {
        if let Some(browser) = browser {
            hub.require_page().await?;
            let page = hub.page(&format!("room={ROOM}&name=anchor"));
            return Ok(Self::Tab(Tab::open(browser, &page).await?));
        }
        let url = hub.url();
        let arguments = ["--signaling", &*url, "--room", ROOM, "--name", "anchor"];
        // Runs the program of its first argument, on this host.
        let agent = SoakAgent::join(Command::new("env"), &arguments, &Ledger::default()).await?;
        Ok(Self::Process(agent))
    }

    async fn links(&self) -> Result<Value> {
        let mut stats = match self {
            Self::Process(agent) => agent.table("stats").await?,
            Self::Tab(tab) => tab.table("stats").await?,
        };
        Ok(stats["links"].take())
    }

    fn taken(&self) -> Result<Taken> {
        match self {
            Self::Process(agent) => Taken::by(agent.process),
            Self::Tab(tab) => Taken::by_group(tab.window().group()?),
        }
    }

    async fn end(self) -> Result<()> {
        match self {
            Self::Process(agent) => agent.kill().await,
            Self::Tab(tab) => tab.close().await,
        }
    }
}

/// Opens and closes so many links to one agent, first a process, then a tab of each browser.
/// Returns a table, and whether their memory is flat.
///
/// # Errors
/// If links do not open or close.
pub async fn closed(links: usize, browsers: &[Browser]) -> Result<(String, bool)> {
    let mut table =
        "| at | links opened and closed | memory after a third | at last | for each closed \
                     link | descriptors | threads |\n|---|---:|---:|---:|---:|---:|---:|\n"
            .to_owned();
    let mut all_flat = true;
    let anchors = browsers.iter().copied().map(Some);
    for browser in [None].into_iter().chain(anchors) {
        let name = browser.map_or_else(|| "a process".to_owned(), |it| format!("a tab: {it:?}"));
        let (row, flat) = at_one(links, browser).await.with_context(|| name.clone())?;
        table += &format!("| {name} | {row} |\n");
        all_flat &= flat;
    }
    Ok((table, all_flat))
}

/// Opens and closes so many links to one agent. Returns cells of a table, and whether its memory is
/// flat.
async fn at_one(links: usize, browser: Option<Browser>) -> Result<(String, bool)> {
    let hub = HubProcess::start().await?;
    let url = hub.url();
    let anchor = Anchor::join(&hub, browser).await?;
    let rounds = links.div_ceil(AT_ONCE);
    let mut taken = Vec::new();
    for round in 1..=rounds {
        let joining = (0..AT_ONCE).map(|number| {
            let name = format!("guest-{round}-{number}");
            Agent::join(JoinOptions::new(&url, ROOM, &name))
        });
        let guests = try_join_all(joining).await?;
        links_are(&anchor, "opened", round * AT_ONCE).await?;
        join_all(guests.iter().map(Agent::close)).await;
        drop(guests);
        links_are(&anchor, "closed", round * AT_ONCE).await?;
        taken.push(anchor.taken()?);
        if round % 10 == 0 {
            let memory = taken[taken.len() - 1].memory;
            progress(&format!(
                "{} links opened and closed: {memory:.0} KB",
                round * AT_ONCE
            ));
        }
    }
    anchor.end().await?;
    // Pools are full after the first third.
    let warm = rounds / 3;
    let (first, last) = (taken[warm], taken[rounds - 1]);
    let counted = ((rounds - 1 - warm) * AT_ONCE) as f64;
    let each = (last.memory - first.memory) / counted;
    let (left, more) = match browser {
        Some(_) => (LEFT_IN_TAB_KB_MAX, MORE_IN_TAB_DESCRIPTORS_MAX),
        None => (LEFT_KB_MAX, MORE_DESCRIPTORS_MAX),
    };
    let flat = each <= left && last.descriptors <= first.descriptors + more;
    let cells = format!(
        "{} | {:.0} KB | {:.0} KB | {each:.2} KB | {:.0}, {:.0} | {:.0}, {:.0}",
        rounds * AT_ONCE,
        first.memory,
        last.memory,
        first.descriptors,
        last.descriptors,
        first.threads,
        last.threads,
    );
    Ok((cells, flat))
}

/// Waits until the agent has counted so many links, and has none if they are closed.
async fn links_are(anchor: &Anchor, what: &str, count: usize) -> Result<()> {
    until(&format!("{count} links are {what}"), SOON, async || {
        let links = anchor.links().await?;
        let counted = links[what].as_u64().context("stats has no such count")?;
        ensure!(counted >= count as u64, "{links}");
        ensure!(what == "opened" || links["open"] == 0, "{links}");
        Ok(())
    })
    .await
}
