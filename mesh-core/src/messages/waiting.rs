//! What this agent sends while no way leads to the target, until one does or the deadline passes:
//! just after joining, while the mesh heals, and replies to an agent that is not yet known to all.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::forwarding::Stuck;
use super::{Messages, Net};
use crate::config::Config;
use crate::error::LossReason;
use crate::id::{PeerId, Target};
use crate::io::{Channel, Output};
use crate::time::Instant;
use crate::timeout::TimeoutReason;
use crate::wire::{ClearHeader, Envelope, Kind};

/// Envelopes that wait for a way, in the order of sending.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    by_target: BTreeMap<Target, VecDeque<Waits>>,
    count: usize,
    bytes: usize,
    /// Some wait for room in a queue rather than for a route.
    for_room: bool,
}

#[derive(Debug)]
struct Waits {
    envelope: Envelope,
    channel: Channel,
    until: Instant,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Whether more would be more than the queue of one link may hold.
    pub(super) fn is_full(&self, config: &Config) -> bool {
        self.count >= config.link_queue_max || self.bytes >= config.link_queue_bytes_max
    }

    /// Whether nothing more may wait, whatever it is: what callers are not held up for, receipts
    /// and what a dead link held, has as much room again.
    fn overflows(&self, config: &Config) -> bool {
        self.count >= config.link_queue_max * 2 || self.bytes >= config.link_queue_bytes_max * 2
    }

    /// Whether something waits for a target: what follows has to queue behind it.
    pub(super) fn holds(&self, target: Target) -> bool {
        self.by_target.contains_key(&target)
    }

    fn deadline(&self) -> Option<Instant> {
        let queues = self.by_target.values().flatten();
        queues.map(|waits| waits.until).min()
    }

    fn push_back(&mut self, waits: Waits) {
        self.count(&waits);
        let queue = self.by_target.entry(waits.envelope.target).or_default();
        queue.push_back(waits);
    }

    fn push_front(&mut self, waits: Waits) {
        self.count(&waits);
        let queue = self.by_target.entry(waits.envelope.target).or_default();
        queue.push_front(waits);
    }

    fn count(&mut self, waits: &Waits) {
        self.count += 1;
        self.bytes += waits.envelope.signed.body_len();
    }

    fn uncount(&mut self, waits: &Waits) {
        self.count -= 1;
        self.bytes -= waits.envelope.signed.body_len();
    }

    fn pop(&mut self, target: Target) -> Option<Waits> {
        let queue = self.by_target.get_mut(&target)?;
        let waits = queue.pop_front();
        if queue.is_empty() {
            self.by_target.remove(&target);
        }
        self.uncount(waits.as_ref()?);
        waits
    }

    fn take_overdue(&mut self, now: Instant) -> Vec<Envelope> {
        let mut overdue = Vec::new();
        for queue in self.by_target.values_mut() {
            let (late, rest) = std::mem::take(queue)
                .into_iter()
                .partition(|waits| waits.until <= now);
            *queue = rest;
            overdue.extend::<VecDeque<Waits>>(late);
        }
        self.by_target.retain(|_, queue| !queue.is_empty());
        overdue.iter().for_each(|waits| self.uncount(waits));
        overdue.into_iter().map(|waits| waits.envelope).collect()
    }

    /// Everything, when the agent leaves.
    pub(super) fn take_all(&mut self) -> Vec<Envelope> {
        let all = std::mem::take(self).by_target.into_values().flatten();
        all.map(|waits| waits.envelope).collect()
    }
}

impl Messages {
    /// Sends what answers a message over the neighbour that brought it, if that has room, or over
    /// whatever way there is within the usual deadline.
    pub(super) fn send_back(
        &mut self,
        answer: Envelope,
        channel: Channel,
        brought: Option<PeerId>,
        net: &mut Net<'_>,
    ) {
        let back = brought.filter(|&peer| net.takes_data(peer));
        let patience = net.cx.config.deadline;
        self.dispatch(answer, channel, back, patience, net);
    }

    /// Sends an envelope of this agent over `next`, if that neighbour has room for it, or over
    /// whatever way there is; or has it wait so long for one.
    pub(super) fn dispatch(
        &mut self,
        envelope: Envelope,
        channel: Channel,
        next: Option<PeerId>,
        patience: Duration,
        net: &mut Net<'_>,
    ) {
        let target = envelope.target;
        let until = net.cx.now + patience;
        if self.waiting.holds(target) {
            return self.wait(envelope, channel, until, net);
        }
        if let Err(stuck) = self.send_off(envelope, channel, next, net) {
            let (reason, envelope) = *stuck;
            self.waiting.for_room |= reason == LossReason::QueueFull;
            self.wait(envelope, channel, until, net);
        }
    }

    fn wait(&mut self, envelope: Envelope, channel: Channel, until: Instant, net: &mut Net<'_>) {
        if self.waiting.overflows(&net.cx.config) {
            return self.undeliverable(&envelope, LossReason::QueueFull, net);
        }
        if until <= net.cx.now {
            // The driver was so late that none of its time is left.
            return self.undeliverable(&envelope, LossReason::NoRoute, net);
        }
        self.waiting.push_back(Waits {
            envelope,
            channel,
            until,
        });
        self.timers.arm(TimeoutReason::Waiting, until);
    }

    /// A message of another agent cannot be passed on. A notice waits for a way.
    pub(super) fn stranded(&mut self, envelope: Envelope, reason: LossReason, net: &mut Net<'_>) {
        let header = envelope.signed.peek::<ClearHeader>();
        let is_notice = header.is_some_and(|header| header.kind == Kind::Undelivered);
        let stuck = match is_notice {
            true => self.keep_notice(envelope, net),
            false => Some(envelope),
        };
        if let Some(envelope) = stuck {
            self.undeliverable(&envelope, reason, net);
        }
    }

    fn send_off(
        &mut self,
        envelope: Envelope,
        channel: Channel,
        next: Option<PeerId>,
        net: &mut Net<'_>,
    ) -> Result<(), Stuck> {
        if envelope.target == Target::Room {
            if !net.has_way_to_room() {
                return Err(Box::new((LossReason::NoRoute, envelope)));
            }
            self.pass_on(envelope, None, net);
            return Ok(());
        }
        match next.filter(|&peer| net.links.open_to(peer).is_some()) {
            Some(peer) => net.hand_to(peer, envelope, channel),
            None => net.forward(envelope, channel, None),
        }
    }

    /// There is another way, or room: sends what can be sent now, in order.
    pub(crate) fn flush_waiting(&mut self, net: &mut Net<'_>) {
        if self.waiting.is_empty() {
            return;
        }
        self.waiting.for_room = false;
        let targets: Vec<_> = self.waiting.by_target.keys().copied().collect();
        for target in targets {
            while let Some(waits) = self.waiting.pop(target) {
                let sent = self.send_off(waits.envelope, waits.channel, None, net);
                let Err(stuck) = sent else {
                    continue;
                };
                let (reason, envelope) = *stuck;
                self.waiting.for_room |= reason == LossReason::QueueFull;
                self.waiting.push_front(Waits { envelope, ..waits });
                break;
            }
        }
    }

    /// Gives up what has waited in vain.
    pub(crate) fn expire_waiting(&mut self, net: &mut Net<'_>) {
        for envelope in self.waiting.take_overdue(net.cx.now) {
            self.undeliverable(&envelope, LossReason::NoRoute, net);
        }
        if let Some(at) = self.waiting.deadline() {
            self.timers.arm(TimeoutReason::Waiting, at);
        }
        self.pass_notices(net);
        self.notify_writable(net);
    }

    /// There may be room again: sends what waits for it, and wakes callers that were told to wait;
    /// those for which it is too early ask again.
    pub(crate) fn notify_writable(&mut self, net: &mut Net<'_>) {
        if self.waiting.for_room {
            self.flush_waiting(net);
        }
        if std::mem::take(&mut self.backpressured) {
            net.cx.order(Output::Writable);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::error::LossReason;
    use crate::id::{MessageId, Target};
    use crate::io::{Channel, Event};
    use crate::messages::tests::just_joined;
    use crate::payload::Delivery;
    use crate::sim::{World, WorldConfig};
    use crate::wire::Content;

    const SECOND: Duration = Duration::from_secs(1);

    fn failures(world: &World, id: MessageId) -> Vec<LossReason> {
        let events = world.agents()[0].events().iter();
        let failed = events.filter_map(|event| match event {
            Event::DeliveryFailed {
                id: failed, reason, ..
            } if *failed == id => Some(*reason),
            _ => None,
        });
        failed.collect()
    }

    #[test]
    fn messages_sent_before_there_is_a_link_leave_with_the_first_in_order() {
        for delivery in [
            Delivery::Reliable,
            Delivery::Acknowledged,
            Delivery::Datagram,
        ] {
            let mut world = just_joined(3);
            let to = Target::Peer(world.agents()[1].id());
            for n in 0..20 {
                let sent = world.send(0, to, format!("{n}").into(), delivery);
                sent.expect("it waits");
            }
            world
                .send(0, Target::Room, "all".into(), delivery)
                .expect("it waits");
            world.run_for(SECOND * 2);
            let received = world.agents()[1].received().iter();
            let direct = received.filter(|message| message.topic.is_none());
            let texts: Vec<_> = direct.map(|message| message.payload.clone()).collect();
            let expected: Vec<_> = (0..20).map(|n| format!("{n}").into()).collect();
            assert_eq!(texts, expected, "{delivery:?}");
            for other in &world.agents()[1..] {
                let all = other
                    .received()
                    .iter()
                    .filter(|m| m.topic.is_some())
                    .count();
                assert_eq!(all, 1, "{delivery:?}");
            }
        }
    }

    #[test]
    fn a_request_sent_before_there_is_a_link_is_answered_as_soon_as_there_is_one() {
        let mut world = just_joined(2);
        let to = world.agents()[1].id();
        let asked = world.command(0, |mesh, now| mesh.request(to, "?".into(), None, now));
        let asked = asked.expect("it waits");
        world.sent_elsewhere(asked, "?");
        let linked = |world: &World| world.agents()[0].mesh().open_peers().next().is_some();
        assert!(world.run_until(SECOND, linked));
        world.run_for(Duration::from_millis(100));
        assert!(world.agents()[1].has_received(&asked), "no retry is needed");
        let answered = world.command(1, |mesh, now| mesh.reply(asked, "!".into(), now));
        answered.expect("known");
        world.run_for(Duration::from_millis(100));
        let replied = |event: &Event| matches!(event, Event::Replied { id, .. } if *id == asked);
        assert!(world.agents()[0].events().iter().any(replied));
    }

    #[test]
    fn what_finds_no_way_until_its_deadline_fails_once() {
        let mut world = just_joined(3);
        world.connect_only_through(Some(2));
        world.crash(2);
        let to = Target::Peer(world.agents()[1].id());
        let ids = [
            Delivery::Reliable,
            Delivery::Acknowledged,
            Delivery::Datagram,
        ]
        .map(|kind| {
            let sent = world.send(0, to, "lost".into(), kind);
            sent.expect("it waits")
        });
        let all = world.send(0, Target::Room, "lost".into(), Delivery::Reliable);
        let all = all.expect("it waits");
        world.run_for(SECOND * 4);
        for id in ids.iter().chain([&all]) {
            assert!(failures(&world, *id).is_empty(), "its time is not up");
        }
        world.run_for(SECOND * 20);
        let reasons = ids.map(|id| failures(&world, id));
        let no_route = vec![LossReason::NoRoute];
        assert_eq!(
            reasons,
            [
                no_route.clone(),
                vec![LossReason::Deadline],
                no_route.clone()
            ]
        );
        assert_eq!(failures(&world, all), no_route);
    }

    #[test]
    fn callers_are_told_to_wait_when_much_waits_and_woken_when_it_has_left() {
        let mut world = just_joined(2);
        let to = Target::Peer(world.agents()[1].id());
        let max = world.agents()[0].mesh().config().link_queue_max;
        let mut sent = 0;
        let refused = loop {
            match world.send(0, to, "x".into(), Delivery::Datagram) {
                Ok(_) => sent += 1,
                Err(error) => break error,
            }
        };
        assert_eq!((sent, refused), (max, crate::SendError::Backpressure));
        let woken = |world: &World| world.agents()[0].writable > 0;
        assert!(world.run_until(SECOND * 2, woken));
        world
            .send(0, to, "x".into(), Delivery::Datagram)
            .expect("room");
    }

    #[test]
    fn what_callers_are_not_held_up_for_is_bounded_too() {
        let mut world = just_joined(2);
        let to = Target::Peer(world.agents()[1].id());
        let max = world.agents()[0].mesh().config().link_queue_max;
        let waiting = world.command(0, |mesh, _| {
            mesh.with_net(|messages, net| {
                for sequence in 0..max as u64 * 3 {
                    let message = (1, sequence);
                    let receipt = messages.sign(to, Content::Receipt { message, count: 1 }, net);
                    messages.dispatch(receipt, Channel::Data, None, SECOND, net);
                }
                messages.waiting_len()
            })
        });
        assert_eq!(waiting, max * 2);
    }

    #[test]
    fn an_agent_is_ready_with_its_first_link_or_alone() {
        let mut world = World::new(WorldConfig::new(5));
        world.start_agents(1);
        let ready = |world: &mut World, agent| world.mesh_mut(agent).ready();
        assert!(ready(&mut world, 0).is_err(), "not admitted yet");
        world.run_for(SECOND);
        assert_eq!(ready(&mut world, 0), Ok(()), "alone");
        world.start_agents(1);
        world.run_until(SECOND, |world| world.agents()[1].mesh().members() == 1);
        assert!(ready(&mut world, 1).is_err(), "no link yet");
        assert!(world.run_until(SECOND, |world| world.agents()[1].writable > 0));
        assert_eq!(ready(&mut world, 1), Ok(()));
    }
}
