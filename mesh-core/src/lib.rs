//! A WebRTC agent mesh as a pure state machine.
//!
//! Agents of one room keep about k direct links each, route signed messages over several hops, and
//! heal by themselves. This crate decides all of it and does none of it: it opens no socket, reads
//! no clock, draws no randomness of its own, starts no thread. Two drivers carry its orders out,
//! one on webrtc-rs and tokio (`mesh-native`), one in browsers (`mesh-wasm`), and a simulator
//! (module `sim`, feature `sim`) runs thousands of agents in virtual time. What the simulator
//! proves holds in a tab and in a process, for all three obey the same law.
//!
//! # The loop
//!
//! ```text
//!  application ──command──▶ ┌────────────┐ ──Event──▶ application
//!                           │    Mesh    │
//!  world ─▶ driver ─Input─▶ │            │ ─Output─▶ driver ─▶ world
//!         clock ──now─────▶ └────────────┘ ◀─poll_timeout
//! ```
//!
//! 1. Apply every command and [`Input`] that is ready.
//! 2. Drain [`Mesh::poll_output`] until it returns `None`, carrying each [`Output`] out.
//! 3. Wait for the next command or input, at most until [`Mesh::poll_timeout`].
//! 4. If that time has come, call [`Mesh::handle_timeout`]. Go on with 1.
//!
//! Commands return a `Result` for the caller's own mistakes. Inputs return nothing: whatever a peer
//! or the hub does wrong becomes an [`Event`] and a counter, never a failed call or a panic.
//!
//! ```
//! use mesh_core::{Config, Identity, Instant, Mesh, Output, SocketId, UnixTime};
//!
//! let config = Config::new("demo", "agent-001")?;
//! let identity = Identity::from_secret([1; 32]);
//! let now = Instant::from_micros(0);
//! let mut mesh = Mesh::new(config, identity, [2; 32], now, UnixTime::from_micros(0));
//! mesh.join(now);                                                         // 1
//! let (socket, hub) = (SocketId(1), 0);
//! let order = Output::OpenSignaling { socket, hub };
//! assert_eq!(mesh.poll_output(), Some(order));                            // 2
//! assert_eq!(mesh.poll_output(), None);
//! let (wake_at, _reason) = mesh.poll_timeout().expect("it has joined");  // 3
//! # assert!(wake_at > now);
//! # Ok::<(), mesh_core::ConfigError>(())
//! ```
//!
//! The signaling server, [`Hub`], is such a machine too.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod agent;
mod channel;
mod clock;
mod config;
mod context;
pub mod doctor;
#[cfg(test)]
mod document;
mod error;
mod ice;
mod id;
mod io;
mod link_report;
mod links;
mod log;
mod media;
mod mesh;
mod messages;
mod metric;
mod name;
mod overlay;
mod payload;
mod rng;
mod routing;
mod samples;
pub mod signaling;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod stats;
mod time;
mod timeout;
mod timers;
mod topology;
mod trust;
mod view;
pub mod wire;

pub use agent::{EVENT_BYTES_MAX, EVENTS_MAX, EventQueue};
pub use config::{
    Adaptive, Config, HubConfig, NAME_BYTES_MAX, PAYLOAD_BYTES_MAX, TOPIC_BYTES_MAX, default_k,
    sparse_k,
};
pub use error::{
    ConfigError, DecodeError, LossReason, MeshError, RejectReason, SendError, TrackError,
    VerifyError,
};
pub use ice::{CandidateType, IceConfig, IceServer, IceTransportPolicy, LinkPath};
pub use id::{
    ClientId, LinkId, MessageId, ParseMessageIdError, ParsePeerIdError, PeerId, SocketId, Target,
};
pub use io::{Channel, Event, Input, Output, Received, WarningCode};
pub use link_report::{FailedAttempts, LinkCondition, LinkReport, LinkStep, REASON_BYTES_MAX};
pub use media::{NO_STREAM, TRACKS_MAX, TrackKind, TrackSection, Tracks, lean, sections};
pub use mesh::Mesh;
pub use metric::{Metric, ParseMetricError};
pub use payload::{Delivery, JSON_DEPTH_MAX, JsonError, Payload, SendOptions, check_json};
pub use samples::{Sample, Stopwatch};
pub use signaling::{Hub, HubInput, HubOutput, HubStats, TurnMint, TurnSecret};
pub use stats::{Gauges, LinkCounts, PingCounts, RepairStep, Stats};
pub use time::{Instant, UnixTime};
pub use timeout::TimeoutReason;
pub use topology::{Analysis, Graph, ParseTopologyKindError, Shards, Topology, TopologyKind};
pub use trust::KnownSignatures;
pub use trust::{Domain, Identity, Signature, Signed, Statement, Verified};
pub use view::{LinkView, NodeView, PeerView, RouteView, TimeoutView, TopologyView};
pub use wire::LinkSignal;
