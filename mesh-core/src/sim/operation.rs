//! One thing that happens in a [`Scenario`](super::Scenario), as four bytes, whatever they are.

use std::time::Duration;

use super::World;
use super::scenario::{AGENTS_MAX, LIVING_MIN};
use crate::id::Target;
use crate::io::Channel;
use crate::payload::{Delivery, Payload};

/// One thing that happens. The numbers choose among what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    kind: u8,
    a: u8,
    b: u8,
    value: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Send,
    Broadcast,
    Wait,
    Join,
    Leave,
    Crash,
    Restart,
    Cut,
    HalfOpen,
    Block,
    Unblock,
    SlowDown,
    CrashHub,
    StartHub,
    ClockJump,
    Noise,
    Replay,
    Forge,
}

/// What an operation's kind chooses from: what stands twice happens twice as often.
const KINDS: [Kind; 32] = [
    Kind::Send,
    Kind::Send,
    Kind::Send,
    Kind::Send,
    Kind::Send,
    Kind::Send,
    Kind::Send,
    Kind::Broadcast,
    Kind::Broadcast,
    Kind::Wait,
    Kind::Wait,
    Kind::Wait,
    Kind::Wait,
    Kind::Join,
    Kind::Join,
    Kind::Leave,
    Kind::Crash,
    Kind::Crash,
    Kind::Restart,
    Kind::Cut,
    Kind::Cut,
    Kind::HalfOpen,
    Kind::Block,
    Kind::Unblock,
    Kind::SlowDown,
    Kind::CrashHub,
    Kind::StartHub,
    Kind::ClockJump,
    Kind::Noise,
    Kind::Replay,
    Kind::Forge,
    Kind::Forge,
];

impl Operation {
    /// Any four bytes are an operation.
    pub fn from_bytes([kind, a, b, value]: [u8; 4]) -> Self {
        Self { kind, a, b, value }
    }
}

impl Operation {
    pub(super) fn apply(self, world: &mut World) {
        let living = world.living();
        let a = living[usize::from(self.a) % living.len()];
        let b = living[usize::from(self.b) % living.len()];
        let value = u64::from(self.value);
        let enough = living.len() > LIVING_MIN;
        match KINDS[usize::from(self.kind) % KINDS.len()] {
            Kind::Send => self.send(world, a, b),
            Kind::Broadcast => {
                // Whoever has no link yet is told so.
                let payloads = self.payloads("all");
                let _ = world.send_together(a, Target::Room, payloads, Delivery::Reliable);
            }
            Kind::Wait => world.run_for(Duration::from_millis(20 * value)),
            Kind::Join if world.agents().len() < AGENTS_MAX => {
                world.start_agents(1);
            }
            Kind::Leave if enough => world.leave(a),
            Kind::Crash if enough => world.crash(a),
            Kind::Restart => {
                let dead = (0..world.agents().len()).filter(|i| !living.contains(i));
                let dead: Vec<_> = dead.collect();
                if let Some(&agent) = dead.get(usize::from(self.a) % dead.len().max(1)) {
                    world.restart(agent, Duration::from_millis(10 * value));
                }
            }
            Kind::Cut => world.cut(a, b),
            Kind::HalfOpen => world.half_open(a, b),
            Kind::Block => world.block(a, b),
            Kind::Unblock => world.unblock_all(),
            Kind::SlowDown => world.slow_down(a, b, Duration::from_millis(2 * value)),
            Kind::CrashHub if world.has_hub() => world.crash_hub(),
            Kind::StartHub if !world.has_hub() => world.start_hub(),
            Kind::ClockJump => {
                let by = Duration::from_millis(100 * value);
                world.set_clock(a, self.b.is_multiple_of(2), by);
            }
            Kind::Noise => {
                let noise = world.noise();
                world.send_raw(a, b, Channel::Data, noise);
            }
            Kind::Replay => {
                if let Some((channel, frame)) = world.recording() {
                    world.send_raw(a, b, channel, frame);
                }
            }
            Kind::Forge => {
                let victim = living[usize::from(self.value) % living.len()];
                let forged = world.forged_link_state(a, victim);
                world.send_raw(a, b, Channel::Control, forged);
            }
            Kind::Join | Kind::Leave | Kind::Crash | Kind::CrashHub | Kind::StartHub => {}
        }
    }

    fn send(self, world: &mut World, from: usize, to: usize) {
        let classes = [
            Delivery::Datagram,
            Delivery::Reliable,
            Delivery::Reliable,
            Delivery::Acknowledged,
        ];
        let delivery = classes[usize::from(self.value) % classes.len()];
        let target = Target::Peer(world.agents()[to].id());
        // Who is not known yet, or is oneself, cannot be sent to: the caller is told.
        let _ = world.send_together(from, target, self.payloads("one"), delivery);
    }

    /// One payload, or several that are sent in one turn.
    fn payloads(self, text: &str) -> Vec<Payload> {
        let counts = [1, 1, 2, 7];
        let count = counts[usize::from(self.value >> 2) % counts.len()];
        (0..count).map(|n| format!("{text} {n}").into()).collect()
    }
}
