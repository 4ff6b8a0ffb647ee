//! How soon a mesh heals: looked at from the moment of a fault until nothing is held up any more.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::ledger::Scope;
use super::world::World;
use crate::output::progress;

/// How long no message may be late or lost until the mesh counts as healed. Each agent sends to
/// each other in less than this (20 agents, 200 messages a second).
const QUIET: Duration = Duration::from_secs(3);

/// How long a mesh is given to heal.
const HEALS_MAX: Duration = Duration::from_secs(60);

/// Time between two looks at all agents' links.
const LOOK: Duration = Duration::from_millis(50);

/// What was seen after a fault.
#[derive(Clone, Copy, Debug)]
pub struct Healing {
    /// The last moment at which a message was late or sent in vain, from the fault on.
    pub messages: Duration,
    /// The sending of the last message that was late or came to nothing.
    pub sent: Duration,
    /// The last moment at which an agent lacked links or routes.
    pub links: Duration,
    /// Messages that were late.
    pub late: usize,
    /// Messages that did not come.
    pub lost: usize,
    /// Whether it ended within [`HEALS_MAX`].
    pub healed: bool,
}

/// Looks at a mesh until it has healed from what happened at a moment. `from` is when the first
/// messages were sent that count: those that were on their way, or only later ones.
pub async fn healing(world: &World, from: Instant, since: Instant, scope: &Scope) -> Healing {
    let mut links = Duration::ZERO;
    loop {
        let looked = world.linked(scope, false).await;
        if looked.is_err() {
            links = since.elapsed();
        }
        let suffered = world.ledger.open().suffered(from, scope);
        let after = |moment: Option<Instant>| {
            moment.map_or(Duration::ZERO, |at| at.saturating_duration_since(since))
        };
        let messages = after(suffered.until);
        let now = since.elapsed();
        let quiet = now > messages + QUIET && now > links + LOOK * 2;
        if !quiet && now > HEALS_MAX {
            let of_late = Instant::now() - HEALS_MAX / 2;
            let told = world.ledger.open().told_apart(of_late, scope);
            progress(&format!("not healed: {looked:?}; {told}"));
        }
        if quiet || now > HEALS_MAX {
            if messages > Duration::ZERO {
                let told = world.ledger.open().last_held_up(from, since, scope);
                progress(&format!("held up or lost at last: {told}"));
            }
            return Healing {
                messages,
                sent: after(suffered.sent),
                links,
                late: suffered.late,
                lost: suffered.lost,
                healed: quiet,
            };
        }
        sleep(LOOK).await;
    }
}
