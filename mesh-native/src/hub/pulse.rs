//! The pulse of a server, for a supervisor that restarts one that is stuck.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

/// Tells that the loop around the hub goes round, by the turns that `/healthz` goes by too. A loop
/// that is stuck takes none.
#[derive(Debug)]
pub struct Pulse {
    interval: Duration,
    beats: mpsc::Sender<()>,
}

impl Pulse {
    /// A pulse of this interval, and where its beats come. One that nobody has taken is enough:
    /// further ones are dropped.
    ///
    /// # Panics
    /// If the interval is zero.
    pub fn new(interval: Duration) -> (Self, mpsc::Receiver<()>) {
        assert!(!interval.is_zero(), "a pulse takes time");
        let (beats, receiver) = mpsc::channel(1);
        (Self { interval, beats }, receiver)
    }

    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// Beats once an interval, if the loop has taken a turn since, and waits for one that is stuck.
    pub(super) async fn beat(self, mut turns: watch::Receiver<Option<Instant>>) {
        while turns.changed().await.is_ok() {
            let _ = self.beats.try_send(()); // One waits already: that is enough.
            sleep(self.interval).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh_core::{Hub, HubConfig};

    use super::super::driver::{Outlets, drive};
    use super::super::health::Health;
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(10);
    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_loop_that_has_nothing_to_do_beats() {
        let (_facts, queue) = mpsc::channel(4);
        let (pulse, mut beats) = Pulse::new(INTERVAL);
        let health = Health::new(Some(pulse.interval()));
        tokio::spawn(pulse.beat(health.turns()));
        let hub = Hub::new(HubConfig::default(), [1; 32]);
        tokio::spawn(drive(hub, Outlets::new(None), queue, health));
        for _ in 0..3 {
            let beat = tokio::time::timeout(PATIENCE, beats.recv()).await;
            assert_eq!(beat.expect("a beat in time"), Some(()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_is_stuck_has_no_pulse() {
        let (pulse, mut beats) = Pulse::new(INTERVAL);
        let health = Health::new(Some(pulse.interval()));
        tokio::spawn(pulse.beat(health.turns()));
        health.beat();
        assert_eq!(beats.recv().await, Some(()), "its last turn");
        // The clock is paused: it jumps over the whole time as soon as all wait.
        let beat = tokio::time::timeout(PATIENCE, beats.recv()).await;
        assert!(beat.is_err(), "{beat:?} without a turn");
    }
}
