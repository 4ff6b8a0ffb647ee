//! One link's life: negotiating, open, draining, closed.
//!
//! The lower [`PeerId`] of a pair offers, so two ends never offer at once; the higher may ask for
//! an offer. An attempt has a random number chosen by the offerer, which every signal about it
//! carries, so that a late candidate of a failed attempt is not taken for one of the next. A closed
//! link is simply forgotten; [`Dialer`] remembers when to try again.

mod dialer;
mod keepalive;
mod queue;
mod silent;
mod table;

pub(crate) use dialer::Dialer;
pub(crate) use keepalive::{Keepalive, KeepaliveAction};
pub(crate) use queue::LinkQueue;
pub(crate) use silent::SilentLinks;
pub(crate) use table::Links;

use crate::config::Config;
use crate::id::{LinkId, MessageId, PeerId};
use crate::routing::Metric;
use crate::time::Instant;
use crate::wire::LinkEntry;

/// A change of the round trip that is not worth telling, in microseconds, however large it is for
/// the link: smoothed samples of a busy wireless network differ by as much.
const RTT_NOISE_US: u32 = 5_000;

/// One link, from the decision to open it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) peer: PeerId,
    /// Names the attempt to the other end.
    pub(crate) attempt: u64,
    /// Whether its signals travel through the hub rather than over the mesh.
    pub(crate) via_hub: bool,
    /// Candidates received, of which only so many are taken.
    pub(crate) candidates: u32,
    /// The peer's answer to our offer.
    pub(crate) answer: Option<Answer>,
    pub(crate) state: LinkState,
    pub(crate) started_at: Instant,
    /// When our offer or answer was ready.
    pub(crate) described_at: Instant,
    /// When ICE had found a path.
    pub(crate) reached_at: Option<Instant>,
    /// When it opened.
    pub(crate) opened_at: Option<Instant>,
    /// Since when the topology has not wanted this link.
    pub(crate) unwanted_since: Option<Instant>,
    pub(crate) keepalive: Keepalive,
    pub(crate) queue: LinkQueue,
    /// This end wanted the link; the other may only have agreed to it.
    pub(crate) ours: bool,
    /// It is, or was, one of the inner rings.
    pub(crate) inner: bool,
    pub(crate) digest_sent_at: Option<Instant>,
    /// Since when digests of the other end are counted, and how many were answered.
    pub(crate) digests_answered: (Instant, u32),
    /// What the others were told of it last.
    announced: LinkEntry,
    /// Rejected input from this peer, of which only so much is worth an event each.
    pub(crate) misdeeds: u32,
}

/// The message that an answer came in, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) id: MessageId,
    pub(crate) at: Instant,
}

impl Answer {
    /// Whether its author has said something else after it: an offer that it asks for, say, means
    /// that it has lost the link.
    pub(crate) fn is_before(&self, later: &MessageId) -> bool {
        let order = |id: &MessageId| (id.incarnation, id.sequence);
        order(&self.id) < order(later)
    }
}

/// Where a link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// Offer, answer and candidates travel.
    Negotiating {
        /// When to give up.
        until: Instant,
    },
    /// All channels are open.
    Open,
    /// No new messages; closes when what was sent is acknowledged, at the latest at the deadline.
    Draining {
        /// When to close regardless.
        until: Instant,
    },
}

impl Link {
    /// A link that is to be open `until` then.
    pub(crate) fn new(
        id: LinkId,
        peer: PeerId,
        attempt: u64,
        until: Instant,
        config: &Config,
        now: Instant,
    ) -> Self {
        Self {
            id,
            peer,
            attempt,
            via_hub: false,
            candidates: 0,
            answer: None,
            state: LinkState::Negotiating { until },
            started_at: now,
            described_at: now,
            reached_at: None,
            opened_at: None,
            unwanted_since: None,
            keepalive: Keepalive::new(config, now),
            queue: LinkQueue::default(),
            ours: false,
            inner: false,
            digest_sent_at: None,
            digests_answered: (now, 0),
            announced: LinkEntry::unmeasured(peer),
            misdeeds: 0,
        }
    }

    /// Messages may be routed over it.
    pub(crate) fn is_open(&self) -> bool {
        self.state == LinkState::Open
    }

    /// Frames may be sent over it.
    pub(crate) fn is_usable(&self) -> bool {
        !self.is_negotiating()
    }

    pub(crate) fn is_draining(&self) -> bool {
        matches!(self.state, LinkState::Draining { .. })
    }

    pub(crate) fn is_negotiating(&self) -> bool {
        matches!(self.state, LinkState::Negotiating { .. })
    }

    /// What there is to tell the others about it.
    fn entry(&self) -> LinkEntry {
        let rtt = self.keepalive.srtt().unwrap_or_default();
        LinkEntry {
            peer_prefix: self.peer.prefix(),
            rtt_us: u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX),
            kbps: self.queue.kbps(),
        }
    }

    /// What the others are told about it now.
    pub(crate) fn announce(&mut self) -> LinkEntry {
        self.announced = self.entry();
        self.announced
    }

    /// Whether it differs so much from what the others know that they should be told. Where paths
    /// do not depend on it, they are told once.
    pub(crate) fn has_changed(&self, metric: Metric) -> bool {
        if metric == Metric::Hops && !self.keepalive.just_measured() {
            return false;
        }
        let (new, old) = (self.entry(), self.announced);
        let apart = |a: u32, b: u32| a.abs_diff(b) > a.min(b) / 2;
        let first = old.rtt_us == 0 && new.rtt_us > 0;
        let rtt = apart(new.rtt_us, old.rtt_us) && new.rtt_us.abs_diff(old.rtt_us) > RTT_NOISE_US;
        first || rtt || apart(new.kbps, old.kbps)
    }

    /// When this link next needs attention.
    pub(crate) fn deadline(&self) -> Instant {
        match self.state {
            LinkState::Negotiating { until } => until,
            LinkState::Open => self.keepalive.deadline(),
            LinkState::Draining { until } => until.min(self.keepalive.deadline()),
        }
    }
}
