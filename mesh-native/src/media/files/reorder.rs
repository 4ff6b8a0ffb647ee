//! Packets in their order, though some come late: those that were lost are sent again.

use std::collections::BTreeMap;

use rtc::rtp;

/// Packets that wait for one that is missing: a retransmission takes a round trip, in which so many
/// come of a video at 5 Mbit/s.
const WAITING_MAX: usize = 64;

/// Packets that have come, by their numbers counted on.
#[derive(Debug, Default)]
pub(super) struct Reorder {
    waiting: BTreeMap<u64, rtp::Packet>,
    /// The number of the next packet, counted on.
    next: Option<u64>,
    /// The packet before the next did not come.
    has_lost: bool,
}

impl Reorder {
    pub(super) fn push(&mut self, packet: rtp::Packet) {
        let number = packet.header.sequence_number;
        // A number of 16 bits, next to the one that is expected.
        let expected = self.next.unwrap_or(u64::from(number) + (1 << 16));
        let ahead = number.wrapping_sub(expected as u16) as i16;
        let counted = expected.saturating_add_signed(ahead.into());
        self.next.get_or_insert(expected);
        if counted >= expected {
            self.waiting.insert(counted, packet);
        }
    }

    /// The next packet, and whether those before it were lost.
    pub(super) fn pop(&mut self) -> Option<(rtp::Packet, bool)> {
        let (&first, _) = self.waiting.first_key_value()?;
        if self.next != Some(first) {
            if self.waiting.len() < WAITING_MAX {
                return None;
            }
            self.has_lost = true;
        }
        let (_, packet) = self.waiting.pop_first()?;
        self.next = Some(first + 1);
        Some((packet, std::mem::take(&mut self.has_lost)))
    }
}
