//! An agent's links, and when each needs attention next.
//!
//! Every turn asks for the next deadline, several times, and touches one or two links: only those
//! that were touched since are looked at again.

use std::collections::{BTreeMap, BTreeSet};

use super::link::{Link, Role};
use crate::id::{LinkId, PeerId};
use crate::time::Instant;
use crate::timeout::TimeoutReason;

/// The links by id.
#[derive(Debug, Default)]
pub(crate) struct Table {
    entries: BTreeMap<LinkId, Entry>,
    /// When each needs attention, but for those in `touched`.
    due: BTreeSet<(Instant, LinkId)>,
    /// Links that may have another deadline by now, each once.
    touched: Vec<LinkId>,
    /// The link to each peer, in use or being opened.
    by_peer: BTreeMap<PeerId, LinkId>,
    /// What is being opened beside it, to take its place.
    successors: BTreeMap<PeerId, LinkId>,
    /// Links with something to send.
    busy: BTreeSet<LinkId>,
    /// The id of the newest link.
    last: u64,
}

#[derive(Debug)]
struct Entry {
    link: Link,
    /// What stands in `due`; `None` while the link is touched.
    deadline: Option<Instant>,
}

impl Table {
    /// An id that no link of this agent ever had.
    pub(crate) fn next_id(&mut self) -> LinkId {
        self.last += 1;
        LinkId(self.last)
    }

    /// The id of the link to a peer.
    pub(crate) fn id_of(&self, peer: PeerId) -> Option<LinkId> {
        self.by_peer.get(&peer).copied()
    }

    /// The id of what is being opened to take the place of the link to a peer.
    pub(crate) fn successor_of(&self, peer: PeerId) -> Option<LinkId> {
        self.successors.get(&peer).copied()
    }

    /// The successor of the link to a peer takes its place. Returns the id of that link.
    pub(crate) fn succeed(&mut self, peer: PeerId) -> Option<LinkId> {
        let successor = self.successors.remove(&peer)?;
        self.get_mut(successor)?.role = Role::Only;
        let former = self.by_peer.insert(peer, successor)?;
        self.get_mut(former)?.role = Role::Replaced;
        Some(former)
    }

    /// The peers that there is a link to, or will be.
    pub(crate) fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.by_peer.keys().copied()
    }

    /// The link has something to send.
    pub(crate) fn set_busy(&mut self, id: LinkId) {
        self.busy.insert(id);
    }

    /// A link with something to send.
    pub(crate) fn first_busy(&self) -> Option<LinkId> {
        self.busy.first().copied()
    }

    /// The link has nothing to send.
    pub(crate) fn set_idle(&mut self, id: LinkId) {
        self.busy.remove(&id);
    }

    /// How many peers there is a link to, or will be.
    pub(crate) fn len(&self) -> usize {
        self.by_peer.len()
    }

    pub(crate) fn contains(&self, id: LinkId) -> bool {
        self.entries.contains_key(&id)
    }

    pub(crate) fn ids(&self) -> Vec<LinkId> {
        self.entries.keys().copied().collect()
    }

    pub(crate) fn get(&self, id: LinkId) -> Option<&Link> {
        self.entries.get(&id).map(|entry| &entry.link)
    }

    /// All connections, also those that take the place of another and whose place is taken.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.entries.values().map(|entry| &entry.link)
    }

    pub(crate) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        let entry = self.entries.get_mut(&id)?;
        if let Some(at) = entry.deadline.take() {
            self.due.remove(&(at, id));
            self.touched.push(id);
        }
        Some(&mut entry.link)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Link> {
        self.due.clear();
        self.touched = self.ids();
        self.entries.values_mut().map(|entry| {
            entry.deadline = None;
            &mut entry.link
        })
    }

    pub(crate) fn insert(&mut self, link: Link) {
        let id = link.id;
        self.remove(id);
        match link.role {
            Role::Successor => self.successors.insert(link.peer, id),
            Role::Only | Role::Replaced => self.by_peer.insert(link.peer, id),
        };
        let deadline = None;
        self.entries.insert(id, Entry { link, deadline });
        self.touched.push(id);
    }

    pub(crate) fn remove(&mut self, id: LinkId) -> Option<Link> {
        let entry = self.entries.remove(&id)?;
        match entry.deadline {
            Some(at) => {
                self.due.remove(&(at, id));
            }
            None => self.touched.retain(|&touched| touched != id),
        }
        self.busy.remove(&id);
        self.vacate(id, entry.link.peer);
        Some(entry.link)
    }

    /// A link is no more: if another is being opened to its peer, that is the link to it now.
    fn vacate(&mut self, id: LinkId, peer: PeerId) {
        if self.successors.get(&peer) == Some(&id) {
            self.successors.remove(&peer);
        } else if self.by_peer.get(&peer) == Some(&id) {
            self.by_peer.remove(&peer);
            if let Some(successor) = self.successors.remove(&peer) {
                self.by_peer.insert(peer, successor);
                if let Some(link) = self.get_mut(successor) {
                    link.role = Role::Only;
                }
            }
        }
    }

    /// Removes every link. Ids go on.
    pub(crate) fn clear(&mut self) {
        *self = Self {
            last: self.last,
            ..Self::default()
        };
    }

    /// When the next link needs attention, and why.
    pub(crate) fn deadline(&self) -> Option<(Instant, TimeoutReason)> {
        let first = self.due.first().map(|(_, id)| id);
        let links = self.touched.iter().chain(first);
        let links = links.filter_map(|&id| self.get(id));
        links.map(Link::deadline).min()
    }

    /// Notes the deadlines of what was touched: at the end of a turn.
    pub(crate) fn settle(&mut self) {
        for id in self.touched.drain(..) {
            if let Some(entry) = self.entries.get_mut(&id) {
                let (at, _) = entry.link.deadline();
                entry.deadline = Some(at);
                self.due.insert((at, id));
            }
        }
    }

    /// The link that has waited longest of those that need attention now.
    pub(crate) fn first_due(&mut self, now: Instant) -> Option<LinkId> {
        self.settle();
        let first = self.due.first().filter(|(at, _)| *at <= now);
        first.map(|&(_, id)| id)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Config;
    use crate::links::link::LinkState;
    use crate::links::negotiation::Negotiation;

    fn at(seconds: u64) -> Instant {
        Instant::default() + Duration::from_secs(seconds)
    }

    /// A link that is given up then.
    fn link(id: u64, seconds: u64) -> Link {
        let config = Config::new("room", "name").expect("valid");
        let peer = PeerId::from_bytes([7; 32]);
        let negotiation = Negotiation::new(0, false, at(0));
        Link::new(LinkId(id), peer, negotiation, at(seconds), &config, at(0))
    }

    #[test]
    fn the_next_deadline_follows_whatever_happens_to_links() {
        let mut links = Table::default();
        let deadline = |links: &Table| links.deadline().map(|(at, _)| at);
        assert_eq!(links.deadline(), None);
        for (id, seconds) in [(1, 9), (2, 5), (3, 7)] {
            links.insert(link(id, seconds));
        }
        assert_eq!(deadline(&links), Some(at(5)));
        assert_eq!(links.first_due(at(7)), Some(LinkId(2)));
        let until = |until| LinkState::Negotiating { until: at(until) };
        links.get_mut(LinkId(1)).expect("there").state = until(3);
        links.get_mut(LinkId(1)).expect("there").state = until(4);
        assert_eq!(deadline(&links), Some(at(4)), "touched, not settled");
        links.settle();
        assert_eq!(deadline(&links), Some(at(4)));
        links.iter_mut().for_each(|link| link.state = until(20));
        assert_eq!(deadline(&links), Some(at(20)));
        links.remove(LinkId(2));
        assert_eq!(links.first_due(at(20)), Some(LinkId(1)));
        links.remove(LinkId(1));
        links.insert(link(3, 30));
        assert_eq!((deadline(&links), links.len()), (Some(at(30)), 1));
        links.clear();
        assert_eq!(links.deadline(), None);
    }

    /// A link of the only peer.
    fn successor(id: u64) -> Link {
        Link {
            role: Role::Successor,
            ..link(id, 9)
        }
    }

    #[test]
    fn a_successor_takes_the_place_of_a_link_that_ends_or_when_it_is_told_to() {
        let (mut links, peer) = (Table::default(), PeerId::from_bytes([7; 32]));
        links.insert(link(1, 9));
        links.insert(successor(2));
        assert_eq!(links.id_of(peer), Some(LinkId(1)));
        assert_eq!(links.successor_of(peer), Some(LinkId(2)));
        assert_eq!(links.len(), 1, "one peer");
        assert_eq!(links.succeed(peer), Some(LinkId(1)));
        assert_eq!(links.id_of(peer), Some(LinkId(2)));
        let roles: Vec<_> = links.iter().map(|link| link.role).collect();
        assert_eq!(roles, [Role::Replaced, Role::Only]);
        links.remove(LinkId(1));
        assert_eq!(links.id_of(peer), Some(LinkId(2)));

        links.insert(successor(3));
        links.remove(LinkId(2));
        assert_eq!(links.id_of(peer), Some(LinkId(3)), "it is being opened");
        links.insert(successor(4));
        links.remove(LinkId(4));
        let left = (links.id_of(peer), links.successor_of(peer));
        assert_eq!(left, (Some(LinkId(3)), None));
    }
}
