//! A room that several hubs share: what the directory says of it, and what follows for its seats.
//!
//! The mirror is what was read from the directory, nothing else; it is the same at every hub that
//! has read as far. A seat here goes before it, until the directory has a later entry of the same
//! member. All that a hub wants to have changed follows from the two ([`Room::wish`]), so nothing
//! needs to be remembered that a lost connection could forget.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Notice, Place, Room, Seat};
use crate::config::HubConfig;
use crate::id::{ClientId, PeerId};
use crate::signaling::directory::{Entry, HubId, Session};
use crate::time::Instant;
use crate::topology::Shards;

/// Wait until a division that the directory has not taken is proposed again: the first proposal was
/// read by then, or lost.
const PROPOSE_AGAIN: Duration = Duration::from_secs(2);

/// What the directory says of a room.
#[derive(Debug)]
pub(super) struct Mirror {
    /// This hub.
    hub: HubId,
    entries: BTreeMap<PeerId, Entry>,
    division: Shards,
    /// What this hub proposed last, and when.
    proposed: Option<(Proposal, Instant)>,
    /// A proposal that was not handed out yet.
    proposal: Option<Proposal>,
}

/// From how to how a room is to be divided.
pub(in crate::signaling) type Proposal = (Shards, Shards);

/// What a hub wants the directory to say of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::signaling) enum Wish {
    /// It is here.
    Enter(Entry),
    /// It is no longer here.
    Leave(Session),
}

impl Mirror {
    pub(super) fn new(hub: HubId) -> Self {
        Self {
            hub,
            entries: BTreeMap::new(),
            division: Shards::WHOLE,
            proposed: None,
            proposal: None,
        }
    }

    /// Whether the directory says nothing of the room.
    pub(super) fn is_over(&self) -> bool {
        self.entries.is_empty() && self.division == Shards::WHOLE
    }
}

impl Room {
    /// A time for a member that is admitted now: later than any that is known of it.
    pub(in crate::signaling) fn time_of_admission(&self, peer: PeerId, clock: u64) -> u64 {
        let here = match self.place_of(peer) {
            Some(Place::Here { at, .. }) => at,
            _ => 0,
        };
        let entered = self.entry(peer).map_or(0, |entry| entry.at);
        clock.max(here.max(entered).saturating_add(1))
    }

    fn entry(&self, peer: PeerId) -> Option<&Entry> {
        self.mirror.as_ref()?.entries.get(&peer)
    }

    /// The seat of a member at another hub, if the directory says so.
    pub(super) fn elsewhere(&self, peer: PeerId) -> Option<Seat> {
        let mirror = self.mirror.as_ref()?;
        let entry = mirror.entries.get(&peer)?;
        (entry.session.hub != mirror.hub).then(|| Seat {
            place: Place::There(entry.session),
            name: entry.name.clone(),
        })
    }

    /// What the directory is to say of a member and does not.
    pub(in crate::signaling) fn wish(&self, peer: PeerId) -> Option<Wish> {
        let hub = self.mirror.as_ref()?.hub;
        let entered = self.entry(peer).map(|entry| entry.session);
        let ours = entered.filter(|session| session.hub == hub);
        let Some(seat) = self.members.get(&peer) else {
            return ours.map(Wish::Leave);
        };
        let (client, at) = match seat.place {
            Place::Here { client, at, .. } => (client, at),
            Place::There(_) => return ours.map(Wish::Leave),
            // The next hub takes its entry over, or it is forgotten with this hub.
            Place::Away => return None,
        };
        let session = Session { hub, client };
        let name = seat.name.clone();
        (entered != Some(session)).then_some(Wish::Enter(Entry { name, session, at }))
    }

    /// The directory says this of a member now, or nothing: a change, or what it says when it is
    /// read as a whole. Then no member is a newcomer, and a member of another hub whose entry is
    /// missing, or earlier than what was read before, stays where it is for now: the directory has
    /// gone back, and that hub is about to say so again. Returns a client here whose place was
    /// taken by one of another hub.
    pub(in crate::signaling) fn reflect(
        &mut self,
        peer: PeerId,
        entry: Option<Entry>,
        whole: bool,
        config: &HubConfig,
        now: Instant,
    ) -> Option<ClientId> {
        let mirror = self.mirror.as_mut()?;
        let hub = mirror.hub;
        let Some(entry) = entry else {
            let gone = mirror.entries.remove(&peer);
            let place = gone.map(|gone| Place::There(gone.session));
            if !whole && place.is_some() && place == self.place_of(peer) {
                self.remove(peer, config, now);
            } else if self.members.is_empty() {
                self.tell_soon(config, now); // It may be over.
            }
            return None;
        };
        let (session, theirs_at) = (entry.session, entry.at);
        let before = mirror.entries.insert(peer, entry);
        let later = before.filter(|before| whole && before.at > theirs_at);
        let place = later.map(|later| Place::There(later.session));
        if place.is_some() && place == self.place_of(peer) {
            return None;
        }
        let replaced = match self.members.get_mut(&peer).map(|seat| &mut seat.place) {
            Some(Place::Here { client, at, fresh })
                if session
                    == Session {
                        hub,
                        client: *client,
                    } =>
            {
                (*at, *fresh) = (theirs_at, false);
                return None;
            }
            // It came here while that entry was on its way.
            Some(Place::Here {
                at, fresh: true, ..
            }) => {
                *at = (*at).max(theirs_at.saturating_add(1));
                return None;
            }
            Some(Place::Here { at, .. }) if *at > theirs_at => return None,
            Some(Place::Here { client, .. }) => Some(*client),
            _ => None,
        };
        match self.elsewhere(peer) {
            Some(seat) => self.seat_elsewhere(peer, seat, whole, config, now),
            None if self.place_of(peer) == Some(Place::Away) => {}
            // Its client has gone; this hub is about to say so.
            None => self.remove(peer, config, now),
        }
        replaced
    }

    fn seat_elsewhere(
        &mut self,
        peer: PeerId,
        seat: Seat,
        whole: bool,
        config: &HubConfig,
        now: Instant,
    ) {
        let before = self.members.get(&peer);
        if before.is_some_and(|old| old.place == seat.place && old.name == seat.name) {
            return;
        }
        if before.is_none() && !whole {
            self.crowd.came(now);
        }
        self.claims.remove(peer);
        self.seat(peer, seat, config, now);
    }

    /// All that the directory says of this room, from now on. Members of other hubs whose entries
    /// are missing, or earlier than before, are kept. Returns clients here whose places were taken.
    pub(in crate::signaling) fn read(
        &mut self,
        mut entries: BTreeMap<PeerId, Entry>,
        config: &HubConfig,
        now: Instant,
    ) -> Vec<ClientId> {
        let Some(mirror) = &self.mirror else {
            return Vec::new();
        };
        let missing = mirror.entries.keys();
        let missing = missing.filter(|peer| !entries.contains_key(*peer));
        for peer in missing.copied().collect::<Vec<_>>() {
            self.reflect(peer, None, true, config, now);
        }
        let mut replaced = Vec::new();
        while let Some((peer, entry)) = entries.pop_first() {
            replaced.extend(self.reflect(peer, Some(entry), true, config, now));
        }
        replaced
    }

    /// Members of other hubs that were kept without their entries are where the directory says, or
    /// nowhere.
    pub(in crate::signaling) fn drop_kept(&mut self, config: &HubConfig, now: Instant) {
        let kept = self.members.iter().filter(|(peer, seat)| match seat.place {
            Place::Here { .. } | Place::Away => false,
            Place::There(session) => {
                let entry = self.entry(**peer);
                entry.is_none_or(|entry| entry.session != session)
            }
        });
        let kept: Vec<_> = kept.map(|(peer, _)| *peer).collect();
        for peer in kept {
            self.moved_on(peer, config, now);
        }
    }

    /// The directory was away: what is read from now on may be later than any admission here.
    pub(in crate::signaling) fn stale(&mut self) {
        for seat in self.members.values_mut() {
            if let Place::Here { fresh, .. } = &mut seat.place {
                *fresh = false;
            }
        }
        if let Some(mirror) = &mut self.mirror {
            mirror.proposed = None;
        }
    }

    /// The members of which the directory is to say something that it does not.
    pub(in crate::signaling) fn unpublished(&self) -> Vec<PeerId> {
        let entries = self.mirror.iter().flat_map(|mirror| mirror.entries.keys());
        let listed = entries.filter(|peer| !self.members.contains_key(*peer));
        let peers = self.members.keys().chain(listed);
        let peers = peers.filter(|peer| self.wish(**peer).is_some());
        peers.copied().collect()
    }

    /// The members that the directory lists at a hub.
    pub(in crate::signaling) fn entered_by(&self, hub: HubId) -> Vec<PeerId> {
        let entries = self.mirror.iter().flat_map(|mirror| &mirror.entries);
        let entries = entries.filter(|(_, entry)| entry.session.hub == hub);
        entries.map(|(peer, _)| *peer).collect()
    }

    /// The hubs at which the directory lists members.
    pub(in crate::signaling) fn hubs(&self) -> impl Iterator<Item = HubId> + '_ {
        let entries = self
            .mirror
            .iter()
            .flat_map(|mirror| mirror.entries.values());
        entries.map(|entry| entry.session.hub)
    }

    /// The directory says that the room is divided so. Returns what members are to be told.
    pub(in crate::signaling) fn divided(&mut self, shards: Shards, now: Instant) -> Vec<Notice> {
        if let Some(mirror) = &mut self.mirror {
            mirror.division = shards;
            mirror.proposed = None;
        }
        if shards == self.division {
            return Vec::new();
        }
        self.divide_by(shards, now)
    }

    /// The directory has lost how the room is divided, and says what it said earlier. The room
    /// stays divided here as it is, and that is proposed again.
    pub(in crate::signaling) fn division_lost(&mut self, earlier: Shards) {
        if let Some(mirror) = &mut self.mirror {
            mirror.division = earlier;
        }
    }

    /// How the room is divided once it is wanted otherwise: at once where this hub decides alone,
    /// else when the directory says so.
    pub(super) fn agreed_division(&mut self, wanted: Shards, now: Instant) -> Shards {
        let Some(mirror) = &mut self.mirror else {
            return wanted;
        };
        if wanted == mirror.division {
            return wanted;
        }
        let proposal = (mirror.division, wanted);
        let earlier = mirror.proposed.filter(|(earlier, _)| *earlier == proposal);
        let mut again_at = earlier.map_or(now, |(_, at)| at + PROPOSE_AGAIN);
        if again_at <= now {
            again_at = now + PROPOSE_AGAIN;
            mirror.proposed = Some((proposal, now));
            mirror.proposal = Some(proposal);
        }
        self.tell_by(again_at);
        self.division
    }

    /// How this hub wants the room divided anew, once for each proposal.
    pub(in crate::signaling) fn take_proposal(&mut self) -> Option<Proposal> {
        self.mirror.as_mut()?.proposal.take()
    }
}
