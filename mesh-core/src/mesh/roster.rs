//! Who is in the room, and how we know.

use std::collections::BTreeMap;

use crate::id::PeerId;

/// Everybody in the room but this agent: whom the hub lists, whom it listed before it was lost, and
/// whom the mesh can reach.
#[derive(Debug, Default)]
pub(super) struct Roster {
    entries: BTreeMap<PeerId, Entry>,
    /// How many the application was told of.
    announced: usize,
}

#[derive(Debug)]
struct Entry {
    name: Box<str>,
    listed: Listed,
    /// The application was told of it.
    announced: bool,
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

/// Who came and who went, with their names.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) joined: Vec<PeerId>,
    pub(super) left: Vec<(PeerId, String)>,
}

impl Roster {
    /// The members that the application knows.
    pub(super) fn members(&self) -> impl Iterator<Item = PeerId> {
        let announced = self.entries.iter().filter(|(_, entry)| entry.announced);
        announced.map(|(peer, _)| *peer)
    }

    /// How many they are.
    pub(super) fn len(&self) -> usize {
        self.announced
    }

    /// How many the hub lists, or did before it was lost.
    pub(super) fn listed(&self) -> usize {
        let entries = self.entries.values();
        entries
            .filter(|entry| entry.listed != Listed::Never)
            .count()
    }

    pub(super) fn contains(&self, peer: PeerId) -> bool {
        self.entries.get(&peer).is_some_and(|entry| entry.announced)
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
            announced: false,
        };
        self.entries.insert(peer, entry);
    }

    /// The hub does not list a peer any more.
    pub(super) fn unlist(&mut self, peer: PeerId) {
        if let Some(entry) = self.entries.get_mut(&peer) {
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

    /// Whether anybody is only remembered.
    pub(super) fn remembers_any(&self) -> bool {
        let mut entries = self.entries.values();
        entries.any(|entry| entry.listed == Listed::Before)
    }

    /// Those who are only remembered have left.
    pub(super) fn forget_remembered(&mut self) {
        for entry in self.entries.values_mut() {
            if entry.listed == Listed::Before {
                entry.listed = Listed::Never;
            }
        }
    }

    /// Takes over whom the mesh reaches, with their names, and tells what is new since the last
    /// time.
    pub(super) fn update<'a>(
        &mut self,
        reached: impl Iterator<Item = (PeerId, &'a str)>,
        reaches: impl Fn(PeerId) -> bool,
    ) -> Changes {
        for (peer, name) in reached {
            if !self.entries.contains_key(&peer) {
                self.insert(peer, name.to_owned(), Listed::Never);
            }
        }
        let mut changes = Changes::default();
        self.entries.retain(|&peer, entry| {
            let here = entry.listed != Listed::Never || reaches(peer);
            if here && !entry.announced {
                changes.joined.push(peer);
            } else if !here && entry.announced {
                changes.left.push((peer, entry.name.to_string()));
            }
            entry.announced = here;
            here
        });
        self.announced = self.entries.len();
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
        let changes = roster.update(nobody(), |_| false);
        assert_eq!(changes.joined, [peer(1), peer(2)]);
        // The hub is lost: 1 is remembered, 2 reached by the mesh.
        roster.unlist_all(|member| member == peer(1));
        assert!(roster.remembers_any() && !roster.lists(peer(1)));
        let reached = || std::iter::once((peer(2), "b"));
        let changes = roster.update(reached(), |member| member == peer(2));
        assert!(changes.joined.is_empty() && changes.left.is_empty());
        roster.forget_remembered();
        let changes = roster.update(reached(), |member| member == peer(2));
        assert_eq!(changes.left, [(peer(1), "a".to_owned())]);
        assert_eq!(roster.members().collect::<Vec<_>>(), [peer(2)]);
    }
}
