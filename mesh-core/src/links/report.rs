//! What there is to say of the link to a peer, or of why there is none.

use std::time::Duration;

use super::Links;
use super::dialer::LastFailure;
use super::link::{Link, LinkState};
use crate::context::Context;
use crate::ice::IceServer;
use crate::id::PeerId;
use crate::link_report::{FailedAttempts, LinkCondition, LinkStep};

impl Links {
    /// Where the link to a peer stands. A connection that takes its place does not count.
    pub(crate) fn condition(&self, peer: PeerId, cx: &Context) -> LinkCondition {
        if let Some(link) = self.to(peer) {
            return link.condition(cx);
        }
        match self.silent.of(peer) {
            Some(link) => LinkCondition::Silent {
                for_ms: millis(cx.now.since(link.keepalive.last_heard())),
            },
            None => LinkCondition::Absent,
        }
    }

    /// The attempts to link with a peer that have failed, the last of them in words.
    pub(crate) fn failed_attempts(&self, peer: PeerId, cx: &Context) -> Option<FailedAttempts> {
        let last = self.dialer.last_failure(peer)?;
        Some(FailedAttempts {
            count: self.dialer.failures(peer),
            at: last.step,
            relays: last.relays,
            reason: last.reason.clone().into(),
            ago_ms: millis(cx.now.since(last.at)),
            retry_in_ms: millis(self.dialer.retry_at(peer).since(cx.now)),
            left_out: self.out_of_reach(peer, cx),
        })
    }

    /// Whether a TURN server is known.
    pub(crate) fn knows_relays(&self) -> bool {
        self.ice_servers.iter().any(IceServer::is_turn)
    }

    /// Notes why a link did not open, or is no more.
    pub(super) fn note_failure(&mut self, link: &Link, reason: &str, cx: &Context) {
        let step = match link.state {
            LinkState::Negotiating { .. } => link.awaits(cx),
            LinkState::Open | LinkState::Draining { .. } => LinkStep::Life,
        };
        let relays = link.negotiation.relays && self.knows_relays();
        let failure = LastFailure::new(step, relays, reason, cx.now);
        self.dialer.note(link.peer, failure);
    }
}

impl Link {
    fn condition(&self, cx: &Context) -> LinkCondition {
        let begun_at = self.opened_at.unwrap_or(self.negotiation.started_at());
        let for_ms = millis(cx.now.since(begun_at));
        match self.state {
            LinkState::Negotiating { .. } => LinkCondition::Opening {
                for_ms,
                offers: cx.this < self.peer,
                via_hub: self.negotiation.via_hub,
                awaits: self.awaits(cx),
            },
            LinkState::Open => LinkCondition::Linked {
                for_ms,
                rtt_us: self.rtt_us(),
                path: self.path,
            },
            LinkState::Draining { .. } => LinkCondition::Closing,
        }
    }

    /// The step that a link in negotiation waits for.
    fn awaits(&self, cx: &Context) -> LinkStep {
        let offers = cx.this < self.peer;
        if self.negotiation.has_reached() {
            LinkStep::Channels
        } else if offers && !self.negotiation.was_answered() {
            LinkStep::Answer
        } else {
            LinkStep::Path
        }
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
