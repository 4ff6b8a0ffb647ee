//! The topology, as PROTOCOL.md shows it: twelve members, whose secrets are 01…01 to 0c…0c.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::rings::mix;
use super::*;
use crate::config::{default_k, sparse_k};
use crate::document::{assert_golden, table};
use crate::trust::Identity;

/// The members, and what PROTOCOL.md calls them.
fn members() -> BTreeMap<PeerId, String> {
    let secrets = 1..=12u8;
    let named = secrets.map(|n| (Identity::from_secret([n; 32]).peer(), format!("{n:02}")));
    named.collect()
}

fn ids() -> BTreeSet<PeerId> {
    members().into_keys().collect()
}

fn names<'a>(peers: impl IntoIterator<Item = &'a PeerId>) -> String {
    let members = members();
    let names = peers.into_iter().map(|peer| &*members[peer]);
    names.collect::<Vec<_>>().join(" ")
}

fn pairs(pairs: impl IntoIterator<Item = (PeerId, PeerId)>) -> String {
    let members = members();
    let shown = pairs
        .into_iter()
        .map(|(a, b)| format!("{}-{}", members[&a], members[&b]));
    shown.collect::<Vec<_>>().join(" ")
}

#[test]
fn hashes_are_as_protocol_md_shows_them() {
    let mut by_name: Vec<_> = members().into_iter().collect();
    by_name.sort_by(|a, b| a.1.cmp(&b.1));
    let mut shown = String::new();
    for (peer, name) in by_name {
        let prefix = peer.prefix();
        let [first, second, shard] = [0, 1, 1 << 16].map(|n| mix(prefix, n));
        writeln!(
            shown,
            "{name} {prefix:016x} {first:016x} {second:016x} {shard:016x}"
        )
        .expect("a string takes all");
    }
    assert_golden("mix", &shown);
}

#[test]
fn rings_and_links_are_as_protocol_md_shows_them() {
    let mesh = |k| Topology::partial_mesh(&ids(), k);
    let ring = |ring| {
        let mesh = mesh(4);
        let order = mesh
            .order(ring)
            .into_iter()
            .map(|index| mesh.members()[index]);
        names(&order.collect::<Vec<_>>())
    };
    let links = |k| pairs(mesh(k).links());
    let this = Identity::from_secret([1; 32]).peer();
    let flood = |k| names(&mesh(k).neighbours_in(this, 2));
    let whole = mesh(4);
    let followers = whole.neighbours_in(this, 2).into_iter().map(|partner| {
        let followers = whole.followers(this, partner);
        format!("{}: {} ", names(&[partner]), names(&followers[..3]))
    });
    let shown = [
        format!("ring 0: {}", ring(0)),
        format!("ring 1: {}", ring(1)),
        format!("k 4: {}", links(4)),
        format!("k 5: {}", links(5)),
        format!("inner at k 5: {}", flood(5)),
        format!("inner at k 11: {}", flood(11)),
        format!("followers at k 4: {}", followers.collect::<String>()),
        format!("star: {}", names(&whole.star_hub())),
    ];
    let shown = shown.join("\n");
    assert_golden("rings", &shown);
}

#[test]
fn pairs_of_those_that_lack_links_are_as_protocol_md_shows_them() {
    let mesh = Topology::partial_mesh(&ids(), 4);
    // Of the links at k = 4 those of 02 are not open.
    let away = Identity::from_secret([2; 32]).peer();
    let open = |a: PeerId, b: PeerId| ![a, b].contains(&away) && mesh.neighbours(a).contains(&b);
    let lacks = [(2, 3), (5, 1), (7, 2), (9, 1), (11, 1)];
    let lacking = lacks.map(|(secret, lacks)| (Identity::from_secret([secret; 32]).peer(), lacks));
    let of_two = Topology::pair_hash(away, Identity::from_secret([5; 32]).peer());
    let paired = mesh.pairs(lacking.into(), open);
    let shown = format!("02-05: {of_two:016x}\npairs: {}", pairs(paired));
    assert_golden("pairs", &shown);
}

#[test]
fn shards_and_links_between_them_are_as_protocol_md_shows_them() {
    let shards = Shards::try_from(3).expect("a few");
    let divided = shards.divide(ids());
    let mut shown = String::new();
    for (shard, members) in divided.iter().enumerate() {
        writeln!(shown, "shard {shard}: {}", names(members)).expect("a string takes all");
    }
    for (here, there) in [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)] {
        let ranked = candidates(&divided[here], there);
        writeln!(shown, "{here} to {there}: {}", names(&ranked)).expect("a string takes all");
    }
    for member in ids() {
        for crossing in shards.crossings(member, &divided) {
            let names = names(std::iter::once(&member).chain(&crossing));
            writeln!(shown, "link: {names}").expect("a string takes all");
        }
    }
    assert_golden("shards", &shown);
}

#[test]
fn rooms_are_divided_as_protocol_md_shows() {
    let rooms = [
        (1, 500),
        (1, 501),
        (2, 400),
        (2, 399),
        (2, 600),
        (2, 601),
        (2, 626),
        (4, 1_201),
    ];
    let shown = rooms.map(|(before, members)| {
        let shards = Shards::try_from(before).expect("a few");
        let after = shards.resized(members, SHARD_MEMBERS).count();
        format!("{before} and {members} members: {after}\n")
    });
    assert_golden("division", &shown.concat());
}

#[test]
fn links_by_the_size_of_a_room_are_as_protocol_md_shows() {
    let ends = |cell: &str| {
        let numbers = cell
            .split(" to ")
            .map(|n| n.replace(',', "").parse().expect("a number"));
        let numbers: Vec<usize> = numbers.collect();
        (numbers[0], numbers[numbers.len() - 1])
    };
    let mut next = 1;
    for row in table("k") {
        let [members, k, sparse] = &row[..] else {
            panic!("{row:?}");
        };
        let (from, to) = ends(members);
        assert_eq!((from, ends(k)), (next, (default_k(from), default_k(to))));
        assert_eq!(ends(sparse), (sparse_k(from), sparse_k(to)), "{members}");
        next = to + 1;
    }
    assert!(next > 20_000, "all sizes that a room can have");
}
