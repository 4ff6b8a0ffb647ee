//! Rooms that are divided: whom their members are told of.

use super::*;

/// What each client of a room was told, put together.
#[derive(Default)]
struct Told {
    lists: BTreeMap<u64, BTreeSet<PeerId>>,
    shards: Shards,
}

impl Told {
    fn hear(&mut self, sent: Vec<(u64, HubMessage)>) {
        for (client, message) in sent {
            let list = self.lists.entry(client).or_default();
            match message {
                HubMessage::Welcome { listing, .. } | HubMessage::Divided { listing } => {
                    *list = listing.members.iter().map(|member| member.peer).collect();
                    self.shards = listing.shards;
                }
                HubMessage::Members { joined, left, .. } => {
                    left.iter().for_each(|peer| _ = list.remove(peer));
                    list.extend(joined.iter().map(|member| member.peer));
                }
                _ => {}
            }
        }
    }

    /// Every member was told of its shard, and of whom it may have to be linked with.
    fn check(&self, room: &BTreeMap<u64, PeerId>) {
        let sorted: BTreeSet<_> = room.values().copied().collect();
        let divided = self.shards.divide(sorted);
        for (client, &peer) in room {
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

#[test]
fn a_hub_that_restarted_divides_the_room_as_it_was_until_all_are_back() {
    let config = HubConfig {
        shard_members: 4,
        ..HubConfig::default()
    };
    let mut clients = Clients::new(config);
    let three = Shards::try_from(3).expect("valid");
    let returning =
        |clients: &mut Clients, n: u8| clients.admit_again(u64::from(n), &identity(n), "a", three);
    let mut told = Told::default();
    told.hear(returning(&mut clients, 1));
    assert_eq!(told.shards.count(), 3);
    told.hear(returning(&mut clients, 2));
    told.hear(clients.wait(Duration::from_secs(14)));
    assert_eq!(told.shards.count(), 3);
    told.hear(clients.wait(Duration::from_secs(2)));
    assert_eq!(told.shards.count(), 3, "somebody may yet come");
    told.hear(clients.wait(Duration::from_secs(15)));
    assert_eq!(told.shards, Shards::WHOLE, "nobody else came back");
    let room = BTreeMap::from([(1, identity(1).peer()), (2, identity(2).peer())]);
    told.check(&room);
}
