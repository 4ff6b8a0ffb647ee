//! What can go wrong with a join. Every error has a stable code, the same in the browser.

use std::net::IpAddr;

use mesh_core::ConfigError;
use mesh_core::agent::{AddressError, AdmissionError};
use thiserror::Error;

/// Why an agent could not join.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JoinError {
    /// A name or number that cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The URL is none of a signaling server.
    #[error(transparent)]
    Url(#[from] AddressError),
    /// The certificate of a CA that was given cannot be used.
    #[error("no CA to trust: {reason}")]
    Ca {
        /// The cause.
        reason: String,
    },
    /// No signaling server has admitted this agent.
    #[error(transparent)]
    NotAdmitted(#[from] AdmissionError),
    /// An address to link from that this machine does not have.
    #[error("{address} is no address of this machine, which has {present}")]
    Address {
        /// What was given.
        address: IpAddr,
        /// Those that there are, for people.
        present: String,
    },
    /// WebRTC cannot be used on this machine.
    #[error("WebRTC cannot be used here: {reason}")]
    Unsupported {
        /// The cause.
        reason: String,
    },
}

impl JoinError {
    /// A stable code for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Config(_) => "config",
            Self::Url(error) => error.code(),
            Self::Ca { .. } => "ca",
            Self::NotAdmitted(error) => error.code(),
            Self::Address { .. } => "address",
            Self::Unsupported { .. } => "unsupported",
        }
    }
}
