//! One large world, measured: joining, at rest, exchanging, losing many at once, healing.

use std::collections::BTreeMap;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Serialize;

use super::{World, WorldConfig};
use crate::id::Target;
use crate::payload::{Delivery, Payload};
use crate::rng::{index, shuffle};
use crate::stats::LinkCounts;
use crate::time::Instant;
use crate::topology::Analysis;

/// How long a mesh may take to form or to heal.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long what forming stirred up has to settle, and how much longer for each member that
/// verifies what others announce: of a shard, at most so many.
const SETTLING: Duration = Duration::from_secs(20);
const SETTLING_EACH: Duration = Duration::from_millis(200);
const VERIFIERS: u32 = 500;

/// How long a mesh at rest is watched.
const REST: Duration = Duration::from_secs(60);

/// How long links may take to follow one agent that joins or leaves.
const FOLLOWING: Duration = Duration::from_secs(30);

/// How long messages may be on their way.
const FLIGHT: Duration = Duration::from_secs(10);

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// The world.
    pub config: WorldConfig,
    /// Agents that join at once.
    pub agents: usize,
    /// Messages between random agents.
    pub messages: usize,
    /// Broadcasts of random agents.
    pub broadcasts: usize,
    /// The share of agents that dies each second while they broadcast, and is replaced by others.
    pub churn: f64,
    /// The share of agents that dies at once.
    pub killed: f64,
}

/// What came of it. Times are in seconds of the simulated world.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Agents that joined.
    pub agents: usize,
    /// Until the last link was open.
    pub links_open_s: f64,
    /// From then until every routing table was complete.
    pub tables_complete_s: f64,
    /// The mesh that they formed.
    pub analysis: Analysis,
    /// What forming cost.
    pub joining: Traffic,
    /// What a minute at rest costs.
    pub at_rest: Traffic,
    /// Messages between random agents.
    pub messages: Messages,
    /// Links opened and closed because one agent joined.
    pub touched_by_join: u64,
    /// Links opened and closed because one agent left.
    pub touched_by_leave: u64,
    /// Broadcasts.
    pub broadcasts: Broadcasts,
    /// Agents that died at once.
    pub killed: usize,
    /// From then until the rest was one mesh again.
    pub healed_s: f64,
    /// Messages between the survivors.
    pub after: Messages,
    /// Everything that happened, folded into one number: the same for two builds that behave alike.
    pub trace: u64,
}

/// What went over an agent's links, on average: sent frames, and the bytes in them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// Bytes an agent sent.
    pub bytes: f64,
    /// Frames an agent sent.
    pub frames: f64,
    /// Bytes that it sent in a second.
    pub bytes_per_second: f64,
}

/// What became of messages to one agent each.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Messages {
    /// Sent.
    pub sent: usize,
    /// Delivered.
    pub delivered: usize,
    /// Delivered by their hops.
    pub by_hops: BTreeMap<u8, usize>,
    /// Delivered on a path as short as the true graph allows.
    pub on_shortest_path: usize,
    /// The mean time on the way, in milliseconds.
    pub latency_ms: f64,
}

/// What became of broadcasts.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Broadcasts {
    /// Sent.
    pub sent: usize,
    /// Deliveries that did not happen.
    pub missed: usize,
    /// Copies sent for each delivery: 1 is the least.
    pub transmissions_per_delivery: f64,
    /// The most hops of a delivery.
    pub hops_max: u8,
}

impl Simulation {
    /// Runs it, and tells each step as it is done.
    ///
    /// # Errors
    /// What did not happen in time, with the seed.
    pub fn run(&self, mut tell: impl FnMut(&str)) -> Result<Report, String> {
        let mut world = World::new(self.config.clone());
        let mut rng = ChaCha8Rng::seed_from_u64(self.config.seed ^ 0x5eed);
        let (links_open_s, tables_complete_s) = self.form(&mut world)?;
        tell(&format!("formed after {links_open_s:.2} s"));
        // Surplus links of the mass join are drained first, and round trips announced.
        world.run_for(self.settling());
        let joining = traffic(&world, Duration::ZERO, |_| 0.0);
        let analysis = Analysis::of(&world.true_graph().1);
        let before = totals(&world);
        world.run_for(REST);
        let at_rest = traffic(&world, REST, |pick| before[pick]);
        tell(&format!(
            "at rest: {:.0} B/s an agent",
            at_rest.bytes_per_second
        ));
        let messages = self.exchange(&mut world, &mut rng);
        tell(&format!(
            "{} of {} messages delivered",
            messages.delivered, messages.sent
        ));
        let touched_by_join = links_touched(&mut world, |world| {
            world.start_agents(1);
        });
        let leaver = index(&mut rng, self.agents);
        let touched_by_leave = links_touched(&mut world, |world| world.leave(leaver));
        tell(&format!(
            "a join touched {touched_by_join} links, a leave {touched_by_leave}"
        ));
        let broadcasts = self.broadcast(&mut world, &mut rng);
        tell(&format!(
            "{} broadcasts, {} deliveries missed",
            broadcasts.sent, broadcasts.missed
        ));
        let mut victims = world.living();
        shuffle(&mut victims, &mut rng);
        victims.truncate((self.killed.clamp(0.0, 0.9) * self.agents as f64) as usize);
        for &victim in &victims {
            world.crash(victim);
        }
        let died_at = world.now();
        in_time(&mut world, "healed", World::is_converged)?;
        let healed_s = seconds(died_at, world.now());
        tell(&format!(
            "{} died at once; healed after {healed_s:.2} s",
            victims.len()
        ));
        world.run_for(self.settling());
        let after = self.exchange(&mut world, &mut rng);
        in_time(&mut world, "idle", World::is_idle)?;
        world.check_settled();
        Ok(Report {
            agents: self.agents,
            links_open_s,
            tables_complete_s,
            analysis,
            joining,
            at_rest,
            messages,
            touched_by_join,
            touched_by_leave,
            broadcasts,
            killed: victims.len(),
            healed_s,
            after,
            trace: world.trace(),
        })
    }

    /// How long what stirred the room up has to settle.
    fn settling(&self) -> Duration {
        let verifiers = u32::try_from(self.agents).unwrap_or(u32::MAX);
        SETTLING + SETTLING_EACH * verifiers.min(VERIFIERS)
    }

    /// Returns when the last link was open, and how long after that all tables were complete.
    fn form(&self, world: &mut World) -> Result<(f64, f64), String> {
        world.start_agents(self.agents);
        in_time(world, "linked", World::is_linked)?;
        let linked_at = world.now();
        in_time(world, "converged", World::is_converged)?;
        let complete = seconds(linked_at, world.now());
        Ok((seconds(Instant::default(), linked_at), complete))
    }

    fn exchange(&self, world: &mut World, rng: &mut ChaCha8Rng) -> Messages {
        let living = world.living();
        let (ids, graph) = world.true_graph();
        let mut sent = Vec::new();
        for _ in 0..self.messages {
            let (from, to) = (index(rng, living.len()), index(rng, living.len()));
            if from == to {
                continue;
            }
            let shortest = graph.distances(from)[to];
            let target = Target::Peer(ids[to]);
            let payload = Payload::from("hello");
            // What the mesh does not take counts as sent and not delivered.
            let id = world.send(living[from], target, payload, Delivery::Reliable);
            sent.push((living[to], id.ok(), shortest));
            world.run_for(Duration::from_millis(1));
        }
        world.run_for(FLIGHT);
        let mut by_hops = BTreeMap::new();
        let (mut on_shortest_path, mut latency_ms, mut delivered) = (0, 0.0, 0);
        for (to, id, shortest) in &sent {
            let received = id.and_then(|id| world.agents()[*to].received_as(&id));
            if let Some(received) = received {
                delivered += 1;
                *by_hops.entry(received.hops).or_default() += 1;
                latency_ms += received.latency_ms;
                on_shortest_path += usize::from(*shortest == Some(usize::from(received.hops)));
            }
        }
        Messages {
            sent: sent.len(),
            delivered,
            by_hops,
            on_shortest_path,
            latency_ms: latency_ms / delivered.max(1) as f64,
        }
    }

    /// Broadcasts ten times a second, while agents come and go. Only those count that are there
    /// from before the first until after the last: a newcomer can lack what was sent as it came.
    fn broadcast(&self, world: &mut World, rng: &mut ChaCha8Rng) -> Broadcasts {
        let copies = |world: &World| -> u64 {
            let stats = world.agents().iter().map(|agent| agent.mesh().stats());
            stats.map(|stats| stats.broadcast_copies).sum()
        };
        let before = copies(world);
        let mut staying = world.living();
        shuffle(&mut staying, rng);
        let going = (self.churn * self.broadcasts as f64 / 10.0 * self.agents as f64) as usize;
        let mut going = staying.split_off(staying.len().saturating_sub(going).max(2));
        let (mut sent, mut due) = (Vec::new(), 0.0);
        for _ in 0..self.broadcasts {
            due += self.churn * self.agents as f64 / 10.0;
            while due >= 1.0 {
                due -= 1.0;
                if let Some(leaver) = going.pop() {
                    world.crash(leaver);
                    world.start_agents(1);
                }
            }
            let from = staying[index(rng, staying.len())];
            let id = world.send(from, Target::Room, "to all".into(), Delivery::Reliable);
            sent.push((from, id.ok()));
            world.run_for(Duration::from_millis(100));
        }
        world.run_for(FLIGHT);
        let received: u64 = sent
            .iter()
            .filter_map(|(_, id)| *id)
            .map(|id| world.receivers(&id))
            .sum();
        let (mut missed, mut hops_max) = (0, 0);
        for &(from, id) in &sent {
            for &to in staying.iter().filter(|&&to| to != from) {
                match id.and_then(|id| world.agents()[to].received_as(&id)) {
                    Some(received) => hops_max = hops_max.max(received.hops),
                    None => missed += 1,
                }
            }
        }
        Broadcasts {
            sent: sent.len(),
            missed,
            transmissions_per_delivery: (copies(world) - before) as f64 / received.max(1) as f64,
            hops_max,
        }
    }
}

/// How many links are opened and closed because of one agent. Each has two ends that count it, but
/// who leaves does not count what it closes.
pub(super) fn links_touched(world: &mut World, change: impl FnOnce(&mut World)) -> u64 {
    let ends = |counts: &[LinkCounts]| -> u64 {
        let ends = counts.iter().map(|links| links.opened + links.closed);
        ends.sum()
    };
    let (before, living) = (world.link_counts(), world.living());
    change(world);
    let stayed = world.living();
    let left = living.iter().filter(|agent| !stayed.contains(agent));
    let closed_by_leavers: usize = left.map(|&agent| before[agent].open).sum();
    world.run_for(FOLLOWING);
    (ends(&world.link_counts()) - ends(&before) + closed_by_leavers as u64) / 2
}

/// Lets time pass until something holds.
fn in_time(world: &mut World, what: &str, holds: fn(&World) -> bool) -> Result<(), String> {
    if world.run_until(PATIENCE, holds) {
        return Ok(());
    }
    let troubles = world.troubles();
    Err(format!("not {what} within {PATIENCE:?}: {troubles}"))
}

/// Bytes and frames that all living agents have sent.
fn totals(world: &World) -> [f64; 2] {
    let mut totals = [0.0; 2];
    for agent in world.living() {
        let stats = world.agents()[agent].mesh().stats();
        totals[0] += stats.bytes_out as f64;
        totals[1] += stats.frames_out as f64;
    }
    totals
}

/// What an agent has sent on average, less what all had sent `before`.
fn traffic(world: &World, during: Duration, before: impl Fn(usize) -> f64) -> Traffic {
    let agents = world.living().len().max(1) as f64;
    let sent = totals(world);
    let [bytes, frames] = [0, 1].map(|pick| (sent[pick] - before(pick)) / agents);
    let during = if during.is_zero() {
        seconds(Instant::default(), world.now())
    } else {
        during.as_secs_f64()
    };
    Traffic {
        bytes,
        frames,
        bytes_per_second: bytes / during.max(1e-3),
    }
}

fn seconds(from: Instant, to: Instant) -> f64 {
    to.since(from).as_secs_f64()
}
