//! When a link buffers more than is good, and when it has drained: the same for every WebRTC stack.

use crate::io::Channel;
use crate::wire::FRAME_BYTES_MAX;

/// Bytes waiting in the data channels of a link at which it is congested: those that 20 Mbit/s
/// carry in a tenth of a second. More would only add latency.
const HIGH_WATER_BYTES: usize = 256 * 1024;

/// Bytes waiting in one data channel at which the stack tells that it has drained: half of the
/// smallest usual window of SCTP, so that the channel does not run dry meanwhile.
pub const LOW_WATER_BYTES: u32 = 64 * 1024;

/// Bytes waiting in all channels at which a link has drained. The last channel that falls to its
/// low water must find the sum below this, so it is all of them together.
const DRAINED_BYTES: usize = Channel::ALL.len() * LOW_WATER_BYTES as usize;

/// Bytes that are sent until the data channels are asked again how much waits in them: one frame of
/// the largest size. To ask costs about as much as to send a small one.
pub const MEASURED_BYTES: usize = FRAME_BYTES_MAX;

const _: () = assert!(DRAINED_BYTES < HIGH_WATER_BYTES, "a congested link drains");
const _: () = assert!(MEASURED_BYTES < HIGH_WATER_BYTES - DRAINED_BYTES);

/// Whether a link with so many bytes in all its channels is congested.
pub fn is_congested(buffered_bytes: usize) -> bool {
    buffered_bytes >= HIGH_WATER_BYTES
}

/// Whether a link that was congested has drained, with so many bytes in all its channels.
pub fn has_drained(buffered_bytes: usize) -> bool {
    buffered_bytes <= DRAINED_BYTES
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
            assert_eq!(is_congested(kib * 1024), congested, "{kib} KiB");
            assert_eq!(has_drained(kib * 1024), drained, "{kib} KiB");
        }
    }

    #[test]
    fn channels_that_are_all_at_low_water_have_drained() {
        let low = usize::try_from(LOW_WATER_BYTES).expect("small");
        assert!(has_drained(low * Channel::ALL.len()));
    }
}
