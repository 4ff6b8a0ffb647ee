//! The load: every agent sends at its own steady rate to others drawn at random.
//!
//! The clock says when a message is to be sent, and latency counts from then on, however long the
//! mesh lets the sender wait: else a mesh that stalls would hide it (Tene, *How NOT to Measure
//! Latency*, 2013: coordinated omission).

use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_core::{Delivery, PeerId};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use tokio::task::JoinHandle;

use super::fleet::Fleet;
use super::recorder::{Recorder, Times};
use super::tested::Tested;

/// How late timers may be for it to count as theirs: they tell milliseconds apart. Whoever is later
/// was kept waiting by the mesh.
const TIMER: Duration = Duration::from_millis(3);

/// What is sent.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) rate: f64,
    pub(super) payload: usize,
    pub(super) delivery: Delivery,
    pub(super) seed: u64,
    pub(super) counted_from: Duration,
    pub(super) until: Duration,
}

impl Load {
    /// How many messages count that so many agents are to send until some moment.
    pub(super) fn messages(&self, agents: usize, until: Duration) -> u64 {
        let counted = until.min(self.until).saturating_sub(self.counted_from);
        (counted.as_secs_f64() * self.rate * agents as f64).round() as u64
    }
}

/// Starts the senders.
pub(super) fn start(fleet: &Fleet, recorder: &Arc<Recorder>, load: &Load) -> Vec<JoinHandle<()>> {
    let ids: Arc<[PeerId]> = fleet.agents.iter().map(Tested::id).collect();
    let from = recorder.since_start(Instant::now());
    recorder.plan(load.messages(ids.len(), load.until));
    let starting = fleet.agents.iter().enumerate().map(|(index, agent)| {
        // Evenly spread, so that the mesh sees a steady load.
        let offset = index as f64 / ids.len() as f64 / load.rate;
        let sender = Sender {
            agent: agent.clone(),
            index,
            ids: Arc::clone(&ids),
            recorder: Arc::clone(recorder),
            load: load.clone(),
            rng: ChaCha8Rng::seed_from_u64(load.seed.wrapping_add(index as u64)),
        };
        tokio::spawn(sender.run(from + Duration::from_secs_f64(offset)))
    });
    starting.collect()
}

struct Sender {
    agent: Tested,
    index: usize,
    ids: Arc<[PeerId]>,
    recorder: Arc<Recorder>,
    load: Load,
    rng: ChaCha8Rng,
}

impl Sender {
    async fn run(mut self, from: Duration) {
        let interval = 1.0 / self.load.rate;
        let times = (0u64..).map(|n| from + Duration::from_secs_f64(n as f64 * interval));
        let until = self.load.until;
        for planned in times.take_while(|at| *at < until) {
            tokio::time::sleep_until(self.recorder.at(planned).into()).await;
            let now = self.recorder.since_start(Instant::now());
            let late = now.saturating_sub(planned);
            let intended = if late < TIMER { now } else { planned };
            let to = self.destination();
            let times = Times { planned, intended };
            let payload = times.payload(self.load.payload);
            let this = self.agent.id();
            self.recorder.sending(this, planned);
            match self.agent.send(to, payload, self.load.delivery).await {
                Ok(id) => self.recorder.taken(id, planned),
                Err(error) => self.recorder.refused(this, planned, error),
            }
        }
    }

    fn destination(&mut self) -> PeerId {
        let others = self.ids.len() - 1;
        let drawn = (self.rng.next_u64() % others as u64) as usize;
        let index = if drawn < self.index { drawn } else { drawn + 1 };
        self.ids[index]
    }
}
