//! The numbers of a track's packets, which go on where its source is another.
//!
//! A source counts its packets, and dates them by a clock of its own; both begin anywhere
//! ([RFC 3550](https://www.rfc-editor.org/rfc/rfc3550), section 5.1). What comes of another source,
//! over another connection, or after a pause, is renumbered, so that who reads sees one.

use std::time::Instant;

use rtc::rtp::header::Header;

/// Packets that a source may lose, or that may overtake each other, and still be the same.
const NEAR: u16 = 1_000;

/// The same in time, in seconds.
const NEAR_SECONDS: u32 = 10;

/// How the packets of one track are numbered.
#[derive(Debug)]
pub(super) struct Numbering {
    clock_rate: u32,
    sequence_offset: u16,
    timestamp_offset: u32,
    /// The newest packet that has passed.
    last: Option<Last>,
    next: Next,
}

/// What the next packet is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The source of those before.
    Same,
    /// Perhaps the same: its numbers tell.
    Either,
    /// Another.
    Other,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    sequence: u16,
    timestamp: u32,
    at: Instant,
}

impl Numbering {
    pub(super) fn new(clock_rate: u32) -> Self {
        Self {
            clock_rate,
            sequence_offset: 0,
            timestamp_offset: 0,
            last: None,
            next: Next::Same,
        }
    }

    /// What comes next is of another source. A number is never used twice: with it a packet's key
    /// would be, and the other end drops what it takes for a copy.
    pub(super) fn renew(&mut self) {
        self.next = Next::Other;
    }

    /// What comes next comes another way, perhaps of the same source.
    pub(super) fn reroute(&mut self) {
        self.next = Next::Either;
    }

    /// A packet of the source is left out: the next has its number.
    pub(super) fn leave_out(&mut self) {
        self.sequence_offset = self.sequence_offset.wrapping_sub(1);
    }

    /// Numbers a packet.
    pub(super) fn pass(&mut self, header: &mut Header, now: Instant) {
        let next = std::mem::replace(&mut self.next, Next::Same);
        if next != Next::Same
            && let Some(last) = self.last
            && (next == Next::Other || !self.goes_on(header, last))
        {
            let elapsed = now.saturating_duration_since(last.at).as_secs_f64();
            let ticks = (elapsed * f64::from(self.clock_rate)) as u32;
            let timestamp = last.timestamp.wrapping_add(ticks.max(1));
            self.sequence_offset = last
                .sequence
                .wrapping_add(1)
                .wrapping_sub(header.sequence_number);
            self.timestamp_offset = timestamp.wrapping_sub(header.timestamp);
        }
        header.sequence_number = header.sequence_number.wrapping_add(self.sequence_offset);
        header.timestamp = header.timestamp.wrapping_add(self.timestamp_offset);
        let (sequence, timestamp, at) = (header.sequence_number, header.timestamp, now);
        let is_newer = |last: Last| sequence.wrapping_sub(last.sequence) < u16::MAX / 2;
        if self.last.is_none_or(is_newer) {
            self.last = Some(Last {
                sequence,
                timestamp,
                at,
            });
        }
    }

    /// Whether a packet is of the source of those before, though it comes another way.
    fn goes_on(&self, header: &Header, last: Last) -> bool {
        let sequence = header.sequence_number.wrapping_add(self.sequence_offset);
        let timestamp = header.timestamp.wrapping_add(self.timestamp_offset);
        let ahead = sequence.wrapping_sub(last.sequence);
        let near = ahead.min(ahead.wrapping_neg()) <= NEAR;
        let later = timestamp.wrapping_sub(last.timestamp);
        let near_in_time = later.min(later.wrapping_neg()) <= NEAR_SECONDS * self.clock_rate;
        near && near_in_time
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn header(sequence_number: u16, timestamp: u32) -> Header {
        Header {
            sequence_number,
            timestamp,
            ..Header::default()
        }
    }

    fn pass(numbering: &mut Numbering, packet: (u16, u32), now: Instant) -> (u16, u32) {
        let mut header = header(packet.0, packet.1);
        numbering.pass(&mut header, now);
        (header.sequence_number, header.timestamp)
    }

    #[test]
    fn another_source_goes_on_with_the_numbers_of_the_one_before() {
        let (mut numbering, now) = (Numbering::new(90_000), Instant::now());
        assert_eq!(pass(&mut numbering, (u16::MAX, 7), now), (u16::MAX, 7));
        numbering.renew();
        let later = now + Duration::from_millis(100);
        assert_eq!(pass(&mut numbering, (30_000, 5_000_000), later), (0, 9_007));
        assert_eq!(
            pass(&mut numbering, (30_001, 5_003_000), later),
            (1, 12_007)
        );
        assert_eq!(
            pass(&mut numbering, (30_000, 5_000_000), later),
            (0, 9_007),
            "a late one"
        );
        numbering.renew();
        assert_eq!(
            pass(&mut numbering, (1, 12_007), later),
            (2, 12_008),
            "no number twice"
        );
    }

    #[test]
    fn the_same_source_keeps_its_numbers_though_it_comes_another_way() {
        let (mut numbering, now) = (Numbering::new(90_000), Instant::now());
        assert_eq!(pass(&mut numbering, (5, 100), now), (5, 100));
        numbering.reroute();
        assert_eq!(
            pass(&mut numbering, (8, 9_100), now),
            (8, 9_100),
            "two were lost"
        );
        numbering.reroute();
        assert_eq!(
            pass(&mut numbering, (30_000, 9_100), now),
            (9, 9_101),
            "it is another"
        );
    }

    #[test]
    fn what_is_left_out_leaves_no_gap() {
        let (mut numbering, now) = (Numbering::new(90_000), Instant::now());
        assert_eq!(pass(&mut numbering, (5, 100), now), (5, 100));
        numbering.leave_out();
        assert_eq!(pass(&mut numbering, (7, 300), now), (6, 300));
    }
}
