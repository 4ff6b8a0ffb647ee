//! One look at every kind of member: a native agent, a child process, a browser tab.
//!
//! Tables and events are the same JSON in every binding, and are read as such here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;
use futures::future::try_join_all;
use mesh_native::core::PeerId;
use serde::Deserialize;
use serde_json::Value;

use crate::wait::{SOON, until};

/// How long a request may take.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

/// A member of a room.
#[async_trait]
pub trait Member: Send + Sync {
    /// Its identity.
    fn id(&self) -> PeerId;

    /// Its label.
    fn name(&self) -> &str;

    /// One of its tables: `peers`, `topology` or `stats`.
    async fn table(&self, name: &str) -> Result<Value>;

    /// The events of a type so far.
    async fn events(&self, kind: &str) -> Result<Vec<Value>>;

    /// Sends a request and returns the reply.
    async fn request(&self, to: PeerId, payload: &str) -> Result<Value>;

    /// Broadcasts, and returns the id of the message.
    async fn broadcast(&self, topic: &str, payload: &str) -> Result<String>;
}

/// A row of `peers()`.
#[derive(Clone, Debug, Deserialize)]
pub struct Peer {
    /// Its identity.
    pub id: PeerId,
    /// Its label.
    pub name: String,
    /// Whether a link to it is open.
    pub direct: bool,
    /// Hops to it.
    pub hops: Option<u8>,
    /// Whether the hub lists it.
    #[serde(rename = "inHub")]
    pub in_hub: bool,
}

/// `topology()`, without what differs from member to member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Every member.
    pub nodes: BTreeSet<PeerId>,
    /// Every link, its lower end first.
    pub links: BTreeSet<(PeerId, PeerId)>,
}

/// What the tests read of `stats()`.
#[derive(Clone, Debug, Deserialize)]
pub struct Stats {
    /// Links open now.
    pub links: OpenLinks,
    /// What was rejected, by reason.
    pub rejected: BTreeMap<String, u64>,
}

/// A part of [`Stats`].
#[derive(Clone, Debug, Deserialize)]
pub struct OpenLinks {
    /// Links open now.
    pub open: usize,
}

/// `peers()` of a member.
///
/// # Errors
/// If it does not answer.
pub async fn peers(member: &dyn Member) -> Result<Vec<Peer>> {
    let table = member.table("peers").await?;
    serde_json::from_value(table).context("peers() reads otherwise than documented")
}

/// `topology()` of a member.
///
/// # Errors
/// If it does not answer.
pub async fn topology(member: &dyn Member) -> Result<Topology> {
    #[derive(Deserialize)]
    struct Table {
        nodes: Vec<Node>,
        links: Vec<Link>,
    }
    #[derive(Deserialize)]
    struct Node {
        id: PeerId,
    }
    #[derive(Deserialize)]
    struct Link {
        source: PeerId,
        target: PeerId,
    }
    let table = member.table("topology").await?;
    let Table { nodes, links } =
        serde_json::from_value(table).context("topology() reads otherwise than documented")?;
    Ok(Topology {
        nodes: nodes.into_iter().map(|node| node.id).collect(),
        links: links
            .into_iter()
            .map(|link| (link.source, link.target))
            .collect(),
    })
}

/// `stats()` of a member.
///
/// # Errors
/// If it does not answer.
pub async fn stats(member: &dyn Member) -> Result<Stats> {
    let table = member.table("stats").await?;
    serde_json::from_value(table).context("stats() reads otherwise than documented")
}

/// Waits until each of `members` knows exactly the others, with a route to each.
///
/// # Errors
/// If that takes longer than `patience`.
pub async fn until_complete(members: &[&dyn Member], patience: Duration) -> Result<()> {
    until(
        "everybody knows a route to everybody",
        patience,
        async || {
            for member in members {
                is_complete(*member, members).await?;
            }
            Ok(())
        },
    )
    .await
}

/// Waits until a newcomer has a route to each of `members`; it may know others too.
///
/// # Errors
/// If that takes too long.
pub async fn until_reaches(newcomer: &dyn Member, members: &[&dyn Member]) -> Result<()> {
    until("the newcomer is linked and knows all", SOON, async || {
        let reached = peers(newcomer).await?;
        let reached = reached.iter().filter(|peer| peer.hops.is_some());
        let reached: BTreeSet<_> = reached.map(|peer| peer.id).collect();
        let missing = members.iter().filter(|it| !reached.contains(&it.id()));
        let missing: Vec<_> = missing.map(|member| member.name()).collect();
        ensure!(missing.is_empty(), "no route to {missing:?}");
        Ok(())
    })
    .await
}

/// No member was ever told that another of them had left.
///
/// # Errors
/// If one was.
pub async fn stayed(members: &[&dyn Member]) -> Result<()> {
    let ids: BTreeSet<PeerId> = members.iter().map(|member| member.id()).collect();
    for member in members {
        for event in member.events("peerLeft").await? {
            let peer = event["peer"].as_str().context("peerLeft has no peer")?;
            ensure!(!ids.contains(&peer.parse()?), "{}: {event}", member.name());
        }
    }
    Ok(())
}

async fn is_complete(member: &dyn Member, members: &[&dyn Member]) -> Result<()> {
    let peers = peers(member).await?;
    let known: BTreeSet<_> = peers.iter().map(|peer| peer.id).collect();
    let others = members
        .iter()
        .map(|other| other.id())
        .filter(|id| *id != member.id());
    let others: BTreeSet<_> = others.collect();
    ensure!(
        known == others,
        "{} lacks {:?} and should not know {:?}",
        member.name(),
        others.difference(&known).collect::<Vec<_>>(),
        known.difference(&others).collect::<Vec<_>>()
    );
    let unreachable = peers.iter().filter(|peer| peer.hops.is_none());
    let unreachable: Vec<_> = unreachable.map(|peer| &peer.name).collect();
    ensure!(
        unreachable.is_empty(),
        "{} has no route to {unreachable:?}",
        member.name()
    );
    Ok(())
}

/// Waits until all members tell the same topology, of them and this many links, and returns it.
///
/// # Errors
/// If that takes longer than `patience`.
pub async fn until_agreed(
    members: &[&dyn Member],
    links: usize,
    patience: Duration,
) -> Result<Topology> {
    until("everybody sees the same mesh", patience, async || {
        let views = try_join_all(members.iter().map(|member| topology(*member))).await?;
        let first = views.first().context("there is no member")?;
        for (view, member) in views.iter().zip(members) {
            let (nodes, seen) = (view.nodes.len(), view.links.len());
            ensure!(
                nodes == members.len() && seen == links,
                "{} sees {nodes} members and {seen} links, not {} and {links}",
                member.name(),
                members.len()
            );
            ensure!(
                view == first,
                "{} sees other links than the first",
                member.name()
            );
        }
        Ok(first.clone())
    })
    .await
}

impl Topology {
    /// Who can be reached from a member over the links.
    pub fn component(&self, from: PeerId) -> BTreeSet<PeerId> {
        let mut reached = BTreeSet::from([from]);
        let mut fresh = vec![from];
        while let Some(at) = fresh.pop() {
            let next = self.neighbours(at).into_iter();
            fresh.extend(next.filter(|peer| reached.insert(*peer)));
        }
        reached
    }

    /// Who is linked to a member.
    pub fn neighbours(&self, of: PeerId) -> BTreeSet<PeerId> {
        let ends = self.links.iter().filter_map(|&(a, b)| match of {
            _ if of == a => Some(b),
            _ if of == b => Some(a),
            _ => None,
        });
        ends.collect()
    }
}

/// Every member sends every other a request and gets its own words back. Returns how many.
///
/// # Errors
/// The first request that failed.
pub async fn request_all_pairs(members: &[&dyn Member], occasion: &str) -> Result<usize> {
    let askers = members
        .iter()
        .map(|asker| request_everybody(*asker, members, occasion));
    Ok(try_join_all(askers).await?.into_iter().sum())
}

/// `asker` sends every other member a request and gets its own words back. Returns how many.
///
/// # Errors
/// The first request that failed.
pub async fn request_everybody(
    asker: &dyn Member,
    members: &[&dyn Member],
    occasion: &str,
) -> Result<usize> {
    let others = members.iter().filter(|other| other.id() != asker.id());
    let requests = others.map(|other| async move {
        let asked = format!("{occasion}: {} asks {}", asker.name(), other.name());
        let reply = asker.request(other.id(), &asked).await;
        let reply = reply.with_context(|| format!("no reply: {asked}"))?;
        ensure!(
            reply.as_str() == Some(asked.as_str()),
            "{asked}, and is told {reply}"
        );
        Ok(())
    });
    Ok(try_join_all(requests).await?.len())
}

/// How often a member's application got a message.
///
/// # Errors
/// If it does not answer.
pub async fn times_received(member: &dyn Member, id: &str) -> Result<usize> {
    let messages = member.events("message").await?;
    Ok(messages
        .iter()
        .filter(|message| message["id"] == id)
        .count())
}

/// Waits until every member has had an event of this type.
///
/// # Errors
/// If that takes longer than `patience`.
pub async fn until_all_had(members: &[&dyn Member], kind: &str, patience: Duration) -> Result<()> {
    until(&format!("everybody has had {kind}"), patience, async || {
        for member in members {
            if member.events(kind).await?.is_empty() {
                bail!("{} has not", member.name());
            }
        }
        Ok(())
    })
    .await
}
