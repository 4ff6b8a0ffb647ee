//! Native agents, a Chrome tab and a Firefox tab are one mesh.

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use mesh_native::JoinOptions;
use mesh_native::core::PeerId;
use mesh_tests::agents::Native;
use mesh_tests::browser::{Browser, Tab, are_wanted};
use mesh_tests::hub::HubProcess;
use mesh_tests::member::{
    Member, peers, request_everybody, stats, times_received, until_agreed, until_complete,
};
use mesh_tests::report;
use mesh_tests::wait::{SOON, until};

const ROOM: &str = "mixed";
const K: usize = 4;
const NATIVES: usize = 12;
const MEMBERS: usize = NATIVES + 2;

/// Links beyond k that an agent accepts: `Config::links_slack`.
const SLACK: usize = 8;

/// Broadcasts of each kind of member: a late copy of one would still come before the last.
const BROADCASTS: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn tabs_and_native_agents_are_one_mesh() -> Result<()> {
    if !are_wanted("native agents, Chrome and Firefox in one mesh") {
        return Ok(());
    }
    let hub = HubProcess::start().await?;
    hub.require_page().await?;
    let natives = join_natives(&hub.url()).await?;
    let page = |name| hub.page(&format!("room={ROOM}&k={K}&name={name}"));
    let (chrome_page, firefox_page) = (page("chrome"), page("firefox"));
    let (chrome, firefox) = tokio::try_join!(
        Tab::open(Browser::Chrome, &chrome_page),
        Tab::open(Browser::Firefox, &firefox_page)
    )?;
    let tabs = [&chrome, &firefox];
    let members: Vec<&dyn Member> = natives
        .iter()
        .map(|native| native as &dyn Member)
        .chain(tabs.map(|tab| tab as &dyn Member))
        .collect();

    until_complete(&members, SOON).await?;
    is_one_component(&members).await?;
    for tab in tabs {
        reaches_everybody_directly_or_not(tab, &members).await?;
        page_shows_the_mesh(tab).await?;
    }
    for author in [&natives[0] as &dyn Member, &chrome, &firefox] {
        broadcasts_reach_everybody_once(author, &members).await?;
    }
    keys_are_rotated_by(&chrome, &natives[0], &members).await?;
    for member in &members {
        has_nothing_to_complain_of(*member).await?;
    }
    chrome.close().await?;
    firefox.close().await
}

async fn join_natives(url: &str) -> Result<Vec<Native>> {
    let joining = (1..=NATIVES).map(|number| {
        Native::join(JoinOptions {
            k: Some(K),
            ..JoinOptions::new(url, ROOM, &format!("native-{number:02}"))
        })
    });
    try_join_all(joining).await
}

/// A tab and a native agent give their links fresh keys, and no link goes.
async fn keys_are_rotated_by(tab: &Tab, native: &Native, members: &[&dyn Member]) -> Result<()> {
    let links = until_agreed(members, MEMBERS * K / 2, SOON).await?.links;
    // A link that is no longer wanted may still be drained: that one is closed, and not lost.
    let mut lost = Vec::new();
    for member in members {
        lost.push(link_counts(*member).await?["lost"].clone());
    }
    tab.evaluate("return window.mesh.rotateKeys()", &[]).await?;
    native.agent().rotate_keys()?;
    for member in [tab as &dyn Member, native] {
        let is_own = |(a, b): &&(PeerId, PeerId)| [*a, *b].contains(&member.id());
        let wanted = links.iter().filter(is_own).count() as u64;
        until("all of its links have fresh keys", SOON, async || {
            let rotated = link_counts(member).await?["rotated"].as_u64();
            ensure!(rotated >= Some(wanted), "{rotated:?} of {wanted}");
            Ok(())
        })
        .await?;
    }
    until_complete(members, SOON).await?;
    for (member, lost) in members.iter().zip(lost) {
        let links = link_counts(*member).await?;
        ensure!(links["rotationsFailed"] == 0, "{links}");
        ensure!(
            links["lost"] == lost && lost.is_u64(),
            "a link of {} was lost: {:?}",
            member.name(),
            member.events("linkClosed").await?
        );
    }
    request_everybody(tab, members, "after the rotation").await?;
    Ok(())
}

async fn link_counts(member: &dyn Member) -> Result<serde_json::Value> {
    Ok(member.table("stats").await?["links"].clone())
}

async fn is_one_component(members: &[&dyn Member]) -> Result<()> {
    let mesh = until_agreed(members, MEMBERS * K / 2, SOON).await?;
    let component = mesh.component(members[0].id());
    ensure!(
        component == mesh.nodes,
        "the links reach only {component:?} of {:?}",
        mesh.nodes
    );
    Ok(())
}

/// Asks everybody, those too that only others are linked to.
async fn reaches_everybody_directly_or_not(tab: &Tab, members: &[&dyn Member]) -> Result<()> {
    let asked = request_everybody(tab, members, "from a tab").await?;
    ensure!(
        asked == MEMBERS - 1,
        "{} has asked {asked} members",
        tab.name()
    );
    let peers = peers(tab).await?;
    let (direct, distant): (Vec<_>, Vec<_>) = peers.into_iter().partition(|peer| peer.direct);
    ensure!(
        !distant.is_empty(),
        "{} is linked to everybody: routing is not tried",
        tab.name()
    );
    for peer in &distant {
        let hops = peer.hops.unwrap_or_default();
        ensure!(
            hops >= 2,
            "{} reaches {} in {hops} hops without a link",
            tab.name(),
            peer.name
        );
    }
    let (near, far) = (direct.len(), distant.len());
    report(&format!(
        "{}: {near} members over a link, {far} over others, all answer",
        tab.name()
    ));
    Ok(())
}

/// What people see agrees with what the mesh says.
async fn page_shows_the_mesh(tab: &Tab) -> Result<()> {
    until("the page counts all members", SOON, async || {
        let (shown, state) = (tab.text("#members").await?, tab.text("#state").await?);
        let all = shown.contains(&MEMBERS.to_string());
        ensure!(
            all,
            "{} shows {shown:?} members, state {state:?}",
            tab.name()
        );
        Ok(())
    })
    .await
}

async fn broadcasts_reach_everybody_once(
    author: &dyn Member,
    members: &[&dyn Member],
) -> Result<()> {
    let mut sent = Vec::new();
    for number in 0..BROADCASTS {
        sent.push(
            author
                .broadcast("news", &format!("number {number}"))
                .await?,
        );
    }
    let last = &sent[BROADCASTS - 1];
    let others: Vec<_> = members
        .iter()
        .filter(|member| member.id() != author.id())
        .collect();
    ensure!(others.len() == MEMBERS - 1, "{} others", others.len());
    for member in &others {
        let what = format!(
            "{} gets the last broadcast of {}",
            member.name(),
            author.name()
        );
        until(&what, SOON, async || {
            ensure!(times_received(**member, last).await? > 0, "it has not come");
            Ok(())
        })
        .await?;
    }
    // A round trip over every pair's path: copies that were still under way have come by now.
    request_everybody(author, members, "after the broadcasts").await?;
    for (member, id) in others
        .iter()
        .flat_map(|member| sent.iter().map(move |id| (member, id)))
    {
        let times = times_received(**member, id).await?;
        ensure!(times == 1, "{} got {id} {times} times", member.name());
    }
    ensure!(
        times_received(author, last).await? == 0,
        "{} got its own words",
        author.name()
    );
    Ok(())
}

async fn has_nothing_to_complain_of(member: &dyn Member) -> Result<()> {
    let stats = stats(member).await?;
    let (name, open) = (member.name(), stats.links.open);
    ensure!(
        stats.rejected.is_empty(),
        "{name} rejected {:?}",
        stats.rejected
    );
    ensure!(
        (1..=K + SLACK).contains(&open),
        "{name} has {open} links, k is {K}"
    );
    Ok(())
}
