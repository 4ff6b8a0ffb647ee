//! A hub that swaps DTLS fingerprints gets no link to open, and is told of.

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use mesh_native::JoinOptions;
use mesh_native::core::PeerId;
use mesh_tests::agents::Native;
use mesh_tests::hub::HubProcess;
use mesh_tests::member::{Member, request_all_pairs, stats, until_complete};
use mesh_tests::proxy::{HostileHub, Swap};
use mesh_tests::wait::{SOON, until};
use serde_json::Value;

const AGENTS: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn swapped_offers_open_no_link() -> Result<()> {
    // The lower id offers, so everybody but the lowest gets a swapped offer, from a lower one.
    let deceived = |of: &Native, all: &[Native]| authors(all, |author| author < of.id());
    no_link_opens_through(Swap::Offers, deceived).await
}

#[tokio::test(flavor = "multi_thread")]
async fn swapped_answers_open_no_link() -> Result<()> {
    let deceived = |of: &Native, all: &[Native]| authors(all, |author| author > of.id());
    no_link_opens_through(Swap::Answers, deceived).await
}

/// Names of the agents whose id is as wanted.
fn authors(all: &[Native], wanted: impl Fn(PeerId) -> bool) -> Vec<String> {
    all.iter()
        .map(Member::id)
        .filter(|id| wanted(*id))
        .map(|id| id.to_string())
        .collect()
}

async fn no_link_opens_through(
    swap: Swap,
    deceived_by: impl Fn(&Native, &[Native]) -> Vec<String>,
) -> Result<()> {
    let hub = HubProcess::start().await?;
    let proxy = HostileHub::start(&hub.url(), swap).await?;
    let agents = join(&proxy.url()).await?;

    // Every attempt is made, and seen through by who is to be deceived.
    for agent in &agents {
        for author in deceived_by(agent, &agents) {
            let what = format!("{} rejects a signal of {author}", agent.name());
            until(&what, SOON, async || has_rejected(agent, &author).await).await?;
        }
    }
    // An attempt fails when its time is over: no link has opened until then.
    let what = "the agents give their first attempts up";
    until(what, SOON, async || {
        let mut failed = 0;
        for agent in &agents {
            failed += agent.events("linkFailed").await?.len();
        }
        ensure!(failed > 0, "no link has failed yet");
        Ok(())
    })
    .await?;
    for agent in &agents {
        let opened = agent.events("linkOpened").await?;
        ensure!(opened.is_empty(), "{} has opened {opened:?}", agent.name());
        let open = stats(agent).await?.links.open;
        ensure!(open == 0, "{} has {open} links", agent.name());
    }
    ensure!(
        proxy.swapped() >= 3,
        "the proxy has swapped {} only",
        proxy.swapped()
    );

    proxy.turn_honest();
    let members: Vec<_> = agents.iter().map(|agent| agent as &dyn Member).collect();
    until_complete(&members, 2 * SOON).await?;
    request_all_pairs(&members, "through an honest hub").await?;
    Ok(())
}

async fn join(url: &str) -> Result<Vec<Native>> {
    let joining = (1..=AGENTS).map(|number| {
        let options = JoinOptions::new(url, "hostile", &format!("agent-{number}"));
        Native::join(options)
    });
    try_join_all(joining).await
}

/// Whether an agent was told that a signal from the hub, not from a peer, bore a false signature,
/// and has counted it.
async fn has_rejected(agent: &Native, author: &str) -> Result<()> {
    let rejected = agent.events("rejected").await?;
    let seen_through = |event: &&Value| {
        event["via"].is_null()
            && event["author"] == author
            && event["reason"] == "invalid-signature"
    };
    ensure!(
        rejected.iter().any(|event| seen_through(&event)),
        "it has rejected {rejected:?}"
    );
    let events = rejected.iter().filter(seen_through).count();
    let counted = stats(agent).await?.rejected;
    let counted = counted
        .get("invalid-signature")
        .copied()
        .unwrap_or_default();
    ensure!(
        usize::try_from(counted)? >= events,
        "{events} events, but {counted} counted"
    );
    Ok(())
}
