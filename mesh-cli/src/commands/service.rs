//! What a service tells systemd (sd_notify(3)), which restarts one that has stopped telling.
//! Elsewhere nothing is told.

use std::time::Duration;

use mesh_native::hub::{HubServer, Pulse};

/// Beats within the time after which systemd takes a service for stuck: it advises two; of three
/// one may be late.
const BEATS: u32 = 3;

/// The interval of a pulse that only says when the service is ready.
const UNWATCHED: Duration = Duration::from_secs(10);

/// What there is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Ready,
    Alive,
    Stopping,
}

/// Tells systemd, if it started this process and asked for it.
#[cfg(unix)]
pub(crate) fn tell(state: State) {
    use sd_notify::NotifyState;
    let said = match state {
        State::Ready => NotifyState::Ready,
        State::Alive => NotifyState::Watchdog,
        State::Stopping => NotifyState::Stopping,
    };
    if let Err(error) = sd_notify::notify(&[said]) {
        tracing::warn!("systemd cannot be told {state:?}: {error}");
    }
}

#[cfg(not(unix))]
pub(crate) fn tell(_: State) {}

/// The time after which systemd takes this process for stuck, if it watches.
#[cfg(unix)]
fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

#[cfg(not(unix))]
fn watchdog() -> Option<Duration> {
    None
}

/// The server with a pulse that systemd hears: ready at the first beat, alive at each.
pub(crate) fn watched(server: HubServer) -> HubServer {
    let interval = watchdog().map_or(UNWATCHED, |limit| limit / BEATS);
    let (pulse, mut beats) = Pulse::new(interval.max(Duration::from_millis(1)));
    tokio::spawn(async move {
        if beats.recv().await.is_some() {
            tell(State::Ready);
        }
        while beats.recv().await.is_some() {
            tell(State::Alive);
        }
    });
    server.with_pulse(pulse)
}
