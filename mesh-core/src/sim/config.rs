//! How a world is.

use std::time::Duration;

use super::rough::Rough;
use crate::config::Adaptive;
use crate::metric::Metric;
use crate::topology::SHARD_MEMBERS;

/// What the world is like.
#[derive(Clone, Debug)]
pub struct WorldConfig {
    /// The source of all randomness.
    pub seed: u64,
    /// Links that each agent keeps; `None` for the default of the room's size.
    pub k: Option<usize>,
    /// Whether that default is the sparse one.
    pub sparse: bool,
    /// What makes one path better than another.
    pub metric: Metric,
    /// How long links keep their keys, on average.
    pub rotate_interval: Duration,
    /// The hub names a TURN server.
    pub turn: bool,
    /// How k follows the state of the mesh.
    pub adaptive: Option<Adaptive>,
    /// Members of a shard, about.
    pub shard_members: usize,
    /// The shortest time that anything takes on its way.
    pub latency_min: Duration,
    /// The longest.
    pub latency_max: Duration,
    /// How long ICE and DTLS take once the answer is there.
    pub connect: Duration,
    /// What else goes wrong with links; `None` where links open and carry at once.
    pub rough: Option<Rough>,
}

impl WorldConfig {
    /// A calm world on one continent.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            k: None,
            sparse: false,
            metric: Metric::default(),
            rotate_interval: Duration::from_secs(3_600),
            turn: false,
            adaptive: None,
            shard_members: SHARD_MEMBERS,
            latency_min: Duration::from_millis(5),
            latency_max: Duration::from_millis(40),
            connect: Duration::from_millis(120),
            rough: None,
        }
    }
}
