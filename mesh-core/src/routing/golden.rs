//! Routing, as PROTOCOL.md shows it: the members, and their links at k = 4, of its topology.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::*;
use crate::document::{assert_golden, table};
use crate::id::PeerId;
use crate::metric::Metric;
use crate::topology::{Shards, Topology};
use crate::trust::Identity;
use crate::wire::{LinkEntry, LinkState};

fn peer(secret: u8) -> PeerId {
    Identity::from_secret([secret; 32]).peer()
}

fn insert(database: &mut Database, secret: u8, version: u64, links: Vec<LinkEntry>) {
    let state = LinkState {
        version,
        name: "n".into(),
        departed: false,
        lacks: 0,
        links,
    };
    let signed = Identity::from_secret([secret; 32]).sign("demo", &state);
    let verified = signed.verify("demo").expect("verifies");
    database.insert(signed, verified);
}

#[test]
fn fingerprints_are_as_protocol_md_shows_them() {
    let of = |records: &[(u8, u64)]| {
        let mut database = Database::default();
        for &(secret, version) in records {
            insert(&mut database, secret, version, Vec::new());
        }
        database.fingerprint()
    };
    let (one, two) = ((1, 1_800_000_000_000_000), (2, 7));
    let shown = format!(
        "01 at 1800000000000000 {:016x}\n02 at 7 {:016x}\nboth {:016x}",
        of(&[one]),
        of(&[two]),
        of(&[one, two])
    );
    assert_eq!(of(&[]), 0);
    assert_golden("fingerprint", &shown);
}

#[test]
fn a_broadcast_goes_down_the_tree_that_protocol_md_shows() {
    let secrets = 1..=12u8;
    let members: BTreeSet<_> = secrets.clone().map(peer).collect();
    let mesh = Topology::partial_mesh(&members, 4);
    let mut database = Database::default();
    for secret in secrets.clone() {
        let neighbours = mesh.neighbours(peer(secret)).into_iter();
        let links = neighbours.map(LinkEntry::unmeasured).collect();
        insert(&mut database, secret, 1, links);
    }
    let graph = LinkGraph::of(&database, &members, Metric::Hops, Shards::WHOLE);
    let mut shown = format!(
        "source 01, parent 02, child 03: {:016x}\n",
        tree::preference(peer(1), peer(2), peer(3))
    );
    for this in secrets.clone() {
        let below = tree::children(peer(1), peer(this), &graph, Shards::WHOLE).expect("connected");
        if !below.is_empty() {
            let below = secrets
                .clone()
                .filter(|&child| below.contains(&peer(child)));
            let below: String = below.map(|child| format!(" {child:02}")).collect();
            writeln!(shown, "{this:02}:{below}").expect("a string takes all");
        }
    }
    assert_golden("tree", &shown);
}

#[test]
fn links_cost_what_protocol_md_says() {
    for row in table("costs") {
        let [metric, rtts, widths, cost] = &row[..] else {
            panic!("{row:?}");
        };
        let ends = |cell: &str| {
            let numbers = cell
                .split(" and ")
                .map(|n| n.replace(',', "").parse().expect("a number"));
            <[u32; 2]>::try_from(numbers.collect::<Vec<_>>()).expect("one for each end")
        };
        let ([our_rtt, their_rtt], [our_width, their_width]) = (ends(rtts), ends(widths));
        let entry = |rtt_us, kbps| LinkEntry {
            rtt_us,
            kbps,
            ..LinkEntry::unmeasured(peer(1))
        };
        let metric: Metric = metric.parse().expect("a metric");
        let found = metric.cost(&entry(our_rtt, our_width), &entry(their_rtt, their_width));
        assert_eq!(found.to_string(), cost.replace(',', ""), "{row:?}");
    }
}
