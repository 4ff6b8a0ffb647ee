//! The root: owns the machines of an agent, carries what happens between them, and fixes the order.
//!
//! Calls go down, events go up. The machines stand in this order, each of which may ask and order
//! those before it: trust, links, routing, overlay, messages. What happens in a lower one that
//! concerns a higher one is an event, and the root hands it over right after the call that raised
//! it: see [`events`]. Signaling stands beside them.

mod clocks;
mod commands;
mod events;
mod membership;
mod refusals;
mod signals;
#[cfg(test)]
mod tests;
mod view;

use crate::config::Config;
use crate::context::Context;
use crate::io::{Input, Output};
use crate::links::Links;
use crate::log::Brief;
use crate::messages::{Messages, Net};
use crate::overlay::Overlay;
use crate::routing::Routing;
use crate::samples::{Sample, Stopwatch};
use crate::signaling::Client;
use crate::time::{Instant, UnixTime};
use crate::timeout::TimeoutReason;
use crate::trust::{Identity, KnownSignatures, Trust};

/// Orders in the outbox at which the driver is asked to carry them out before the next input: one
/// frame can cause some thousands of events, and thousands of frames may be ready.
const OUTBOX_MAX: usize = 1_024;

/// One agent of the mesh. See the [crate's documentation](crate) for the loop around it.
#[derive(Debug)]
pub struct Mesh {
    cx: Context,
    /// The identities, and which signatures are accepted.
    trust: Trust,
    /// The signaling servers.
    signaling: Client,
    /// Neighbours as they are.
    links: Links,
    /// What the others say of theirs.
    routing: Routing,
    /// Neighbours as they should be.
    overlay: Overlay,
    messages: Messages,
}

impl Mesh {
    /// An agent that has not joined yet. `seed` is all the randomness it will use; `now` and
    /// `unix_now` are the same moment on the two clocks.
    pub fn new(
        config: Config,
        identity: Identity,
        seed: [u8; 32],
        now: Instant,
        unix_now: UnixTime,
    ) -> Self {
        let this = identity.peer();
        Self {
            routing: Routing::new(config.metric, seed),
            cx: Context::new(config, this, now, unix_now),
            trust: Trust::new(identity, unix_now),
            signaling: Client::new(seed),
            links: Links::new(seed),
            overlay: Overlay::new(this, now),
            messages: Messages::default(),
        }
    }

    /// Shares with other agents of the process which signatures are known to be valid.
    pub fn share_signatures(&mut self, signatures: KnownSignatures) {
        self.trust.share_signatures(signatures);
    }

    /// Takes samples from now on, to be collected with [`Mesh::poll_sample`]; few wait.
    pub fn take_samples(&mut self, stopwatch: Stopwatch) {
        self.cx.samples.begin(stopwatch);
        self.trust.take_samples(stopwatch);
    }

    /// The next sample, until there is none.
    pub fn poll_sample(&mut self) -> Option<Sample> {
        let sample = self.cx.samples.poll();
        sample.or_else(|| self.trust.poll_sample())
    }

    /// Takes note of a fact. Whatever is wrong with it becomes an [`Event`](crate::Event) and a
    /// counter.
    pub fn handle_input(&mut self, input: Input, now: Instant) {
        self.enter(now);
        tracing::trace!(agent = ?self.cx.this, "{}", Brief(&input));
        let cx = &mut self.cx;
        match input {
            Input::SignalingOpened { socket } => self.signaling_opened(socket),
            Input::SignalingReceived { socket, text } => self.signaling_received(socket, &text),
            Input::SignalingClosed { socket, reason } => self.signaling_closed(socket, reason),
            Input::LinkSignaled { link, signal } => self.links.signaled(link, signal, cx),
            Input::LinkReached { link } => self.links.reached(link, cx),
            Input::LinkPath { link, path } => self.links.path_found(link, path, cx),
            Input::LinkOpened { link } => self.links.opened(link, cx),
            Input::LinkStranded { link } => self.links.stranded(link, cx),
            Input::FrameReceived {
                link,
                channel,
                frame,
            } => self.frame_received(link, channel, &frame),
            Input::LinkCongested { link } => self.links.set_congested(link, true, cx),
            Input::LinkDrained { link } => self.links.set_congested(link, false, cx),
            Input::LinkClosed { link, reason } => self.links.closed(link, &reason, cx),
            Input::NetworkChanged => {
                self.woke_up();
                self.links.network_changed(&self.cx);
            }
        }
        self.carry_events();
    }

    /// Does what has become due: what was due first, and of one moment in the order of the reasons.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.enter(now);
        tracing::trace!(agent = ?self.cx.this, due = ?self.deadline(), now = ?self.cx.now, "woken");
        self.note_lag();
        while let Some((_, reason)) = self.deadline().filter(|(at, _)| *at <= self.cx.now) {
            self.due(reason);
            self.carry_events();
        }
    }

    fn due(&mut self, reason: TimeoutReason) {
        use TimeoutReason as Due;
        tracing::trace!(agent = ?self.cx.this, ?reason, "due");
        self.disarm(reason);
        let (links, cx) = (&mut self.links, &mut self.cx);
        match reason {
            Due::Signaling => self.poll_signaling(),
            Due::Negotiation
            | Due::Fallback
            | Due::Relay
            | Due::Keepalive
            | Due::Drain
            | Due::Rotate
            | Due::Direct
            | Due::Tracks => links.attend_next(cx),
            Due::Acknowledge => links.send_acks(cx),
            Due::Bursts => links.burst_again(),
            Due::Suspect => links.probe_stalled(cx),
            Due::Silent => links.ask_silent(cx),
            Due::Verify => {
                let authors_max = self.overlay.authors_max(cx);
                self.routing
                    .verify_some(authors_max, links, &mut self.trust, cx);
            }
            Due::Announce => {
                let lacks = self.overlay.balance(links, cx);
                self.routing.announce(lacks, links, &mut self.trust, cx);
            }
            Due::Gossip => self.routing.flush_records(links),
            Due::Compare => {
                let is_linked = self.overlay.is_linked(links);
                self.routing.compare_next(is_linked, links, cx);
            }
            Due::Repair => {
                self.routing.repair(links, cx);
                self.messages.forget_broadcasts(cx);
                self.with_net(Messages::expire_streams);
            }
            Due::Routes => self.update_routes(),
            Due::Settle => self.reconcile(),
            Due::Adapt => self.overlay.adapt(links, &self.routing, cx),
            Due::Return => self.give_up_absent(),
            Due::Tell => self.with_net(Messages::tell_broadcasts),
            Due::Ask => self.with_net(Messages::ask_again),
            Due::Gather => self.with_net(Messages::sign_due),
            Due::Retry => self.with_net(Messages::retry_pending),
            Due::Waiting => self.with_net(Messages::expire_waiting),
            Due::Streams => self.with_net(Messages::tend_streams),
            Due::Large => self.with_net(Messages::tend_large),
            Due::Gaps => self.with_net(Messages::tend_gaps),
            Due::Explain => self.with_net(Messages::tend_questions),
        }
    }

    /// A timer has fired, if the reason is one: no two machines have the same.
    fn disarm(&mut self, timer: TimeoutReason) {
        self.links.disarm(timer);
        self.routing.disarm(timer);
        self.overlay.disarm(timer);
        self.messages.disarm(timer);
    }

    /// When [`Mesh::handle_timeout`] is due next, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, TimeoutReason)> {
        let (at, reason) = self.deadline()?;
        Some((self.cx.driver.leave(at), reason))
    }

    /// Whether the orders that wait are so many that the driver should carry them out before it
    /// hands over more inputs.
    pub fn wants_drain(&self) -> bool {
        self.cx.outbox.len() >= OUTBOX_MAX
    }

    fn deadline(&self) -> Option<(Instant, TimeoutReason)> {
        let signaling = self.signaling.deadline();
        [
            signaling.map(|at| (at, TimeoutReason::Signaling)),
            self.links.deadline(),
            self.routing.deadline(),
            self.overlay.deadline(),
            self.messages.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The next order, until there is none. Frames are packed only here, so that whatever one turn
    /// of the loop queued for a link shares them.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.with_net(Messages::sign_due);
        let order = self.cx.next_order();
        let order = order.or_else(|| self.links.poll_transmit(&mut self.cx))?;
        tracing::trace!(agent = ?self.cx.this, "{}", Brief(&order));
        Some(order)
    }

    /// Has messages do something, with what they travel over.
    pub(crate) fn with_net<T>(&mut self, act: impl FnOnce(&mut Messages, &mut Net<'_>) -> T) -> T {
        let mut net = Net {
            links: &mut self.links,
            routing: &mut self.routing,
            overlay: &self.overlay,
            trust: &mut self.trust,
            cx: &mut self.cx,
        };
        act(&mut self.messages, &mut net)
    }
}
