//! When an agent's driver comes around: at once, or late.
//!
//! A driver that is late finds much at once: it hands over all that has come meanwhile before it
//! carries out an order, as the native and the browser's driver do.

use std::time::Duration;

use super::trace::Fault;
use super::{Happening, World};
use crate::io::Input;
use crate::rng::unit;
use crate::time::Instant;

/// How punctual a driver is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// It comes around at once.
    #[default]
    Punctual,
    /// On a busy machine: after whatever calls for it, as late as this at most.
    Late(Duration),
    /// In a tab in the background: inputs come at once, but timers only as often as this.
    Ticks(Duration),
}

impl Pace {
    /// When the timer of an agent fires that is due then.
    fn fires(self, agent: usize, due: Instant) -> Instant {
        let Self::Ticks(every) = self else {
            return due;
        };
        let every = u64::try_from(every.as_micros()).unwrap_or(u64::MAX).max(1);
        let offset = every / 16 * (agent as u64 % 16); // Tabs do not tick together.
        let ticks = due.as_micros().saturating_sub(offset).div_ceil(every);
        Instant::from_micros(ticks * every + offset)
    }
}

impl World {
    /// How punctual an agent's driver is from now on.
    pub fn set_pace(&mut self, agent: usize, pace: Pace) {
        self.record(Fault::Pace, agent);
        let sim = &mut self.agents[agent];
        sim.pace = pace;
        sim.was_late |= pace != Pace::Punctual;
        self.after_call(agent);
    }

    /// The agent's driver comes around in so long, and not before.
    pub fn stall(&mut self, agent: usize, by: Duration) {
        self.record(Fault::Stall, agent);
        self.agents[agent].was_late = true;
        self.plan_turn(agent, self.now + by);
    }

    /// All drivers are punctual, and see to what has come.
    pub(super) fn catch_up(&mut self) {
        for agent in self.living() {
            self.agents[agent].pace = Pace::Punctual;
            if self.agents[agent].turn_at.is_some() {
                self.turn(agent);
            }
        }
    }

    /// Something has come for an agent.
    pub(super) fn reach(&mut self, agent: usize, input: Input) {
        let sim = &mut self.agents[agent];
        if !sim.frozen && sim.turn_at.is_none() && sim.pace == Pace::Punctual {
            return self.handle(agent, input);
        }
        sim.held.push(input);
        if !sim.frozen {
            self.after_call(agent);
        }
    }

    /// Its driver was called for.
    pub(super) fn after_call(&mut self, agent: usize) {
        let sim = &self.agents[agent];
        if sim.turn_at.is_some() {
            return;
        }
        match sim.pace {
            Pace::Punctual => self.drain(agent),
            Pace::Ticks(_) => self.turn(agent),
            Pace::Late(most) => {
                let late = most.mul_f64(unit(&mut self.rng));
                self.plan_turn(agent, self.now + late);
            }
        }
    }

    fn plan_turn(&mut self, agent: usize, at: Instant) {
        let sim = &mut self.agents[agent];
        if sim.turn_at.is_none_or(|planned| planned < at) {
            sim.turn_at = Some(at);
            let life = sim.life;
            self.queue_at(at, Happening::Turn { agent, life });
        }
    }

    /// A planned turn of the driver, unless it stalls by now.
    pub(super) fn planned_turn(&mut self, agent: usize, life: u32) {
        let sim = &self.agents[agent];
        if sim.life == life && sim.turn_at == Some(self.now) {
            self.turn(agent);
        }
    }

    /// One turn of the driver's loop: inputs, timers, orders.
    fn turn(&mut self, agent: usize) {
        let now = self.now;
        self.agents[agent].turn_at = None;
        if self.agents[agent].frozen {
            return;
        }
        for input in std::mem::take(&mut self.agents[agent].held) {
            if self.agents[agent].mesh.wants_drain() {
                self.drain(agent);
            }
            self.hand_over(agent, input);
        }
        let mesh = &mut self.agents[agent].mesh;
        if mesh.poll_timeout().is_some_and(|(at, _)| at <= now) {
            mesh.handle_timeout(now);
            self.drain(agent);
            self.check_timer(agent);
        } else {
            self.drain(agent);
        }
    }

    /// When to wake an agent whose timer is due then.
    pub(super) fn wake_time(&self, agent: usize, due: Instant) -> Instant {
        self.agents[agent].pace.fires(agent, due.max(self.now))
    }
}

#[cfg(test)]
mod tests {
    use super::super::WorldConfig;
    use super::*;
    use crate::id::Target;
    use crate::payload::Delivery;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_tick_is_the_first_at_or_after_what_is_due() {
        let at = |ms: u64| Instant::from_micros(1_000 * ms);
        let ticks = Pace::Ticks(SECOND);
        for (agent, due, fires) in [(0, 2_000, 2_000), (0, 2_001, 3_000), (8, 2_001, 2_500)] {
            assert_eq!(ticks.fires(agent, at(due)), at(fires), "{due}");
        }
        assert_eq!(Pace::Late(SECOND).fires(0, at(2_001)), at(2_001));
    }

    #[test]
    fn a_stalled_driver_gets_all_at_once_and_orders_nothing_before() {
        let mut world = World::formed(2, None, 3);
        world.run_for(SECOND * 10);
        let is_due_soon = |world: &World| {
            let next = world.agents[0].mesh.poll_timeout();
            next.is_some_and(|(at, _)| at.since(world.now) < SECOND)
        };
        assert!(world.run_until(SECOND * 10, is_due_soon));
        world.stall(0, SECOND * 2);
        let sent = |world: &World| world.agents[0].mesh.stats().frames_out;
        let before = sent(&world);
        let ids = [(0, 1), (1, 0), (2, 0)].map(|(from, to)| {
            let to = Target::Peer(world.agents[to].id());
            let id = world.send(from, to, "x".into(), Delivery::Reliable);
            id.expect("sent")
        });
        world.run_for(Duration::from_millis(1_999));
        assert_eq!(sent(&world), before);
        assert!(world.agents[0].held.len() >= 2);
        world.run_for(Duration::from_millis(1));
        assert!(world.agents[0].held.is_empty() && sent(&world) > before);
        assert!(ids[1..].iter().all(|id| world.agents[0].has_received(id)));
        world.run_for(Duration::from_millis(50));
        assert!(world.agents[1].has_received(&ids[0]));
        assert!(world.agents[0].mesh.seems_late());
    }

    #[test]
    fn late_drivers_are_taken_for_late_and_not_for_stopped() {
        for pace in [Pace::Late(SECOND * 4), Pace::Ticks(SECOND)] {
            let mut world = World::new(WorldConfig::new(2));
            world.start_agents(4);
            assert!(world.run_until(SECOND * 20, World::is_converged));
            world.set_pace(2, pace);
            let mut seemed_late = false;
            for _ in 0..200 {
                world.run_for(Duration::from_millis(100));
                seemed_late |= world.agents[2].mesh.seems_late();
            }
            assert!(seemed_late, "{pace:?}");
            world.catch_up();
            assert!(world.agents[2].held.is_empty());
        }
    }
}
