//! One thing that happens in a [`Scenario`](super::Scenario), as four bytes, whatever they are.

use std::time::Duration;

use super::scenario::{AGENTS_MAX, LIVING_MIN};
use super::{Pace, World};
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
    Late,
    Ticks,
    Punctual,
    Stall,
    Narrow,
    Bulk,
    Lose,
    ConnectSlowly,
    AnswerSlowly,
    WaitLong,
    BlockDirect,
    UnblockDirect,
    TurnAway,
    TurnBack,
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

/// What else it chooses from in a rough world, beside these.
const ROUGH: [Kind; 16] = [
    Kind::Late,
    Kind::Late,
    Kind::Late,
    Kind::Ticks,
    Kind::Punctual,
    Kind::Stall,
    Kind::Narrow,
    Kind::Narrow,
    Kind::Narrow,
    Kind::Bulk,
    Kind::Bulk,
    Kind::Lose,
    Kind::ConnectSlowly,
    Kind::AnswerSlowly,
    Kind::WaitLong,
    Kind::WaitLong,
];

/// What else it chooses from in a world with a TURN server, beside those of any world.
const RELAYED: [Kind; 16] = [
    Kind::BlockDirect,
    Kind::BlockDirect,
    Kind::BlockDirect,
    Kind::BlockDirect,
    Kind::BlockDirect,
    Kind::BlockDirect,
    Kind::UnblockDirect,
    Kind::UnblockDirect,
    Kind::TurnAway,
    Kind::TurnAway,
    Kind::TurnBack,
    Kind::TurnBack,
    Kind::WaitLong,
    Kind::WaitLong,
    Kind::WaitLong,
    Kind::WaitLong,
];

/// How late a driver may be, in milliseconds: short of what it is taken for stopped for.
const LATE_MS: [u64; 5] = [50, 250, 1_000, 2_500, 4_500];

/// Bytes a second that a narrow connection carries.
const BANDWIDTHS: [Option<u32>; 6] = [
    Some(4_000),
    Some(6_000),
    Some(8_000),
    Some(16_000),
    Some(64_000),
    None,
];

/// Shares of signals that get lost.
const LOSSES: [f64; 4] = [0.0, 0.1, 0.3, 0.6];

/// How much longer connections may take, in milliseconds: as long as an unanswered offer is waited
/// for, as long as an answered one, and twice as long, and a little less or more than each.
const CONNECTING_MS: [u64; 8] = [0, 2_900, 3_100, 6_000, 9_700, 10_300, 19_500, 20_500];

/// How much later answers may come, in milliseconds: around the same.
const ANSWERING_MS: [u64; 8] = [0, 1_000, 2_900, 3_100, 4_100, 6_100, 9_900, 10_100];

impl Operation {
    /// Any four bytes are an operation.
    pub fn from_bytes([kind, a, b, value]: [u8; 4]) -> Self {
        Self { kind, a, b, value }
    }

    fn kind(self, world: &World) -> Kind {
        let more: &[Kind] = match (&world.config.rough, world.config.turn) {
            (Some(_), _) => &ROUGH,
            (None, true) => &RELAYED,
            (None, false) => &[],
        };
        let kind = usize::from(self.kind) % (KINDS.len() + more.len());
        *KINDS.get(kind).unwrap_or_else(|| &more[kind - KINDS.len()])
    }

    fn choose<T: Copy>(self, among: &[T]) -> T {
        among[usize::from(self.value) % among.len()]
    }

    pub(super) fn apply(self, world: &mut World) {
        let living = world.living();
        let a = living[usize::from(self.a) % living.len()];
        let b = living[usize::from(self.b) % living.len()];
        let value = u64::from(self.value);
        let enough = living.len() > LIVING_MIN;
        match self.kind(world) {
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
            other => self.apply_special(other, world, (a, b), &living),
        }
    }

    /// What happens only in rough worlds, or in those with a TURN server.
    fn apply_special(
        self,
        kind: Kind,
        world: &mut World,
        (a, b): (usize, usize),
        living: &[usize],
    ) {
        let value = u64::from(self.value);
        match kind {
            Kind::Late => {
                let most = Duration::from_millis(self.choose(&LATE_MS));
                world.set_pace(a, Pace::Late(most));
            }
            Kind::Ticks => {
                let every = if value.is_multiple_of(8) { 60 } else { 1 };
                world.set_pace(a, Pace::Ticks(Duration::from_secs(every)));
            }
            Kind::Punctual => world.set_pace(a, Pace::Punctual),
            Kind::Stall => world.stall(a, Duration::from_millis(200 * value)),
            Kind::Narrow => {
                let others = if self.b.is_multiple_of(2) {
                    living.to_vec() // What its whole machine shares.
                } else {
                    vec![b]
                };
                let bandwidth = self.choose(&BANDWIDTHS);
                others
                    .into_iter()
                    .for_each(|other| world.narrow(a, other, bandwidth));
            }
            Kind::Bulk => self.bulk(world, a, b),
            Kind::Lose => {
                let loss = self.choose(&LOSSES);
                world.roughen(|rough| rough.loss = loss);
            }
            Kind::ConnectSlowly => {
                let by = Duration::from_millis(self.choose(&CONNECTING_MS));
                world.roughen(|rough| rough.connecting = by);
            }
            Kind::AnswerSlowly => {
                let by = Duration::from_millis(self.choose(&ANSWERING_MS));
                world.roughen(|rough| rough.answering = by);
            }
            Kind::BlockDirect if a != b => world.block_direct(a, b, true),
            Kind::UnblockDirect => {
                let nth = usize::from(self.value) % world.blocked.len().max(1);
                if let Some(&(one, other)) = world.blocked.iter().nth(nth) {
                    world.block_direct(one, other, false);
                }
            }
            Kind::TurnAway => world.set_turn_away(true),
            Kind::TurnBack => world.set_turn_away(false),
            Kind::WaitLong => world.run_for(Duration::from_millis(100 * value)),
            _ => {}
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

    /// As much as a narrow link is busy with for a while.
    fn bulk(self, world: &mut World, from: usize, to: usize) {
        let target = Target::Peer(world.agents()[to].id());
        let bytes = 500 + 8 * usize::from(self.value);
        let payloads = vec!["x".repeat(bytes).into(); 8 + usize::from(self.value % 32)];
        let _ = world.send_together(from, target, payloads, Delivery::Reliable);
    }

    /// One payload, or several that are sent in one turn.
    fn payloads(self, text: &str) -> Vec<Payload> {
        let counts = [1, 1, 2, 7];
        let count = counts[usize::from(self.value >> 2) % counts.len()];
        (0..count).map(|n| format!("{text} {n}").into()).collect()
    }
}
