//! An agent under test, wherever it is.

use mesh_core::{
    Delivery, Event, MessageId, Payload, PeerId, PeerView, RouteView, Stats, TopologyView,
};
use mesh_native::{Agent, Events, SendOptions};
use tokio::sync::mpsc;

use super::remote::Remote;

#[derive(Clone, Debug)]
pub(super) enum Tested {
    /// In this process.
    Here(Agent),
    /// In another, or in a tab.
    Elsewhere(Remote),
}

/// What the agent is told.
pub(super) enum Told {
    Here(Events),
    Elsewhere(mpsc::Receiver<Event>),
}

impl Told {
    pub(super) async fn next(&mut self) -> Option<Event> {
        match self {
            Self::Here(events) => events.next().await,
            Self::Elsewhere(events) => events.recv().await,
        }
    }
}

impl Tested {
    pub(super) fn id(&self) -> PeerId {
        match self {
            Self::Here(agent) => agent.id(),
            Self::Elsewhere(remote) => remote.id(),
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Here(agent) => agent.name(),
            Self::Elsewhere(remote) => remote.name(),
        }
    }

    /// Returns the message's id, or the code of the error.
    pub(super) async fn send(
        &self,
        to: PeerId,
        payload: Payload,
        delivery: Delivery,
    ) -> Result<MessageId, String> {
        match self {
            Self::Here(agent) => {
                let sent = agent.send(to, payload, SendOptions::from(delivery)).await;
                sent.map_err(|error| error.code().to_owned())
            }
            Self::Elsewhere(remote) => remote.send(to, payload, delivery).await,
        }
    }

    pub(super) async fn stats(&self) -> anyhow::Result<Stats> {
        match self {
            Self::Here(agent) => Ok(agent.stats()?),
            Self::Elsewhere(remote) => remote.table("stats").await,
        }
    }

    pub(super) async fn peers(&self) -> anyhow::Result<Vec<PeerView>> {
        match self {
            Self::Here(agent) => Ok(agent.peers()?),
            Self::Elsewhere(remote) => remote.table("peers").await,
        }
    }

    pub(super) async fn routes(&self) -> anyhow::Result<Vec<RouteView>> {
        match self {
            Self::Here(agent) => Ok(agent.routes()?),
            Self::Elsewhere(remote) => remote.table("routes").await,
        }
    }

    pub(super) async fn topology(&self) -> anyhow::Result<TopologyView> {
        match self {
            Self::Here(agent) => Ok(agent.topology()?),
            Self::Elsewhere(remote) => remote.table("topology").await,
        }
    }

    /// Has its links get fresh keys.
    pub(super) async fn rotate_keys(&self) -> anyhow::Result<()> {
        match self {
            Self::Here(agent) => Ok(agent.rotate_keys()?),
            Self::Elsewhere(remote) => remote.rotate_keys().await,
        }
    }

    /// Whether its links are open, and it knows the way to so many others.
    pub(super) async fn is_settled(&self, others: usize) -> anyhow::Result<bool> {
        if let Self::Here(agent) = self
            && !agent.is_settled()?
        {
            return Ok(false);
        }
        let links = self.stats().await?.links;
        if links.open < links.wanted || links.negotiating > 0 {
            return Ok(false);
        }
        let peers = self.peers().await?;
        let reached = peers.iter().filter(|peer| peer.next_hop.is_some());
        Ok(reached.count() >= others)
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Here(agent) => agent.close().await,
            Self::Elsewhere(remote) => remote.close().await,
        }
    }
}
