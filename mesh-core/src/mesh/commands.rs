//! What the application asks of an agent.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Mesh;
use crate::error::{SendError, TrackError};
use crate::id::{MessageId, PeerId};
use crate::io::Event;
use crate::log::decided;
use crate::media::Tracks;
use crate::messages::Messages;
use crate::payload::{Payload, SendOptions};
use crate::time::Instant;

impl Mesh {
    /// Starts joining the room: dials the signaling server, and links follow. Harmless if joined.
    pub fn join(&mut self, now: Instant) {
        self.enter(now);
        if self.cx.joined {
            return;
        }
        self.cx.joined = true;
        let cx = &mut self.cx;
        let order = self.signaling.connect(&cx.config, cx.now);
        cx.order(order);
        self.routing.begin_repairing(cx);
        self.overlay.begin_adapting(cx);
    }

    /// Leaves the room: tells the mesh and the hub, closes every link. Harmless if left.
    pub fn leave(&mut self, now: Instant) {
        self.enter(now);
        if self.cx.joined {
            self.end(true);
        }
    }

    /// Ends this agent's life in the room. Without a goodbye the others take its links for lost,
    /// and go on with the agent that has its identity now.
    pub(super) fn end(&mut self, goodbye: bool) {
        decided!(self.cx, goodbye, "leave the room");
        let (links, trust, cx) = (&mut self.links, &mut self.trust, &mut self.cx);
        cx.joined = false;
        self.routing.leave(goodbye, links, trust, cx);
        self.with_net(Messages::leave);
        self.links.leave(&mut self.cx);
        self.overlay.leave();
        let orders = self.signaling.leave();
        self.cx.outbox.extend(orders);
        self.cx.emit(Event::Left);
    }

    /// Sends nothing through these members from now on, as far as this agent chooses the path;
    /// forwarders choose theirs. To them it still sends.
    pub fn avoid(&mut self, members: BTreeSet<PeerId>, now: Instant) {
        self.enter(now);
        decided!(self.cx, members = members.len(), "avoid members");
        self.routing.avoid(members, &self.cx);
    }

    /// Sends a message to one member. Until the deadline it waits for a way to lead there, and is
    /// repeated where it got lost. One of more than [`PAYLOAD_BYTES_MAX`](crate::PAYLOAD_BYTES_MAX)
    /// travels in parts: [`Event::Delivered`](crate::Event::Delivered) tells that it has arrived,
    /// and it fails if nothing of it arrives for its deadline.
    ///
    /// # Errors
    /// [`SendError`] for what the caller should know now; what happens later is an
    /// [`Event`](crate::Event).
    pub fn send(
        &mut self,
        to: PeerId,
        payload: Payload,
        options: SendOptions,
        now: Instant,
    ) -> Result<MessageId, SendError> {
        self.enter(now);
        self.with_net(|messages, net| messages.send(to, payload, options, net))
    }

    /// Gives up a large message that this agent is sending. Returns false if there is none.
    pub fn cancel(&mut self, id: &MessageId, now: Instant) -> bool {
        self.enter(now);
        self.with_net(|messages, net| messages.cancel(id, net))
    }

    /// Sends a request: a message that is repeated until its reply comes
    /// ([`Event::Replied`](crate::Event::Replied)) or the deadline passes
    /// ([`Event::DeliveryFailed`](crate::Event::DeliveryFailed)).
    ///
    /// # Errors
    /// As [`Mesh::send`].
    pub fn request(
        &mut self,
        to: PeerId,
        payload: Payload,
        deadline: Option<Duration>,
        now: Instant,
    ) -> Result<MessageId, SendError> {
        self.enter(now);
        self.with_net(|messages, net| messages.request(to, payload, deadline, net))
    }

    /// Answers a request.
    ///
    /// # Errors
    /// [`SendError::UnknownRequest`] if there is none with this id, or too long ago.
    pub fn reply(
        &mut self,
        request: MessageId,
        payload: Payload,
        now: Instant,
    ) -> Result<(), SendError> {
        self.enter(now);
        self.with_net(|messages, net| messages.reply(request, payload, net))
    }

    /// Asks a member how it sees its link to another, or why it has none. The answer is
    /// [`Event::LinkExplained`](crate::Event::LinkExplained); without one by the deadline it is
    /// [`Event::DeliveryFailed`](crate::Event::DeliveryFailed). This agent may be asked too: it
    /// answers at once, and without a message.
    ///
    /// # Errors
    /// As [`Mesh::send`]; [`SendError::ToSelf`] if both are the same member.
    pub fn explain_link(
        &mut self,
        of: PeerId,
        about: PeerId,
        deadline: Option<Duration>,
        now: Instant,
    ) -> Result<MessageId, SendError> {
        self.enter(now);
        self.with_net(|messages, net| messages.explain_link((of, about), deadline, net))
    }

    /// Sends a message to every member of the room, under a topic (may be empty).
    ///
    /// # Errors
    /// As [`Mesh::send`]; an empty room is no error.
    pub fn broadcast(
        &mut self,
        topic: &str,
        payload: Payload,
        now: Instant,
    ) -> Result<MessageId, SendError> {
        self.enter(now);
        self.with_net(|messages, net| messages.broadcast(topic, payload, net))
    }

    /// This agent sends so many tracks of audio and video to a neighbour from now on: the driver
    /// has them, and orders follow.
    ///
    /// # Errors
    /// [`TrackError`]: tracks travel over links only, and so many at most.
    pub fn set_tracks(
        &mut self,
        peer: PeerId,
        tracks: Tracks,
        now: Instant,
    ) -> Result<(), TrackError> {
        self.enter(now);
        self.links.set_tracks(peer, tracks, &self.cx)
    }

    /// Whether what is sent now leaves now: a first link is open, or the agent is alone in its
    /// room.
    ///
    /// # Errors
    /// [`SendError::Backpressure`] until then: wait for
    /// [`Output::Writable`](crate::Output::Writable) and ask again. [`SendError::NotJoined`] before
    /// joining and after leaving.
    pub fn ready(&mut self) -> Result<(), SendError> {
        if !self.cx.joined {
            return Err(SendError::NotJoined);
        }
        let linked = self.links.open().next().is_some();
        let alone = self.signaling.is_admitted() && self.overlay.is_alone();
        if linked || alone {
            return Ok(());
        }
        Err(self.messages.backpressure())
    }

    /// Hands the application broadcasts of these topics alone from now on; `None` for all, as at
    /// first. Others are passed on as before: every member carries every broadcast of a room.
    ///
    /// # Errors
    /// [`SendError::TopicTooLong`] if no broadcast can have one of the topics; the subscription is
    /// then as it was.
    pub fn subscribe(&mut self, topics: Option<BTreeSet<String>>) -> Result<(), SendError> {
        self.messages.subscribe(topics)
    }

    /// Gives every link fresh DTLS keys now: another connection takes the place of each, make
    /// before break ([`Event::LinkRotated`](crate::Event::LinkRotated)). By itself each link does
    /// so every [`Config::rotate_interval`](crate::Config::rotate_interval).
    pub fn rotate_keys(&mut self, now: Instant) {
        self.enter(now);
        self.rotate_links();
        self.carry_events();
    }

    /// How many messages of this agent are under way: no next hop has acknowledged them, or they
    /// still wait for their receipts and replies. Asks neighbours for what they owe: an
    /// acknowledgement may be put off, but rides along with the answer to a ping.
    pub fn finish(&mut self) -> usize {
        self.with_net(Messages::finish)
    }
}
