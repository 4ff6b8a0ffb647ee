//! One link, and where it stands.

use std::time::Duration;

use super::keepalive::Keepalive;
use super::lane::Lane;
use super::media::Media;
use super::negotiation::Negotiation;
use super::path::Upgrade;
use super::queue::LinkQueue;
use super::restart::Restarts;
use crate::config::Config;
use crate::ice::LinkPath;
use crate::id::{LinkId, PeerId};
use crate::time::Instant;
use crate::timeout::TimeoutReason;
use crate::wire::LinkEntry;

/// Rejections from one peer that the application is told of, each as an event: enough to see a
/// pattern. Later ones are only counted, so that a hostile peer cannot flood the application.
const MISDEEDS_REPORTED: u32 = 100;

/// One link, from the decision to open it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) peer: PeerId,
    pub(crate) negotiation: Negotiation,
    pub(crate) state: LinkState,
    pub(crate) role: Role,
    /// When a connection with fresh keys is to take its place, if this end sees to that.
    pub(crate) rotate_at: Option<Instant>,
    /// When it opened.
    pub(crate) opened_at: Option<Instant>,
    pub(crate) keepalive: Keepalive,
    pub(crate) restarts: Restarts,
    /// The way that it takes, as far as the driver has told.
    pub(crate) path: Option<LinkPath>,
    /// How it looks for a better one.
    pub(super) upgrade: Upgrade,
    /// The tracks that travel over it.
    pub(super) media: Media,
    pub(crate) queue: LinkQueue,
    pub(crate) carried: Carried,
    /// Rejected input from this peer, of which only so much is worth an event each.
    pub(crate) misdeeds: u32,
}

/// Bytes of the frames that a link has carried, whatever connections it had.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Carried {
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
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

/// What a connection is to its peer, of which there may be two for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The link, in use or being opened.
    Only,
    /// It is being opened to take the place of the link.
    Successor,
    /// Another has taken its place: it ends once what was sent over it has arrived.
    Replaced,
}

impl Link {
    /// A link that is to be open `until` then.
    pub(crate) fn new(
        id: LinkId,
        peer: PeerId,
        negotiation: Negotiation,
        until: Instant,
        config: &Config,
        now: Instant,
    ) -> Self {
        Self {
            id,
            peer,
            negotiation,
            state: LinkState::Negotiating { until },
            role: Role::Only,
            rotate_at: None,
            opened_at: None,
            keepalive: Keepalive::new(config, now),
            restarts: Restarts::default(),
            path: None,
            upgrade: Upgrade::default(),
            media: Media::default(),
            queue: LinkQueue::default(),
            carried: Carried::default(),
            misdeeds: 0,
        }
    }

    /// It was silent, and has answered a ping of that time after this long.
    pub(super) fn revive(&mut self, took: Duration, now: Instant) {
        self.state = LinkState::Open;
        self.negotiation.revived(now);
        self.opened_at = Some(now);
        self.restarts = Restarts::default();
        self.keepalive = self.keepalive.revived(took, now);
        self.media = self.media.revived(now);
        // Moments that passed meanwhile are due now.
        for moment in [&mut self.rotate_at, &mut self.upgrade.at] {
            *moment = moment.map(|at| at.max(now));
        }
    }

    /// Messages may be routed over it.
    pub(crate) fn is_open(&self) -> bool {
        self.state == LinkState::Open
    }

    /// Messages may be routed over it, and there is room for one that travels so.
    pub(crate) fn takes(&self, lane: Lane, config: &Config) -> bool {
        self.is_open() && !self.queue.is_full_for(lane, config)
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

    /// Counts a rejection; returns whether it is worth an event.
    pub(super) fn misbehaved(&mut self) -> bool {
        self.misdeeds = self.misdeeds.saturating_add(1);
        self.misdeeds <= MISDEEDS_REPORTED
    }

    /// The smoothed round trip in microseconds, if measured.
    pub(super) fn rtt_us(&self) -> Option<u32> {
        let rtt = self.keepalive.srtt()?;
        Some(u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX))
    }

    /// What there is to tell the others about it.
    pub(crate) fn entry(&self) -> LinkEntry {
        LinkEntry {
            peer_prefix: self.peer.prefix(),
            rtt_us: self.rtt_us().unwrap_or_default(),
            kbps: self.queue.kbps(),
        }
    }

    /// When this link next needs attention, and why.
    pub(crate) fn deadline(&self) -> (Instant, TimeoutReason) {
        let keepalive = (self.keepalive.deadline(), TimeoutReason::Keepalive);
        match self.state {
            LinkState::Negotiating { until } => {
                let again = self.negotiation.relayed.deadline();
                let again = again.map(|at| (at, TimeoutReason::Relay));
                let fallback = self.negotiation.fallback_at;
                let fallback = fallback.map(|at| (at, TimeoutReason::Fallback));
                let until = (until, TimeoutReason::Negotiation);
                let others = [again, fallback].into_iter().flatten();
                others.fold(until, std::cmp::min)
            }
            LinkState::Open => {
                let rotate = self.rotate_at.map(|at| (at, TimeoutReason::Rotate));
                let direct = self.upgrade.at.map(|at| (at, TimeoutReason::Direct));
                let media = self.media.at.map(|at| (at, TimeoutReason::Tracks));
                let others = [rotate, direct, media].into_iter().flatten();
                others.fold(keepalive, std::cmp::min)
            }
            LinkState::Draining { until } => keepalive.min((until, TimeoutReason::Drain)),
        }
    }
}
