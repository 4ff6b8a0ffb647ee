//! From one hub to another while the first still serves: because it asks for that, or because the
//! agent returns to an address that it likes better.

use std::time::Duration;

use super::{Client, ClientTask, close, wait};
use crate::config::Config;
use crate::id::SocketId;
use crate::rng::unit;
use crate::signaling::conversation::Conversation;
use crate::time::Instant;

/// The longest time that a hub gives its agents to move; a longer one is taken for this. Nobody
/// drains a server for longer than an hour.
const MOVE_WITHIN_MAX: Duration = Duration::from_secs(3_600);

/// A move to another hub, while one serves.
#[derive(Debug)]
pub(super) struct Move {
    /// Whether the hub has asked for it; else the agent returns to an earlier address.
    pub(super) asked: bool,
    /// When it is dialled, and where.
    pub(super) dial_at: Instant,
    pub(super) hub: usize,
    pub(super) failures: u32,
    /// The connection that takes the place of the current one when it is admitted.
    pub(super) next: Option<Conversation>,
}

impl Move {
    pub(super) fn deadline(&self) -> Instant {
        let next = self.next.as_ref();
        next.map_or(self.dial_at, Conversation::deadline)
    }
}

impl Client {
    /// Away from its first address an agent tries to return, some time from now.
    pub(super) fn plan_return(&mut self, config: &Config, now: Instant) {
        let (min, max) = (config.signaling_return_min, config.signaling_return_max);
        self.moving = (self.hub > 0).then(|| Move {
            asked: false,
            dial_at: now + min + max.saturating_sub(min).mul_f64(unit(&mut self.rng)),
            hub: 0,
            failures: 0,
            next: None,
        });
    }

    /// The hub that serves is about to stop. All its agents move, each at a time of its own.
    pub(super) fn asked_to_move(&mut self, within: Duration, config: &Config, now: Instant) {
        let dial_at = now + within.min(MOVE_WITHIN_MAX).mul_f64(unit(&mut self.rng));
        match &mut self.moving {
            Some(moving) if moving.asked => {} // Told again.
            Some(moving) if moving.next.is_some() => moving.asked = true, // On its way back.
            _ => {
                self.moving = Some(Move {
                    asked: true,
                    dial_at,
                    hub: self.after(self.hub, config),
                    failures: 0,
                    next: None,
                });
            }
        }
    }

    /// The hub that serves has heard that this agent is at another, where it has just proven its
    /// identity: it goes on there. Returns whether it is so.
    pub(super) fn follow(&mut self, socket: SocketId) -> bool {
        let next = self.moving.as_ref().and_then(|moving| moving.next.as_ref());
        let follows = self.is_current(socket) && next.is_some_and(Conversation::is_proving);
        if follows {
            self.current = self.moving.take().and_then(|moving| moving.next);
        }
        follows
    }

    /// The hub that this agent was to move to does not admit it.
    pub(super) fn move_failed(&mut self, socket: SocketId, config: &Config, now: Instant) {
        let Some(moving) = &mut self.moving else {
            return;
        };
        if moving.next.take_if(|next| next.socket == socket).is_none() {
            return;
        }
        moving.dial_at = now + wait(moving.failures, config, &mut self.rng);
        moving.failures = moving.failures.saturating_add(1);
        let (asked, failed) = (moving.asked, moving.hub);
        if !asked && failed + 1 >= self.hub {
            self.plan_return(config, now); // None of the earlier ones admits it.
            return;
        }
        let hub = match asked {
            true => self.after(failed, config),
            false => failed + 1,
        };
        if let Some(moving) = &mut self.moving {
            moving.hub = hub;
        }
    }

    /// Dials the other hub when it is time, and gives it up when it does not answer.
    pub(super) fn poll_move(&mut self, config: &Config, now: Instant) -> Option<ClientTask> {
        let moving = self.moving.as_mut()?;
        if let Some(next) = &mut moving.next {
            next.poll(config, now)?; // It is not admitted yet, and so not pinged.
            let (socket, order) = (next.socket, close(next));
            self.move_failed(socket, config, now);
            return Some(ClientTask::GiveUp(order, None));
        }
        if moving.dial_at > now {
            return None;
        }
        let (hub, failures) = (moving.hub, moving.failures);
        let (next, order) = self.dial(hub, failures, config, now);
        if let Some(moving) = &mut self.moving {
            moving.next = Some(next);
        }
        Some(ClientTask::Order(order))
    }
}
