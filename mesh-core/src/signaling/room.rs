//! One room of the hub: its members, its division into [`Shards`], and which members are told of
//! which.
//!
//! A member is told of the others of its shard, and of the few in every other shard that may be
//! linked with its own; so what it costs to come or go grows with a shard, not with the room. The
//! texts are the same for all members of a shard.

mod mirror;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::claims::Claims;
use super::crowd::Crowd;
use super::directory::{HubId, Session};
use super::protocol::{HubMessage, Listing, Member};
use crate::config::{HubConfig, RETURN_PATIENCE};
use crate::id::{ClientId, PeerId};
use crate::time::Instant;
use crate::topology::{Shards, candidates};

use self::mirror::Mirror;
pub(super) use self::mirror::{Proposal, Wish};

/// Time for which changes gather for each member that is told of them: in a crowd all members hear
/// of all others, in as few texts as possible.
const DELAY_SHARE: Duration = Duration::from_micros(100);

/// How long changes of a room with so many members gather.
pub(crate) fn notice_delay(members: usize) -> Duration {
    DELAY_SHARE * u32::try_from(members).unwrap_or(u32::MAX)
}

#[derive(Debug)]
pub(super) struct Room {
    members: BTreeMap<PeerId, Seat>,
    division: Shards,
    shards: Vec<Shard>,
    opened_at: Instant,
    /// Since when its shards are too many.
    small_since: Option<Instant>,
    /// What agents that have come back say of the division.
    claims: Claims,
    /// The division that agents that have come back agreed on.
    returned: Shards,
    /// When members are told what has changed.
    tell_at: Option<Instant>,
    crowd: Crowd,
    /// Clients that have said hello and not proven their identity yet.
    arriving: usize,
    /// Those that have said that they come back, and not proven their identity yet.
    returning: usize,
    /// What the directory says of this room, if this hub shares one.
    mirror: Option<Mirror>,
}

#[derive(Debug)]
struct Seat {
    place: Place,
    name: String,
}

/// Where a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A client of this hub.
    Here {
        /// The client.
        client: ClientId,
        /// When it was admitted, as an [`Entry`](super::directory::Entry) has it.
        at: u64,
        /// Nothing that was read from the directory since it was admitted can be later than it.
        fresh: bool,
    },
    /// At another hub.
    There(Session),
    /// It was here, and is at another hub by now, most likely: this one is about to stop, and may
    /// know nothing of the next.
    Away,
}

/// A shard, and what its members were told.
#[derive(Debug, Default)]
struct Shard {
    members: BTreeSet<PeerId>,
    /// Of each other shard those that may be linked with this one, as its members were told.
    abroad: Vec<Vec<PeerId>>,
    /// Changes that its members were not told of yet.
    joined: BTreeSet<PeerId>,
    left: BTreeSet<PeerId>,
}

/// A message, and the clients that get it.
pub(super) type Notice = (HubMessage, Vec<ClientId>);

impl Room {
    /// A room without members; `hub` is this hub, if it shares a directory.
    fn new(hub: Option<HubId>, now: Instant) -> Self {
        let mut room = Self {
            members: BTreeMap::new(),
            division: Shards::WHOLE,
            shards: Vec::new(),
            opened_at: now,
            small_since: None,
            claims: Claims::default(),
            returned: Shards::WHOLE,
            tell_at: None,
            crowd: Crowd::default(),
            arriving: 0,
            returning: 0,
            mirror: hub.map(Mirror::new),
        };
        room.divide(now);
        room
    }

    /// The room of this name, which opens if it must.
    pub(super) fn open<'a>(
        rooms: &'a mut BTreeMap<String, Self>,
        hub: Option<HubId>,
        name: &str,
        now: Instant,
    ) -> &'a mut Self {
        let room = rooms.entry(name.to_owned());
        room.or_insert_with(|| Self::new(hub, now))
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn division(&self) -> Shards {
        self.division
    }

    /// Where a member is.
    pub(super) fn place_of(&self, peer: PeerId) -> Option<Place> {
        self.members.get(&peer).map(|seat| seat.place)
    }

    /// The client that a member is, if it is here.
    pub(super) fn client_of(&self, peer: PeerId) -> Option<ClientId> {
        match self.place_of(peer)? {
            Place::Here { client, .. } => Some(client),
            Place::There(_) | Place::Away => None,
        }
    }

    /// Members of which it is known where they are.
    pub(super) fn present(&self) -> usize {
        let seats = self.members.values();
        seats.filter(|seat| seat.place != Place::Away).count()
    }

    /// Its members.
    #[cfg(test)]
    pub(super) fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.members.keys().copied()
    }

    /// When [`Room::tell`] is due.
    pub(super) fn tell_at(&self) -> Option<Instant> {
        self.tell_at
    }

    /// Whether no member is here or at the door, and none is still to be told so.
    pub(super) fn is_over(&self) -> bool {
        let untold = self.tell_at.is_some() || self.arriving + self.returning > 0;
        self.members.is_empty() && !untold && self.mirror.as_ref().is_none_or(Mirror::is_over)
    }

    /// A client is at the door, for the first time or again.
    pub(super) fn arrive(&mut self, again: bool) {
        let doors = if again {
            &mut self.returning
        } else {
            &mut self.arriving
        };
        *doors += 1;
    }

    /// A client is no longer at the door, but inside or gone.
    pub(super) fn arrived(&mut self, again: bool) {
        let doors = if again {
            &mut self.returning
        } else {
            &mut self.arriving
        };
        *doors = doors.saturating_sub(1);
    }

    /// How many have come lately or are about to.
    fn newcomers(&self, now: Instant) -> usize {
        self.crowd.newcomers(now) + self.arriving
    }

    /// Takes a member in, at a place here, for the first time or again, by what it remembers;
    /// returns the members that it has to know.
    pub(super) fn admit(
        &mut self,
        Member { peer, name }: Member,
        place: Place,
        (remembered, again): (Shards, bool),
        config: &HubConfig,
        now: Instant,
    ) -> Listing {
        let alone = self.mirror.is_none();
        if alone && self.members.is_empty() && self.division != Shards::WHOLE {
            self.division = Shards::WHOLE;
            self.divide(now); // Nobody is here to be told.
        }
        self.seat(peer, Seat { place, name }, config, now);
        let most = Shards::of_room(config.room_members_max, config.shard_members);
        let claimed = remembered.min(most);
        if claimed > self.division && now < self.opened_at + RETURN_PATIENCE {
            self.claims.insert(peer, claimed);
            self.tell_by(self.opened_at + RETURN_PATIENCE);
        } else {
            self.claims.remove(peer);
        }
        if !again {
            self.crowd.came(now); // Who comes back has its links: links need not wait for it.
        }
        let mut listing = match self.claims.of(peer) {
            None => self.listing(self.division.of(peer), now),
            Some(claimed) => self.listing_by(claimed, claimed.of(peer), now),
        };
        listing.members.retain(|member| member.peer != peer);
        listing
    }

    fn seat(&mut self, peer: PeerId, seat: Seat, config: &HubConfig, now: Instant) {
        self.members.insert(peer, seat);
        let shard = &mut self.shards[self.division.of(peer)];
        shard.members.insert(peer);
        shard.joined.insert(peer);
        shard.left.remove(&peer);
        self.tell_soon(config, now);
    }

    /// A member is no longer where it was: it is where the directory says, or has left.
    pub(super) fn moved_on(&mut self, peer: PeerId, config: &HubConfig, now: Instant) {
        match self.elsewhere(peer) {
            Some(entry) => self.seat(peer, entry, config, now),
            None => self.remove(peer, config, now),
        }
    }

    /// A client that was a member here has gone without a goodbye, as it was asked to. It stays
    /// listed for those that have not gone yet: they would take it for one that has left the room.
    pub(super) fn moved_away(&mut self, peer: PeerId) {
        if let Some(seat) = self.members.get_mut(&peer) {
            seat.place = Place::Away;
        }
    }

    fn remove(&mut self, peer: PeerId, config: &HubConfig, now: Instant) {
        self.members.remove(&peer);
        self.claims.remove(peer);
        let shard = &mut self.shards[self.division.of(peer)];
        shard.members.remove(&peer);
        shard.joined.remove(&peer);
        shard.left.insert(peer);
        self.tell_soon(config, now);
    }

    pub(super) fn tell_soon(&mut self, config: &HubConfig, now: Instant) {
        self.tell_by(now + config.members_delay.max(notice_delay(self.len())));
    }

    fn tell_by(&mut self, at: Instant) {
        self.tell_at = Some(self.tell_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// What members are to be told, since the last time.
    pub(super) fn tell(&mut self, config: &HubConfig, now: Instant) -> Vec<Notice> {
        self.tell_at = None;
        let wanted = self.wanted_division(config, now);
        let division = self.agreed_division(wanted, now);
        if division != self.division {
            return self.divide_by(division, now);
        }
        let mut told = self.changes(now);
        let heed_until = self.opened_at + RETURN_PATIENCE;
        if now < heed_until {
            if !self.claims.is_empty() {
                self.tell_by(heed_until);
            }
            return told;
        }
        // So few have come back that the room is not what it was.
        for peer in self.claims.clear() {
            let listing = self.listing(self.division.of(peer), now);
            let client = self.client_of(peer).into_iter().collect();
            told.push((HubMessage::Divided { listing }, client));
        }
        told
    }

    fn divide_by(&mut self, division: Shards, now: Instant) -> Vec<Notice> {
        self.division = division;
        self.claims.clear(); // Everybody gets a new list.
        self.divide(now)
    }

    /// How the room is to be divided, by its size, by what was before, and by what those say that
    /// have come back to it.
    fn wanted_division(&mut self, config: &HubConfig, now: Instant) -> Shards {
        let by_size = self.division.resized(self.len(), config.shard_members);
        let heed_until = self.opened_at + RETURN_PATIENCE;
        if now < heed_until {
            let agreed = self.claims.agreed(self.len()).max(self.returned);
            if by_size < agreed {
                self.returned = agreed;
                self.tell_by(heed_until);
                self.small_since = None;
                return agreed;
            }
        }
        if by_size >= self.division {
            self.small_since = None;
        } else if let Some(wait_until) = self.await_healing(now) {
            self.tell_by(wait_until);
            return self.division;
        }
        by_size
    }

    /// What members are to be told of those that came and went.
    fn changes(&mut self, now: Instant) -> Vec<Notice> {
        let changed: Vec<_> = (0..self.shards.len())
            .filter(|&shard| self.shards[shard].has_changed())
            .collect();
        for there in changed {
            self.choose_gateways(there);
        }
        let told: Vec<_> = (0..self.shards.len())
            .filter(|&shard| self.shards[shard].has_changed())
            .map(|shard| self.changes_in(shard, now))
            .collect();
        for shard in &mut self.shards {
            shard.joined.clear();
            shard.left.clear();
        }
        told
    }

    /// Until when a room that has become too small for its shards keeps them, if it still does.
    fn await_healing(&mut self, now: Instant) -> Option<Instant> {
        let until = *self.small_since.get_or_insert(now) + RETURN_PATIENCE;
        if now < until && !self.members.is_empty() {
            return Some(until);
        }
        self.small_since = None;
        None
    }

    /// Divides the members anew, and lists for every shard the members that it has to know now.
    fn divide(&mut self, now: Instant) -> Vec<Notice> {
        let divided = self.division.divide(self.members.keys().copied());
        self.shards = divided
            .iter()
            .enumerate()
            .map(|(here, members)| Shard {
                members: members.iter().copied().collect(),
                abroad: (0..divided.len())
                    .map(|there| match there == here {
                        true => Vec::new(),
                        false => candidates(&divided[there], here),
                    })
                    .collect(),
                ..Shard::default()
            })
            .collect();
        let everywhere = 0..self.shards.len();
        everywhere
            .map(|shard| {
                let listing = self.listing(shard, now);
                (HubMessage::Divided { listing }, self.clients_in(shard))
            })
            .collect()
    }

    /// Looks again which members of a shard the others may be linked with.
    fn choose_gateways(&mut self, there: usize) {
        let members: Vec<_> = self.shards[there].members.iter().copied().collect();
        for (here, shard) in self.shards.iter_mut().enumerate() {
            if here == there {
                continue;
            }
            let now = candidates(&members, here);
            let before = std::mem::replace(&mut shard.abroad[there], now);
            let now = &shard.abroad[there];
            let new = now.iter().filter(|peer| !before.contains(peer));
            shard.joined.extend(new.copied());
            let old = before.iter().filter(|peer| !now.contains(peer));
            shard.left.extend(old.copied());
        }
    }

    fn changes_in(&self, shard: usize, now: Instant) -> Notice {
        let Shard { joined, left, .. } = &self.shards[shard];
        let message = HubMessage::Members {
            joined: self.named(joined.iter().copied()),
            left: left.iter().copied().collect(),
            room_members: self.len(),
            newcomers: self.newcomers(now),
        };
        (message, self.clients_in(shard))
    }

    /// The members that those of a shard have to know.
    fn listing(&self, shard: usize, now: Instant) -> Listing {
        let Shard {
            members, abroad, ..
        } = &self.shards[shard];
        Listing {
            members: self.named(members.iter().chain(abroad.iter().flatten()).copied()),
            room_members: self.len(),
            newcomers: self.newcomers(now),
            shards: self.division,
        }
    }

    /// The members that those of a shard would have to know if the room were divided so.
    fn listing_by(&self, division: Shards, here: usize, now: Instant) -> Listing {
        let divided = division.divide(self.members.keys().copied());
        let of_shard = |(there, members): (usize, &Vec<PeerId>)| match there == here {
            true => members.clone(),
            false => candidates(members, here),
        };
        let listed = divided.iter().enumerate().flat_map(of_shard);
        Listing {
            members: self.named(listed),
            room_members: self.len(),
            newcomers: self.newcomers(now),
            shards: division,
        }
    }

    /// These, as far as they are still here.
    fn named(&self, peers: impl Iterator<Item = PeerId>) -> Vec<Member> {
        let named = peers.filter_map(|peer| {
            let name = self.members.get(&peer)?.name.clone();
            Some(Member { peer, name })
        });
        named.collect()
    }

    fn clients_in(&self, shard: usize) -> Vec<ClientId> {
        let members = self.shards[shard].members.iter();
        // A member that claims another division was told by it, and is told nothing until that is
        // decided.
        let members = members.filter(|peer| self.claims.of(**peer).is_none());
        members.filter_map(|peer| self.client_of(*peer)).collect()
    }
}

impl Shard {
    fn has_changed(&self) -> bool {
        !self.joined.is_empty() || !self.left.is_empty()
    }
}
