//! Notices that the addresses of this machine have changed.
//!
//! They are read twice a second, which takes 0.1 ms, by one thread of the process while an agent
//! lives: the same on every system, and in containers that are told of no changes.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// Time between two looks. A link whose address is gone is found dead after 4 s.
const INTERVAL: Duration = Duration::from_millis(500);

/// Counts the changes; there while somebody watches.
static CHANGES: Mutex<Option<watch::Sender<u64>>> = Mutex::new(None);

/// Somebody who wants to know of changes.
#[derive(Debug)]
pub(crate) struct Watch(watch::Receiver<u64>);

impl Watch {
    /// Watches from now on.
    pub(crate) fn new() -> Self {
        let mut changes = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(changes) = &*changes {
            return Self(changes.subscribe());
        }
        let (sender, receiver) = watch::channel(0);
        *changes = Some(sender);
        let known = super::usable(false);
        let started = std::thread::Builder::new()
            .name("addresses".to_owned())
            .spawn(move || look(known));
        if let Err(error) = started {
            *changes = None;
            tracing::warn!("changes of addresses are not noticed: {error}");
        }
        Self(receiver)
    }

    /// Completes when the addresses have changed since the last time.
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await // The thread could not be started.
        }
    }
}

/// Looks until nobody watches.
fn look(mut known: Vec<std::net::IpAddr>) {
    loop {
        std::thread::sleep(INTERVAL);
        let now = super::usable(false);
        let mut changes = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
        match &*changes {
            Some(sender) if sender.receiver_count() > 0 => {
                if now != known {
                    tracing::info!(?now, "the addresses of this machine have changed");
                    sender.send_modify(|count| *count += 1);
                    known = now;
                }
            }
            _ => {
                *changes = None;
                return;
            }
        }
    }
}
