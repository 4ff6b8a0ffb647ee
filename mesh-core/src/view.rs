//! Pictures of the mesh for the application; the same JSON in every binding.

use serde::{Deserialize, Serialize};

use crate::ice::LinkPath;
use crate::id::PeerId;
use crate::timeout::TimeoutReason;

/// A member of the room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerView {
    /// Its identity.
    pub id: PeerId,
    /// Its label.
    pub name: String,
    /// Whether a link to it is open.
    pub direct: bool,
    /// Hops to it; null while no route is known, and for members of another shard of a large room,
    /// whose last hops that shard alone knows.
    pub hops: Option<u8>,
    /// The neighbour through which messages to it leave; null while no route is known.
    pub next_hop: Option<PeerId>,
    /// Smoothed round-trip time of the direct link.
    pub rtt_ms: Option<f64>,
    /// Share of the pings over the direct link that were lost of late, on their way there or back,
    /// from 0 to 1; null until eight have shown it: the ends send them in turn, every 5 to 15 s,
    /// and fewer while the link is busy.
    pub loss: Option<f64>,
    /// The way of the direct link; null while it is not known.
    pub path: Option<LinkPath>,
    /// Bytes that the direct link has brought since it opened.
    pub bytes_in: Option<u64>,
    /// Bytes that this agent has handed to it.
    pub bytes_out: Option<u64>,
    /// Whether the signaling server lists it.
    pub in_hub: bool,
}

/// One row of the routing table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteView {
    /// Where to.
    pub destination: PeerId,
    /// Its label.
    pub name: String,
    /// Through which neighbour.
    pub next_hop: PeerId,
    /// How far.
    pub hops: u8,
    /// The whole path, this agent first.
    pub path: Vec<PeerId>,
}

/// The mesh as this agent knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopologyView {
    /// This agent.
    #[serde(rename = "self")]
    pub this: PeerId,
    /// How many are in the room.
    pub room_members: usize,
    /// Into how many shards it is divided. Nodes and links are those of this agent's.
    pub shards: usize,
    /// Every member.
    pub nodes: Vec<NodeView>,
    /// Every link that both its ends announce.
    pub links: Vec<LinkView>,
}

/// A node of [`TopologyView`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeView {
    /// Its identity.
    pub id: PeerId,
    /// Its label.
    pub name: String,
}

/// A link of [`TopologyView`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkView {
    /// The lower end.
    pub source: PeerId,
    /// The higher end.
    pub target: PeerId,
    /// Round-trip time as last announced; null if not measured.
    pub rtt_ms: Option<f64>,
}

/// When an agent acts by itself next, and why.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TimeoutView {
    /// Milliseconds until then; 0 if it is overdue.
    pub in_ms: f64,
    /// What is due then.
    pub reason: TimeoutReason,
}
