//! Rooms that are divided: whom their members are told of.

use super::*;

/// What each client of a room was told, put together.
#[derive(Default)]
pub(super) struct Told {
    lists: BTreeMap<u64, BTreeSet<PeerId>>,
    shards: Shards,
    /// Who was ever told to have left.
    pub(super) left: BTreeSet<PeerId>,
    /// How often somebody was told of another division.
    pub(super) divided: usize,
    /// Who got signals, and of whom.
    pub(super) signals: Vec<(u64, PeerId)>,
}

impl Told {
    pub(super) fn hear(&mut self, sent: Vec<(u64, HubMessage)>) {
        for (client, message) in sent {
            let list = self.lists.entry(client).or_default();
            self.divided += usize::from(matches!(message, HubMessage::Divided { .. }));
            match message {
                HubMessage::Welcome { listing, .. } | HubMessage::Divided { listing } => {
                    *list = listing.members.iter().map(|member| member.peer).collect();
                    self.shards = listing.shards;
                }
                HubMessage::Members { joined, left, .. } => {
                    left.iter().for_each(|peer| _ = list.remove(peer));
                    self.left.extend(&left);
                    list.extend(joined.iter().map(|member| member.peer));
                }
                HubMessage::Signal { from, .. } => self.signals.push((client, from)),
                _ => {}
            }
        }
    }

    /// Every member was told of its shard, and of whom it may have to be linked with.
    fn check(&self, room: &BTreeMap<u64, PeerId>) {
        self.check_all(room, &room.values().copied().collect());
    }

    /// These clients were, where these are in the room.
    pub(super) fn check_all(&self, clients: &BTreeMap<u64, PeerId>, room: &BTreeSet<PeerId>) {
        let divided = self.shards.divide(room.clone());
        for (client, &peer) in clients {
            let mut list = self.lists[client].clone();
            list.insert(peer);
            let known = self.shards.divide(list);
            let here = self.shards.of(peer);
            assert_eq!(known[here], divided[here], "client {client}");
            let ours = self.shards.crossings(peer, &known);
            assert_eq!(ours, self.shards.crossings(peer, &divided), "{client}");
            let most = known[here].len() + 8 * (known.len() - 1);
            assert!(self.lists[client].len() <= most, "client {client}");
        }
    }
}

#[test]
fn members_of_a_divided_room_hear_of_their_shard_and_of_whom_it_may_be_linked_with() {
    let config = HubConfig {
        shard_members: 12,
        ..HubConfig::default()
    };
    let mut clients = Clients::new(config);
    let (mut told, mut room) = (Told::default(), BTreeMap::new());
    for n in 1..=60u8 {
        let client = u64::from(n);
        told.hear(clients.admit(client, &identity(n), "a"));
        room.insert(client, identity(n).peer());
        if n % 7 == 0 {
            told.hear(clients.wait(Duration::from_secs(1)));
            told.check(&room);
        }
    }
    told.hear(clients.wait(Duration::from_secs(1)));
    assert_eq!(told.shards.count(), 5);
    for client in (1..=60).filter(|client| client % 4 != 0) {
        let closed = HubInput::ClientClosed(ClientId(client));
        clients.hub.handle_input(closed, clients.now);
        room.remove(&client);
        told.hear(clients.wait(Duration::from_millis(300)));
        told.check(&room);
    }
    assert_eq!(told.shards.count(), 5, "it heals first");
    told.hear(clients.wait(Duration::from_secs(15)));
    told.check(&room);
    assert_eq!((room.len(), told.shards), (15, Shards::WHOLE));
}

/// A hub with small shards, and how a room of three was divided before it restarted.
fn restarted() -> (Clients, Shards) {
    let config = HubConfig {
        shard_members: 4,
        ..HubConfig::default()
    };
    (Clients::new(config), Shards::try_from(3).expect("valid"))
}

#[test]
fn a_hub_that_restarted_divides_the_room_as_it_was_until_all_are_back() {
    let (mut clients, three) = restarted();
    let (mut told, mut room) = (Told::default(), BTreeMap::new());
    for n in 1..=6 {
        told.hear(clients.admit_again(u64::from(n), &identity(n), "a", three));
        assert_eq!(told.shards, three, "to who was there nothing has changed");
        room.insert(u64::from(n), identity(n).peer());
    }
    told.hear(clients.wait(Duration::from_secs(1)));
    assert_eq!(clients.hub.division("a"), Some(three));
    told.check(&room);
    told.hear(clients.admit(7, &identity(7), "a"));
    room.insert(7, identity(7).peer());
    told.hear(clients.wait(Duration::from_secs(13)));
    assert_eq!(told.shards, three);
    told.check(&room);
    told.hear(clients.wait(Duration::from_secs(2)));
    assert_eq!(told.shards, three, "somebody may yet come");
    told.hear(clients.wait(Duration::from_secs(15)));
    assert_eq!(told.shards, Shards::WHOLE, "nobody else came back");
    told.check(&room);
}

#[test]
fn a_member_that_comes_back_alone_hears_of_the_others_in_the_end() {
    let (mut clients, three) = restarted();
    let mut told = Told::default();
    let mut room = BTreeMap::from([(1, identity(1).peer())]);
    told.hear(clients.admit_again(1, &identity(1), "a", three));
    assert_eq!(told.shards, three, "the others may come");
    for n in 2..=5 {
        told.hear(clients.admit(u64::from(n), &identity(n), "a"));
        room.insert(u64::from(n), identity(n).peer());
    }
    told.hear(clients.wait(Duration::from_secs(16)));
    assert_eq!(clients.hub.division("a"), Some(Shards::WHOLE));
    told.check(&room);
}

#[test]
fn whoever_claims_that_a_room_was_divided_divides_it_for_no_one_else() {
    let mut clients = Clients::new(HubConfig::default());
    let (mut told, mut room) = (Told::default(), BTreeMap::new());
    let eighty = Shards::try_from(80).expect("valid");
    clients.admit_again(10, &identity(10), "a", eighty);
    for n in 1..=4 {
        told.hear(clients.admit(u64::from(n), &identity(n), "a"));
        room.insert(u64::from(n), identity(n).peer());
    }
    clients.admit_again(11, &identity(11), "a", eighty);
    let sent = clients.wait(Duration::from_secs(1));
    told.hear(
        sent.into_iter()
            .filter(|(client, _)| *client < 10)
            .collect(),
    );
    assert_eq!(clients.hub.division("a"), Some(Shards::WHOLE));
    for (client, peer) in &room {
        let known = &told.lists[client];
        let mut others = room.values().filter(|other| *other != peer);
        let all = others.all(|other| known.contains(other));
        assert!(all, "client {client} knows {known:?}");
    }
}
