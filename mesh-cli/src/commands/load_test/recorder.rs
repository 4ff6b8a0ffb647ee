//! What the agents of a load test sent, received and saw, in one place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mesh_core::{Event, MessageId, Payload, PeerId, Received};

use super::tested::Told;

/// The longest latency that is told apart, in microseconds.
const LATENCY_MAX_US: u64 = 120_000_000;

/// Significant digits of latencies.
const DIGITS: u8 = 3;

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
    pub(super) fn payload(self, bytes: usize) -> Payload {
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

/// Collects from all tasks.
#[derive(Debug)]
pub(super) struct Recorder {
    start: Instant,
    seen: Mutex<Seen>,
}

/// What was seen so far; of messages those alone that count.
#[derive(Debug)]
pub(super) struct Seen {
    counted_from: Duration,
    /// Messages that were to be sent, whether they could be or not.
    pub(super) offered: u64,
    pub(super) sent: u64,
    pub(super) delivered: u64,
    /// Messages of the warm-up, which may yet be reported lost.
    uncounted: BTreeSet<MessageId>,
    /// Messages that were not taken, by the error's code.
    pub(super) refused: BTreeMap<String, u64>,
    /// Messages that the mesh reported lost.
    pub(super) lost: BTreeMap<String, u64>,
    pub(super) latency: Histogram<u64>,
    pub(super) by_hops: BTreeMap<u8, Histogram<u64>>,
    /// Messages delivered in each second since counting began.
    pub(super) each_second: Vec<u64>,
    pub(super) agents: BTreeMap<PeerId, AgentSeen>,
    pub(super) links: LinksSeen,
    /// Events that a reader was too slow for.
    pub(super) missed_events: u64,
}

/// One agent's part.
#[derive(Clone, Debug, Default)]
pub(super) struct AgentSeen {
    pub(super) sent: u64,
    pub(super) arrived: u64,
    pub(super) received: u64,
    latency_us: u64,
}

/// How links came and went.
#[derive(Debug)]
pub(super) struct LinksSeen {
    pub(super) opened: u64,
    pub(super) last_opened: Option<Duration>,
    /// Of those that offered: until the offer was ready, from then to the answer, from then until
    /// ICE had found a path, from then until the channels were open; in microseconds.
    pub(super) phases: [Histogram<u64>; 4],
    pub(super) failed: BTreeMap<String, u64>,
    /// Links that closed while messages were counted.
    pub(super) closed: BTreeMap<String, u64>,
    /// Pairs whose link closed then and has not opened again.
    pub(super) broken: BTreeMap<(PeerId, PeerId), Duration>,
    /// How long others took to open again, in microseconds.
    pub(super) reopened: Histogram<u64>,
    /// Agents whose rotations of keys are noted, and how long those took, in microseconds.
    rotating: BTreeSet<PeerId>,
    pub(super) rotated: Histogram<u64>,
}

impl AgentSeen {
    /// The mean latency of what it received.
    pub(super) fn latency_ms(&self) -> f64 {
        self.latency_us as f64 / self.received.max(1) as f64 / 1e3
    }
}

/// Of microseconds.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_US, DIGITS).expect("the bounds are in order")
}

pub(super) fn record_ms(histogram: &mut Histogram<u64>, ms: f64) {
    histogram.saturating_record((ms * 1e3).max(1.0) as u64);
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Recorder {
    pub(super) fn new() -> Self {
        let links = LinksSeen {
            opened: 0,
            last_opened: None,
            phases: std::array::from_fn(|_| histogram()),
            failed: BTreeMap::new(),
            closed: BTreeMap::new(),
            broken: BTreeMap::new(),
            reopened: histogram(),
            rotating: BTreeSet::new(),
            rotated: histogram(),
        };
        let seen = Seen {
            counted_from: Duration::MAX,
            offered: 0,
            sent: 0,
            delivered: 0,
            uncounted: BTreeSet::new(),
            refused: BTreeMap::new(),
            lost: BTreeMap::new(),
            latency: histogram(),
            by_hops: BTreeMap::new(),
            each_second: Vec::new(),
            agents: BTreeMap::new(),
            links,
            missed_events: 0,
        };
        Self {
            start: Instant::now(),
            seen: Mutex::new(seen),
        }
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        // Whoever panicked has added at most half a message.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moments are told as the time since the test began.
    pub(super) fn since_start(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.start)
    }

    pub(super) fn at(&self, since_start: Duration) -> Instant {
        self.start + since_start
    }

    /// From this moment on messages count.
    pub(super) fn count_from(&self, from: Duration) {
        self.seen().counted_from = from;
    }

    /// What happens from now on does not count any more.
    pub(super) fn stop_counting(&self) {
        self.seen().counted_from = Duration::MAX;
    }

    /// Notes how long rotations of keys take from now on, at these agents.
    pub(super) fn watch_rotations(&self, agents: BTreeSet<PeerId>) {
        self.seen().links.rotating = agents;
    }

    /// Messages sent and neither delivered nor reported lost.
    pub(super) fn in_flight(&self) -> u64 {
        let seen = self.seen();
        let lost: u64 = seen.lost.values().sum();
        seen.sent.saturating_sub(seen.delivered + lost)
    }

    /// Whether no message was sent that counts, nor tried to be.
    pub(super) fn is_untouched(&self) -> bool {
        let seen = self.seen();
        seen.sent == 0 && seen.refused.is_empty()
    }

    /// So many messages are to be sent, whether there will be time for them or not.
    pub(super) fn plan(&self, messages: u64) {
        self.seen().offered = messages;
    }

    /// A message is handed to the mesh.
    pub(super) fn sending(&self, from: PeerId, planned: Duration) {
        let mut seen = self.seen();
        if planned >= seen.counted_from {
            seen.sent += 1;
            seen.agents.entry(from).or_default().sent += 1;
        }
    }

    /// The mesh has taken it.
    pub(super) fn taken(&self, id: MessageId, planned: Duration) {
        let mut seen = self.seen();
        if planned < seen.counted_from {
            seen.uncounted.insert(id);
        }
    }

    /// The mesh did not take it.
    pub(super) fn refused(&self, from: PeerId, planned: Duration, code: String) {
        let mut seen = self.seen();
        if planned >= seen.counted_from {
            seen.sent -= 1;
            seen.agents.entry(from).or_default().sent -= 1;
            *seen.refused.entry(code).or_default() += 1;
        }
    }

    /// A message has arrived.
    pub(super) fn received(&self, [from, to]: [PeerId; 2], times: Times, hops: u8) {
        let now = self.since_start(Instant::now());
        let latency = micros(now.saturating_sub(times.intended)).clamp(1, LATENCY_MAX_US);
        let mut seen = self.seen();
        if times.planned < seen.counted_from {
            return;
        }
        seen.delivered += 1;
        seen.latency.saturating_record(latency);
        let by_hops = seen.by_hops.entry(hops).or_insert_with(histogram);
        by_hops.saturating_record(latency);
        let second = now.saturating_sub(seen.counted_from).as_secs() as usize;
        if seen.each_second.len() <= second {
            seen.each_second.resize(second + 1, 0);
        }
        seen.each_second[second] += 1;
        seen.agents.entry(from).or_default().arrived += 1;
        let agent = seen.agents.entry(to).or_default();
        agent.received += 1;
        agent.latency_us += latency;
    }

    /// Anything else that an agent tells.
    pub(super) fn note(&self, agent: PeerId, event: Event) {
        let now = self.since_start(Instant::now());
        let mut seen = self.seen();
        let counting = now >= seen.counted_from;
        let pair = |peer: PeerId| (agent.min(peer), agent.max(peer));
        match event {
            Event::LinkOpened {
                peer,
                setup_ms,
                described_ms,
                answered_ms,
                reached_ms,
            } => {
                let links = &mut seen.links;
                links.opened += 1;
                links.last_opened = Some(now);
                if let (Some(answered_ms), Some(reached_ms)) = (answered_ms, reached_ms) {
                    let parts = [
                        described_ms,
                        answered_ms - described_ms,
                        reached_ms - answered_ms,
                        setup_ms - reached_ms,
                    ];
                    for (phase, ms) in links.phases.iter_mut().zip(parts) {
                        record_ms(phase, ms);
                    }
                }
                if let Some(since) = links.broken.remove(&pair(peer)) {
                    links
                        .reopened
                        .saturating_record(micros(now.saturating_sub(since)).max(1));
                }
            }
            Event::LinkClosed { peer, reason } if counting => {
                *seen.links.closed.entry(reason).or_default() += 1;
                seen.links.broken.entry(pair(peer)).or_insert(now);
            }
            Event::LinkRotated { took_ms, .. } if seen.links.rotating.contains(&agent) => {
                record_ms(&mut seen.links.rotated, took_ms);
            }
            Event::LinkFailed { reason, .. } => {
                *seen.links.failed.entry(reason).or_default() += 1;
            }
            Event::DeliveryFailed { id, reason, .. }
                if counting && !seen.uncounted.contains(&id) =>
            {
                *seen.lost.entry(reason.to_string()).or_default() += 1;
            }
            Event::Lagged { missed } => seen.missed_events += missed,
            _ => {}
        }
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
