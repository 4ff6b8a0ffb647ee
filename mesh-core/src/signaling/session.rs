//! One client of the hub: how far it has come, when it was heard, and what it may still send.

use std::time::Duration;

use super::protocol::{ErrorCode, Member};
use crate::config::HubConfig;
use crate::id::PeerId;
use crate::time::Instant;
use crate::topology::Shards;

#[derive(Debug)]
pub(super) struct Client {
    pub(super) state: ClientState,
    last_heard: Instant,
    last_pinged: Instant,
    /// When its credentials of TURN servers were made, if it got any.
    pub(super) minted_at: Instant,
    /// Texts that it may still send now; refilled at the configured rate.
    allowance: f64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ClientState {
    Connected {
        until: Instant,
    },
    Challenged {
        until: Instant,
        nonce: String,
        newcomer: Newcomer,
    },
    Admitted {
        room: String,
        peer: PeerId,
    },
}

/// What a client said in its hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Newcomer {
    pub(super) room: String,
    pub(super) member: Member,
    /// How the room was divided when it was last there.
    pub(super) remembered: Shards,
    /// Whether it was.
    pub(super) again: bool,
}

/// Why a client is turned away: the code, and the cause with the remedy.
pub(super) type Refusal = (ErrorCode, String);

impl Client {
    pub(super) fn new(config: &HubConfig, now: Instant) -> Self {
        Self {
            state: ClientState::Connected {
                until: now + config.admission_timeout,
            },
            last_heard: now,
            last_pinged: now,
            minted_at: now,
            allowance: f64::from(config.burst),
        }
    }

    /// Its key, once it has proven that it holds it.
    pub(super) fn peer(&self) -> Option<PeerId> {
        match self.state {
            ClientState::Admitted { peer, .. } => Some(peer),
            _ => None,
        }
    }

    /// Whether it has been silent for so long that it is to be pinged now, which counts as done.
    pub(super) fn wants_ping(&mut self, config: &HubConfig, now: Instant) -> bool {
        let admitted = matches!(self.state, ClientState::Admitted { .. });
        let silent = self.last_heard + config.ping_after <= now;
        // Again and again, so that one lost answer is no death.
        let again = self.last_pinged + config.ping_after / 2 <= now;
        let wanted = admitted && silent && again;
        if wanted {
            self.last_pinged = now;
        }
        wanted
    }

    /// When its time is up.
    pub(super) fn patience(&self, config: &HubConfig) -> Instant {
        match self.state {
            ClientState::Connected { until } | ClientState::Challenged { until, .. } => until,
            ClientState::Admitted { .. } => self.last_heard + config.silence_max,
        }
    }

    /// A token bucket ([RFC 2697](https://www.rfc-editor.org/rfc/rfc2697)) over the client's texts.
    pub(super) fn spend(&mut self, config: &HubConfig, now: Instant) -> Result<(), Refusal> {
        let quiet: Duration = now.since(self.last_heard);
        self.last_heard = now;
        let refilled = self.allowance + quiet.as_secs_f64() * f64::from(config.rate);
        self.allowance = refilled.min(f64::from(config.burst)) - 1.0;
        if self.allowance >= 0.0 {
            return Ok(());
        }
        let message = format!("more than {} texts a second: slow down", config.rate);
        Err((ErrorCode::RateLimited, message))
    }
}

pub(super) fn bad_request(message: String) -> Refusal {
    (ErrorCode::BadRequest, message)
}
