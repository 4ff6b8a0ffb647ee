//! The load: every agent sends at its own steady rate to others drawn at random.
//!
//! The clock says when a message is to be sent, and latency counts from then on, however long the
//! mesh lets the sender wait: else a mesh that stalls would hide it (Tene, *How NOT to Measure
//! Latency*, 2013: coordinated omission).

use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_core::{Delivery, Event, Payload, PeerId, Received};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use tokio::task::JoinHandle;

use super::fleet::Fleet;
use super::recorder::Recorder;
use super::tested::{Tested, Told};

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

/// What a message says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    /// The moment in the plan, which decides whether the message counts.
    pub(super) planned: Duration,
    /// The moment that latency counts from.
    pub(super) intended: Duration,
}

impl Times {
    /// A payload that begins with them.
    fn payload(self, bytes: usize) -> Payload {
        let mut payload = vec![0xa5; bytes];
        let times = [self.planned, self.intended];
        for (place, time) in payload.chunks_exact_mut(8).zip(times) {
            place.copy_from_slice(&(time.as_micros() as u64).to_le_bytes());
        }
        Payload::Bytes(payload)
    }

    fn of(message: &Received) -> Option<Self> {
        let Payload::Bytes(bytes) = &message.payload else {
            return None;
        };
        let micros = |at| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        Some(Self {
            planned: Duration::from_micros(micros(0)?),
            intended: Duration::from_micros(micros(8)?),
        })
    }
}

/// Notes what an agent is told, until it leaves.
pub(super) async fn listen(agent: PeerId, mut events: Told, recorder: Arc<Recorder>) {
    while let Some(event) = events.next().await {
        match event {
            Event::Message(message) => {
                if let Some(times) = Times::of(&message) {
                    recorder.received([message.from, agent], times, message.hops);
                }
            }
            Event::PeerJoined { .. } | Event::TopologyChanged => {}
            event => recorder.note(agent, event),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_tells_its_times() {
        let times = Times {
            planned: Duration::from_micros(1),
            intended: Duration::from_micros(2_000_003),
        };
        let Payload::Bytes(bytes) = times.payload(16) else {
            panic!("bytes");
        };
        assert_eq!(bytes[..8], 1u64.to_le_bytes());
        assert_eq!(bytes[8..], 2_000_003u64.to_le_bytes());
    }
}
