//! How a link comes to be: an offer, its answer, and candidates.

use std::time::Duration;

use rand_chacha::rand_core::Rng;

use super::dialer::OFFER_PATIENCE;
use super::link::{Link, LinkState, Role};
use super::relayed::Relayed;
use super::{LinkEvent, Links, Way};
use crate::context::Context;
use crate::error::RejectReason;
use crate::id::{LinkId, MessageId, PeerId};
use crate::io::{Event, Output};
use crate::log::decided;
use crate::rng::unit;
use crate::stats::RepairStep;
use crate::time::Instant;
use crate::wire::{LinkSignal, PeerSignal};

/// Trickled candidates that are taken for one link. A host has a handful of addresses, and each
/// candidate costs connectivity checks.
pub(super) const CANDIDATES_MAX: u32 = 64;

/// At most this many doublings of the negotiation timeout: an attempt that failed for want of time
/// on a busy machine gets up to four times as much.
const DOUBLINGS_MAX: u32 = 2;

/// A verified signal of a peer: the message that it came in, and its attempt.
#[derive(Debug)]
pub(crate) struct SignalFrom {
    pub(crate) message: MessageId,
    /// Names the attempt that the signal is of.
    pub(crate) attempt: u64,
    pub(crate) signal: PeerSignal,
    /// The neighbour that handed it over; none for the hub.
    pub(crate) via: Option<PeerId>,
}

/// An attempt to open a link.
#[derive(Debug)]
pub(crate) struct Negotiation {
    /// Names the attempt to the other end.
    attempt: u64,
    /// 0 while the connection is opened; each ICE restart is a round more.
    round: u16,
    /// Whether its signals travel through the hub rather than over the mesh.
    pub(crate) via_hub: bool,
    /// Candidates received, of which only so many are taken.
    candidates: u32,
    /// The peer's answer to our offer.
    answer: Option<Answer>,
    started_at: Instant,
    /// When our offer or answer was ready.
    described_at: Instant,
    /// When ICE had found a path.
    reached_at: Option<Instant>,
    /// What the hub was given of it.
    pub(super) relayed: Relayed,
    /// Whether its connection may be relayed by now.
    pub(super) relays: bool,
    /// When it may, if it has found no path by then.
    pub(super) fallback_at: Option<Instant>,
    /// It is to bring a direct path, and is given up without.
    pub(super) direct_only: bool,
}

/// The message that an answer came in, and when.
#[derive(Clone, Copy, Debug)]
struct Answer {
    id: MessageId,
    at: Instant,
}

/// What is to be done with a signal from the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is for the peer connection.
    Apply,
    /// The same, and the attempt gets new time.
    Answered,
    /// An honest peer sends no such thing.
    Reject(RejectReason),
}

impl Negotiation {
    pub(super) fn new(attempt: u64, via_hub: bool, now: Instant) -> Self {
        Self {
            attempt,
            round: 0,
            via_hub,
            candidates: 0,
            answer: None,
            started_at: now,
            described_at: now,
            reached_at: None,
            relayed: Relayed::default(),
            relays: false,
            fallback_at: None,
            direct_only: false,
        }
    }

    pub(super) fn is_attempt(&self, attempt: u64) -> bool {
        self.attempt == attempt
    }

    pub(crate) fn attempt(&self) -> u64 {
        self.attempt
    }

    /// Whether a further round that this end has offered is not answered yet.
    pub(super) fn awaits_answer(&self) -> bool {
        self.round > 0 && self.answer.is_none()
    }

    pub(super) fn round(&self) -> u16 {
        self.round
    }

    /// A round more: what is said from now on is about it.
    pub(super) fn begin_round(&mut self, round: u16) {
        self.round = round;
        self.candidates = 0;
        self.answer = None;
        self.relayed.clear();
    }

    /// Whether it was answered and found no path, with direct candidates alone.
    pub(super) fn lacks_path(&self) -> bool {
        self.answer.is_some() && self.reached_at.is_none() && !self.relays
    }

    /// Whether the other end has answered the offer of this end, in this round or an earlier one.
    pub(super) fn was_answered(&self) -> bool {
        self.answer.is_some() || self.round > 0
    }

    /// Whether ICE has found a path.
    pub(super) fn has_reached(&self) -> bool {
        self.reached_at.is_some()
    }

    /// The link was silent and works again.
    pub(super) fn revived(&mut self, now: Instant) {
        self.started_at = now;
        self.described_at = now;
        self.reached_at = None;
    }

    pub(crate) fn started_at(&self) -> Instant {
        self.started_at
    }

    /// Whether the peer has said something else after its answer: an offer that it asks for, say,
    /// means that it has lost the link.
    fn was_answered_before(&self, later: &MessageId) -> bool {
        // What a former life of the peer says is taken for a replay before it comes here.
        let is_before =
            |id: &MessageId| id.incarnation != later.incarnation || id.sequence < later.sequence;
        let answer = self.answer.as_ref();
        answer.is_some_and(|answer| is_before(&answer.id))
    }

    /// Judges a signal of this round from the other end. `awaits` says that this end has offered.
    fn judge(&mut self, id: MessageId, signal: &LinkSignal, awaits: bool, now: Instant) -> Verdict {
        if let LinkSignal::Candidate { .. } = signal {
            self.candidates += 1;
            return match self.candidates > CANDIDATES_MAX {
                true => Verdict::Reject(RejectReason::Limit),
                false => Verdict::Apply,
            };
        }
        if !awaits || self.answer.is_some() {
            return Verdict::Reject(RejectReason::UnexpectedSignal);
        }
        self.answer = Some(Answer { id, at: now });
        Verdict::Answered
    }

    /// The event of the link's opening: how long each part took.
    pub(super) fn opened(&self, peer: PeerId, now: Instant) -> Event {
        let after_ms = |at: Instant| at.since(self.started_at).as_secs_f64() * 1e3;
        Event::LinkOpened {
            peer,
            setup_ms: after_ms(now),
            described_ms: after_ms(self.described_at),
            answered_ms: self.answer.map(|answer| after_ms(answer.at)),
            reached_ms: self.reached_at.map(after_ms),
        }
    }
}

/// Dialling.
impl Links {
    /// Failed attempts in a row so far.
    pub(crate) fn failures(&self, peer: PeerId) -> u32 {
        self.dialer.failures(peer)
    }

    /// Whether a peer that has no link may be dialled now.
    pub(crate) fn may_dial(&self, peer: PeerId, cx: &Context) -> bool {
        !self.leads_to(peer) && self.dialer.ready(peer, cx.now)
    }

    /// Whether the topology should do without a peer for now: it has failed too often.
    pub(crate) fn out_of_reach(&self, peer: PeerId, cx: &Context) -> bool {
        !self.leads_to(peer) && self.dialer.unreachable(peer, &cx.config, cx.now)
    }

    /// Whether others are to be linked with instead of a peer: it is out of reach, or its link was
    /// lost some time ago. In the second case it is dialled on meanwhile.
    pub(crate) fn is_away(&self, peer: PeerId, cx: &Context) -> bool {
        let is_missing = self.dialer.is_missing(peer, &cx.config, cx.now);
        (is_missing && self.open_to(peer).is_none()) || self.out_of_reach(peer, cx)
    }

    /// Whatever failed before, the peer may be another process now.
    pub(crate) fn forget_failures(&mut self, peer: PeerId) {
        self.dialer.forget_failures(peer);
    }

    /// A peer that was asked for an offer declines.
    pub(crate) fn declined_to_offer(&mut self, peer: PeerId, cx: &Context) {
        let jitter = unit(&mut self.rng);
        self.dialer.failed(peer, &cx.config, jitter, cx.now);
        self.dialer.note_no_room(peer, cx.now);
    }

    /// When a peer that failed may be dialled again.
    pub(crate) fn next_dial(&self, cx: &Context) -> Option<Instant> {
        self.dialer.deadline(cx.now)
    }

    /// Opens a link as the offerer.
    pub(crate) fn dial(&mut self, peer: PeerId, via_hub: bool, cx: &mut Context) -> LinkId {
        if self.dialer.failures(peer) > 0 {
            cx.stats.repair(RepairStep::Redial);
        }
        let attempt = self.rng.next_u64();
        let patience = match via_hub {
            true => cx.config.open_timeout,
            false => cx.config.answer_timeout,
        };
        let negotiation = Negotiation::new(attempt, via_hub, cx.now);
        self.negotiate(peer, Role::Only, negotiation, patience, None, cx)
    }

    /// Opens a link as the answerer.
    pub(crate) fn answer(
        &mut self,
        peer: PeerId,
        offer: (u64, String),
        via_hub: bool,
        cx: &mut Context,
    ) -> LinkId {
        self.answer_as(Role::Only, peer, offer, via_hub, cx)
    }

    /// Opens the link to a peer, or what is to take its place, as the answerer.
    pub(super) fn answer_as(
        &mut self,
        role: Role,
        peer: PeerId,
        (attempt, sdp): (u64, String),
        via_hub: bool,
        cx: &mut Context,
    ) -> LinkId {
        let negotiation = Negotiation::new(attempt, via_hub, cx.now);
        let patience = cx.config.open_timeout;
        self.negotiate(peer, role, negotiation, patience, Some(sdp), cx)
    }

    /// How long a step of an attempt may take, given how long at most if all is well. What failed
    /// for want of time gets more of it: hurry makes a busy machine busier.
    fn patience_with(&self, peer: PeerId, usual: Duration, cx: &Context) -> Duration {
        let doublings = self.dialer.failures(peer).min(DOUBLINGS_MAX);
        (usual + cx.grace()) * 2u32.pow(doublings)
    }

    pub(super) fn negotiate(
        &mut self,
        peer: PeerId,
        role: Role,
        mut negotiation: Negotiation,
        patience: Duration,
        offer: Option<String>,
        cx: &mut Context,
    ) -> LinkId {
        let lacks_path = self.dialer.lacks_path(peer) && role == Role::Only;
        negotiation.relays = Self::relays_at_once(role, cx) || lacks_path;
        let relays = negotiation.relays;
        let predecessor = self.to(peer).filter(|_| role == Role::Successor);
        let tracks = predecessor
            .map(|link| link.media.receives())
            .unwrap_or_default();
        let small_packets = self.packets.are_small(peer, role);
        let link = self.table.next_id();
        let until = cx.now + self.patience_with(peer, patience, cx);
        let (via_hub, failures) = (negotiation.via_hub, self.failures(peer));
        let ms = until.since(cx.now).as_millis() as u64;
        match offer {
            None => decided!(cx, ?link, ?peer, ?role, via_hub, failures, ms, "dial"),
            Some(_) => decided!(
                cx,
                ?link,
                ?peer,
                ?role,
                via_hub,
                failures,
                ms,
                "answer an offer"
            ),
        }
        let mut new = Link::new(link, peer, negotiation, until, &cx.config, cx.now);
        new.role = role;
        self.table.insert(new);
        cx.order(Output::OpenLink {
            link,
            peer,
            offer,
            fresh_keys: role == Role::Successor,
            small_packets,
            ice: self.ice(relays, cx),
            tracks,
        });
        link
    }

    /// The lower end offers, but it may not know yet that a link is wanted: waits a moment. The
    /// wait counts as a failed attempt, so that asking for the offer backs off too.
    pub(crate) fn await_offer(&mut self, peer: PeerId, cx: &Context) {
        let jitter = unit(&mut self.rng);
        let grace = cx.grace();
        self.dialer
            .awaiting(peer, grace, &cx.config, jitter, cx.now);
    }

    /// Whether this agent has asked a peer for an offer, after it has waited for one.
    pub(crate) fn has_solicited(&self, peer: PeerId) -> bool {
        self.dialer.failures(peer) > 1
    }

    /// The peer connection of a link has something for its other end.
    pub(crate) fn signaled(&mut self, id: LinkId, signal: LinkSignal, cx: &Context) {
        let Some(link) = self.connection_mut(id) else {
            return;
        };
        let negotiation = &mut link.negotiation;
        if !matches!(signal, LinkSignal::Candidate { .. }) {
            negotiation.described_at = cx.now;
        }
        let round = negotiation.round;
        let was_open = link.opened_at.is_some();
        let offers = matches!(signal, LinkSignal::Offer { .. });
        let (to, attempt) = (link.peer, negotiation.attempt);
        let via_hub = negotiation.via_hub;
        let way = match was_open && round > 0 {
            false => Way::AsBegun { via_hub },
            true => Way::Both,
        };
        let is_successor = link.role == Role::Successor;
        let predecessor = self.to(to).map(|link| link.negotiation.attempt);
        let signal = match (signal, predecessor.filter(|_| is_successor && offers)) {
            (LinkSignal::Offer { sdp }, Some(predecessor)) => {
                PeerSignal::Succeed { predecessor, sdp }
            }
            (signal, _) => PeerSignal::Link { round, signal },
        };
        self.events.push_back(LinkEvent::Signal {
            to,
            attempt,
            signal,
            way,
        });
    }

    /// The driver reports that ICE has found a path.
    pub(crate) fn reached(&mut self, id: LinkId, cx: &mut Context) {
        if let Some(link) = self.table.get_mut(id) {
            link.negotiation.reached_at.get_or_insert(cx.now);
        } else {
            self.ask_one(id, cx);
        }
    }

    /// A peer offers a link. Ends the one to it that there is; returns false if that is this very
    /// attempt, whose offer came over another path.
    pub(crate) fn make_way(&mut self, peer: PeerId, attempt: u64, cx: &mut Context) -> bool {
        self.forget_silent(peer, cx); // It has given that up too.
        let Some(link) = self.to(peer) else {
            return true;
        };
        if self.of_attempt(peer, attempt).is_some() {
            return false;
        }
        // The offerer has given the old attempt up, or lost its end of the link.
        self.close(link.id, "replaced by a new offer of the peer", cx);
        true
    }

    /// The link to a peer that asks for an offer, if the peer cannot know of it any more: it has
    /// lost its end, or has not seen our offer. Returns what to say of the link, too.
    pub(crate) fn lost_by(
        &self,
        asked: &MessageId,
        cx: &Context,
    ) -> Option<(LinkId, &'static str)> {
        let link = self.to(asked.author)?;
        if link.negotiation.was_answered_before(asked) {
            return Some((link.id, "the peer has lost its end"));
        }
        self.unseen_by(asked.author, OFFER_PATIENCE, cx)
    }

    /// The link to a peer that speaks, but has not answered our offer for so long: the offer went
    /// astray, perhaps to an earlier life of the peer. Returns what to say of the link, too.
    pub(crate) fn unseen_by(
        &self,
        peer: PeerId,
        patience: Duration,
        cx: &Context,
    ) -> Option<(LinkId, &'static str)> {
        let link = self.to(peer)?;
        let unanswered = cx.this < peer && !link.negotiation.was_answered();
        let repeated_at = link.negotiation.relayed.repeated_at();
        let age = cx
            .now
            .since(repeated_at.unwrap_or(link.negotiation.started_at));
        let is_stuck = link.is_negotiating() && unanswered && age >= patience + cx.grace();
        is_stuck.then_some((link.id, "the peer has not seen the offer"))
    }

    /// An answer or a candidate of a peer, for the peer connection; or the offer of a further
    /// round.
    pub(crate) fn apply(
        &mut self,
        id: MessageId,
        (attempt, round): (u64, u16),
        signal: LinkSignal,
        cx: &mut Context,
    ) {
        let from = id.author;
        let patience = self.patience_with(from, cx.config.open_timeout, cx);
        let found = self.of_attempt(from, attempt);
        let Some(link) = found.and_then(|link| self.connection_mut(link)) else {
            return; // Of an attempt that is over.
        };
        if let LinkSignal::Offer { sdp } = &signal {
            if !link.takes_round(round) {
                return; // It has come over another path before.
            }
            link.negotiation.begin_round(round);
            link.media.offer_came(sdp);
            if link.opened_at.is_none() {
                link.negotiation.relays = true;
                let until = cx.now + patience;
                link.state = LinkState::Negotiating { until };
            }
            let (link, relays) = (link.id, link.negotiation.relays);
            let ice = self.ice(relays, cx);
            cx.order(Output::ConfigureLink { link, ice });
            return cx.order(Output::ApplySignal { link, signal });
        }
        if link.negotiation.round != round {
            return; // Of a round that is over.
        }
        let is_opening = link.is_negotiating();
        let awaits_answer = cx.this < from && (is_opening || round > 0);
        match link.negotiation.judge(id, &signal, awaits_answer, cx.now) {
            Verdict::Answered if is_opening => {
                let until = cx.now + patience;
                link.state = LinkState::Negotiating { until };
            }
            Verdict::Answered => link.media.answered(cx.now),
            Verdict::Apply => {}
            Verdict::Reject(reason) => return self.reject(None, Some(from), reason, cx),
        }
        let answers = !matches!(signal, LinkSignal::Candidate { .. });
        let link = link.id;
        if answers && is_opening && round == 0 {
            self.plan_fallback(link, cx);
        }
        cx.order(Output::ApplySignal { link, signal });
    }
}
