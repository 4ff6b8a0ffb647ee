//! The pulse of a server, for a supervisor that restarts one that is stuck.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::ask;
use super::driver::Fact;

/// Tells that the loop around the hub goes round: each beat is an answer of the loop, which waited
/// its turn among the facts of clients. A loop that is stuck, or cannot keep up, gives none.
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

    /// Beats until the loop ends, and for ever waits for one that is stuck.
    pub(super) async fn beat(self, facts: mpsc::Sender<Fact>) {
        let mut ticks = interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if ask(&facts).await.is_none() {
                return;
            }
            let _ = self.beats.try_send(()); // One waits already: that is enough.
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use mesh_core::{Hub, HubConfig};

    use super::super::driver::{Outlets, drive};
    use super::super::health::Health;
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(10);
    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_loop_that_goes_round_beats() {
        let (facts, queue) = mpsc::channel(4);
        let (pulse, mut beats) = Pulse::new(INTERVAL);
        let hub = Hub::new(HubConfig::default(), [1; 32]);
        tokio::spawn(drive(hub, Outlets::new(None), queue, Health::new()));
        tokio::spawn(pulse.beat(facts));
        for _ in 0..3 {
            let beat = tokio::time::timeout(PATIENCE, beats.recv()).await;
            assert_eq!(beat.expect("a beat in time"), Some(()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_answers_nothing_has_no_pulse() {
        let (facts, mut queue) = mpsc::channel(4);
        let (pulse, mut beats) = Pulse::new(INTERVAL);
        tokio::spawn(pulse.beat(facts));
        let mut stuck = VecDeque::new();
        let taking = async {
            while let Some(fact) = queue.recv().await {
                stuck.push_back(fact);
            }
        };
        // The clock is paused: it jumps over the whole time as soon as all wait.
        tokio::select! {
            () = taking => panic!("the pulse has ended"),
            beat = beats.recv() => panic!("{beat:?} of a loop that answers nothing"),
            () = tokio::time::sleep(PATIENCE) => {}
        }
        assert_eq!(stuck.len(), 1, "it asks once, and waits");
    }
}
