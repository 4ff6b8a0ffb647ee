//! What a link costs a path, by the metric of the room.
//!
//! Every agent computes costs from the same announced figures, so all agree on the paths and a
//! message does not go in circles. For the same reason all agents of a room must use the same
//! metric. Figures are rounded before they count: a link that is a little slower than a moment ago
//! moves no traffic.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::wire::LinkEntry;

/// What makes one path better than another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// The fewest links.
    #[default]
    Hops,
    /// The shortest time, by the announced round trips.
    Latency,
    /// The most capacity, by what links were measured to carry when they were busy: as OSPF, the
    /// sum of a reference over each link's bandwidth.
    Bandwidth,
}

/// Text that names no metric.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no metric; there are hops, latency, bandwidth")]
pub struct ParseMetricError(String);

/// Cost of one more hop by latency, in microseconds: a forwarder takes its time too.
const HOP_US: u32 = 500;

/// Round trip that counts for a link which has not been measured yet, in microseconds: that of a
/// usual path, so that it is neither sought nor shunned.
const UNMEASURED_US: u32 = 50_000;

/// Bandwidth at which a link costs 1, in kbit/s: 10 Gbit/s, more than any link between two agents
/// carries.
const REFERENCE_KBPS: u32 = 10_000_000;

/// Bandwidth that counts for a link which was never busy, in kbit/s: that of a usual access line.
const UNMEASURED_KBPS: u32 = 100_000;

impl Metric {
    /// The cost of a link that its ends announce so: by the worse of their two words.
    pub(crate) fn cost(self, ours: &LinkEntry, theirs: &LinkEntry) -> u32 {
        match self {
            Self::Hops => 1,
            Self::Latency => {
                let rtt_us = match ours.rtt_us.max(theirs.rtt_us) {
                    0 => UNMEASURED_US,
                    rtt_us => rtt_us,
                };
                HOP_US.saturating_add(rounded(rtt_us))
            }
            Self::Bandwidth => {
                // One end alone cannot make a link look wide.
                let [ours, theirs] = [ours.kbps, theirs.kbps].map(|kbps| match kbps {
                    0 => UNMEASURED_KBPS,
                    kbps => kbps,
                });
                (REFERENCE_KBPS / rounded(ours.min(theirs))).max(1)
            }
        }
    }
}

/// The three leading binary digits: at most a fifth less than the number.
fn rounded(number: u32) -> u32 {
    let dropped = (u32::BITS - number.leading_zeros()).saturating_sub(3);
    number >> dropped << dropped
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Hops => "hops",
            Self::Latency => "latency",
            Self::Bandwidth => "bandwidth",
        })
    }
}

impl FromStr for Metric {
    type Err = ParseMetricError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Hops, Self::Latency, Self::Bandwidth];
        let named = all.into_iter().find(|metric| metric.to_string() == text);
        named.ok_or_else(|| ParseMetricError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(rtt_us: u32, kbps: u32) -> LinkEntry {
        LinkEntry {
            peer_prefix: 1,
            rtt_us,
            kbps,
        }
    }

    #[test]
    fn the_worse_word_counts_and_small_changes_do_not() {
        let cost = |metric: Metric, a, b| metric.cost(&a, &b);
        assert_eq!(cost(Metric::Hops, entry(9, 9), entry(1, 1)), 1);
        let slow = cost(Metric::Latency, entry(20_000, 0), entry(200_000, 0));
        assert_eq!(slow, HOP_US + rounded(200_000));
        assert_eq!(slow, cost(Metric::Latency, entry(205_000, 0), entry(0, 0)));
        let unknown = cost(Metric::Latency, entry(0, 0), entry(0, 0));
        assert_eq!(unknown, HOP_US + rounded(UNMEASURED_US));
        let wide = cost(Metric::Bandwidth, entry(0, 1_000_000), entry(0, 1_000_000));
        let boast = cost(Metric::Bandwidth, entry(0, u32::MAX), entry(0, 0));
        assert_eq!(boast, cost(Metric::Bandwidth, entry(0, 0), entry(0, 0)));
        let narrow = cost(Metric::Bandwidth, entry(0, 1_000_000), entry(0, 8));
        assert!(wide < cost(Metric::Bandwidth, entry(0, 0), entry(0, 0)));
        assert!(narrow > 1_000 * wide, "{narrow} and {wide}");
    }

    #[test]
    fn metrics_are_named_or_explained() {
        for metric in [Metric::Hops, Metric::Latency, Metric::Bandwidth] {
            assert_eq!(metric.to_string().parse(), Ok(metric));
        }
        assert!("speed".parse::<Metric>().is_err());
    }
}
