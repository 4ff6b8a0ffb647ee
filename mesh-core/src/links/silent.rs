//! Links whose other end has fallen silent, and whose connections are kept for a while.
//!
//! Silence has two causes. The other end may be dead; then its connection is of no use. Or the path
//! to it is away: then the connection works again as soon as the path does, with no signaling at
//! all. Where a network partition heals while the signaling server is gone nothing else leads from
//! one half of the mesh to the other. Each end asks for a sign of life now and then, and whatever
//! arrives over such a connection makes it a link again.

use std::collections::VecDeque;
use std::time::Duration;

use super::link::Link;
use super::liveness::SUSPECT_AFTER;
use crate::id::{LinkId, PeerId};
use crate::time::Instant;
use crate::wire::Record;

/// How long a silent connection is kept. Most interruptions are shorter, and each connection takes
/// tens of kilobytes. Native ICE agents keep theirs as long, those of browsers about half a minute.
const KEPT_FOR: Duration = Duration::from_secs(120);

const _: () = assert!(SUSPECT_AFTER.as_millis() * 2 < KEPT_FOR.as_millis());

/// Connections that are kept at most. For halves of a mesh that find each other again one that
/// works is enough; an agent whose address changes restarts all its links, of which there are about
/// k: 30 in the largest rooms.
const KEPT_MAX: usize = 32;

/// The connections that are kept, the one silent longest first; one a peer.
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
        self.kept.push_back((now + KEPT_FOR, link));
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
        let expired = self.kept.pop_front_if(|(until, _)| *until <= now);
        expired.map(|(_, link)| link.id)
    }

    /// All links, no longer kept.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = LinkId> {
        self.kept.drain(..).map(|(_, link)| link.id)
    }

    pub(crate) fn contains(&self, id: LinkId) -> bool {
        self.kept.iter().any(|(_, link)| link.id == id)
    }

    /// The peer's link.
    pub(crate) fn of(&self, peer: PeerId) -> Option<&Link> {
        let mut kept = self.kept.iter().map(|(_, link)| link);
        kept.find(|link| link.peer == peer)
    }

    /// The links whose ICE is to be restarted now.
    pub(crate) fn restarts_due(&self, now: Instant) -> Vec<LinkId> {
        let kept = self.kept.iter().map(|(_, link)| link);
        let due = kept.filter(|link| link.restarts.due_at().is_some_and(|at| at <= now));
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

    /// The links whose other ends are to be asked for a sign of life now, each with its question.
    pub(crate) fn ask(&mut self, now: Instant) -> impl Iterator<Item = &mut Link> {
        let due = self.ask_at <= now;
        if due {
            self.ask_at = now + SUSPECT_AFTER;
        }
        let kept = self.kept.iter_mut().filter(move |_| due);
        kept.map(|(_, link)| {
            link.queue.control(&Record::Ping { nonce: 0 });
            link
        })
    }

    #[cfg(test)]
    pub(crate) fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.kept.iter().map(|(_, link)| link.peer)
    }

    /// When there is something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let (until, _) = self.kept.front()?;
        let restarts = self
            .kept
            .iter()
            .filter_map(|(_, link)| link.restarts.due_at());
        let next = self.ask_at.min(*until);
        Some(restarts.min().map_or(next, |at| at.min(next)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::links::negotiation::Negotiation;
    use crate::links::restart::Restarts;

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
        assert_eq!(silent.deadline(), Some(at(102)));
        silent.keep(link(2, 2), at(105));
        assert_eq!(silent.ask(at(218)).count(), 2);
        assert_eq!(silent.ask(at(219)).count(), 0);
        assert_eq!(silent.deadline(), Some(at(220)));
        assert_eq!(silent.take_expired(at(219)), None);
        assert_eq!(silent.take_expired(at(220)), Some(LinkId(1)));
        assert_eq!(silent.take_expired(at(220)), None);
        assert_eq!(silent.take_all().collect::<Vec<_>>(), [LinkId(2)]);
        assert_eq!(silent.deadline(), None);
    }
}
