//! One connection of an agent to a hub: dial, greet, prove, and signs of life.

use std::time::Duration;

use super::client::{HubTime, send};
use super::protocol::{ClientMessage, PROTOCOL_VERSION};
use crate::config::Config;
use crate::id::SocketId;
use crate::io::Output;
use crate::time::{Instant, UnixTime};
use crate::topology::Shards;
use crate::trust::Identity;
use crate::wire::Admit;

/// Time that a hub has to answer when there is reason to believe that it is gone, unless its usual
/// time is over sooner: several round trips to the other side of the world.
pub(super) const SUSPECT_PATIENCE: Duration = Duration::from_secs(3);

/// A connection, and how far it has come.
#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) socket: SocketId,
    /// Which of the agent's addresses it leads to.
    pub(super) hub: usize,
    stage: Stage,
    /// How long the hub may take for each step until admission.
    patience: Duration,
    /// What the hub last complained of: a better cause than "connection closed".
    pub(super) complaint: Option<String>,
    /// When the hub was last asked something that it answers at once: its proof, a ping.
    asked_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Dialing {
        until: Instant,
    },
    Greeting {
        until: Instant,
    },
    Proving {
        until: Instant,
    },
    Admitted {
        ping_at: Instant,
        /// When the hub counts as gone if nothing is heard of it.
        until: Instant,
    },
}

/// What a connection has due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// A sign of life.
    Ping,
    /// The hub does not answer.
    GiveUp,
}

impl Conversation {
    pub(super) fn dial(socket: SocketId, hub: usize, patience: Duration, now: Instant) -> Self {
        Self {
            socket,
            hub,
            stage: Stage::Dialing {
                until: now + patience,
            },
            patience,
            complaint: None,
            asked_at: now,
        }
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage
    }

    pub(super) fn is_admitted(&self) -> bool {
        matches!(self.stage, Stage::Admitted { .. })
    }

    pub(super) fn is_proving(&self) -> bool {
        matches!(self.stage, Stage::Proving { .. })
    }

    /// The WebSocket is open: says hello.
    pub(super) fn opened(
        &mut self,
        config: &Config,
        identity: &Identity,
        (shards, again): (Shards, bool),
        now: Instant,
    ) -> Option<Output> {
        let Stage::Dialing { .. } = self.stage else {
            return None;
        };
        self.stage = Stage::Greeting {
            until: now + self.patience,
        };
        let hello = ClientMessage::Hello {
            version: PROTOCOL_VERSION,
            room: config.room.clone(),
            peer: identity.peer(),
            name: config.name.clone(),
            shards,
            again,
        };
        Some(send(self.socket, &hello))
    }

    /// Answers the hub's challenge.
    pub(super) fn prove(
        &mut self,
        nonce: String,
        config: &Config,
        identity: &Identity,
        now: Instant,
    ) -> Output {
        self.stage = Stage::Proving {
            until: now + self.patience,
        };
        self.asked_at = now;
        let name = config.name.clone();
        let proof = identity.sign(&config.room, &Admit { nonce, name });
        send(self.socket, &ClientMessage::Prove { proof })
    }

    pub(super) fn admitted(&mut self, config: &Config, now: Instant) {
        self.stage = Stage::Admitted {
            ping_at: now + config.signaling_ping,
            until: now + config.signaling_ping * 3,
        };
    }

    /// The hub lives.
    pub(super) fn heard(&mut self, config: &Config, now: Instant) {
        if let Stage::Admitted { until, .. } = &mut self.stage {
            *until = now + config.signaling_ping * 3;
        }
    }

    /// What the hub's clock showed when it answered what it was last asked.
    pub(super) fn hub_time(&self, time_ms: Option<u64>) -> Option<HubTime> {
        let us = time_ms?.checked_mul(1_000)?;
        Some(HubTime {
            asked_at: self.asked_at,
            unix: UnixTime::from_micros(us),
        })
    }

    /// Asks the hub now whether it lives, unless it was asked already or has not admitted yet.
    pub(super) fn suspect(&mut self, config: &Config, now: Instant) -> Option<Output> {
        let Stage::Admitted { ping_at, until } = &mut self.stage else {
            return None;
        };
        let soon = now + SUSPECT_PATIENCE;
        if *until <= soon {
            return None; // It was asked already.
        }
        *until = soon;
        *ping_at = now + config.signaling_ping;
        self.asked_at = now;
        Some(send(self.socket, &ClientMessage::Ping))
    }

    pub(super) fn deadline(&self) -> Instant {
        match self.stage {
            Stage::Dialing { until } | Stage::Greeting { until } | Stage::Proving { until } => {
                until
            }
            Stage::Admitted { ping_at, until } => ping_at.min(until),
        }
    }

    /// What is due, which counts as done.
    pub(super) fn poll(&mut self, config: &Config, now: Instant) -> Option<Due> {
        match &mut self.stage {
            Stage::Dialing { until }
            | Stage::Greeting { until }
            | Stage::Proving { until }
            | Stage::Admitted { until, .. }
                if *until <= now =>
            {
                Some(Due::GiveUp)
            }
            Stage::Admitted { ping_at, .. } if *ping_at <= now => {
                *ping_at = now + config.signaling_ping;
                self.asked_at = now;
                Some(Due::Ping)
            }
            _ => None,
        }
    }
}
