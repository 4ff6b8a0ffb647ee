//! Native agents of the WebRTC agent mesh, and its signaling server.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use mesh_native::{Agent, JoinOptions, SendOptions};
//!
//! let agent = Agent::join(JoinOptions::new("ws://localhost:9600/signal", "demo", "agent-1")).await?;
//! let mut events = agent.events();
//! for peer in agent.peers()? {
//!     agent.send(peer.id, "hello", SendOptions::default()).await?;
//! }
//! while let Some(event) = events.next().await {
//!     println!("{event:?}");
//! }
//! # Ok(()) }
//! ```
//!
//! All decisions are `mesh-core`'s; this crate carries them out with webrtc-rs and tokio. Its files
//! mirror those of `mesh-wasm`: [`Agent`] is the handle, `driver` the loop around the core's state
//! machine, `link` one WebRTC connection, `signaling` the WebSocket, `clock` the time.
//!
//! An [`Agent`] needs no feature of this crate. `hub` adds the signaling server, with the page that
//! it serves and a port for Prometheus; `metrics` adds only what Prometheus is told of agents. The
//! `mesh` command is the crate `mesh-cli`.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod addresses;
mod agent;
mod clock;
#[cfg(feature = "doctor")]
pub mod doctor;
mod driver;
mod error;
#[cfg(feature = "hub")]
pub mod hub;
mod link;
mod media;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(not(feature = "metrics"))]
#[path = "metrics/none.rs"]
mod metrics;
mod options;
#[cfg(feature = "pairs")]
#[doc(hidden)]
pub mod pairs;
mod process;
mod proxy;
mod shared;
mod signaling;
mod tls;

pub use agent::{Agent, Events, PendingReply, Sending};
pub use error::JoinError;
pub use media::{LocalTrack, MediaFileError, RemoteTrack};
pub use mesh_core as core;
pub use mesh_core::agent::{AddressError, AdmissionError};
pub use mesh_core::{MeshError, SendOptions};
#[cfg(feature = "metrics")]
pub use metrics::Format;
pub use metrics::Metrics;
#[cfg(feature = "hub")]
pub use metrics::{MetricsError, MetricsServer};
pub use options::JoinOptions;
pub use process::Process;
pub use rtc::rtp;

/// Randomness from the operating system: for keys and seeds.
///
/// # Panics
/// If the operating system has none, which is beyond repair.
pub fn random_seed() -> [u8; 32] {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("the operating system has randomness");
    seed
}
