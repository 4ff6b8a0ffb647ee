//! The end of a server that others take over from: load balancers notice first, then its clients
//! move, and then it stops.

use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::driver::Fact;
use super::health::{Health, Phase};

/// Drains a server for so long at most. The hub's loop ends before, when the last client is gone.
///
/// A quarter of the time is for load balancers to notice, a half for clients to move in, and the
/// last quarter for those whose first attempt fails.
pub(super) async fn drain(facts: mpsc::Sender<Fact>, health: Health, time: Duration) {
    health.enter(Phase::Unready);
    let within = time / 2;
    tracing::info!(
        "stopping: clients are asked to move, and have {:.1} s; a second signal ends the server at \
         once",
        time.as_secs_f64()
    );
    if facts.send(Fact::Stopping).await.is_err() {
        return; // The loop has ended.
    }
    sleep(time / 4).await;
    health.enter(Phase::Moving);
    if facts.send(Fact::Drain(within)).await.is_err() {
        return;
    }
    sleep(time - time / 4).await;
    tracing::info!("the time to move is over: who has not is cut off");
}

/// What is told who asks for a WebSocket while the clients move: a proxy takes the next server, and
/// so does an agent.
pub(super) fn refusal() -> Response {
    let message = "this server is about to stop: try another, or this address again later\n";
    let headers = [
        (header::RETRY_AFTER, "1"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    (StatusCode::SERVICE_UNAVAILABLE, headers, message).into_response()
}
