//! Chaos: fault after fault before the last has healed, with packets lost all the time; then peace,
//! and the accounts.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;

use super::Dice;
use super::accounts::Accounts;
use super::faults::{Fault, begin};
use super::world::World;
use crate::output::progress;
use crate::wait::until;

/// How long after the last message its outcome may take: acknowledged ones have a deadline of 5 s,
/// the rest is for reports that travel over a mesh that heals.
const OUTCOMES: Duration = Duration::from_secs(30);

/// How long a fault lasts, in milliseconds: from this much, and up to so much more.
const LASTS_MS: (u64, usize) = (500, 8_000);

/// The time between two faults.
const PAUSE_MS: (u64, usize) = (500, 3_000);

/// How many of each fault there were.
pub type Struck = Vec<(Fault, usize)>;

/// Does faults to a world for so long; hosts below `mortal` suffer them, except those of all.
///
/// # Errors
/// If the system refuses, or an agent does not join.
pub async fn storm(
    world: &World,
    dice: &mut Dice,
    lasts: Duration,
    mortal: usize,
) -> Result<Struck> {
    let started = Instant::now();
    let mut struck: Struck = Fault::ALL.map(|fault| (fault, 0)).into();
    let mut deck = Vec::new();
    while started.elapsed() < lasts {
        if deck.is_empty() {
            deck.extend(0..Fault::ALL.len());
        }
        // Each comes once before one comes again.
        let chosen = deck.swap_remove(dice.below(deck.len()));
        let fault = struck[chosen].0;
        struck[chosen].1 += 1;
        let mut blow = begin(world, dice, fault, mortal)
            .await
            .with_context(|| format!("{fault:?}"))?;
        let at = world.ledger.open().elapsed();
        progress(&format!("{:.1} s: {}", at.as_secs_f64(), blow.told()));
        sleep(some(dice, LASTS_MS)).await; // The fault itself.
        blow.end(world).await?;
        blow.restore(world)
            .await
            .with_context(|| format!("after {fault:?}"))?;
        sleep(some(dice, PAUSE_MS)).await; // The pace of faults.
    }
    Ok(struck)
}

fn some(dice: &mut Dice, (least, more): (u64, usize)) -> Duration {
    Duration::from_millis(least + dice.below(more) as u64)
}

/// Ends the traffic and takes the accounts, when the mesh is at peace and each message has its
/// outcome, or that has taken too long.
///
/// # Errors
/// If peace does not come.
pub async fn settle(world: &World) -> Result<Accounts> {
    world.drop_packets(|drops| drops.permille = 0).await?;
    let peace = world.calm().await;
    world.talks.store(false, Ordering::Relaxed);
    let complete = until("each message has its outcome", OUTCOMES, async || {
        let accounts = Accounts::of(&world.ledger.open());
        for (_, kind) in &accounts.kinds {
            ensure!(kind.silent + kind.without_outcome == 0, "some have none");
        }
        Ok(accounts)
    });
    let accounts = match complete.await {
        Ok(accounts) => accounts,
        Err(_) => Accounts::of(&world.ledger.open()),
    };
    if let Err(error) = &peace {
        progress(&format!("{error:#}\n{}", accounts.table()));
    }
    peace.map(|()| accounts)
}
