//! Frames and records over links: what comes in, what goes out, what is owed.

use std::time::Duration;

use super::lane::{Lane, is_bulk};
use super::liveness::SUSPECT_AFTER;
use super::queue::BURST;
use super::{LINGER, LinkEvent, Links};
use crate::context::Context;
use crate::error::RejectReason;
use crate::id::{LinkId, PeerId};
use crate::io::{Channel, Output};
use crate::timeout::TimeoutReason;
use crate::wire::{Envelope, Frame, Record};

/// Wait of an acknowledgement for a frame to ride along with: on a link in use one leaves sooner,
/// on another the acknowledgement costs a frame of its own.
const ACK_DELAY: Duration = Duration::from_millis(700);

const _: () = assert!(
    ACK_DELAY.as_millis() < SUSPECT_AFTER.as_millis(),
    "a neighbour that puts its acknowledgement off is not suspected"
);
const _: () = assert!(
    ACK_DELAY.as_millis() < LINGER.as_millis(),
    "a link that drains stays until its last acknowledgement"
);

/// Rejections of any kind after which the next frame that does not even decode closes the link:
/// DTLS protects frames on the way, so the other end itself is broken or hostile.
const BAD_FRAMES_MAX: u32 = 32;

/// What comes in.
impl Links {
    /// A frame has come over a link. Returns the records in it; `None` if there is no such link,
    /// for drivers report it open before its first frame.
    pub(crate) fn frame_received(
        &mut self,
        id: LinkId,
        bytes: &[u8],
        cx: &mut Context,
    ) -> Option<Vec<Record>> {
        let link = self.connection_mut(id).filter(|link| link.is_usable())?;
        link.keepalive.heard(cx.now);
        cx.stats.frames_in += 1;
        cx.stats.bytes_in += bytes.len() as u64;
        link.carried.bytes_in += bytes.len() as u64;
        match Frame::decode(bytes) {
            Ok(frame) => Some(frame.records),
            Err(error) => {
                let (peer, misdeeds) = (link.peer, link.misdeeds);
                self.reject(Some(peer), None, RejectReason::from(error), cx);
                if misdeeds >= BAD_FRAMES_MAX {
                    self.close(id, "it keeps sending frames that do not decode", cx);
                }
                Some(Vec::new())
            }
        }
    }

    /// An envelope has come: on the data channel the other end is owed an acknowledgement.
    pub(crate) fn envelope_received(
        &mut self,
        id: LinkId,
        channel: Channel,
        envelope: &Envelope,
        cx: &Context,
    ) {
        if channel != Channel::Data {
            return;
        }
        let Some(link) = self.table.get_mut(id) else {
            if let Some(link) = self.silent.get_mut(id) {
                link.queue.count_received(is_bulk(envelope), cx.now);
            }
            return;
        };
        if let Some(since) = link.queue.count_received(is_bulk(envelope), cx.now) {
            self.timers
                .arm(TimeoutReason::Acknowledge, since + ACK_DELAY);
        } else {
            link.queue.acknowledge();
            self.table.set_busy(id);
        }
    }

    /// The other end has this many of our envelopes.
    pub(crate) fn acknowledged(&mut self, id: LinkId, received: u64, cx: &mut Context) {
        let Some(link) = self.table.get_mut(id) else {
            return;
        };
        let peer = link.peer;
        let possible = link.queue.acknowledged(received, cx.now);
        if possible {
            self.table.set_busy(id); // There may be room for more of a large message.
        } else {
            self.reject(Some(peer), None, RejectReason::Malformed, cx);
        }
        self.events.push_back(LinkEvent::Writable);
    }

    /// More is buffered in a link than is good, or no longer.
    pub(crate) fn set_congested(&mut self, id: LinkId, congested: bool, cx: &Context) {
        let Some(link) = self.table.get_mut(id) else {
            if let Some(link) = self.silent.get_mut(id) {
                link.queue.set_congested(congested, cx.now);
            }
            return;
        };
        link.queue.set_congested(congested, cx.now);
        if !congested {
            self.table.set_busy(id);
            self.events.push_back(LinkEvent::Writable);
            self.events.push_back(LinkEvent::Measured(id));
        }
    }
}

/// What goes out.
impl Links {
    /// Queues a record for the other end of a usable link.
    pub(crate) fn queue_control(&mut self, id: LinkId, record: &Record) {
        self.queue_sign(id, Channel::Control, record);
    }

    /// Queues a ping or a pong for the other end of a usable link.
    pub(super) fn queue_sign(&mut self, id: LinkId, channel: Channel, record: &Record) {
        if let Some(link) = self.table.get_mut(id).filter(|link| link.is_usable()) {
            link.queue.sign_of_life(channel, record);
            self.table.set_busy(id);
        }
    }

    /// Queues an envelope for a neighbour, however much waits for it. Gives it back if there is no
    /// link to the peer.
    pub(crate) fn queue_envelope(
        &mut self,
        peer: PeerId,
        channel: Channel,
        envelope: Envelope,
        cx: &Context,
    ) -> Option<Envelope> {
        let Some(link) = self.to_mut(peer) else {
            return Some(envelope);
        };
        link.queue.envelope(channel, envelope, cx.now);
        let id = link.id;
        self.table.set_busy(id);
        self.timers
            .arm(TimeoutReason::Suspect, cx.now + SUSPECT_AFTER);
        None
    }

    /// Queues a copy of a broadcast on an open link. Returns whether the link has room for it.
    pub(crate) fn queue_copy(&mut self, id: LinkId, envelope: &Envelope, cx: &Context) -> bool {
        let lane = Lane::of(envelope, Channel::Data);
        let link = self.table.get_mut(id);
        let Some(link) = link.filter(|link| link.takes(lane, &cx.config)) else {
            return false;
        };
        link.queue.envelope(Channel::Data, envelope.clone(), cx.now);
        self.table.set_busy(id);
        true
    }

    /// Whether there is an open link to a neighbour with room for envelopes of this agent.
    pub(crate) fn takes(&self, peer: PeerId, channel: Channel, cx: &Context) -> bool {
        let link = self.open_to(peer);
        link.is_some_and(|link| link.takes(Lane::new(cx.this, channel), &cx.config))
    }

    /// Acknowledges what no frame has carried an acknowledgement of for so long, link by link: all
    /// at once would be a burst, and the whole mesh's at the same time if messages began so.
    pub(crate) fn send_acks(&mut self, cx: &Context) {
        let mut acknowledged = Vec::new();
        for link in self.table.iter_mut() {
            let Some(since) = link.queue.owed_since() else {
                continue;
            };
            let due = since + ACK_DELAY;
            if due <= cx.now {
                link.queue.acknowledge();
                acknowledged.push(link.id);
            } else {
                self.timers.arm(TimeoutReason::Acknowledge, due);
            }
        }
        for id in acknowledged {
            self.table.set_busy(id);
        }
    }

    /// Goes on with what was too much for one moment.
    pub(crate) fn burst_again(&mut self) {
        let held_up = self.table.iter().filter(|link| link.queue.is_held_up());
        let held_up: Vec<_> = held_up.map(|link| link.id).collect();
        for id in held_up {
            self.table.set_busy(id);
        }
    }

    /// The next frame of whatever link has one.
    pub(crate) fn poll_transmit(&mut self, cx: &mut Context) -> Option<Output> {
        while let Some(id) = self.table.first_busy() {
            let frame = self.next_transmit(id, cx);
            if frame.is_some() {
                return frame;
            }
            if self
                .table
                .get_mut(id)
                .is_some_and(|link| link.queue.is_held_up())
            {
                self.timers.arm(TimeoutReason::Bursts, cx.now + BURST);
            }
            self.table.set_idle(id);
        }
        self.table.settle();
        None
    }

    /// The next frame of a link.
    fn next_transmit(&mut self, id: LinkId, cx: &mut Context) -> Option<Output> {
        let link = self.table.get_mut(id).filter(|link| link.is_usable())?;
        let (channel, frame) = link.queue.next_frame(cx.now)?;
        cx.stats.frames_out += 1;
        cx.stats.bytes_out += frame.len() as u64;
        link.carried.bytes_out += frame.len() as u64;
        Some(Output::Transmit {
            link: id,
            channel,
            frame,
        })
    }

    /// Orders everything queued on a link, and owed over it, before it is closed.
    pub(crate) fn flush(&mut self, id: LinkId, cx: &mut Context) {
        if let Some(link) = self.table.get_mut(id) {
            link.queue.acknowledge();
        }
        loop {
            if let Some(link) = self.table.get_mut(id) {
                link.queue.end_burst(); // There is no later.
            }
            let Some(output) = self.next_transmit(id, cx) else {
                return;
            };
            cx.order(output);
        }
    }
}
