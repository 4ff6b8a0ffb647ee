//! Messages between linked agents, all the time, of which none may be lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mesh_native::core::PeerId;
use mesh_native::{Agent, SendOptions};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::agents::Native;
use crate::member::Member;
use crate::wait::{SOON, until};

/// A message that was sent: to which member, and its id.
type Sent = (PeerId, String);

/// Agents that send to the members that they are linked with, one after the other, until told to
/// stop.
#[derive(Debug)]
pub struct Streams {
    stop: Arc<AtomicBool>,
    sending: Vec<JoinHandle<Result<Vec<Sent>>>>,
}

/// What became of the messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages that were sent.
    pub sent: usize,
    /// Of them, those that did not arrive.
    pub lost: usize,
    /// Of them, those that arrived more than once.
    pub repeated: usize,
}

impl Streams {
    /// Each of `agents` sends a message each `pace`, to one of `targets`.
    pub fn start(agents: &[Native], targets: &[&dyn Member], pace: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let targets: Arc<BTreeSet<_>> = Arc::new(targets.iter().map(|it| it.id()).collect());
        let sending = agents.iter().map(|agent| {
            let (agent, stop) = (agent.agent().clone(), Arc::clone(&stop));
            tokio::spawn(send_until(agent, Arc::clone(&targets), pace, stop))
        });
        Self {
            sending: sending.collect(),
            stop,
        }
    }

    /// Ends them, and looks what arrived at `targets`.
    ///
    /// # Errors
    /// If a message cannot be sent, or a target does not answer.
    pub async fn end(self, targets: &[&dyn Member]) -> Result<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        let mut sent: BTreeMap<PeerId, Vec<String>> = BTreeMap::new();
        for sending in self.sending {
            for (to, id) in sending.await?? {
                sent.entry(to).or_default().push(id);
            }
        }
        let mut tally = Tally::default();
        for target in targets {
            let ids = sent.remove(&target.id()).unwrap_or_default();
            let arrived = until("all has arrived", SOON, async || {
                let missing = counts(*target, &ids)
                    .await?
                    .iter()
                    .filter(|n| **n == 0)
                    .count();
                ensure!(missing == 0, "{} lacks {missing}", target.name());
                Ok(())
            });
            let _ = arrived.await; // What did not arrive is counted here.
            let counts = counts(*target, &ids).await?;
            tally.sent += counts.len();
            tally.lost += counts.iter().filter(|count| **count == 0).count();
            tally.repeated += counts.iter().filter(|count| **count > 1).count();
        }
        ensure!(sent.is_empty(), "messages were sent to others");
        Ok(tally)
    }
}

/// How often each message arrived at a member.
async fn counts(member: &dyn Member, ids: &[String]) -> Result<Vec<usize>> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for message in member.events("message").await? {
        let id = message["id"].as_str().context("a message has no id")?;
        *counts.entry(id.to_owned()).or_default() += 1;
    }
    let counts = ids.iter().map(|id| counts.get(id).copied());
    Ok(counts.map(Option::unwrap_or_default).collect())
}

async fn send_until(
    agent: Agent,
    targets: Arc<BTreeSet<PeerId>>,
    pace: Duration,
    stop: Arc<AtomicBool>,
) -> Result<Vec<Sent>> {
    let options = SendOptions::default();
    let mut sent = Vec::new();
    let mut ticks = interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for turn in 0.. {
        ticks.tick().await;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let mut peers = agent.peers()?;
        peers.retain(|peer| peer.direct && targets.contains(&peer.id));
        if let Some(peer) = peers.get(turn % peers.len().max(1)) {
            let id = agent.send(peer.id, turn.to_string(), options).await?;
            sent.push((peer.id, id.to_string()));
        }
    }
    Ok(sent)
}

impl Tally {
    /// Nothing was lost, or came twice, of so many messages at least.
    ///
    /// # Errors
    /// If not.
    pub fn is_whole(self, least: usize) -> Result<()> {
        ensure!(self.sent >= least, "{} messages are no stream", self.sent);
        ensure!(self.lost == 0 && self.repeated == 0, "{self}");
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            sent,
            lost,
            repeated,
        } = self;
        write!(f, "{sent} messages, {lost} lost, {repeated} came twice")
    }
}
