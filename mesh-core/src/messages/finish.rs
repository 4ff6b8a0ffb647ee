//! What is still under way when an agent is about to leave.

use super::{Messages, Net};
use crate::error::LossReason;
use crate::id::{LinkId, Target};
use crate::wire::{Envelope, Record};

impl Messages {
    /// How many messages of this agent are under way: no next hop has acknowledged them, or they
    /// still wait for their receipts and replies. Asks neighbours for what they owe: an
    /// acknowledgement may be put off, but rides along with the answer to a ping.
    pub(crate) fn finish(&mut self, net: &mut Net<'_>) -> usize {
        self.sign_all(net);
        let this = net.cx.this;
        let own = |envelope: &&Envelope| envelope.signed.claimed_author() == this;
        let mut owing: Vec<LinkId> = Vec::new();
        let mut held = 0;
        for link in net.links.connections() {
            let queue = link.queue.unacknowledged();
            let messages: usize = queue.filter(own).map(Envelope::messages).sum();
            if messages > 0 {
                owing.push(link.id);
                held += messages;
            }
        }
        for link in owing {
            // Its pong is taken for a sign of life like any frame, and measures nothing.
            net.links.queue_control(link, &Record::Ping { nonce: 0 });
        }
        held + self.pending.len()
            + self.waiting.len()
            + self.streams.unsettled()
            + self.large.sending_len()
            + self.questions.len()
    }

    /// The agent leaves: sends what can be sent, and gives up the rest.
    pub(crate) fn leave(&mut self, net: &mut Net<'_>) {
        self.sign_all(net);
        self.fail_pending(net);
        for link in net.links.ids() {
            net.links.flush(link, net.cx);
            self.fail_held(link, net);
        }
        self.timers.clear();
    }

    /// Gives up what a link holds as this agent leaves: what was not sent is lost, and of what the
    /// other end did not acknowledge it is not known whether it arrived.
    fn fail_held(&mut self, link: LinkId, net: &mut Net<'_>) {
        let Some(link) = net.links.get(link) else {
            return;
        };
        let held: Vec<Envelope> = link.queue.unacknowledged().cloned().collect();
        let sent = held.len() - link.queue.unsent().count();
        for (number, envelope) in held.iter().enumerate() {
            let is_own = envelope.signed.claimed_author() == net.cx.this;
            // Of a broadcast other copies have left.
            if is_own && (number >= sent || envelope.target != Target::Room) {
                self.undeliverable(envelope, LossReason::Left, net);
            } else if !is_own && number >= sent {
                (0..envelope.messages()).for_each(|_| net.cx.stats.lose(LossReason::Left));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::payload::Delivery;
    use crate::sim::World;
    use crate::{Event, Mesh};

    fn failures(world: &World) -> usize {
        let events = world.agents()[0].events().iter();
        events
            .filter(|event| matches!(event, Event::DeliveryFailed { .. }))
            .count()
    }

    #[test]
    fn what_is_under_way_is_acknowledged_at_once_when_asked() {
        let mut world = World::formed(3, None, 2);
        world.run_for(Duration::from_secs(5));
        for delivery in [Delivery::Reliable, Delivery::Acknowledged] {
            let to = Target::Peer(world.agents()[1].id());
            world.send(0, to, "hello".into(), delivery).expect("sent");
            assert!(
                world.command(0, |mesh, _| mesh.finish()) > 0,
                "{delivery:?}"
            );
            let mut finished = false;
            // Ten looks of 50 ms; an acknowledgement is put off for 1.5 s otherwise.
            for _ in 0..10 {
                world.run_for(Duration::from_millis(50));
                finished |= world.command(0, |mesh, _| mesh.finish()) == 0;
            }
            assert!(finished, "{delivery:?}");
        }
        world.command(0, Mesh::leave);
        world.run_for(Duration::from_secs(1));
        assert_eq!(failures(&world), 0);
    }

    #[test]
    fn who_leaves_is_told_once_of_each_message_that_may_not_have_arrived() {
        let mut world = World::formed(3, None, 2);
        world.run_for(Duration::from_secs(5));
        world.crash(1);
        for delivery in [
            Delivery::Reliable,
            Delivery::Acknowledged,
            Delivery::Datagram,
        ] {
            let to = Target::Peer(world.agents()[1].id());
            world.send(0, to, "hello".into(), delivery).expect("sent");
        }
        world.run_for(Duration::from_millis(100));
        world.command(0, Mesh::leave);
        world.run_for(Duration::from_secs(1));
        assert_eq!(failures(&world), 2);
    }
}
