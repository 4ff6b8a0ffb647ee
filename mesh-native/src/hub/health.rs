//! Whether the server is alive, and whether it wants clients: what a supervisor and a load balancer
//! ask it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::Shared;

/// How long the hub's loop waits at most: its turns show that it lives.
const IDLE: Duration = Duration::from_secs(1);

/// How long the hub's loop may take for a turn until the server counts as dead. The loop takes one
/// a second when nothing happens; four times that is no pause of a busy machine any more.
const STALE_AFTER: Duration = Duration::from_secs(4);

/// How long the loop may take to tell what the hub is doing; what is asked is answered without it.
const STATS_PATIENCE: Duration = Duration::from_secs(1);

/// The status of a server that has not reached its Redis since it was started.
const ALONE: &str = "alone";

/// How far the server is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// It serves.
    Serving,
    /// It is to stop, and serves until load balancers have noticed.
    Unready,
    /// Its clients are asked to move, and no others are let in.
    Moving,
}

/// The pulse of the hub's loop, and the phase of the server. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Health(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    started: Instant,
    /// When the loop took its last turn.
    turned: watch::Sender<Option<Instant>>,
    /// How long the loop waits at most.
    idle: Duration,
    phase: AtomicU8,
    /// The server is to share rooms with others, and has reached nothing yet by which it could.
    alone: AtomicBool,
}

impl Health {
    /// Of a loop that takes a turn each `pulse` at least, if somebody wants to hear of each.
    pub(super) fn new(pulse: Option<Duration>) -> Self {
        Self(Arc::new(Inner {
            started: Instant::now(),
            turned: watch::Sender::new(None),
            idle: pulse.map_or(IDLE, |pulse| pulse.min(IDLE)),
            phase: AtomicU8::new(Phase::Serving as u8),
            alone: AtomicBool::new(false),
        }))
    }

    /// The server shares rooms with others, and is alone until [`Health::found_others`].
    pub(super) fn seek_others(&self) {
        self.0.alone.store(true, Ordering::Relaxed);
    }

    /// What the server shares with others was reached. It stays ready when that is lost later: it
    /// has members then, and knows of those of others.
    pub(super) fn found_others(&self) {
        self.0.alone.store(false, Ordering::Relaxed);
    }

    /// The loop has taken a turn.
    pub(super) fn beat(&self) {
        self.0.turned.send_replace(Some(Instant::now()));
    }

    /// When the loop took its last turn, now and whenever it takes one.
    pub(super) fn turns(&self) -> watch::Receiver<Option<Instant>> {
        self.0.turned.subscribe()
    }

    /// How long the loop is to wait at most.
    pub(super) fn idle(&self) -> Duration {
        self.0.idle
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.0.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Whether the server has come so far.
    pub(super) fn is_past(&self, phase: Phase) -> bool {
        self.0.phase.load(Ordering::Relaxed) >= phase as u8
    }

    /// For how long the loop has taken no turn, if that is too long.
    fn stale_for(&self) -> Option<Duration> {
        let turned = *self.0.turned.borrow();
        let quiet = turned.unwrap_or(self.0.started).elapsed();
        (quiet > STALE_AFTER).then_some(quiet)
    }

    /// Why no client should be sent here; nothing if one may.
    fn unready(&self) -> Option<&'static str> {
        if self.is_past(Phase::Unready) {
            Some("draining")
        } else if self.0.turned.borrow().is_none() {
            Some("starting")
        } else if self.stale_for().is_some() {
            Some("stale")
        } else {
            self.0.alone.load(Ordering::Relaxed).then_some(ALONE)
        }
    }
}

/// `/healthz`: whether the hub's loop goes round, and what the hub is doing.
pub(super) async fn healthz(State(shared): State<Shared>) -> Response {
    if let Some(quiet) = shared.health.stale_for() {
        let cause = format!(
            "the hub's loop has taken no turn for {} s: restart the server",
            quiet.as_secs()
        );
        let body = json!({ "status": "stale", "cause": cause });
        return (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response();
    }
    let stats = timeout(STATS_PATIENCE, super::ask(&shared.facts)).await;
    let stats = stats.ok().flatten();
    Json(json!({ "status": "ok", "hub": stats })).into_response()
}

/// `/readyz`: whether a load balancer should send clients here.
pub(super) async fn readyz(State(shared): State<Shared>) -> Response {
    match shared.health.unready() {
        None => Json(json!({ "status": "ready" })).into_response(),
        Some(status) => {
            let mut body = json!({ "status": status });
            if status == ALONE {
                body["cause"] = "the Redis of --redis was never reached: members here would not \
                                 meet those of other hubs; start it, or correct its address"
                    .into();
            }
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}
