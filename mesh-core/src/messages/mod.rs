//! The data plane: what the application sends and receives, and what passes through.
//!
//! A message is numbered, dated and signed by its author, and travels hop by hop. [`Messages`]
//! holds what this agent has sent and awaits, and what it has seen of others; [`Net`] is what a
//! message travels over.

mod arrivals;
mod broadcast;
mod commands;
mod copies;
mod explain;
mod finish;
mod forwarding;
mod incoming;
mod large;
mod losses;
mod notices;
mod outcomes;
mod outgoing;
mod pending;
mod rate;
mod replay;
mod replies;
mod stream;
mod streams;
#[cfg(test)]
mod tests;
mod waiting;

pub(crate) use incoming::TTL_MAX;
pub(crate) use large::OF_AUTHOR_MAX;
pub(crate) use replay::{ReplayWindow, Seen};

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::context::Context;
use crate::id::{MessageId, PeerId, Target};
use crate::links::{Links, SignalFrom};
use crate::overlay::Overlay;
use crate::routing::Routing;
use crate::time::Instant;
use crate::timeout::TimeoutReason;
use crate::timers::Timers;
use crate::trust::Trust;
use arrivals::{Arrivals, Arrived};
use broadcast::Broadcasts;
use explain::Questions;
use large::Large;
use notices::Notices;
use outcomes::Outcomes;
use outgoing::Drafts;
use pending::Pending;
use rate::Rate;
use replies::Answer;
use stream::Inbox;
use streams::Streams;
use waiting::Waiting;

/// What messages travel over, and what they are signed and judged by.
pub(crate) struct Net<'a> {
    pub(crate) links: &'a mut Links,
    pub(crate) routing: &'a mut Routing,
    pub(crate) overlay: &'a Overlay,
    pub(crate) trust: &'a mut Trust,
    pub(crate) cx: &'a mut Context,
}

/// The messages of an agent.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    /// Those that are to be signed.
    drafts: Drafts,
    /// Those that no way leads to yet.
    waiting: Waiting,
    /// Notices of others that no way leads to yet.
    notices: Notices,
    /// How many the application has sent of late.
    rate: Rate,
    /// Those that may still be told to have failed.
    outcomes: Outcomes,
    sequences: BTreeMap<Target, u64>,
    /// The highest sequence of targets that were forgotten: where new ones start.
    sequence_floor: u64,
    windows: BTreeMap<PeerId, Windows>,
    /// Streams of this agent to others.
    streams: Streams,
    /// What streams of others need.
    arrivals: Arrivals,
    /// Large messages that are under way.
    large: Large,
    /// Messages of this agent that await a receipt or a reply.
    pending: BTreeMap<MessageId, Pending>,
    /// Of other members about their links.
    questions: Questions,
    broadcasts: Broadcasts,
    /// The topics that the application wants to hear of; `None` for all.
    topics: Option<BTreeSet<String>>,
    /// Requests received, with the reply once there is one; oldest first.
    requests: VecDeque<(MessageId, Answer)>,
    /// A caller was told to wait until the mesh is writable.
    backpressured: bool,
    /// Signals that came for links.
    signals: VecDeque<SignalFrom>,
    timers: Timers,
}

/// What was seen of one author.
#[derive(Debug, Default)]
struct Windows {
    direct: ReplayWindow,
    stream: Inbox<Arrived>,
    room: ReplayWindow,
}

impl Messages {
    /// When a timer of this machine fires next, and which.
    pub(crate) fn deadline(&self) -> Option<(Instant, TimeoutReason)> {
        self.timers.deadline()
    }

    /// A timer has fired.
    pub(crate) fn disarm(&mut self, timer: TimeoutReason) {
        self.timers.disarm(timer);
    }

    /// The next signal that has come for a link.
    pub(crate) fn poll_signal(&mut self) -> Option<SignalFrom> {
        self.signals.pop_front()
    }

    /// Whether nothing was sent yet.
    pub(crate) fn is_unused(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Messages that await a receipt or a reply.
    pub(crate) fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// Messages that wait for a way.
    pub(crate) fn waiting_len(&self) -> usize {
        self.waiting.len() + self.notices.len()
    }

    /// Bounds what is remembered of authors that are no longer here.
    pub(crate) fn forget_strangers(&mut self, overlay: &Overlay, cx: &Context) {
        let authors_max = overlay.authors_max(cx);
        if self.windows.len() >= authors_max {
            let is_needed = |windows: &Windows| windows.stream.is_holding();
            self.windows
                .retain(|&peer, windows| overlay.has_member(peer) || is_needed(windows));
        }
        if self.sequences.len() >= authors_max {
            // A member that comes back may see no sequence twice: all start above those forgotten.
            let used = self.sequences.values().copied().max().unwrap_or_default();
            self.sequence_floor = self.sequence_floor.max(used);
            self.sequences.retain(|target, _| match target {
                Target::Room => true,
                Target::Peer(peer) => overlay.has_member(*peer),
            });
            self.outcomes.retain(|peer| overlay.has_member(peer));
            self.streams.retain(|peer| overlay.has_member(peer));
        }
    }

    /// Whether what was seen of an author is remembered, or can be from now on.
    fn remembers(&mut self, author: PeerId, net: &Net<'_>) -> bool {
        let authors_max = net.overlay.authors_max(net.cx);
        if !self.windows.contains_key(&author) && self.windows.len() >= authors_max {
            self.forget_strangers(net.overlay, net.cx);
        }
        self.windows.contains_key(&author) || self.windows.len() < authors_max
    }
}

/// What the simulator and tests look at.
#[cfg(any(test, feature = "sim"))]
impl Messages {
    /// Whether nothing of this agent is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty()
            && self.waiting.is_empty()
            && self.streams.is_calm()
            && self.arrivals.is_calm()
            && self.large.is_idle()
    }

    /// The number of the last message to a target.
    #[cfg(test)]
    pub(crate) fn last_sequence(&self, target: Target) -> u64 {
        self.sequences.get(&target).copied().unwrap_or_default()
    }
}
