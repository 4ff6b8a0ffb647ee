//! Requests of others, and the replies of this agent: those to one member in one turn of the loop
//! share a signature, as messages do.

use std::collections::BTreeMap;

use super::commands::check;
use super::large::SENDING_BYTES_MAX;
use super::{Messages, Net};
use crate::config::PAYLOAD_BYTES_MAX;
use crate::error::SendError;
use crate::id::{MessageId, PeerId, Target};
use crate::io::{Channel, Event};
use crate::payload::Payload;
use crate::wire::{Content, ITEMS_MAX, MessageHeader, Purpose, Reply};

/// Bytes that a reply takes on the wire beside its payload, at most: two numbers, a kind and a
/// length.
const REPLY_OVERHEAD: usize = 24;

/// What became of a request here.
#[derive(Debug)]
pub(super) enum Answer {
    Awaited,
    Given(Payload),
    /// In parts, which are repeated by themselves.
    Large,
}

/// Replies that are not signed yet, by the member that has asked.
pub(super) type ReplyDrafts = BTreeMap<PeerId, ReplyDraft>;

/// Replies to one member.
#[derive(Debug)]
pub(super) struct ReplyDraft {
    header: MessageHeader,
    replies: Vec<Reply>,
    bytes: usize,
    /// The neighbour that has brought the last request again.
    next: Option<PeerId>,
}

impl ReplyDraft {
    fn new(header: MessageHeader) -> Self {
        Self {
            header,
            replies: Vec::new(),
            bytes: 0,
            next: None,
        }
    }
}

impl Messages {
    /// See [`Mesh::reply`](crate::Mesh::reply).
    pub(crate) fn reply(
        &mut self,
        request: MessageId,
        payload: Payload,
        net: &mut Net<'_>,
    ) -> Result<(), SendError> {
        check(&payload, "", SENDING_BYTES_MAX, net)?;
        let is_awaited = |(id, answer): &(MessageId, Answer)| {
            *id == request && matches!(answer, Answer::Awaited)
        };
        let slot = self.requests.iter().rposition(is_awaited);
        let slot = slot.ok_or(SendError::UnknownRequest)?;
        let named = (request.incarnation, request.sequence);
        if payload.is_large() {
            let purpose = Purpose::Reply { request: named };
            let deadline = net.cx.config.deadline;
            self.start_large(request.author, payload, purpose, deadline, net)?;
            self.requests[slot].1 = Answer::Large;
            return Ok(());
        }
        self.requests[slot].1 = Answer::Given(payload.clone());
        self.draft_reply(&request, payload, None, net);
        Ok(())
    }

    /// Has a reply leave as this turn of the loop ends: over `next`, if that neighbour has room.
    fn draft_reply(
        &mut self,
        to: &MessageId,
        payload: Payload,
        next: Option<PeerId>,
        net: &mut Net<'_>,
    ) {
        let reply = Reply {
            request: (to.incarnation, to.sequence),
            payload,
        };
        let to = to.author;
        self.sign_if_due(to, net); // In the order of sending.
        let bytes = reply.payload.len() + REPLY_OVERHEAD;
        let takes = |draft: &ReplyDraft| {
            draft.replies.len() < ITEMS_MAX && draft.bytes + bytes <= PAYLOAD_BYTES_MAX
        };
        let draft = self.drafts.replies.get(&to);
        if draft.is_some_and(|draft| !takes(draft)) {
            self.sign_replies(to, net);
        }
        if !self.drafts.replies.contains_key(&to) {
            let header = self.next_header(Target::Peer(to), net);
            self.drafts.replies.insert(to, ReplyDraft::new(header));
        }
        if let Some(draft) = self.drafts.replies.get_mut(&to) {
            draft.replies.push(reply);
            draft.bytes += bytes;
            draft.next = next;
        }
    }

    /// Signs and sends the replies to one member.
    pub(super) fn sign_replies(&mut self, to: PeerId, net: &mut Net<'_>) {
        let Some(draft) = self.drafts.replies.remove(&to) else {
            return;
        };
        let envelope = net.sign(draft.header, Content::Replies(draft.replies));
        self.send_back(envelope, Channel::Data, draft.next, net);
    }

    /// Signs and sends all replies.
    pub(super) fn sign_all_replies(&mut self, net: &mut Net<'_>) {
        while let Some((&to, _)) = self.drafts.replies.first_key_value() {
            self.sign_replies(to, net);
        }
    }

    pub(super) fn remember_request(&mut self, id: MessageId, net: &Net<'_>) {
        if self.requests.len() >= net.cx.config.pending_max {
            self.requests.pop_front();
        }
        self.requests.push_back((id, Answer::Awaited));
    }

    /// A request came again: so does its reply, if there is one yet.
    pub(super) fn reply_again(
        &mut self,
        request: MessageId,
        back: Option<PeerId>,
        net: &mut Net<'_>,
    ) {
        let known = self.requests.iter().rev().find(|(id, _)| *id == request);
        if let Some((_, Answer::Given(payload))) = known
            && !self.waiting.holds(Target::Peer(request.author))
        {
            let payload = payload.clone();
            self.draft_reply(&request, payload, back, net);
        }
    }

    /// The reply to a request of this agent has come. One that was answered before, or given up,
    /// takes none.
    pub(super) fn replied(
        &mut self,
        from: PeerId,
        request: (u64, u64),
        payload: Payload,
        net: &mut Net<'_>,
    ) {
        if let Some((id, pending)) = self.take_pending(from, request, net) {
            let now = net.cx.now;
            // All of a large one had to arrive first.
            if pending.data.is_some() {
                self.streams
                    .replied_after(from, pending.answered_after(now), now);
            }
            net.cx.emit(Event::Replied {
                id,
                from,
                payload,
                round_trip_ms: now.since(pending.sent_at).as_secs_f64() * 1e3,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sim::World;
    use crate::wire::Message;

    const SECOND: Duration = Duration::from_secs(1);

    /// Two agents, and so many requests of the first that the second has received.
    fn asked(count: usize) -> (World, Vec<MessageId>) {
        let mut world = World::formed(1, None, 2);
        world.run_for(SECOND * 3);
        let to = world.agents()[1].id();
        let ask = |mesh: &mut crate::Mesh, now| {
            let asked = (0..count).map(|_| mesh.request(to, "how?".into(), None, now));
            asked.collect::<Result<Vec<_>, _>>().expect("there is room")
        };
        let ids = world.command(0, ask);
        ids.iter().for_each(|id| world.sent_elsewhere(*id, "how?"));
        let all = |world: &World| world.agents()[1].received().len() == count;
        assert!(world.run_until(SECOND, all));
        (world, ids)
    }

    /// Replies with so many bytes to all of them in one turn of the loop.
    fn reply_to_all(world: &mut World, requests: &[MessageId], bytes: usize) {
        world.command(1, |mesh, now| {
            for request in requests {
                let reply = Payload::Bytes(vec![7; bytes]);
                mesh.reply(*request, reply, now).expect("it is awaited");
            }
        });
    }

    /// How many replies share each signature of those that are under way.
    fn shares(world: &World) -> Vec<usize> {
        let held = world.agents()[1].mesh().envelopes_held();
        let messages = held.filter_map(|envelope| envelope.signed.peek::<Message>());
        let replies = messages.filter_map(|message| match message.content {
            Content::Replies(replies) => Some(replies.len()),
            _ => None,
        });
        replies.collect()
    }

    fn answered(world: &World) -> Vec<MessageId> {
        let events = world.agents()[0].events().iter();
        let answered = events.filter_map(|event| match event {
            Event::Replied { id, .. } => Some(*id),
            _ => None,
        });
        answered.collect()
    }

    #[test]
    fn replies_that_are_given_together_share_a_signature() {
        let (mut world, ids) = asked(40);
        reply_to_all(&mut world, &ids, 100);
        assert_eq!(shares(&world), [40]);
        world.run_for(SECOND);
        assert_eq!(answered(&world), ids);
    }

    #[test]
    fn replies_do_not_exceed_a_frame_together() {
        let (mut world, ids) = asked(5);
        reply_to_all(&mut world, &ids, PAYLOAD_BYTES_MAX / 3);
        assert_eq!(shares(&world), [2, 2, 1]);
        world.run_for(SECOND);
        assert_eq!(answered(&world), ids);
    }

    /// Copies of the requests come while the first replies are on a path that leads nowhere.
    #[test]
    fn each_reply_is_given_again_to_a_request_that_comes_again() {
        let (mut world, ids) = asked(3);
        world.block(1, 0);
        reply_to_all(&mut world, &ids, 100);
        let lost = world.command(1, |mesh, _| mesh.envelopes_held().count());
        assert!(lost > 0);
        world.command(1, |mesh, _| {
            mesh.with_net(|messages, net| {
                for id in &ids {
                    messages.reply_again(*id, Some(id.author), net);
                }
            });
        });
        assert_eq!(shares(&world), [3, 3], "under one signature again");
        world.unblock_all();
        world.run_for(SECOND * 5);
        assert_eq!(answered(&world), ids, "each once");
    }
}
