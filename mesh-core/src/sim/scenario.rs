//! Worlds in which much goes wrong, drawn from a seed: the swarm that finds what nobody thought of.
//!
//! A scenario is some agents and a list of [`Operation`]s. Four bytes make an operation, whatever
//! they are, so that seeds, property tests and fuzzers share one vocabulary. When all have happened
//! the world is healed: nothing is blocked any more, the hub is there, and nobody dies. Then the
//! mesh must converge, and what [`World::check_settled`] asks must hold.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::{Operation, Rough, SimAgent, World, WorldConfig};
use crate::id::Target;
use crate::metric::Metric;
use crate::payload::Delivery;
use crate::time::Instant;
use crate::topology::Analysis;

/// Agents started in all, at most.
pub(super) const AGENTS_MAX: usize = 32;

/// Agents that live, at least: fewer are no mesh.
pub(super) const LIVING_MIN: usize = 3;

/// How long a healed world may take to converge: unreachable partners are left out for half a
/// minute, and a message may take a minute to fail.
const HEALING: Duration = Duration::from_secs(180);

/// How long a healed world may take until nothing happens any more: a partner that could not be
/// reached is left out for half a minute, by some and not by others, and then tried again.
const SETTLING: Duration = Duration::from_secs(60);

/// How long what an agent tells of its links may be on its way, once that is all that happens.
const PASSING_ON: Duration = Duration::from_secs(10);

/// How long a world where nothing happens any more is watched.
const REST: Duration = Duration::from_secs(30);

/// A world and what happens in it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The world.
    pub config: WorldConfig,
    /// Agents that join at first.
    pub agents: usize,
    /// What happens then.
    pub operations: Vec<Operation>,
}

impl Scenario {
    /// The scenario of a seed: even what the world is like is drawn from it.
    pub fn draw(seed: u64) -> Self {
        Self::drawn(seed).0
    }

    /// Another of the same seed: drivers are late too, links are slow, and signals get lost.
    pub fn draw_rough(seed: u64) -> Self {
        let (mut scenario, mut rng) = Self::drawn(seed);
        scenario.config.rough = Some(Rough::draw(&mut rng));
        if rng.next_u32().is_multiple_of(5) {
            scenario.config.metric = Metric::Bandwidth;
        }
        scenario
    }

    /// Another of the same seed: direct paths get lost, and the TURN server that stands in for them
    /// is away at times.
    pub fn draw_relayed(seed: u64) -> Self {
        let (mut scenario, _) = Self::drawn(seed);
        scenario.config.turn = true;
        scenario
    }

    fn drawn(seed: u64) -> (Self, ChaCha8Rng) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut below = |bound: u32| rng.next_u32() % bound;
        let latency_min = Duration::from_millis(u64::from(1 + below(30)));
        let config = WorldConfig {
            k: Some(2 + below(11) as usize),
            metric: [Metric::Hops, Metric::Hops, Metric::Latency][below(3) as usize],
            shard_members: [250, 250, 3, 5, 8][below(5) as usize],
            latency_min,
            latency_max: latency_min + Duration::from_millis(u64::from(below(80))),
            connect: Duration::from_millis(u64::from(20 + below(400))),
            ..WorldConfig::new(seed)
        };
        let agents = LIVING_MIN + below(12) as usize;
        let count = 10 + below(60);
        let operations = (0..count)
            .map(|_| Operation::from_bytes(rng.next_u32().to_le_bytes()))
            .collect();
        let scenario = Self {
            config,
            agents,
            operations,
        };
        (scenario, rng)
    }

    /// Lets it all happen, heals the world, and checks it.
    ///
    /// # Panics
    /// If something does not hold that must; the message names the seed.
    pub fn run(&self) -> Outcome {
        self.run_traced().0
    }

    /// As [`Scenario::run`]; returns the world's [trace](World::trace) too.
    ///
    /// # Panics
    /// As [`Scenario::run`].
    pub fn run_traced(&self) -> (Outcome, u64) {
        let seed = self.config.seed;
        let mut world = World::new(self.config.clone());
        world.start_agents(self.agents);
        for operation in &self.operations {
            operation.apply(&mut world);
        }
        world.unblock_all();
        world.set_turn_away(false); // Direct paths that are lost stay so.
        world.calm_down();
        if !world.has_hub() {
            world.start_hub();
        }
        let healing_since = world.now();
        let healed = |world: &World| world.is_converged() && world.is_idle();
        assert!(
            world.run_until(HEALING, healed),
            "seed {seed}: not healed within {HEALING:?}: {}",
            world.troubles()
        );
        let healed_s = world.now().since(healing_since).as_secs_f64();
        // What has just opened is announced, and what is no longer wanted is drained.
        world.run_for(SETTLING);
        if !world.is_idle() {
            // Two databases may be being compared at this very moment, or the first measurements
            // of links be on their way, which each hop gathers for a second.
            world.run_until(PASSING_ON, World::is_idle);
        }
        world.check_settled();
        check_rest(&mut world);
        check_all_pairs(&mut world);
        (Outcome::of(&world, healed_s), world.trace())
    }
}

/// What a scenario came to, once all was well again.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Seconds from the last thing that went wrong until the mesh had converged and was idle.
    pub healed_s: f64,
    /// The mesh in the end.
    pub analysis: Analysis,
    /// Copies of broadcasts sent for each that was delivered; `None` if none was.
    pub redundancy: Option<f64>,
    /// Bytes that an agent sent in a second, from the beginning on.
    pub bytes_per_second: f64,
}

impl Outcome {
    fn of(world: &World, healed_s: f64) -> Self {
        let agents = world.agents();
        let to_all = |agent: &SimAgent| {
            let received = agent.received().iter();
            received.filter(|m| m.id.target == Target::Room).count() as u64
        };
        let delivered: u64 = agents.iter().map(to_all).sum();
        let stats: Vec<_> = agents.iter().map(|agent| agent.mesh().stats()).collect();
        let copies: u64 = stats.iter().map(|stats| stats.broadcast_copies).sum();
        let bytes: u64 = stats.iter().map(|stats| stats.bytes_out).sum();
        let seconds = world.now().since(Instant::default()).as_secs_f64();
        Self {
            healed_s,
            analysis: Analysis::of(&world.true_graph().1),
            redundancy: (delivered > 0).then(|| copies as f64 / delivered as f64),
            bytes_per_second: bytes as f64 / seconds / world.living().len() as f64,
        }
    }
}

/// In a healed mesh no link comes or goes.
fn check_rest(world: &mut World) {
    let counts = |world: &World| -> Vec<_> {
        let links = world.link_counts().into_iter();
        links.map(|links| (links.opened, links.closed)).collect()
    };
    let before = counts(world);
    world.run_for(REST);
    let seed = world.config.seed;
    assert_eq!(counts(world), before, "seed {seed}: links opened, closed");
}

/// In a healed mesh a message of everybody to everybody arrives.
fn check_all_pairs(world: &mut World) {
    let seed = world.config.seed;
    let living = world.living();
    let mut awaited = Vec::new();
    for &from in &living {
        for &to in living.iter().filter(|&&to| to != from) {
            let target = Target::Peer(world.agents()[to].id());
            let sent = world.send(from, target, "healed".into(), Delivery::Reliable);
            let id = sent.unwrap_or_else(|error| panic!("seed {seed}: {from} to {to}: {error}"));
            awaited.push((to, id));
        }
    }
    world.run_for(Duration::from_secs(3));
    for (to, id) in awaited {
        let arrived = world.agents()[to].has_received(&id);
        assert!(
            arrived,
            "seed {seed}: {id} has not arrived in a healed mesh"
        );
    }
}
