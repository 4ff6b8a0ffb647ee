//! What a closed connection leaves behind: one agent whose links open and close in a row.

use anyhow::{Context, Result, ensure};
use futures::future::{join_all, try_join_all};
use mesh_native::{Agent, JoinOptions};
use tokio::process::Command;

use super::agent::SoakAgent;
use super::ledger::Ledger;
use super::process::Taken;
use crate::hub::HubProcess;
use crate::output::progress;
use crate::wait::{SOON, until};

const ROOM: &str = "closed";

/// Links that open and close at the same time.
const AT_ONCE: usize = 10;

/// What a closed connection may leave at most, in KB.
const LEFT_KB_MAX: f64 = 4.0;

/// Opens and closes so many links to one process. Returns a table, and whether its memory is flat.
///
/// # Errors
/// If links do not open or close.
pub async fn closed(links: usize) -> Result<(String, bool)> {
    let hub = HubProcess::start().await?;
    let url = hub.url();
    let arguments = ["--signaling", &*url, "--room", ROOM, "--name", "anchor"];
    // Runs the program of its first argument, on this host.
    let anchor = SoakAgent::join(Command::new("env"), &arguments, &Ledger::default()).await?;
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
        taken.push(Taken::by(anchor.process)?);
        if round % 10 == 0 {
            let memory = taken[taken.len() - 1].memory;
            progress(&format!(
                "{} links opened and closed: {memory:.0} KB",
                round * AT_ONCE
            ));
        }
    }
    // Pools are full after the first third.
    let warm = rounds / 3;
    let (first, last) = (taken[warm], taken[rounds - 1]);
    let counted = ((rounds - 1 - warm) * AT_ONCE) as f64;
    let each = (last.memory - first.memory) / counted;
    let flat = each <= LEFT_KB_MAX && last.descriptors <= first.descriptors + 2.0;
    let text = format!(
        "| links opened and closed | memory after a third | at last | for each closed link | \
         descriptors | threads |\n|---:|---:|---:|---:|---:|---:|\n\
         | {} | {:.0} KB | {:.0} KB | {each:.2} KB | {:.0}, {:.0} | {:.0}, {:.0} |\n",
        rounds * AT_ONCE,
        first.memory,
        last.memory,
        first.descriptors,
        last.descriptors,
        first.threads,
        last.threads,
    );
    Ok((text, flat))
}

/// Waits until the agent has counted so many links, and has none if they are closed.
async fn links_are(agent: &SoakAgent, what: &str, count: usize) -> Result<()> {
    until(&format!("{count} links are {what}"), SOON, async || {
        let links = agent.table("stats").await?["links"].take();
        let counted = links[what].as_u64().context("stats has no such count")?;
        ensure!(counted >= count as u64, "{links}");
        ensure!(what == "opened" || links["open"] == 0, "{links}");
        Ok(())
    })
    .await
}
