//! What can go wrong with an agent. Every error has a stable code, the same in the browser.

use std::net::IpAddr;

use mesh_core::{ConfigError, LossReason, SendError};
use thiserror::Error;

/// Why an agent could not join.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JoinError {
    /// A name or number that cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The URL is none of a signaling server.
    #[error("{url:?} is no signaling URL: {reason}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong, and what is right.
        reason: String,
    },
    /// The certificate of a CA that was given cannot be used.
    #[error("no CA to trust: {reason}")]
    Ca {
        /// The cause.
        reason: String,
    },
    /// What answers is no signaling server.
    #[error("{url} is no signaling server: {reason}")]
    NoHub {
        /// Where it should be.
        url: String,
        /// What it answered.
        reason: String,
    },
    /// The signaling server's certificate is not to be trusted.
    #[error("the certificate of {url} is not to be trusted: {reason}")]
    Distrusted {
        /// Where the server is.
        url: String,
        /// The cause and the remedy.
        reason: String,
    },
    /// The signaling server cannot be reached.
    #[error("the signaling server at {url} cannot be reached: {reason}")]
    SignalingUnreachable {
        /// Where it should be.
        url: String,
        /// The last cause, in the server's own words if it had any, and what to look at.
        reason: String,
    },
    /// None of several signaling servers has admitted this agent.
    #[error("none of the {} signaling servers lets this agent in: {}", .0.len(), listed(.0))]
    NoneAdmits(Vec<Self>),
    /// The signaling server will not have this agent.
    #[error("the signaling server refuses this agent ({code}): {message}")]
    Refused {
        /// The protocol's code.
        code: String,
        /// The cause and the remedy.
        message: String,
    },
    /// The agent was closed, or its task failed, before the signaling server had decided.
    #[error("the agent ended before the signaling server had admitted it")]
    Ended,
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
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Config(_) => "config",
            Self::Url { .. } => "url",
            Self::Ca { .. } => "ca",
            Self::NoHub { .. } => "no-hub",
            Self::Distrusted { .. } => "distrusted",
            Self::SignalingUnreachable { .. } | Self::NoneAdmits(_) => "signaling-unreachable",
            Self::Refused { .. } => "refused",
            Self::Ended => "ended",
            Self::Address { .. } => "address",
            Self::Unsupported { .. } => "unsupported",
        }
    }
}

/// Several causes, one after the other.
fn listed(errors: &[JoinError]) -> String {
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    errors.join("; ")
}

/// Why a command of an agent failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MeshError {
    /// The mesh did not take the message.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The request was not answered.
    #[error("no reply: {0}")]
    NoReply(LossReason),
    /// The agent was closed.
    #[error("this agent is closed")]
    Closed,
}

impl MeshError {
    /// A stable code for programs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Send(error) => error.code(),
            Self::NoReply(_) => "no-reply",
            Self::Closed => "closed",
        }
    }
}
