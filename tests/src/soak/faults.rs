//! The faults of a soak: each is begun and ended, and meanwhile or afterwards the mesh heals.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;
use tokio::time::sleep;

use super::Dice;
use super::ledger::{Life, Parted, Scope};
use super::observe::{Healing, healing};
use super::world::{Between, Passes, World};
use crate::output::progress;

/// Messages that were sent so long before a fault may be on their way when it comes.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

/// How long the hub is away when it is killed: as long as a service manager takes.
const HUB_AWAY: Duration = Duration::from_secs(1);

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A process is killed; later another takes its place.
    Killed,
    /// All packets of a host are dropped, and nothing tells so.
    Silent,
    /// All packets between two hosts that are linked are dropped.
    Pair,
    /// The packets from one host to another are dropped, and those of the other pass.
    OneWay,
    /// Large packets between two hosts are dropped, and nothing tells so.
    Narrow,
    /// A host's address is another.
    Moved,
    /// All processes are stopped, the hub too.
    Frozen,
    /// The hub dies, and the network is in two halves.
    Halved,
    /// A process is stopped.
    Stopped,
    /// The hub is killed and started again.
    Hub,
    /// An agent gives its links fresh keys.
    Rotated,
}

/// What is measured of a fault: a row of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measure {
    /// What the row is called.
    pub name: &'static str,
    /// What the median of the time until all messages arrive again is to be at most, in seconds.
    pub median_s: f64,
    /// What the worst is to be at most.
    pub worst_s: f64,
}

const fn measure(name: &'static str, median_s: f64, worst_s: f64) -> Measure {
    Measure {
        name,
        median_s,
        worst_s,
    }
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Killed,
        Self::Silent,
        Self::Pair,
        Self::OneWay,
        Self::Narrow,
        Self::Moved,
        Self::Frozen,
        Self::Halved,
        Self::Stopped,
        Self::Hub,
        Self::Rotated,
    ];

    /// What it is called on the command line.
    pub fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// What is measured from its begin on.
    pub fn meanwhile(self) -> Option<Measure> {
        match self {
            Self::Killed => Some(measure("process killed", 0.5, 2.0)),
            Self::Silent => Some(measure(
                "packets of a host dropped silently, the others",
                3.0,
                6.0,
            )),
            Self::Pair => Some(measure(
                "packets between two neighbours dropped silently",
                3.0,
                6.0,
            )),
            Self::OneWay => Some(measure(
                "packets from one neighbour to another dropped silently",
                3.0,
                6.0,
            )),
            Self::Narrow => Some(measure(
                "packets over 1,000 bytes between two neighbours dropped silently",
                3.0,
                6.0,
            )),
            Self::Moved => Some(measure(
                "address changed, from when the new one works",
                1.0,
                3.0,
            )),
            Self::Stopped => Some(measure("process stopped (SIGSTOP), the others", 3.0, 6.0)),
            Self::Hub => Some(measure("hub killed, back after a second", 0.5, 2.0)),
            Self::Rotated => Some(measure("keys rotated", 0.5, 2.0)),
            Self::Frozen | Self::Halved => None,
        }
    }

    /// What is measured from its end on.
    pub fn afterwards(self) -> Option<Measure> {
        match self {
            Self::Silent => Some(measure("packets of that host pass again", 3.0, 6.0)),
            Self::Stopped => Some(measure("that process continued", 1.0, 3.0)),
            Self::Frozen => Some(measure("all processes and the hub continued", 2.0, 4.0)),
            Self::Halved => Some(measure("two halves united, the hub dead", 5.0, 10.0)),
            _ => None,
        }
    }

    /// How long it lasts at least when it is measured.
    pub fn lasts(self) -> Duration {
        Duration::from_secs(match self {
            Self::Frozen => 30,
            Self::Halved => 20,
            Self::Stopped => 10,
            _ => 0,
        })
    }
}

/// A fault that has begun.
#[derive(Debug)]
pub struct Blow {
    fault: Fault,
    victim: usize,
    life: Life,
    began: Instant,
    scope: Scope,
    parted: Vec<Parted>,
}

/// Begins a fault, to a host that the dice choose below `mortal`.
///
/// # Errors
/// If the system refuses.
pub async fn begin(world: &World, dice: &mut Dice, fault: Fault, mortal: usize) -> Result<Blow> {
    let victim = dice.below(mortal);
    let life = world.agent(victim).life;
    let all: Vec<usize> = (0..world.size()).collect();
    let mut blow = Blow {
        fault,
        victim,
        life,
        began: Instant::now(),
        scope: scope(world),
        parted: Vec::new(),
    };
    match fault {
        Fault::Killed => {
            blow.scope.living.remove(&life);
            world.kill(victim).await?;
        }
        Fault::Silent => {
            blow.scope.living.remove(&life);
            blow.part(world, [life].into(), None);
            world
                .drop_packets(|drops| drops.silent = [victim].into())
                .await?;
        }
        Fault::Pair | Fault::OneWay | Fault::Narrow => {
            blow.cut(world).await?;
        }
        Fault::Moved => {
            world.move_host(victim).await?;
            blow.began = Instant::now();
        }
        Fault::Stopped => {
            blow.scope.living.remove(&life);
            blow.part(world, [life].into(), None);
            world.signal("STOP", &[victim], false).await?;
        }
        Fault::Frozen => {
            world.talks.store(false, Ordering::Relaxed);
            let lives = world.lives();
            blow.part(world, lives.clone(), Some(lives));
            world.signal("STOP", &all, true).await?;
        }
        Fault::Halved => {
            let (one, other) = all.split_at(all.len() / 2);
            let groups = [connected(world, one).await?, connected(world, other).await?];
            world.kill_hub().await?;
            // Nothing introduces the groups of a half to each other either.
            for group in groups.into_iter().flatten() {
                blow.part(world, group, None);
            }
            let between = Some(Between {
                hosts: [one, other].map(|half| half.iter().copied().collect()),
                passes: Passes::Nothing,
            });
            world.drop_packets(|drops| drops.between = between).await?;
        }
        Fault::Hub => {
            world.kill_hub().await?;
            sleep(HUB_AWAY).await; // The fault itself.
            world.start_hub().await?;
        }
        Fault::Rotated => {
            world.agent(victim).tell(&json!({"type": "rotateKeys"}));
        }
    }
    Ok(blow)
}

impl Blow {
    fn part(&mut self, world: &World, these: BTreeSet<Life>, those: Option<BTreeSet<Life>>) {
        self.parted.push(world.ledger.open().part(these, those));
    }

    /// Drops packets between the victim and a neighbour.
    async fn cut(&mut self, world: &World) -> Result<()> {
        let (other, others_life) = neighbour(world, self.victim).await?;
        if self.fault != Fault::Narrow {
            self.scope.cut = Some((self.life, others_life));
        }
        self.began = Instant::now();
        let between = Some(Between {
            hosts: [[self.victim].into(), [other].into()],
            passes: match self.fault {
                Fault::OneWay => Passes::Back,
                Fault::Narrow => Passes::Small,
                _ => Passes::Nothing,
            },
        });
        world.drop_packets(|drops| drops.between = between).await
    }

    /// What it is, and whom it hits.
    pub fn told(&self) -> String {
        let life = self.life;
        format!(
            "{}, process {life} on host {}",
            self.fault.name(),
            self.victim
        )
    }

    /// Ends the fault. Returns when it did.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn end(&mut self, world: &World) -> Result<Instant> {
        match self.fault {
            Fault::Silent | Fault::Pair | Fault::OneWay | Fault::Narrow | Fault::Halved => {
                world
                    .drop_packets(|drops| {
                        drops.silent.clear();
                        drops.between = None;
                    })
                    .await?;
            }
            Fault::Stopped => world.signal("CONT", &[self.victim], false).await?,
            Fault::Frozen => {
                let all: Vec<usize> = (0..world.size()).collect();
                world.signal("CONT", &all, true).await?;
                world.talks.store(true, Ordering::Relaxed);
            }
            _ => {}
        }
        let ended = Instant::now();
        for parted in self.parted.drain(..) {
            world.ledger.open().unite(parted);
        }
        Ok(ended)
    }

    /// Brings back what the fault took away.
    ///
    /// # Errors
    /// If it does not come.
    pub async fn restore(&self, world: &World) -> Result<()> {
        match self.fault {
            Fault::Killed => world.replace(self.victim).await,
            Fault::Halved => world.start_hub().await,
            _ => Ok(()),
        }
    }
}

/// Does a fault to a mesh at peace and looks how it heals, until it is at peace again.
///
/// # Errors
/// If the system refuses, or peace does not come.
pub async fn measured(
    world: &World,
    dice: &mut Dice,
    fault: Fault,
) -> Result<Vec<(Measure, Healing)>> {
    let mut seen = Vec::new();
    let mut blow = begin(world, dice, fault, world.size()).await?;
    let (began, scope_then) = (blow.began, blow.scope.clone());
    if let Some(measure) = fault.meanwhile() {
        // On their way to a new address are those of the old one: it is gone.
        let from = if fault == Fault::Moved {
            began
        } else {
            began - ON_ITS_WAY
        };
        seen.push((measure, healing(world, from, began, &scope_then).await));
    }
    sleep(fault.lasts().saturating_sub(began.elapsed())).await; // The fault itself.
    let ended = blow.end(world).await?;
    if let Some(measure) = fault.afterwards() {
        let from = if fault == Fault::Frozen {
            began - ON_ITS_WAY
        } else {
            ended
        };
        seen.push((measure, healing(world, from, ended, &scope(world)).await));
    }
    blow.restore(world).await?;
    world
        .calm()
        .await
        .with_context(|| format!("after {fault:?}"))?;
    Ok(seen)
}

/// All agents as they are.
fn scope(world: &World) -> Scope {
    Scope {
        living: world.lives(),
        cut: None,
    }
}

/// The agents of these hosts, in groups that links among them connect; the largest group first.
async fn connected(world: &World, hosts: &[usize]) -> Result<Vec<BTreeSet<Life>>> {
    let agents: Vec<_> = hosts.iter().map(|it| world.agent(*it)).collect();
    let mut groups = Vec::<BTreeSet<Life>>::new();
    for agent in &agents {
        let peers = agent.peers().await?;
        let is_linked = |id| peers.iter().any(|peer| peer.direct && peer.id == id);
        let linked = agents.iter().filter(|other| is_linked(other.id));
        let mut group: BTreeSet<_> = linked.map(|other| other.life).collect();
        group.insert(agent.life);
        let (connected, apart): (Vec<_>, Vec<_>) = groups
            .into_iter()
            .partition(|known| !known.is_disjoint(&group));
        group.extend(connected.into_iter().flatten());
        groups = apart;
        groups.push(group);
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    for group in groups.iter().skip(1) {
        progress(&format!("no link within their half leads to {group:?}"));
    }
    Ok(groups)
}

/// A host to whose agent that of another is linked.
async fn neighbour(world: &World, of: usize) -> Result<(usize, Life)> {
    let peers = world.agent(of).peers().await?;
    let all = world.all();
    let linked = peers.iter().filter(|peer| peer.direct);
    let mut linked = linked.filter_map(|peer| all.iter().position(|agent| agent.id == peer.id));
    let other = linked.next().context("an agent without links")?;
    Ok((other, all[other].life))
}
