//! What the application sends, until it is signed: a signature costs more than all else about a
//! message, so what goes to the same target in one turn of the loop shares one. Where answers are
//! late, acknowledged messages wait for each other a little longer (see `Lateness`).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use super::replies::ReplyDrafts;
use super::{Messages, Net};
use crate::config::PAYLOAD_BYTES_MAX;
use crate::id::{MessageId, PeerId, Target};
use crate::io::Channel;
use crate::payload::Delivery;
use crate::time::Instant;
use crate::timeout::TimeoutReason;
use crate::wire::{Content, Data, Envelope, ITEMS_MAX, MessageHeader};

/// Bytes of unsigned messages at which all are signed: the queue of a link may hold this much
/// beyond its limit once they are. A loop's turn seldom has more, and each signature covers a frame
/// at most.
const DRAFTED_BYTES_MAX: usize = 256 << 10;

/// Bytes that an item takes on the wire beside its topic and payload, at most: two lengths and a
/// kind.
const ITEM_OVERHEAD: usize = 8;

/// Of the time that a message has, it waits one such part for others at most: enough is left for
/// its way, and for a second copy.
const GATHERING_SHARE: u32 = 8;

const _: () = assert!(
    PAYLOAD_BYTES_MAX < DRAFTED_BYTES_MAX,
    "some of the largest are drafted"
);

/// Messages that are numbered and not signed yet.
#[derive(Debug, Default)]
pub(super) struct Drafts {
    by_target: BTreeMap<Target, Draft>,
    bytes: usize,
    /// When the first of them are to be signed, or earlier.
    due_at: Option<Instant>,
    pub(super) replies: ReplyDrafts,
}

impl Drafts {
    /// Whether a message of this agent has not left yet.
    pub(super) fn hold(&self, id: &MessageId) -> bool {
        self.by_target.get(&id.target).is_some_and(|draft| {
            let number = id.sequence.checked_sub(draft.header.sequence);
            let is_one = number.is_some_and(|number| number < draft.data.items.len() as u64);
            is_one && draft.header.incarnation == id.incarnation
        })
    }
}

/// Messages to one target, numbered one after another.
#[derive(Debug)]
struct Draft {
    header: MessageHeader,
    data: Data,
    bytes: usize,
    /// The neighbour that had room for them.
    next: Option<PeerId>,
    /// How long they wait for a way if there is none.
    patience: Duration,
    /// When that is over for the first.
    until: Instant,
    /// When they are signed: as this turn of the loop ends, or later.
    due: Instant,
}

impl Draft {
    /// Whether one signature can cover this message too.
    fn takes(&self, id: MessageId, data: &Data, patience: Duration) -> bool {
        let (ours, count) = (&self.data, self.data.items.len());
        // What may get lost shall not take others along.
        ours.delivery != Delivery::Datagram
            && (ours.delivery, ours.wants_reply) == (data.delivery, data.wants_reply)
            && ours.is_ordered() == data.is_ordered()
            && id == self.header.after(count).id(id.author)
            && self.patience == patience
            && count < ITEMS_MAX
            && self.bytes + size_of(data) <= PAYLOAD_BYTES_MAX
    }
}

/// What messages take on the wire, at most.
fn size_of(data: &Data) -> usize {
    let items = data.items.iter();
    items
        .map(|item| item.topic.len() + item.payload.len() + ITEM_OVERHEAD)
        .sum()
}

impl Messages {
    /// Numbers and dates a message, and has it sent before this turn of the loop ends, or a little
    /// later: over `next`, if that neighbour had room for it. Without a way it waits for one, so
    /// long.
    pub(super) fn draft(
        &mut self,
        target: Target,
        data: Data,
        next: Option<PeerId>,
        patience: Duration,
        net: &mut Net<'_>,
    ) -> MessageId {
        let header = self.next_header(target, net);
        self.draft_as(header, data, next, patience, net)
    }

    /// As [`Messages::draft`], for a message that has its number.
    pub(super) fn draft_as(
        &mut self,
        header: MessageHeader,
        data: Data,
        next: Option<PeerId>,
        patience: Duration,
        net: &mut Net<'_>,
    ) -> MessageId {
        let target = header.target;
        let id = header.id(net.cx.this);
        if let (Target::Peer(to), Delivery::Reliable) = (target, data.delivery) {
            self.outcomes.open(to, id.sequence);
        }
        let now = net.cx.now;
        let due = now + self.gathering(header, &data, next, patience, net);
        let bytes = size_of(&data);
        let draft = self.drafts.by_target.get(&target);
        if draft.is_some_and(|draft| !draft.takes(id, &data, patience)) {
            self.sign_draft(target, net);
        }
        match self.drafts.by_target.entry(target) {
            Entry::Occupied(draft) => {
                let draft = draft.into_mut();
                draft.data.items.extend(data.items);
                if let (Some(place), Some(more)) = (&mut draft.data.place, data.place) {
                    place.asks |= more.asks;
                }
                draft.bytes += bytes;
                draft.next = next;
            }
            Entry::Vacant(none) => {
                none.insert(Draft {
                    header,
                    data,
                    bytes,
                    next,
                    patience,
                    until: now + patience,
                    due,
                });
                self.drafts.due_at = self.drafts.due_at.into_iter().chain([due]).min();
            }
        }
        self.drafts.bytes += bytes;
        if self.drafts.bytes >= DRAFTED_BYTES_MAX {
            self.sign_all(net);
        }
        id
    }

    /// How long a message waits for others to the same target: not at all unless answers of the
    /// target are late and one is awaited, and a small part of the message's time. Answers that are
    /// late for the target's application make it wait a round trip of the link at most. A driver
    /// whose timers are late would have it wait longer.
    fn gathering(
        &self,
        header: MessageHeader,
        data: &Data,
        next: Option<PeerId>,
        patience: Duration,
        net: &Net<'_>,
    ) -> Duration {
        let (Target::Peer(to), Delivery::Acknowledged) = (header.target, data.delivery) else {
            return Duration::ZERO;
        };
        let wait = self.streams.gathering(to);
        if wait.is_zero() {
            return wait;
        }
        let link = next.and_then(|next| net.links.answers_within(next));
        let wait = wait.min(link.unwrap_or_default() / 2);
        let wait = wait.min(patience / GATHERING_SHARE);
        let id = header.id(net.cx.this);
        let first = MessageId { sequence: 0, ..id };
        let awaits_another = self.pending.range(first..id).next().is_some();
        match awaits_another && net.cx.lag() <= wait {
            true => wait,
            false => Duration::ZERO,
        }
    }

    /// Signs and sends what is due as a turn of the loop ends: it is on its way from now on,
    /// whenever it was drafted. So do the news that others are owed of their streams.
    pub(crate) fn sign_due(&mut self, net: &mut Net<'_>) {
        self.sign_answers(net);
        let now = net.cx.now;
        if self.drafts.due_at.is_some_and(|at| at <= now) {
            let drafts = self.drafts.by_target.iter();
            let due = drafts.filter(|(_, draft)| draft.due <= now);
            let due: Vec<_> = due.map(|(&target, _)| target).collect();
            for target in due {
                self.sign_draft(target, net);
            }
            let gathering = self.drafts.by_target.values().map(|draft| draft.due);
            self.drafts.due_at = gathering.min();
        }
        if let Some(at) = self.drafts.due_at {
            self.timers.arm(TimeoutReason::Gather, at);
        }
    }

    /// The same with all that waits.
    pub(crate) fn sign_all(&mut self, net: &mut Net<'_>) {
        self.sign_answers(net);
        self.drafts.due_at = None;
        self.timers.disarm(TimeoutReason::Gather);
        while let Some((&target, _)) = self.drafts.by_target.first_key_value() {
            self.sign_draft(target, net);
        }
    }

    /// Signs and sends what others wait for: news of their streams and parts, and replies.
    fn sign_answers(&mut self, net: &mut Net<'_>) {
        self.tell_progress(net);
        self.tell_parts(net);
        self.sign_all_replies(net);
    }

    /// Signs and sends the draft to one member, unless it still waits for others.
    pub(super) fn sign_if_due(&mut self, to: PeerId, net: &mut Net<'_>) {
        let target = Target::Peer(to);
        let draft = self.drafts.by_target.get(&target);
        if draft.is_some_and(|draft| draft.due <= net.cx.now) {
            self.sign_draft(target, net);
        }
    }

    /// Signs and sends what waits for one target, after the replies that were given before.
    pub(super) fn sign_draft(&mut self, target: Target, net: &mut Net<'_>) {
        if let Target::Peer(to) = target {
            self.sign_replies(to, net);
        }
        let Some(mut draft) = self.drafts.by_target.remove(&target) else {
            return;
        };
        self.drafts.bytes -= draft.bytes;
        let delivery = draft.data.delivery;
        let channel = channel_of(delivery);
        self.streams.update_place(target, &mut draft.data.place);
        let place = draft.data.place;
        if delivery == Delivery::Acknowledged {
            for number in 0..draft.data.items.len() {
                let id = draft.header.after(number).id(net.cx.this);
                if let Some(pending) = self.pending.get_mut(&id) {
                    pending.leaves(draft.next, net.cx.now);
                }
            }
        }
        let envelope = net.sign(draft.header, Content::Data(draft.data));
        if let (Target::Peer(to), Some(place), Delivery::Reliable) = (target, place, delivery) {
            self.streams
                .keep(to, place.number, envelope.clone(), draft.next);
        }
        let patience = draft.until.since(net.cx.now);
        self.dispatch(envelope, channel, draft.next, patience, net);
    }

    /// Numbers, dates and signs.
    pub(crate) fn sign(&mut self, target: Target, content: Content, net: &mut Net<'_>) -> Envelope {
        let header = self.next_header(target, net);
        net.sign(header, content)
    }

    pub(super) fn next_header(&mut self, target: Target, net: &Net<'_>) -> MessageHeader {
        let sequence = self.sequences.entry(target).or_insert(self.sequence_floor);
        *sequence += 1;
        let id = MessageId {
            author: net.cx.this,
            incarnation: net.trust.incarnation(),
            target,
            sequence: *sequence,
        };
        net.header(id, net.cx.unix())
    }
}

/// The channel that messages travel on.
pub(super) fn channel_of(delivery: Delivery) -> Channel {
    match delivery {
        Delivery::Datagram => Channel::Stream,
        Delivery::Reliable | Delivery::Acknowledged => Channel::Data,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::LossReason;
    use crate::io::Event;
    use crate::payload::Payload;
    use crate::sim::World;
    use crate::wire::Message;

    const SECOND: Duration = Duration::from_secs(1);

    fn texts(count: usize) -> Vec<Payload> {
        (0..count).map(|n| format!("message {n}").into()).collect()
    }

    /// Sends in one turn; returns the ids, and how many envelopes left.
    fn send(
        world: &mut World,
        to: Target,
        payloads: Vec<Payload>,
        delivery: Delivery,
    ) -> (Vec<MessageId>, usize) {
        let waiting = |world: &World| world.agents()[0].mesh().envelopes_held().count();
        let before = waiting(world);
        let sent = world.send_together(0, to, payloads, delivery);
        let ids = sent.into_iter().map(|sent| sent.expect("sent")).collect();
        (ids, waiting(world) - before)
    }

    fn received(world: &World, agent: usize) -> Vec<Payload> {
        let messages = world.agents()[agent].received();
        messages.iter().map(|m| m.payload.clone()).collect()
    }

    #[test]
    fn what_is_sent_together_is_signed_once_and_arrives_in_order() {
        let mut world = World::formed(1, None, 3);
        world.run_for(SECOND * 3);
        let to = Target::Peer(world.agents()[1].id());
        let (ids, envelopes) = send(&mut world, to, texts(60), Delivery::Reliable);
        assert_eq!(envelopes, 1);
        let numbers = ids.iter().map(|id| id.sequence - ids[0].sequence);
        assert!(numbers.eq(0..60));
        let (_, envelopes) = send(&mut world, Target::Room, texts(600), Delivery::Reliable);
        assert_eq!(
            envelopes,
            3 * 2,
            "255 under one signature at most, to each neighbour"
        );
        world.run_for(SECOND);
        assert_eq!(received(&world, 1), [texts(60), texts(600)].concat());
        assert_eq!(received(&world, 2), texts(600));
    }

    #[test]
    fn what_is_large_does_not_exceed_a_frame_together() {
        let mut world = World::formed(1, None, 2);
        let to = Target::Peer(world.agents()[1].id());
        let payloads = vec![Payload::Bytes(vec![7; PAYLOAD_BYTES_MAX / 3]); 7];
        let (_, envelopes) = send(&mut world, to, payloads.clone(), Delivery::Reliable);
        assert_eq!(envelopes, 4, "two fit one frame, with what is around them");
        world.run_for(SECOND);
        assert_eq!(received(&world, 1), payloads);
    }

    #[test]
    fn datagrams_do_not_share_their_fate() {
        let mut world = World::formed(1, None, 2);
        let to = world.agents()[1].id();
        let (sent, waiting) = world.command(0, |mesh, now| {
            let send = |payload| mesh.send(to, payload, Delivery::Datagram.into(), now);
            let sent: Vec<_> = texts(5).into_iter().map(send).collect();
            let draft = |messages: &mut Messages, _: &mut Net<'_>| {
                let draft = &messages.drafts.by_target[&Target::Peer(to)];
                draft.data.items.len()
            };
            (sent, mesh.with_net(draft))
        });
        assert_eq!(waiting, 1, "the others are signed");
        for (n, id) in sent.into_iter().enumerate() {
            world.sent_elsewhere(id.expect("sent"), &format!("message {n}"));
        }
        world.run_for(SECOND);
        assert_eq!(received(&world, 1), texts(5));
    }

    #[test]
    fn a_reply_does_not_overtake_what_was_sent_before_it() {
        let mut world = World::formed(1, None, 2);
        let ids = [0, 1].map(|agent| world.agents()[agent].id());
        let asked = world.command(1, |mesh, now| {
            let asked = mesh.request(ids[0], "how?".into(), None, now);
            asked.expect("sent")
        });
        world.sent_elsewhere(asked, "how?");
        world.run_for(SECOND);
        let first = world.command(0, |mesh, now| {
            let sent = mesh.send(ids[1], "first".into(), Delivery::Reliable.into(), now);
            mesh.reply(asked, "second".into(), now).expect("known");
            sent.expect("sent")
        });
        world.sent_elsewhere(first, "first");
        let held = world.agents()[0].mesh().envelopes_held();
        let contents = held.filter_map(|envelope| envelope.signed.peek::<Message>());
        let contents = contents.map(|message| message.content);
        let order: Vec<_> = contents
            .filter(|content| !matches!(content, Content::Progress(_)))
            .collect();
        assert!(
            matches!(order[..], [Content::Data(_), Content::Replies(_)]),
            "{order:?}"
        );
    }

    /// What an agent was told about these messages.
    fn outcomes(world: &World, ids: &[MessageId]) -> (usize, Vec<LossReason>) {
        let (mut delivered, mut lost) = (0, Vec::new());
        for event in world.agents()[0].events() {
            match event {
                Event::Delivered { id, .. } if ids.contains(id) => delivered += 1,
                Event::DeliveryFailed { id, reason, .. } if ids.contains(id) => lost.push(*reason),
                _ => {}
            }
        }
        (delivered, lost)
    }

    #[test]
    fn one_receipt_tells_of_all_that_arrived_together() {
        let mut world = World::formed(1, None, 2);
        let to = Target::Peer(world.agents()[1].id());
        let (ids, _) = send(&mut world, to, texts(40), Delivery::Acknowledged);
        let held = |world: &World| world.agents()[1].mesh().envelopes_held().count();
        assert!(world.run_until(SECOND, |world| held(world) > 0));
        assert_eq!(held(&world), 1);
        world.run_for(SECOND);
        assert_eq!(outcomes(&world, &ids), (40, vec![]));
    }

    #[test]
    fn each_of_those_that_got_stuck_together_is_told() {
        // Agents in a row: the last is two hops from the first.
        let mut world = World::formed(5, Some(2), 6);
        world.run_for(SECOND * 3);
        let direct = |world: &World, peer| world.agents()[0].mesh().open_peers().any(|p| p == peer);
        let far = (1..6).find(|&a| !direct(&world, world.agents()[a].id()));
        let far = far.expect("nobody is linked with everybody");
        let target = Target::Peer(world.agents()[far].id());
        world.crash(far);
        let (ids, _) = send(&mut world, target, texts(5), Delivery::Reliable);
        world.run_for(SECOND * 30);
        let (delivered, lost) = outcomes(&world, &ids);
        assert_eq!((delivered, lost.len()), (0, 5), "{lost:?}");
    }
}
