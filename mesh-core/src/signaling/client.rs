//! The agent's half of signaling: dial, greet, prove, and dial again when the hub is gone.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use super::protocol::{ClientMessage, ErrorCode, HubMessage, Listing, Member, PROTOCOL_VERSION};
use crate::config::Config;
use crate::ice::IceServer;
use crate::id::PeerId;
use crate::identity::{Identity, Signed};
use crate::io::Output;
use crate::rng::unit;
use crate::time::{Instant, UnixTime};
use crate::topology::Shards;
use crate::wire::Admit;

/// The connection to the signaling server.
#[derive(Debug, Default)]
pub(crate) struct Client {
    state: State,
    failures: u32,
    /// What the hub last complained of: a better cause than "connection closed".
    complaint: Option<String>,
    ever_admitted: bool,
    /// When the hub was last asked something that it answers at once: its proof, a ping.
    asked_at: Instant,
}

/// How long the hub may take to answer when there is reason to believe that it is gone, unless it
/// has less time as it is: several round trips to the other side of the world.
const SUSPECT_PATIENCE: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Not wanted: before joining, after leaving, or refused for good.
    #[default]
    Idle,
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
    Waiting {
        until: Instant,
    },
}

/// What is due.
#[derive(Debug, PartialEq)]
pub(crate) enum ClientTask {
    /// Dial again.
    Dial,
    /// Show a sign of life.
    Ping,
    /// The hub does not answer: close the connection, as if it had closed.
    GiveUp,
}

/// What a text from the hub means to the mesh.
#[derive(Debug, PartialEq)]
pub(crate) enum ClientFact {
    /// Admitted, for the first time or again.
    Admitted(Admission),
    /// The hub has told its time.
    Time(HubTime),
    Divided(Listing),
    Members {
        joined: Vec<Member>,
        left: Vec<PeerId>,
        room_members: usize,
        newcomers: usize,
    },
    Signal(Signed),
    /// The hub will never admit this agent.
    Refused {
        code: ErrorCode,
        message: String,
    },
    /// The hub said something that is not in the protocol.
    Nonsense,
}

/// What the hub says when it admits an agent.
#[derive(Debug, PartialEq)]
pub(crate) struct Admission {
    pub(crate) listing: Listing,
    pub(crate) ice_servers: Vec<IceServer>,
    /// It had been admitted before.
    pub(crate) again: bool,
    pub(crate) time: Option<HubTime>,
}

/// What the hub's clock showed, at some moment between two of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HubTime {
    pub(crate) asked_at: Instant,
    pub(crate) unix: UnixTime,
}

impl Client {
    pub(crate) fn is_admitted(&self) -> bool {
        matches!(self.state, State::Admitted { .. })
    }

    pub(crate) fn connect(&mut self, config: &Config, now: Instant) -> Output {
        self.state = State::Dialing {
            until: now + config.signaling_timeout,
        };
        Output::OpenSignaling
    }

    /// Says goodbye and stays away.
    pub(crate) fn leave(&mut self) -> Vec<Output> {
        let admitted = self.is_admitted();
        let idle = std::mem::take(&mut self.state) == State::Idle;
        let mut orders = Vec::new();
        if admitted {
            orders.push(send(&ClientMessage::Leave));
        }
        if !idle {
            orders.push(Output::CloseSignaling);
        }
        orders
    }

    pub(crate) fn opened(
        &mut self,
        config: &Config,
        identity: &Identity,
        shards: Shards,
        now: Instant,
    ) -> Option<Output> {
        let State::Dialing { .. } = self.state else {
            return None;
        };
        self.state = State::Greeting {
            until: now + config.signaling_timeout,
        };
        self.complaint = None;
        Some(send(&ClientMessage::Hello {
            version: PROTOCOL_VERSION,
            room: config.room.clone(),
            peer: identity.peer(),
            name: config.name.clone(),
            shards,
        }))
    }

    /// Returns what the text means, and an answer to send.
    pub(crate) fn received(
        &mut self,
        text: &str,
        config: &Config,
        identity: &Identity,
        now: Instant,
    ) -> (Option<ClientFact>, Option<Output>) {
        let Ok(message) = serde_json::from_str(text) else {
            return (Some(ClientFact::Nonsense), None);
        };
        if let State::Admitted { until, .. } = &mut self.state {
            *until = now + config.signaling_ping * 3;
        }
        match (message, self.state) {
            (HubMessage::Challenge { nonce }, State::Greeting { .. }) => {
                (None, Some(self.prove(nonce, config, identity, now)))
            }
            (
                HubMessage::Welcome {
                    listing,
                    ice_servers,
                    time_ms,
                },
                State::Proving { .. },
            ) => {
                let ping_at = now + config.signaling_ping;
                let until = now + config.signaling_ping * 3;
                self.state = State::Admitted { ping_at, until };
                self.failures = 0;
                let admission = Admission {
                    listing,
                    ice_servers,
                    again: std::mem::replace(&mut self.ever_admitted, true),
                    time: self.hub_time(time_ms),
                };
                (Some(ClientFact::Admitted(admission)), None)
            }
            (HubMessage::Divided { listing }, State::Admitted { .. }) => {
                (Some(ClientFact::Divided(listing)), None)
            }
            (
                HubMessage::Members {
                    joined,
                    left,
                    room_members,
                    newcomers,
                },
                State::Admitted { .. },
            ) => {
                let fact = ClientFact::Members {
                    joined,
                    left,
                    room_members,
                    newcomers,
                };
                (Some(fact), None)
            }
            (HubMessage::Signal { message, .. }, State::Admitted { .. }) => {
                (Some(ClientFact::Signal(message)), None)
            }
            (HubMessage::Pong { time_ms }, State::Admitted { .. }) => {
                (self.hub_time(time_ms).map(ClientFact::Time), None)
            }
            (HubMessage::Error { code, message }, _) => self.complained(code, message),
            _ => (Some(ClientFact::Nonsense), None),
        }
    }

    fn prove(
        &mut self,
        nonce: String,
        config: &Config,
        identity: &Identity,
        now: Instant,
    ) -> Output {
        let until = now + config.signaling_timeout;
        self.state = State::Proving { until };
        self.asked_at = now;
        let name = config.name.clone();
        let proof = identity.sign(&config.room, &Admit { nonce, name });
        send(&ClientMessage::Prove { proof })
    }

    fn hub_time(&self, time_ms: Option<u64>) -> Option<HubTime> {
        let us = time_ms?.checked_mul(1_000)?;
        Some(HubTime {
            asked_at: self.asked_at,
            unix: UnixTime::from_micros(us),
        })
    }

    /// There is reason to believe that the hub is out of reach, or in reach again: asks it now
    /// instead of at the next interval, or dials it now. Returns the order.
    pub(crate) fn suspect(&mut self, config: &Config, now: Instant) -> Option<Output> {
        match &mut self.state {
            State::Admitted { ping_at, until } => {
                let soon = now + SUSPECT_PATIENCE;
                if *until <= soon {
                    return None; // It was asked already.
                }
                *until = soon;
                *ping_at = now + config.signaling_ping;
                self.asked_at = now;
                Some(send(&ClientMessage::Ping))
            }
            State::Waiting { .. } => {
                self.failures = 0;
                Some(self.connect(config, now))
            }
            State::Idle
            | State::Dialing { .. }
            | State::Greeting { .. }
            | State::Proving { .. } => None,
        }
    }

    fn complained(
        &mut self,
        code: ErrorCode,
        message: String,
    ) -> (Option<ClientFact>, Option<Output>) {
        if matches!(code, ErrorCode::UnknownPeer | ErrorCode::Busy) {
            return (None, None); // It left or is busy; the attempt will time out.
        }
        if code.is_final() {
            self.state = State::Idle;
            let fact = ClientFact::Refused { code, message };
            return (Some(fact), Some(Output::CloseSignaling));
        }
        self.complaint = Some(message);
        (None, None)
    }

    /// The WebSocket closed, or could not be opened. Returns the cause and when it is dialled
    /// again, if it was wanted.
    pub(crate) fn closed(
        &mut self,
        reason: String,
        config: &Config,
        rng: &mut ChaCha8Rng,
        now: Instant,
    ) -> Option<(String, Duration)> {
        if matches!(self.state, State::Idle | State::Waiting { .. }) {
            return None;
        }
        let doubled = config.signaling_retry_min * 2u32.saturating_pow(self.failures.min(16));
        let wait = doubled
            .min(config.signaling_retry_max)
            .mul_f64(0.75 + unit(rng) / 2.0);
        self.failures += 1;
        self.state = State::Waiting { until: now + wait };
        Some((self.complaint.take().unwrap_or(reason), wait))
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Idle => None,
            State::Dialing { until }
            | State::Greeting { until }
            | State::Proving { until }
            | State::Waiting { until } => Some(until),
            State::Admitted { ping_at, until } => Some(ping_at.min(until)),
        }
    }

    pub(crate) fn poll(&mut self, config: &Config, now: Instant) -> Option<ClientTask> {
        match &mut self.state {
            State::Waiting { until } if *until <= now => Some(ClientTask::Dial),
            State::Dialing { until }
            | State::Greeting { until }
            | State::Proving { until }
            | State::Admitted { until, .. }
                if *until <= now =>
            {
                Some(ClientTask::GiveUp)
            }
            State::Admitted { ping_at, .. } if *ping_at <= now => {
                *ping_at = now + config.signaling_ping;
                self.asked_at = now;
                Some(ClientTask::Ping)
            }
            _ => None,
        }
    }
}

/// The order to send a message to the hub.
pub(crate) fn send(message: &ClientMessage) -> Output {
    Output::SendSignaling(serde_json::to_string(message).expect("messages always encode"))
}
