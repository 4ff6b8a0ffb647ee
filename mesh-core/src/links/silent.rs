//! Links whose other end has fallen silent, and whose connections are kept for a while.
//!
//! Silence has two causes. The other end may be dead; then its connection is of no use. Or the path
//! to it is away: then the connection works again as soon as the path does, with no signaling at
//! all. Where a network partition heals while the signaling server is gone nothing else leads from
//! one half of the mesh to the other. Each end asks for a sign of life now and then. Messages that
//! arrive over such a connection are taken, but only an answer makes it a link again: the path may
//! lead one way alone, and what is sent the other way would wait for ever.

use std::collections::VecDeque;
use std::time::Duration;

use super::link::Link;
use super::liveness::SUSPECT_AFTER;
use super::restart::{RESTART_PATIENCE, Restarts};
use super::{LinkEvent, Links};
use crate::context::Context;
use crate::id::{LinkId, PeerId};
use crate::io::{Channel, Output};
use crate::log::decided;
use crate::stats::RepairStep;
use crate::time::Instant;
use crate::timeout::TimeoutReason;
use crate::wire::Record;

/// Time that a silent connection is kept. Most interruptions are shorter, and a connection takes
/// tens of kilobytes. Native ICE agents keep theirs as long, those of browsers about half a minute.
const KEPT_FOR: Duration = Duration::from_secs(120);

const _: () = assert!(SUSPECT_AFTER.as_millis() * 2 < KEPT_FOR.as_millis());

/// Silent connections that are kept at most. Two halves of a mesh that find each other again need
/// only one that works, but an agent whose address changes restarts all its links: about k of them,
/// 30 in the largest rooms.
const KEPT_MAX: usize = 32;

/// The connections that are kept, and since when; the one silent longest first, one a peer.
#[derive(Debug, Default)]
pub(crate) struct SilentLinks {
    kept: VecDeque<(Instant, Link)>,
    ask_at: Instant,
}

impl SilentLinks {
    /// Keeps a silent link. Returns the links that are to be closed in its stead.
    pub(crate) fn keep(&mut self, mut link: Link, now: Instant) -> Vec<LinkId> {
        link.restarts.begin(now);
        let mut closed = Vec::from_iter(self.take_of(link.peer));
        if self.kept.is_empty() {
            self.ask_at = now + SUSPECT_AFTER; // It has been asked in vain just now.
        }
        self.kept.push_back((now, link));
        if self.kept.len() > KEPT_MAX {
            closed.extend(self.kept.pop_front().map(|(_, link)| link.id));
        }
        closed
    }

    /// The link, no longer kept.
    pub(crate) fn take(&mut self, id: LinkId) -> Option<Link> {
        let index = self.kept.iter().position(|(_, link)| link.id == id)?;
        self.kept.remove(index).map(|(_, link)| link)
    }

    /// The peer's link, no longer kept.
    pub(crate) fn take_of(&mut self, peer: PeerId) -> Option<LinkId> {
        let index = self.kept.iter().position(|(_, link)| link.peer == peer)?;
        self.kept.remove(index).map(|(_, link)| link.id)
    }

    /// A link that has been kept long enough, no longer kept.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Option<LinkId> {
        let expired = self
            .kept
            .pop_front_if(|(since, _)| *since + KEPT_FOR <= now);
        expired.map(|(_, link)| link.id)
    }

    /// All links, no longer kept.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = LinkId> {
        self.kept.drain(..).map(|(_, link)| link.id)
    }

    /// A pong has come. If it answers a ping sent since this link is silent, returns how long that
    /// took.
    pub(super) fn answered(&self, id: LinkId, answer: u32, now: Instant) -> Option<Duration> {
        let (since, _) = self.kept.iter().find(|(_, link)| link.id == id)?;
        let took = Duration::from_micros(nonce(now).wrapping_sub(answer).into());
        (took <= now.since(*since)).then_some(took)
    }

    pub(crate) fn contains(&self, id: LinkId) -> bool {
        self.kept.iter().any(|(_, link)| link.id == id)
    }

    /// The peer's link.
    pub(crate) fn of(&self, peer: PeerId) -> Option<&Link> {
        let mut kept = self.kept.iter().map(|(_, link)| link);
        kept.find(|link| link.peer == peer)
    }

    /// The links for which a moment of their restarts has come.
    fn due(&self, now: Instant, moment: impl Fn(&Restarts) -> Option<Instant>) -> Vec<LinkId> {
        let kept = self.kept.iter().map(|(_, link)| link);
        let due = kept.filter(|link| moment(&link.restarts).is_some_and(|at| at <= now));
        due.map(|link| link.id).collect()
    }

    /// Restarts that wait need not wait any longer.
    pub(crate) fn hurry_restarts(&mut self, now: Instant) {
        for (_, link) in &mut self.kept {
            link.restarts.hurry(now);
        }
    }

    pub(crate) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        let mut kept = self.kept.iter_mut().map(|(_, link)| link);
        kept.find(|link| link.id == id)
    }

    /// The links whose other ends are to be asked for a sign of life now.
    pub(crate) fn due_for_asking(&mut self, now: Instant) -> impl Iterator<Item = &mut Link> {
        let due = self.ask_at <= now;
        if due {
            self.ask_at = now + SUSPECT_AFTER;
        }
        let kept = self.kept.iter_mut().filter(move |_| due);
        kept.map(|(_, link)| link)
    }

    #[cfg(test)]
    pub(crate) fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.kept.iter().map(|(_, link)| link.peer)
    }

    /// When there is something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let (since, _) = self.kept.front()?;
        let restarts = self.kept.iter().flat_map(|(_, link)| {
            let restarts = &link.restarts;
            restarts.due_at().into_iter().chain(restarts.given_up_at())
        });
        let next = self.ask_at.min(*since + KEPT_FOR);
        Some(restarts.min().map_or(next, |at| at.min(next)))
    }
}

impl Links {
    /// The other end of an open link gives no sign of life: its connection is kept for a while.
    pub(super) fn fall_silent(&mut self, id: LinkId, reason: &str, cx: &mut Context) {
        let Some(mut link) = self.table.remove(id) else {
            return;
        };
        decided!(cx, link = ?id, peer = ?link.peer, "keep a silent connection for a while");
        let queue = link.queue.fall_silent();
        self.lost(&link, reason, queue.into(), cx);
        // First the path is looked for on the same connection.
        self.dialer.hold(link.peer, cx.now + RESTART_PATIENCE);
        for link in self.silent.keep(link, cx.now) {
            cx.order(Output::CloseLink { link });
        }
        self.arm_silent();
        self.events.push_back(LinkEvent::RestartDue(id));
    }

    /// A neighbour asks for a sign of life. If its link is silent here it is asked in turn.
    pub(crate) fn ping_received(
        &mut self,
        id: LinkId,
        channel: Channel,
        nonce: u32,
        cx: &mut Context,
    ) {
        let pong = Record::Pong { nonce };
        let Some(link) = self.silent.get_mut(id) else {
            return self.queue_sign(id, channel, &pong);
        };
        link.queue.sign_of_life(channel, &pong);
        ask(link, cx);
    }

    /// A silent connection leads both ways again, and is a link again: a ping was answered after
    /// this long.
    pub(crate) fn revive(&mut self, id: LinkId, took: Duration, cx: &mut Context) {
        let Some(mut link) = self.silent.take(id) else {
            return;
        };
        // An attempt to replace it: a link that had opened would have ended it.
        if let Some(attempt) = self.table.id_of(link.peer) {
            self.give_up(attempt, "the link before it works again", cx);
        }
        link.revive(took, cx.now);
        link.queue.acknowledge(); // What came while this end was silent.
        self.table.insert(link);
        self.table.set_busy(id);
        cx.stats.repair(RepairStep::Revival);
        self.gained(id, cx);
    }

    /// Closes a silent connection to a peer that is linked anew, or that asks to be.
    pub(super) fn forget_silent(&mut self, peer: PeerId, cx: &mut Context) {
        if let Some(link) = self.silent.take_of(peer) {
            cx.order(Output::CloseLink { link });
        }
    }

    /// Closes what has been silent for too long, and asks the others for a sign of life.
    pub(crate) fn ask_silent(&mut self, cx: &mut Context) {
        while let Some(link) = self.silent.take_expired(cx.now) {
            decided!(cx, ?link, "close a connection that stayed silent");
            cx.order(Output::CloseLink { link });
        }
        for link in self.silent.due_for_asking(cx.now) {
            ask(link, cx);
        }
        for link in self.silent.due(cx.now, Restarts::given_up_at) {
            self.begin_restart(link, cx);
        }
        let due = self.silent.due(cx.now, Restarts::due_at).into_iter();
        self.events.extend(due.map(LinkEvent::RestartDue));
        self.arm_silent();
    }

    /// Asks over a silent connection for a sign of life: it has a path again.
    pub(super) fn ask_one(&mut self, id: LinkId, cx: &mut Context) {
        if let Some(link) = self.silent.get_mut(id) {
            ask(link, cx);
        }
    }

    pub(super) fn arm_silent(&mut self) {
        if let Some(at) = self.silent.deadline() {
            self.timers.arm(TimeoutReason::Silent, at);
        }
    }
}

/// Asks over a connection for a sign of life, after all that is queued on it.
fn ask(link: &mut Link, cx: &mut Context) {
    let (id, nonce) = (link.id, nonce(cx.now));
    link.queue.control(&Record::Ping { nonce });
    while let Some((channel, frame)) = link.queue.next_frame(cx.now) {
        cx.order(Output::Transmit {
            link: id,
            channel,
            frame,
        });
    }
}

/// What a ping sent now is told from others by: the moment, in microseconds.
pub(super) fn nonce(now: Instant) -> u32 {
    (now.as_micros() & u64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::links::negotiation::Negotiation;

    fn at(seconds: u64) -> Instant {
        Instant::default() + Duration::from_secs(seconds)
    }

    fn link(id: u64, peer: u8) -> Link {
        let config = Config::new("room", "name").expect("valid");
        let peer = PeerId::from_bytes([peer; 32]);
        let negotiation = Negotiation::new(0, false, at(0));
        Link {
            restarts: Restarts::used_up(),
            ..Link::new(LinkId(id), peer, negotiation, at(0), &config, at(0))
        }
    }

    #[test]
    fn keeps_one_link_a_peer_and_so_many_in_all() {
        let mut silent = SilentLinks::default();
        assert_eq!(silent.keep(link(1, 1), at(0)), []);
        assert_eq!(silent.keep(link(2, 1), at(1)), [LinkId(1)]);
        for n in 3..3 + KEPT_MAX as u64 - 1 {
            assert_eq!(silent.keep(link(n, n as u8), at(2)), []);
        }
        assert_eq!(silent.keep(link(99, 99), at(3)), [LinkId(2)]);
        assert!(silent.take(LinkId(2)).is_none());
        assert_eq!(
            silent.take(LinkId(99)).map(|link| link.id),
            Some(LinkId(99))
        );
    }

    #[test]
    fn a_link_is_kept_for_a_while() {
        let mut silent = SilentLinks::default();
        assert_eq!(silent.deadline(), None);
        silent.keep(link(1, 1), at(100));
        assert_eq!(silent.deadline(), Some(at(101)));
        silent.keep(link(2, 2), at(105));
        assert_eq!(silent.due_for_asking(at(218)).count(), 2);
        assert_eq!(silent.due_for_asking(at(218)).count(), 0, "a moment ago");
        assert_eq!(silent.deadline(), Some(at(219)));
        assert_eq!(silent.take_expired(at(219)), None);
        assert_eq!(silent.take_expired(at(220)), Some(LinkId(1)));
        assert_eq!(silent.take_expired(at(220)), None);
        assert_eq!(silent.take_all().collect::<Vec<_>>(), [LinkId(2)]);
        assert_eq!(silent.deadline(), None);
    }
}
