//! What waits to be sent on a link, and what was sent and not yet acknowledged.
//!
//! Records of one channel are packed into as few frames as they fit in: when the link is idle a
//! record leaves at once and alone, when it is busy everything that gathered leaves together.
//! Envelopes on the data channel stay here until the other end has taken responsibility
//! ([`Record::Ack`]), so that they can travel over another link should this one die.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::lane::{Ahead, Lane, is_bulk};
use super::shares::Shares;
use crate::config::Config;
use crate::id::Target;
use crate::io::Channel;
use crate::time::Instant;
use crate::wire::{Envelope, FRAME_BYTES_MAX, FrameWriter, Record};

/// Bytes that a busy link must carry for its bandwidth to be known: four of the largest frames, for
/// a single one says more of the moment than of the path.
const CARRIED_BYTES_MIN: usize = 4 * FRAME_BYTES_MAX;

/// Envelopes after which an acknowledgement is due at once: few beside a full queue, so that a busy
/// sender never waits for a delayed one.
const ACK_EVERY: u64 = 64;

/// Parts of large messages that may wait for one link: 1 MiB of one author, and twice as many of
/// several. More would only fill memory, for parts leave when nothing else waits.
const BULK_MAX: usize = 64;

/// Bytes that a link is handed in one [`BURST`]: 1 Gbit/s. A driver with more cannot say in time
/// that the link is congested, and bytes that it has can no longer be overtaken.
const BURST_BYTES: usize = 128 * 1024;

/// The time over which [`BURST_BYTES`] are counted: the finest step of most timers.
pub(crate) const BURST: Duration = Duration::from_millis(1);

const _: () = assert!(FRAME_BYTES_MAX < BURST_BYTES, "every frame fits a burst");

#[derive(Debug, Default)]
pub(crate) struct LinkQueue {
    control: VecDeque<Bytes>,
    /// Envelopes that wait for the data channel.
    data: Shares,
    /// Parts of large messages, which leave while nothing else waits for it.
    bulk: Shares,
    ahead: Ahead,
    /// Pings and pongs for the stream channel.
    signs: VecDeque<Bytes>,
    stream: VecDeque<Bytes>,
    /// Envelopes handed to the data channel and not acknowledged, oldest first.
    sent: VecDeque<Envelope>,
    /// Bytes of what is sent and of what waits.
    unacknowledged_bytes: usize,
    /// Since when the other end has acknowledged nothing although there is something to.
    stalled_since: Option<Instant>,
    /// Envelopes acknowledged by the other end.
    acknowledged: u64,
    receipt: Receipt,
    congested: bool,
    /// When the last burst began, and its bytes.
    burst: (Instant, usize),
    /// Since when it has been congested, and the bytes acknowledged since: what it carries.
    busy: Option<(Instant, usize)>,
    kbps: u32,
}

/// What was received on the data channel, and what the other end knows of it.
#[derive(Debug, Default)]
struct Receipt {
    /// Envelopes received.
    received: u64,
    /// How many of them the other end knows that we have.
    reported: u64,
    /// Since when it does not know of one.
    owed_since: Option<Instant>,
}

impl Receipt {
    /// The acknowledgement, encoded, if one is owed; it is no longer.
    fn take(&mut self) -> Option<Bytes> {
        self.owed_since.take()?;
        self.reported = self.received;
        let received = self.received;
        Some(FrameWriter::encode(&Record::Ack { received }))
    }
}

impl LinkQueue {
    /// Queues a record on the control channel.
    pub(crate) fn control(&mut self, record: &Record) {
        self.control.push_back(FrameWriter::encode(record));
    }

    /// Queues a ping or a pong: for the stream channel ahead of all data, for the control channel
    /// if it is to go there, or if nothing else leaves now.
    pub(crate) fn sign_of_life(&mut self, channel: Channel, record: &Record) {
        match channel {
            Channel::Stream if !self.congested => self.signs.push_back(FrameWriter::encode(record)),
            _ => self.control(record),
        }
    }

    /// Queues an envelope. On the data channel it is kept until acknowledged.
    pub(crate) fn envelope(&mut self, channel: Channel, envelope: Envelope, now: Instant) {
        let record = Record::Envelope(envelope);
        let encoded = FrameWriter::encode(&record);
        match channel {
            Channel::Control => self.control.push_back(encoded),
            Channel::Stream => self.stream.push_back(encoded),
            Channel::Data => {
                if let Record::Envelope(envelope) = record {
                    self.stalled_since.get_or_insert(now);
                    self.unacknowledged_bytes += envelope.signed.body_len();
                    let queue = match is_bulk(&envelope) {
                        true => &mut self.bulk,
                        false => &mut self.data,
                    };
                    queue.push(envelope, encoded);
                }
            }
        }
    }

    /// Entries that count against the limit of a channel.
    fn depth(&self, channel: Channel) -> usize {
        match channel {
            Channel::Control => self.control.len(),
            Channel::Data => self.sent.len() + self.data.len(),
            Channel::Stream => self.stream.len(),
        }
    }

    /// Whether the channel takes no more envelopes for now.
    pub(crate) fn is_full(&self, channel: Channel, config: &Config) -> bool {
        // Control is sent even when the link is congested, so what others send on it waits here.
        (channel == Channel::Control && self.congested)
            || self.depth(channel) >= config.link_queue_max
            || self.unacknowledged_bytes >= config.link_queue_bytes_max
    }

    /// Whether the channel takes no more envelopes of this author for now. Of a full data channel
    /// each author that has less than its share there still gets that, up to twice the limits in
    /// all: so an author with much to send leaves room for others.
    pub(crate) fn is_full_for(&self, lane: Lane, config: &Config) -> bool {
        let Lane {
            author,
            channel,
            is_bulk,
        } = lane;
        if is_bulk {
            // Parts take none of the room of messages.
            let (waiting, _) = self.bulk.of(author);
            let shares = self.bulk.authors() + usize::from(waiting == 0);
            return self.bulk.len() >= BULK_MAX && waiting >= BULK_MAX / shares.max(2)
                || self.bulk.len() >= BULK_MAX * 2;
        }
        if !self.is_full(channel, config) {
            return false;
        }
        let (max, bytes_max) = (config.link_queue_max, config.link_queue_bytes_max);
        let is_beyond =
            self.depth(channel) >= max * 2 || self.unacknowledged_bytes >= bytes_max * 2;
        if channel != Channel::Data || is_beyond {
            return true;
        }
        let (waiting, bytes) = self.data.of(author);
        let shares = self.data.authors() + usize::from(waiting == 0);
        waiting >= max / shares.max(2) || bytes >= bytes_max / shares.max(2)
    }

    /// How much of the limits is used up, of the limit that is closest: from 0 to 1, and more if
    /// the last that was taken went beyond.
    pub(crate) fn fill(&self, config: &Config) -> f64 {
        let depth = Channel::ALL.map(|channel| self.depth(channel));
        let deepest = depth.into_iter().max().unwrap_or_default();
        let entries = deepest as f64 / config.link_queue_max as f64;
        entries.max(self.unacknowledged_bytes as f64 / config.link_queue_bytes_max as f64)
    }

    /// Bytes of what the other end has not taken responsibility for.
    pub(crate) fn unacknowledged_bytes(&self) -> usize {
        self.unacknowledged_bytes
    }

    /// Whether the driver has more than is good.
    pub(crate) fn is_congested(&self) -> bool {
        self.congested
    }

    /// Whether the driver should not get more frames for now.
    pub(crate) fn set_congested(&mut self, congested: bool, now: Instant) {
        self.congested = congested;
        if congested {
            self.control.extend(self.signs.drain(..));
        }
        match self.busy {
            None if congested => self.busy = Some((now, 0)),
            Some((since, bytes)) if !congested => {
                if bytes >= CARRIED_BYTES_MIN {
                    let ms = now.since(since).as_millis().max(1);
                    // Bits in a millisecond are kilobits in a second.
                    self.kbps = u32::try_from(bytes as u128 * 8 / ms).unwrap_or(u32::MAX);
                }
                self.busy = None;
            }
            _ => {}
        }
    }

    /// What the link carried when it was last busy, in kbit/s; 0 if it never was.
    pub(crate) fn kbps(&self) -> u32 {
        self.kbps
    }

    /// What another connection to the same peer was measured to carry.
    pub(crate) fn set_kbps(&mut self, kbps: u32) {
        self.kbps = kbps;
    }

    /// The next frame to send, control first. A congested link still gets control frames, which
    /// are few: its keepalive must not starve. An acknowledgement rides along unless it could get
    /// lost.
    pub(crate) fn next_frame(&mut self, now: Instant) -> Option<(Channel, Bytes)> {
        for channel in Channel::ALL {
            if channel == Channel::Data
                && let Some(sign) = self.signs.pop_front()
            {
                // Alone: a frame of many packets is lost with any of them.
                let mut frame = FrameWriter::default();
                frame.push(&sign);
                return Some((Channel::Stream, frame.finish()));
            }
            if channel != Channel::Control && (self.congested || self.is_bursting(now)) {
                break;
            }
            let is_empty = match channel {
                Channel::Control => self.control.is_empty(),
                Channel::Data => self.data.is_empty() && !self.sends_bulk(),
                Channel::Stream => self.stream.is_empty(),
            };
            if is_empty {
                continue;
            }
            let mut frame = FrameWriter::default();
            if channel != Channel::Stream
                && let Some(ack) = self.receipt.take()
            {
                frame.push(&ack);
            }
            while let Some(record) = self.next_record(channel, &frame, now) {
                frame.push(&record);
            }
            let frame = frame.finish();
            self.burst.1 += frame.len();
            return Some((channel, frame));
        }
        None
    }

    /// Whether the driver has got enough for this moment. It is not congested, as far as is known.
    fn is_bursting(&mut self, now: Instant) -> bool {
        if now.since(self.burst.0) >= BURST {
            self.burst = (now, 0);
        }
        self.burst.1 >= BURST_BYTES
    }

    /// The driver gets all that there is.
    pub(crate) fn end_burst(&mut self) {
        self.burst.1 = 0;
    }

    /// Whether more is to be sent as soon as the present burst is over.
    pub(crate) fn is_held_up(&self) -> bool {
        let is_waiting = self.queued() > self.bulk.len() || self.sends_bulk();
        !self.congested && self.burst.1 >= BURST_BYTES && is_waiting
    }

    /// Whether a part of a large message may leave.
    fn sends_bulk(&self) -> bool {
        !self.bulk.is_empty() && self.ahead.has_room()
    }

    /// The next record of a channel, if it fits the frame.
    fn next_record(
        &mut self,
        channel: Channel,
        frame: &FrameWriter,
        now: Instant,
    ) -> Option<Bytes> {
        let fits = |record: &mut Bytes| frame.fits(record.len());
        match channel {
            Channel::Control => self.control.pop_front_if(fits),
            Channel::Stream => self.stream.pop_front_if(fits),
            Channel::Data => {
                let fits = |bytes| frame.fits(bytes);
                let (envelope, record) = match self.data.is_empty() {
                    false => self.data.pop_if(fits)?,
                    true if self.sends_bulk() => {
                        let part = self.bulk.pop_if(fits)?;
                        self.ahead.sent(part.0.signed.body_len(), now);
                        part
                    }
                    true => return None,
                };
                self.sent.push_back(envelope);
                Some(record)
            }
        }
    }

    /// An envelope arrived on the data channel. Returns since when an acknowledgement is owed, or
    /// nothing if it is due at once.
    pub(crate) fn count_received(&mut self, is_bulk: bool, now: Instant) -> Option<Instant> {
        let receipt = &mut self.receipt;
        receipt.received += 1;
        let since = *receipt.owed_since.get_or_insert(now);
        // How much more may be sent of a large message shows by how soon this is acknowledged.
        (!is_bulk && receipt.received - receipt.reported < ACK_EVERY).then_some(since)
    }

    /// Since when envelopes are here that the other end does not know we have.
    pub(crate) fn owed_since(&self) -> Option<Instant> {
        self.receipt.owed_since
    }

    /// Queues the acknowledgement of what was received, if it is owed.
    pub(crate) fn acknowledge(&mut self) {
        self.control.extend(self.receipt.take());
    }

    /// The other end has this many; fewer than it had are of a frame that was overtaken. Returns
    /// false if it cannot have so many.
    pub(crate) fn acknowledged(&mut self, received: u64, now: Instant) -> bool {
        let newly = received.saturating_sub(self.acknowledged);
        if newly > self.sent.len() as u64 {
            return false;
        }
        for envelope in self.sent.drain(..newly as usize) {
            let bytes = envelope.signed.body_len();
            self.unacknowledged_bytes -= bytes;
            if is_bulk(&envelope) {
                self.ahead.acknowledged(now);
            }
            if let Some((_, carried)) = &mut self.busy {
                *carried += bytes;
            }
        }
        self.acknowledged += newly;
        if newly > 0 {
            let is_rest = !self.sent.is_empty() || !self.data.is_empty() || !self.bulk.is_empty();
            self.stalled_since = is_rest.then_some(now);
        }
        true
    }

    /// How long the other end has acknowledged nothing although there is something to.
    pub(crate) fn stalled_for(&self, now: Instant) -> Duration {
        self.stalled_since
            .map_or(Duration::ZERO, |since| now.since(since))
    }

    /// What was taken over from others or the application, and not sent.
    pub(crate) fn unsent(&self) -> impl Iterator<Item = &Envelope> {
        self.data.iter().chain(self.bulk.iter())
    }

    /// Whether a message or part of this author to this target waits for the data channel.
    pub(crate) fn holds(&self, lane: Lane, to: Target) -> bool {
        let queue = if lane.is_bulk { &self.bulk } else { &self.data };
        queue.holds(lane.author, to)
    }

    /// Records that wait to be sent, on whatever channel.
    pub(crate) fn queued(&self) -> usize {
        let data = self.data.len() + self.bulk.len();
        self.control.len() + self.signs.len() + data + self.stream.len()
    }

    /// What the other end has not taken responsibility for: first what was sent.
    pub(crate) fn unacknowledged(&self) -> impl Iterator<Item = &Envelope> {
        self.sent.iter().chain(self.unsent())
    }

    /// Everything that was queued has been sent and acknowledged.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn is_settled(&self) -> bool {
        let data = self.sent.is_empty() && self.data.is_empty() && self.bulk.is_empty();
        data && self.control.is_empty() && self.signs.is_empty() && self.stream.is_empty()
    }

    /// What the other end may not have, for another path.
    pub(crate) fn take_unacknowledged(&mut self) -> VecDeque<Envelope> {
        self.unacknowledged_bytes = 0;
        let mut all = std::mem::take(&mut self.sent);
        all.extend(self.data.take());
        all.extend(self.bulk.take());
        self.ahead.clear();
        all
    }

    /// The other end is silent: what it may not have is for another path, as is nothing else. It
    /// may still get what the connection has taken, and acknowledge it late.
    pub(crate) fn fall_silent(&mut self) -> VecDeque<Envelope> {
        self.acknowledged += self.sent.len() as u64;
        self.stalled_since = None;
        self.busy = None;
        self.control.clear();
        self.signs.clear();
        self.stream.clear();
        self.take_unacknowledged()
    }
}
