//! When a link buffers more than is good, and when it has drained: the same for every WebRTC stack.
//!
//! Bytes that are under way on the path do not wait. Where a stack counts them among those that its
//! data channels hold, its driver says how many they are.

use crate::io::Channel;
use crate::wire::FRAME_BYTES_MAX;

/// Bytes waiting in the data channels of a link at which it is congested: those that 20 Mbit/s
/// carry in a tenth of a second. More would only add latency.
const HIGH_WATER_BYTES: usize = 256 * 1024;

/// Bytes waiting in one data channel at which the stack tells that it has drained: half of the
/// smallest usual window of SCTP, so that the channel does not run dry meanwhile.
const LOW_WATER_BYTES: usize = 64 * 1024;

/// Bytes waiting in all channels at which a link has drained. The last channel that falls to its
/// low water must find the sum below this, so it is all of them together.
const DRAINED_BYTES: usize = Channel::ALL.len() * LOW_WATER_BYTES;

/// Bytes that are sent until the data channels are asked again how much waits in them: one frame of
/// the largest size. To ask costs about as much as to send a small one.
pub const MEASURED_BYTES: usize = FRAME_BYTES_MAX;

const _: () = assert!(DRAINED_BYTES < HIGH_WATER_BYTES, "a congested link drains");
const _: () = assert!(MEASURED_BYTES < HIGH_WATER_BYTES - DRAINED_BYTES);

/// Whether a link with so many bytes in all its channels is congested, so many of them under way.
pub fn is_congested(buffered_bytes: usize, under_way: usize) -> bool {
    buffered_bytes >= HIGH_WATER_BYTES + under_way
}

/// Whether a link that was congested has drained, with so many bytes in all its channels, so many
/// of them under way.
pub fn has_drained(buffered_bytes: usize, under_way: usize) -> bool {
    buffered_bytes <= DRAINED_BYTES + under_way
}

/// Bytes in one data channel at which the stack is to tell that it has drained. Those that are
/// under way are of the data channel, for nearly all are.
pub fn low_water(channel: Channel, under_way: usize) -> u32 {
    let bytes = match channel {
        Channel::Data => LOW_WATER_BYTES + under_way,
        Channel::Control | Channel::Stream => LOW_WATER_BYTES,
    };
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_high_and_low_water_a_link_stays_what_it_is() {
        for (kib, congested, drained) in [
            (0, false, true),
            (192, false, true),
            (193, false, false),
            (255, false, false),
            (256, true, false),
            (1_024, true, false),
        ] {
            for under_way in [0, 700_000] {
                let bytes = kib * 1024 + under_way;
                assert_eq!(is_congested(bytes, under_way), congested, "{kib} KiB");
                assert_eq!(has_drained(bytes, under_way), drained, "{kib} KiB");
            }
        }
    }

    #[test]
    fn channels_that_are_all_at_low_water_have_drained() {
        for under_way in [0, 700_000] {
            let low = Channel::ALL.map(|channel| low_water(channel, under_way));
            let sum = low.iter().map(|&low| low as usize).sum();
            assert!(has_drained(sum, under_way));
        }
    }
}
