//! Which links are due, and whether their other ends live.

use std::time::Duration;

use super::keepalive::{KeepaliveAction, Rhythm, Suspicion};
use super::link::LinkState;
use super::{LinkEvent, Links};
use crate::context::Context;
use crate::id::{LinkId, PeerId};
use crate::io::Channel;
use crate::log::decided;
use crate::rng::unit;
use crate::samples::Sample;
use crate::time::Instant;
use crate::timeout::TimeoutReason;
use crate::wire::Record;

/// Age of a link at which the failures of its peer are forgotten: a link that dies sooner has
/// proven nothing, and is dialled again with the longer wait.
const PROVEN: Duration = Duration::from_secs(10);

/// Time without an acknowledgement after which a neighbour is asked whether it lives, and asked
/// again; also the time between two questions over a silent connection. So an agent with something
/// to send learns of a death long before the next ping, and of a path that works again as soon.
/// Longer than the delay of an honest acknowledgement and a round trip.
pub(super) const SUSPECT_AFTER: Duration = Duration::from_secs(1);

/// Mean time between the pings that an agent gets, where it has many links: the interval grows with
/// their number, for the first neighbour without an answer makes the others ask.
const PING_SHARE: Duration = Duration::from_millis(750);

impl Links {
    /// When the next link needs attention, or a timer fires, and why.
    pub(crate) fn deadline(&self) -> Option<(Instant, TimeoutReason)> {
        let timers = self.timers.deadline();
        self.table.deadline().into_iter().chain(timers).min()
    }

    /// A timer has fired.
    pub(crate) fn disarm(&mut self, timer: TimeoutReason) {
        self.timers.disarm(timer);
    }

    /// Looks at the link that has waited longest: its time is up, its ping is due, or it has
    /// drained.
    pub(crate) fn attend_next(&mut self, cx: &mut Context) {
        if let Some(id) = self.table.first_due(cx.now) {
            self.attend(id, cx);
        }
    }

    /// Looks at a link.
    pub(super) fn attend(&mut self, id: LinkId, cx: &mut Context) {
        match self.table.get(id).map(|link| link.state) {
            None => {} // Closed with one before it.
            Some(LinkState::Negotiating { until }) if until > cx.now => {
                self.give_again(id, cx);
                self.fall_back(id, cx);
            }
            Some(LinkState::Negotiating { .. }) => {
                self.give_up(id, "it did not open in time", cx);
            }
            Some(LinkState::Draining { until }) if until <= cx.now => {
                self.close(id, "no longer wanted", cx);
            }
            Some(LinkState::Open | LinkState::Draining { .. }) => self.keep_alive(id, cx),
        }
    }

    fn keep_alive(&mut self, id: LinkId, cx: &mut Context) {
        self.check_rotation(id, cx);
        self.check_upgrade(id, cx);
        self.check_media(id, cx);
        let jitter = unit(&mut self.rng);
        let interval = self.ping_interval(cx);
        let Some(link) = self.table.get_mut(id) else {
            return;
        };
        if cx.now.since(link.negotiation.started_at()) >= PROVEN {
            self.dialer.forget(link.peer);
        }
        if link.queue.stalled_for(cx.now) >= cx.config.ack_timeout {
            self.close(id, "it acknowledges nothing", cx);
            return;
        }
        let rhythm = Rhythm {
            interval,
            grace: cx.grace(),
            congested: link.queue.is_congested(),
        };
        let action = link.keepalive.poll(&cx.config, rhythm, jitter, cx.now);
        cx.stats.pings.add(link.keepalive.take_fates());
        match action {
            KeepaliveAction::Wait => {}
            KeepaliveAction::Ping(nonce, channels) => {
                for &channel in channels {
                    self.queue_sign(id, channel, &Record::Ping { nonce });
                }
            }
            KeepaliveAction::Dead => {
                let since = link.keepalive.unanswered_since().unwrap_or(cx.now);
                let is_unheard = link.keepalive.is_unheard();
                if link.is_open() {
                    self.fall_silent(id, "no sign of life", cx);
                } else {
                    self.close(id, "no sign of life", cx);
                }
                // If all others were silent too, it is this agent that cannot be reached.
                let speaks = |link: &super::Link| link.keepalive.last_heard() > since;
                if !is_unheard && !self.usable().any(speaks) {
                    decided!(cx, "no neighbour speaks: this agent may be out of reach");
                    self.events.push_back(LinkEvent::Isolated);
                }
            }
        }
    }

    /// Time between pings of a quiet link. Where there are many links as many neighbours ask, and
    /// the first that gets no answer makes the others ask: so each may ask less often.
    fn ping_interval(&self, cx: &Context) -> Duration {
        let by_links = PING_SHARE.mul_f64(self.len() as f64);
        by_links.clamp(cx.config.ping_interval, cx.config.ping_interval_max)
    }

    /// Asks a neighbour for a sign of life now.
    pub(crate) fn probe(&mut self, peer: PeerId, suspicion: Suspicion, cx: &Context) {
        let link = self.to_mut(peer);
        if let Some(link) = link.filter(|link| link.is_usable()) {
            link.keepalive.probe(suspicion, cx.now);
        }
    }

    /// Asks all neighbours for a sign of life now.
    pub(crate) fn probe_all(&mut self, cx: &Context) {
        for link in self.table.iter_mut().filter(|link| link.is_usable()) {
            link.keepalive.probe(Suspicion::Possible, cx.now);
        }
    }

    /// Measures all links that were not measured yet.
    pub(crate) fn measure_all(&mut self, cx: &Context) {
        let links = self.table.iter_mut().filter(|link| link.is_open());
        links.for_each(|link| link.keepalive.measure(cx.now));
    }

    /// Asks neighbours that have not acknowledged anything for a while.
    pub(crate) fn probe_stalled(&mut self, cx: &Context) {
        let mut again: Option<Duration> = None;
        for link in self.table.iter_mut().filter(|link| link.is_usable()) {
            let stalled_for = link.queue.stalled_for(cx.now);
            if stalled_for >= SUSPECT_AFTER {
                let (id, peer, ms) = (link.id, link.peer, stalled_for.as_millis() as u64);
                decided!(cx, link = ?id, ?peer, ms, "ask whether a neighbour lives");
                link.keepalive.probe(Suspicion::Unanswered, cx.now);
            }
            if stalled_for > Duration::ZERO {
                let left = SUSPECT_AFTER.checked_sub(stalled_for);
                // A busy agent always has neighbours that are about to acknowledge something.
                let left = left.unwrap_or(SUSPECT_AFTER).max(SUSPECT_AFTER / 5);
                again = Some(again.map_or(left, |again| again.min(left)));
            }
        }
        if let Some(again) = again {
            self.timers.arm(TimeoutReason::Suspect, cx.now + again);
        }
    }

    /// A neighbour answers a ping.
    pub(crate) fn pong(&mut self, id: LinkId, channel: Channel, nonce: u32, cx: &mut Context) {
        if let Some(took) = self.silent.answered(id, nonce, cx.now) {
            return self.revive(id, took, cx);
        }
        let jitter = unit(&mut self.rng);
        let Some(link) = self.table.get_mut(id) else {
            return;
        };
        if let Some(took) = link.keepalive.pong((nonce, channel), jitter, cx.now) {
            cx.samples.add(Sample::RoundTrip(took));
        }
        cx.stats.pings.add(link.keepalive.take_fates());
        self.events.push_back(LinkEvent::Measured(id));
    }
}
