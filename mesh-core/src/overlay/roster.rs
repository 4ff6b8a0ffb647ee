//! The members of the room, and how this agent knows of them.

use std::collections::BTreeMap;

use crate::id::PeerId;

/// The others of this agent's shard, and those of other shards that it has to know: those that the
/// hub lists, or listed before it was lost, and those that the mesh can reach.
#[derive(Debug, Default)]
pub(super) struct Roster {
    entries: BTreeMap<PeerId, Entry>,
    /// How many are members to the application.
    members: usize,
}

#[derive(Debug)]
struct Entry {
    name: Box<str>,
    listed: Listed,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listed {
    /// By the hub, now.
    Now,
    /// By the hub that was lost.
    Before,
    /// Only the mesh knows it.
    Never,
}

/// What a peer was when changes were last told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Not there yet.
    New,
    /// In our shard, and so a member to the application.
    Local,
    /// In another shard.
    Remote,
}

/// The members that came and went, with their names.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) joined: Vec<PeerId>,
    pub(super) left: Vec<(PeerId, String)>,
    /// The known members of other shards have changed.
    pub(super) remote: bool,
}

impl Roster {
    /// The members that the application knows: those of our shard.
    pub(super) fn members(&self) -> impl Iterator<Item = PeerId> {
        self.at(Place::Local)
    }

    /// Those of other shards that may be linked with ours.
    pub(super) fn remote(&self) -> impl Iterator<Item = PeerId> {
        self.at(Place::Remote)
    }

    fn at(&self, place: Place) -> impl Iterator<Item = PeerId> {
        let there = self.entries.iter().filter(move |(_, e)| e.place == place);
        there.map(|(peer, _)| *peer)
    }

    /// How many members the application knows.
    pub(super) fn len(&self) -> usize {
        self.members
    }

    pub(super) fn contains(&self, peer: PeerId) -> bool {
        let entry = self.entries.get(&peer);
        entry.is_some_and(|entry| entry.place == Place::Local)
    }

    /// Whether the hub lists a peer now.
    pub(super) fn lists(&self, peer: PeerId) -> bool {
        let entry = self.entries.get(&peer);
        entry.is_some_and(|entry| entry.listed == Listed::Now)
    }

    pub(super) fn name(&self, peer: PeerId) -> Option<&str> {
        self.entries.get(&peer).map(|entry| &*entry.name)
    }

    /// The hub lists a peer. Returns false if there are too many already.
    pub(super) fn list(&mut self, peer: PeerId, name: String, members_max: usize) -> bool {
        if let Some(entry) = self.entries.get_mut(&peer) {
            entry.name = name.into();
            entry.listed = Listed::Now;
            return true;
        }
        let fits = self.entries.len() < members_max;
        if fits {
            self.insert(peer, name, Listed::Now);
        }
        fits
    }

    fn insert(&mut self, peer: PeerId, name: String, listed: Listed) {
        let entry = Entry {
            name: name.into(),
            listed,
            place: Place::New,
        };
        self.entries.insert(peer, entry);
    }

    /// The hub does not list a peer any more.
    pub(super) fn unlist(&mut self, peer: PeerId) {
        if let Some(entry) = self.entries.get_mut(&peer) {
            entry.listed = Listed::Never;
        }
    }

    /// The hub's list is void, but not what is remembered of an earlier one.
    pub(super) fn clear_list(&mut self) {
        let entries = self.entries.values_mut();
        for entry in entries.filter(|entry| entry.listed == Listed::Now) {
            entry.listed = Listed::Never;
        }
    }

    /// The hub's list is void; some are remembered.
    pub(super) fn unlist_all(&mut self, remembered: impl Fn(PeerId) -> bool) {
        for (peer, entry) in &mut self.entries {
            entry.listed = match entry.listed {
                Listed::Now | Listed::Before if remembered(*peer) => Listed::Before,
                _ => Listed::Never,
            };
        }
    }

    /// Of those that are only remembered some have said goodbye.
    pub(super) fn forget(&mut self, departed: impl Fn(PeerId) -> bool) {
        for (peer, entry) in &mut self.entries {
            if entry.listed == Listed::Before && departed(*peer) {
                entry.listed = Listed::Never;
            }
        }
    }

    /// Whether anybody is only remembered.
    pub(super) fn remembers_any(&self) -> bool {
        let mut entries = self.entries.values();
        entries.any(|entry| entry.listed == Listed::Before)
    }

    /// Members that are only remembered have left.
    pub(super) fn forget_remembered(&mut self) {
        for entry in self.entries.values_mut() {
            if entry.listed == Listed::Before {
                entry.listed = Listed::Never;
            }
        }
    }

    /// Takes over the members that the mesh reaches, with their names, and tells what is new since
    /// the last time.
    pub(super) fn update<'a>(
        &mut self,
        reached: impl Iterator<Item = (PeerId, &'a str)>,
        reaches: impl Fn(PeerId) -> bool,
        is_remote: impl Fn(PeerId) -> bool,
    ) -> Changes {
        for (peer, name) in reached {
            if !self.entries.contains_key(&peer) {
                self.insert(peer, name.to_owned(), Listed::Never);
            }
        }
        let mut changes = Changes::default();
        self.entries.retain(|&peer, entry| {
            let here = entry.listed != Listed::Never || reaches(peer);
            let place = match (here, is_remote(peer)) {
                (false, _) => Place::New,
                (true, false) => Place::Local,
                (true, true) => Place::Remote,
            };
            if place != entry.place {
                changes.remote |= [place, entry.place].contains(&Place::Remote);
                if place == Place::Local {
                    changes.joined.push(peer);
                } else if entry.place == Place::Local {
                    changes.left.push((peer, entry.name.to_string()));
                }
            }
            entry.place = place;
            here
        });
        self.members = self.members().count();
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> PeerId {
        PeerId::from_bytes([n; 32])
    }

    #[test]
    fn a_member_is_who_is_listed_remembered_or_reached() {
        let mut roster = Roster::default();
        let nobody = || std::iter::empty();
        assert!(roster.list(peer(1), "a".into(), 2));
        assert!(roster.list(peer(2), "b".into(), 2));
        assert!(!roster.list(peer(3), "c".into(), 2), "full");
        assert_eq!(roster.len(), 0, "nobody was told yet");
        let changes = roster.update(nobody(), |_| false, |_| false);
        assert_eq!(changes.joined, [peer(1), peer(2)]);
        // The hub is lost: 1 is remembered, 2 reached by the mesh.
        roster.unlist_all(|member| member == peer(1));
        assert!(roster.remembers_any() && !roster.lists(peer(1)));
        let reached = || std::iter::once((peer(2), "b"));
        let changes = roster.update(reached(), |member| member == peer(2), |_| false);
        assert!(changes.joined.is_empty() && changes.left.is_empty());
        roster.forget_remembered();
        let changes = roster.update(reached(), |member| member == peer(2), |_| false);
        assert_eq!(changes.left, [(peer(1), "a".to_owned())]);
        assert_eq!(roster.members().collect::<Vec<_>>(), [peer(2)]);
    }

    #[test]
    fn a_goodbye_ends_what_is_remembered_and_not_what_the_hub_lists() {
        let mut roster = Roster::default();
        let nobody = || std::iter::empty();
        roster.list(peer(1), "a".into(), 9);
        roster.unlist_all(|_| true);
        roster.list(peer(2), "b".into(), 9);
        assert_eq!(
            roster.update(nobody(), |_| false, |_| false).joined.len(),
            2
        );
        roster.forget(|_| true);
        let changes = roster.update(nobody(), |_| false, |_| false);
        assert_eq!(changes.left, [(peer(1), "a".to_owned())]);
    }

    #[test]
    fn whoever_is_of_another_shard_is_no_member_to_the_application() {
        let mut roster = Roster::default();
        for n in 1..=2 {
            roster.list(peer(n), "a".into(), 9);
        }
        let nobody = || std::iter::empty();
        let changes = roster.update(nobody(), |_| false, |member| member == peer(2));
        assert_eq!((changes.joined, changes.remote), (vec![peer(1)], true));
        assert!(roster.lists(peer(2)) && !roster.contains(peer(2)));
        assert_eq!(roster.remote().collect::<Vec<_>>(), [peer(2)]);
        // The room is divided anew, the other way round.
        roster.clear_list();
        roster.list(peer(2), "a".into(), 9);
        let changes = roster.update(nobody(), |_| false, |_| false);
        assert_eq!(changes.joined, [peer(2)]);
        assert_eq!(changes.left, [(peer(1), "a".to_owned())]);
    }
}
