//! What is said in Redis, as texts: a member is `<id> <room>`, what is said of it
//! `<at> <hub>-<client> <name>`, and a change has the fields that `publish.lua` gives it.

use mesh_core::signaling::directory::{Change, Entry, HubId, Order};
use mesh_core::{PeerId, Shards};
use redis::streams::StreamId;

/// An order, as `publish.lua` takes it.
pub(super) fn order(order: &Order) -> [String; 5] {
    let none = String::new;
    match order {
        Order::Enter { room, peer, entry } => [
            "enter".into(),
            member(room, *peer),
            entry.session.to_string(),
            entry.at.to_string(),
            entry.name.clone(),
        ],
        Order::Leave {
            room,
            peer,
            session,
        } => [
            "leave".into(),
            member(room, *peer),
            session.to_string(),
            none(),
            none(),
        ],
        Order::Divide { room, from, to } => [
            "divide".into(),
            room.clone(),
            from.count().to_string(),
            to.count().to_string(),
            none(),
        ],
        Order::Forget(hub) => ["forget".into(), hub.to_string(), none(), none(), none()],
    }
}

fn member(room: &str, peer: PeerId) -> String {
    format!("{peer} {room}")
}

/// A room and a peer in it.
pub(super) fn read_member(text: &str) -> Option<(String, PeerId)> {
    let (peer, room) = text.split_once(' ')?;
    Some((room.to_owned(), peer.parse().ok()?))
}

pub(super) fn read_entry(text: &str) -> Option<Entry> {
    let mut parts = text.splitn(3, ' ');
    Some(Entry {
        at: parts.next()?.parse().ok()?,
        session: parts.next()?.parse().ok()?,
        name: parts.next()?.to_owned(),
    })
}

pub(super) fn read_shards(text: &str) -> Option<Shards> {
    Shards::try_from(text.parse::<u32>().ok()?).ok()
}

/// A change of the stream; `None` if it is of a later version.
pub(super) fn read_change(entry: &StreamId) -> Option<Change> {
    let field = |name: &str| entry.get::<String>(name);
    match field("kind")?.as_str() {
        "entered" => {
            let (room, peer) = read_member(&field("member")?)?;
            let entry = read_entry(&field("value")?)?;
            Some(Change::Entered { room, peer, entry })
        }
        "left" => {
            let (room, peer) = read_member(&field("member")?)?;
            Some(Change::Left { room, peer })
        }
        "divided" => Some(Change::Divided {
            room: field("room")?,
            shards: read_shards(&field("shards")?)?,
        }),
        "forgotten" => Some(Change::Forgotten(field("hub")?.parse::<HubId>().ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use mesh_core::ClientId;
    use mesh_core::signaling::directory::Session;

    use super::*;

    #[test]
    fn members_and_entries_are_read_as_they_are_written() {
        let entry = Entry {
            name: "a name of three".into(),
            session: Session {
                hub: HubId(3),
                client: ClientId(4),
            },
            at: 1_800_000_000_000,
        };
        let peer = PeerId::from_bytes([7; 32]);
        let enter = Order::Enter {
            room: "a room".into(),
            peer,
            entry: entry.clone(),
        };
        let [_, member, session, at, name] = order(&enter);
        assert_eq!(read_member(&member), Some(("a room".into(), peer)));
        assert_eq!(read_entry(&format!("{at} {session} {name}")), Some(entry));
        for text in ["", "1", "1 0000000000000003-4", "x 0000000000000003-4 name"] {
            assert_eq!(read_entry(text), None, "{text}");
        }
    }
}
