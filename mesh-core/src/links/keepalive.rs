//! Is the other end alive, and how far is it?
//!
//! WebRTC itself notices a dead peer only after many seconds (and the backends differ), so the mesh
//! pings on its control channel, the same in tabs and processes. Any frame counts as a sign of
//! life. The round-trip time is smoothed as TCP does it ([RFC 6298], section 2: gain 1/8), but for
//! a sample that is far below: a sample is longer than the path if either end was busy, as both
//! are while a room forms, and never shorter.
//!
//! [RFC 6298]: https://www.rfc-editor.org/rfc/rfc6298

use std::collections::VecDeque;
use std::time::Duration;

use super::liveness::SUSPECT_AFTER;
use super::loss::Loss;
use super::silent::nonce;
use crate::config::Config;
use crate::io::Channel;
use crate::metric::Metric;
use crate::rng::{SPREAD_MIN, spread};
use crate::stats::PingCounts;
use crate::time::Instant;

/// If a look is this late, missing pongs do not count: the process was suspended, or too busy to
/// read them. A driver at its usual lag comes around sooner.
const LATE: Duration = Duration::from_secs(2);

/// The first two samples of a link are taken this many times sooner than later ones: a new link has
/// a usable round trip after two seconds.
const SOON: u32 = 5;

/// Samples after which a round trip is credible. The first is taken while both ends are busy with
/// connecting and is forgotten; the second may still be too long.
const CREDIBLE_AFTER: u32 = 3;

/// Intervals after which the round trip of a link that is never quiet is measured again: where
/// paths go by hops, for people alone, and where paths depend on it.
const MEASURE_EVERY: (f64, f64) = (4.0, 1.0);

/// Pings whose pongs still count as round trips, one more than are sent until a verdict: where a
/// path gets longer than answers are waited for, only late pongs tell that it has.
const ASKED_MAX: usize = 4;

/// A ping that nothing hangs on may get lost: that tells how much the path loses.
const CALM: &[Channel] = &[Channel::Stream];

/// One that measures a new link, or answers a suspicion, arrives.
const SURE: &[Channel] = &[Channel::Control];

/// One that follows another without an answer decides whether the other end lives. What is sent
/// again after a loss may come too late, with all that waits behind it on the control channel.
const URGENT: &[Channel] = &[Channel::Control, Channel::Stream];

/// Why the other end is asked at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suspicion {
    /// It may have come back as another process, or this agent's network has changed.
    Possible,
    /// It has not acknowledged something for a while, or another neighbour has lost it. If it was
    /// not heard lately either, that is as good as a ping without an answer.
    Unanswered,
    /// The hub does not list it any more: its process has ended, or has lost the hub.
    Left,
    /// The other end says that it hears nothing of this agent. That this agent hears the other end
    /// proves nothing then: the path may lead one way alone. One ping decides, for the other end
    /// has waited for answers to several.
    Unheard,
}

#[derive(Debug)]
pub(crate) struct Keepalive {
    interval: Duration,
    next_ping_at: Instant,
    outstanding: Option<Outstanding>,
    /// The latest pings without a pong.
    asked: VecDeque<Asked>,
    loss: Loss,
    last_heard: Instant,
    last_ping: Instant,
    /// The other end was suspected to be dead since the last ping.
    suspected: bool,
    /// The hub has lost the other end since it last spoke.
    left: bool,
    /// It has left unanswered what was no ping.
    unanswered: bool,
    /// The other end says that it hears nothing, and has answered no ping since.
    unheard: bool,
    /// How long a pong may take while no round trip is known.
    unmeasured_timeout: Duration,
    srtt: Option<Duration>,
    /// Round trips measured so far.
    samples: u32,
}

/// A ping without a pong so far.
#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Instant,
    /// Nothing sends it again.
    may_be_lost: bool,
}

#[derive(Clone, Copy, Debug)]
struct Outstanding {
    sent_at: Instant,
    /// When the first of the pings without an answer was sent.
    since: Instant,
    /// Pings sent without an answer, this one included.
    tries: u32,
}

/// How a link is pinged at the moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rhythm {
    /// Time between pings while it is quiet.
    pub(crate) interval: Duration,
    /// How much more time an answer has.
    pub(crate) grace: Duration,
    /// More is buffered in the link than is good: nothing but control is sent.
    pub(crate) congested: bool,
}

/// What a due keepalive asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeepaliveAction {
    /// Send a ping with this nonce over each of these channels.
    Ping(u32, &'static [Channel]),
    /// The other end is dead.
    Dead,
    /// Nothing is due.
    Wait,
}

impl Keepalive {
    /// A new link is measured at once where paths depend on it, else when there is time: while
    /// others open there is none.
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        Self::of_path(config, config.pong_timeout_max, now)
    }

    /// That of a link which took so long to open. To open takes several round trips, so an answer
    /// that takes twice as long is late.
    pub(crate) fn opened(config: &Config, took: Duration, now: Instant) -> Self {
        let timeout = (took * 2).clamp(config.pong_timeout_min, config.pong_timeout_max);
        Self::of_path(config, timeout, now)
    }

    fn of_path(config: &Config, unmeasured_timeout: Duration, now: Instant) -> Self {
        let wait = match config.metric {
            Metric::Hops => config.ping_interval / SOON,
            Metric::Latency | Metric::Bandwidth => Duration::ZERO,
        };
        Self {
            interval: config.ping_interval,
            next_ping_at: now + wait,
            outstanding: None,
            asked: VecDeque::new(),
            loss: Loss::default(),
            last_heard: now,
            last_ping: now,
            suspected: false,
            left: false,
            unanswered: false,
            unheard: false,
            unmeasured_timeout,
            srtt: None,
            samples: 0,
        }
    }

    /// That of a connection which takes the place of this one: what is known of the path stays.
    pub(crate) fn succeeded(&self, now: Instant) -> Self {
        Self {
            next_ping_at: now + self.interval / SOON,
            outstanding: None,
            asked: VecDeque::new(),
            last_heard: now,
            last_ping: now,
            suspected: false,
            left: false,
            unanswered: false,
            unheard: false,
            ..*self
        }
    }

    /// That of a connection which works again after it was silent, and on which a ping of that time
    /// was answered after this long. Most of it the path was away, so it is a bound until the path
    /// is measured, and that is done at once: a path that fails again is to be noticed.
    pub(super) fn revived(&self, took: Duration, now: Instant) -> Self {
        Self {
            next_ping_at: now,
            srtt: Some(took),
            samples: 0,
            ..self.succeeded(now)
        }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.next_ping_at
    }

    /// Measures the link now if that was not done yet.
    pub(crate) fn measure(&mut self, now: Instant) {
        if self.samples == 0 && self.outstanding.is_none() {
            self.next_ping_at = now;
        }
    }

    /// The smoothed round-trip time, if measured.
    pub(crate) fn srtt(&self) -> Option<Duration> {
        self.srtt
    }

    /// The share of pings that the path has lost of late, from 0 to 1, once it is credible.
    pub(crate) fn loss(&self) -> Option<f64> {
        self.loss.share()
    }

    /// The link takes another path: the loss of the former one says nothing of it.
    pub(super) fn path_changed(&mut self) {
        self.loss.path_changed();
    }

    /// The pings judged since this was last asked.
    pub(super) fn take_fates(&mut self) -> PingCounts {
        self.loss.take_new()
    }

    /// How long an answer may take: two round trips. Before one was measured, two thirds of the
    /// time that the link took to open, which are four round trips or more, but 1 s at most.
    pub(crate) fn answers_within(&self) -> Duration {
        let opened = self.unmeasured_timeout / 3;
        let measured = self.srtt.filter(|_| self.samples > 0);
        measured.map_or(opened, |srtt| srtt * 2)
    }

    /// Whether the first sample that counts has just come. What is told of it waits for so long
    /// that the first credible one is there too, mostly.
    pub(crate) fn just_measured(&self) -> bool {
        self.samples == 2
    }

    /// Since when the other end has left pings unanswered, if it has.
    pub(crate) fn unanswered_since(&self) -> Option<Instant> {
        let ping = self.outstanding?;
        (self.unheard || self.last_heard <= ping.since).then_some(ping.since)
    }

    /// Whether the other end says that it hears nothing of this agent.
    pub(crate) fn is_unheard(&self) -> bool {
        self.unheard
    }

    /// When anything was last heard of the other end.
    pub(crate) fn last_heard(&self) -> Instant {
        self.last_heard
    }

    /// A frame arrived.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.last_heard = now;
        self.left = false;
        self.unanswered = false;
    }

    /// The peer is suspected to be dead: ask now instead of at the next interval.
    pub(crate) fn probe(&mut self, suspicion: Suspicion, now: Instant) {
        let is_new = suspicion == Suspicion::Left && !self.left;
        let was_heard = now.since(self.last_heard) < SUSPECT_AFTER;
        self.unanswered |= suspicion == Suspicion::Unanswered && !was_heard;
        if self.outstanding.is_none() || is_new {
            self.next_ping_at = now;
            self.suspected = true;
        }
        if suspicion == Suspicion::Unheard && !self.unheard {
            self.outstanding = None;
            self.next_ping_at = now;
            self.unheard = true;
        }
        if is_new {
            // It counts from now on: what went before may have been put off.
            self.outstanding = None;
            self.left = true;
        }
    }

    /// `jitter` is between 0 and 1 and spreads the pings of many links over the interval.
    pub(crate) fn poll(
        &mut self,
        config: &Config,
        rhythm: Rhythm,
        jitter: f64,
        now: Instant,
    ) -> KeepaliveAction {
        self.interval = rhythm.interval;
        if now < self.next_ping_at {
            return KeepaliveAction::Wait;
        }
        if self.is_fresh(config.metric, now) {
            self.rest(jitter, self.last_heard);
            return KeepaliveAction::Wait;
        }
        let tries = match self.outstanding {
            // It spoke since: a lost or late pong does not matter.
            Some(ping) if self.last_heard > ping.sent_at && !self.unheard => {
                self.outstanding = None;
                self.rest(jitter, now);
                return KeepaliveAction::Wait;
            }
            // We slept, or were too busy to look: so the answer may still wait to be read.
            Some(ping) if now.since(self.next_ping_at) >= LATE => ping.tries,
            Some(ping) if ping.tries >= config.pings_max => return KeepaliveAction::Dead,
            Some(ping) => ping.tries + 1,
            None if self.unheard => config.pings_max,
            None => 1 + u32::from(self.unanswered),
        };
        let channels = self.channels(tries, rhythm.congested);
        if self.asked.len() == ASKED_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back(Asked {
            at: now,
            may_be_lost: channels == CALM,
        });
        self.outstanding = Some(Outstanding {
            sent_at: now,
            since: self.outstanding.map_or(now, |ping| ping.since),
            tries,
        });
        self.last_ping = now;
        self.suspected = false;
        self.next_ping_at = now + self.pong_timeout(config, rhythm.grace);
        KeepaliveAction::Ping(nonce(now), channels)
    }

    /// Where a ping is sent.
    fn channels(&self, tries: u32, congested: bool) -> &'static [Channel] {
        let is_calm = !(self.suspected || self.left) && self.samples >= CREDIBLE_AFTER;
        if tries > 1 || self.outstanding.is_some() {
            URGENT
        } else if is_calm && !congested {
            CALM
        } else {
            SURE
        }
    }

    /// Takes the oldest pings for lost: a later one was answered.
    fn judge_before(&mut self, count: usize) {
        for asked in self.asked.drain(..count) {
            if asked.may_be_lost {
                self.loss.judge(true);
            }
        }
    }

    /// Returns the round trip, if the pong answers one of our last pings.
    pub(crate) fn pong(
        &mut self,
        (answer, channel): (u32, Channel),
        jitter: f64,
        now: Instant,
    ) -> Option<Duration> {
        let is_it = |asked: &Asked| nonce(asked.at) == answer;
        let before = self.asked.iter().position(is_it)?;
        let ping = self.asked.remove(before)?;
        if channel == Channel::Stream {
            // On the control channel it may have overtaken others.
            self.judge_before(before);
        }
        if ping.may_be_lost {
            self.loss.judge(false);
        }
        let sample = now.since(ping.at);
        self.measured(sample);
        self.outstanding = None;
        self.unheard = false;
        self.rest(jitter, now);
        Some(sample)
    }

    /// Takes a round trip into account.
    fn measured(&mut self, sample: Duration) {
        self.samples = self.samples.saturating_add(1);
        // The first sample is of a machine busy with connecting, and is forgotten; then the mean,
        // until there are enough samples to smooth.
        let weight = self.samples.saturating_sub(1).clamp(1, 8);
        let credible = self.srtt.filter(|_| self.samples >= CREDIBLE_AFTER);
        // A sample of less than half is of a path that was never as long.
        self.srtt = Some(match credible.filter(|srtt| sample * 2 >= *srtt) {
            Some(srtt) => (srtt * (weight - 1) + sample) / weight,
            None => sample,
        });
    }

    /// Whether the other end has spoken lately, so that it need not be asked: by its own ping, say.
    /// The round trip is still measured now and then.
    fn is_fresh(&self, metric: Metric, now: Instant) -> bool {
        let measure_every = match metric {
            Metric::Hops => MEASURE_EVERY.0,
            Metric::Latency | Metric::Bandwidth => MEASURE_EVERY.1,
        };
        let lately = |at: Instant, intervals: f64| now.since(at) < self.interval.mul_f64(intervals);
        self.outstanding.is_none()
            && !self.suspected
            && !self.unheard
            && self.samples >= CREDIBLE_AFTER
            && lately(self.last_heard, SPREAD_MIN)
            && lately(self.last_ping, measure_every)
    }

    fn pong_timeout(&self, config: &Config, grace: Duration) -> Duration {
        let (min, max) = (config.pong_timeout_min, config.pong_timeout_max);
        let (round_trips, min) = match self.left || self.unheard {
            // The other end is as good as gone, and messages through it wait for the verdict. A
            // link that works after all is found again soon.
            true => (2, min / 5),
            false => (4, min),
        };
        let timeout = self.srtt.map(|srtt| srtt * round_trips);
        (timeout.unwrap_or(self.unmeasured_timeout) + grace).clamp(min, max)
    }

    fn rest(&mut self, jitter: f64, since: Instant) {
        let interval = match self.samples {
            0 | 1 => self.interval / SOON, // The second sample replaces the first.
            _ => self.interval,
        };
        self.next_ping_at = since + spread(interval, jitter);
    }
}

#[cfg(test)]
mod tests;
