//! How newcomers are introduced: the protocol, the server ([`Hub`]) and the agent's half of it.
//!
//! JSON texts over a WebSocket, shown in PROTOCOL.md. The hub challenges a client to prove that it
//! holds the key it names, tells members of each other, and carries signals between them. It can
//! refuse or delay, but not forge: signals are signed end to end by the agents, so a hub that swaps
//! a DTLS fingerprint is found out by the receiver.

mod claims;
mod client;
mod conversation;
mod crowd;
pub mod directory;
mod drain;
#[cfg(test)]
mod golden;
mod hub;
mod minting;
mod port;
mod protocol;
mod room;
mod session;
mod shared;
mod stats;
#[cfg(test)]
mod tests;

pub(crate) use client::{
    Admission, Arrival, Client, ClientFact, ClientTask, ELSEWHERE_PATIENCE, HubTime, Lost,
};
pub(crate) use crowd::Crowd;
pub use hub::Hub;
pub use minting::{TurnMint, TurnSecret};
pub use port::{HubInput, HubOutput};
pub use protocol::{ClientMessage, ErrorCode, HubMessage, Listing, Member, PROTOCOL_VERSION};
pub(crate) use room::notice_delay;
pub use stats::HubStats;
