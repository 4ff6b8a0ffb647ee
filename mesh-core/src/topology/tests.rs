//! Every kind of topology over many member sets, and the measures over graphs known by heart.

use proptest::prelude::*;

use super::*;

fn members(seed: u64, count: usize) -> BTreeSet<PeerId> {
    Topology::sample_members(count, seed)
}

fn reached(mesh: &Topology, rings: usize) -> usize {
    let mut seen = BTreeSet::new();
    let mut queue: Vec<_> = mesh.members().first().copied().into_iter().collect();
    while let Some(peer) = queue.pop() {
        if seen.insert(peer) {
            queue.extend(mesh.neighbours_in(peer, rings));
        }
    }
    seen.len()
}

/// What a partial mesh must be, whoever its members are.
fn assert_good(members: &BTreeSet<PeerId>, k: usize, path_max: f64) {
    let mesh = Topology::partial_mesh(members, k);
    let analysis = Analysis::of(&mesh.graph());
    let edges = members.len() * k / 2;
    assert_eq!(analysis.components, 1);
    assert!(
        (edges * 98 / 100..=edges).contains(&analysis.edges),
        "{analysis:?}"
    );
    assert!(analysis.share_with_degree(k) >= 0.85, "{analysis:?}");
    let degrees: Vec<_> = analysis.degree_distribution.keys().collect();
    assert!(degrees.iter().all(|&&d| d.abs_diff(k) <= 2), "{degrees:?}");
    assert_eq!(analysis.diameter, 3);
    assert!(analysis.average_path_length < path_max, "{analysis:?}");
    assert!(analysis.articulation_points.is_empty());
    assert!(analysis.edge_connectivity >= k - 2, "{analysis:?}");
    assert_eq!(
        reached(&mesh, 1),
        members.len(),
        "the first ring connects all"
    );
}

#[test]
fn a_hundred_at_twenty_are_a_good_mesh_over_many_member_sets() {
    for seed in 0..100 {
        assert_good(&members(seed, 100), 20, 1.85);
    }
}

#[test]
fn a_thousand_at_thirty_are_a_good_mesh() {
    for seed in 0..2 {
        assert_good(&members(seed, 1_000), 30, 2.45);
    }
}

/// Links opened and closed by a join, over some member sets: the mean and the most.
fn touched(count: usize, k: usize, sets: u64) -> (f64, usize) {
    let touched = (0..sets).map(|seed| {
        let mut room = members(seed, count + 1);
        let after: BTreeSet<_> = Topology::partial_mesh(&room, k).links().collect();
        let place = (seed as usize * 37) % count;
        let newcomer = *room.iter().nth(place).expect("a member");
        room.remove(&newcomer);
        let before: BTreeSet<_> = Topology::partial_mesh(&room, k).links().collect();
        before.symmetric_difference(&after).count()
    });
    let touched: Vec<_> = touched.collect();
    let sum: usize = touched.iter().sum();
    (
        sum as f64 / sets as f64,
        touched.into_iter().max().unwrap_or(0),
    )
}

/// A regular graph cannot do with fewer than 1.5 k: k links are opened, k/2 closed. What comes on
/// top is where rings collide, which in a room of only five times k they often do.
#[test]
fn a_join_touches_about_twice_k_links() {
    let (mean, most) = touched(100, 20, 100);
    assert!(mean <= 44.0 && most <= 70, "mean {mean}, most {most}");
    let (mean, most) = touched(1_000, 30, 10);
    assert!(mean <= 52.0 && most <= 60, "mean {mean}, most {most}");
}

#[test]
fn the_other_kinds_are_what_their_names_say() {
    let room = members(1, 100);
    let analyse = |kind| Analysis::of(&Topology::build(kind, &room, 20, 7).graph());
    let full = analyse(TopologyKind::FullMesh);
    assert_eq!(
        (full.edges, full.diameter, full.edge_connectivity),
        (4_950, 1, 99)
    );
    assert!((full.clustering_coefficient - 1.0).abs() < 1e-9);
    let star = analyse(TopologyKind::HubSpoke);
    assert_eq!(
        (star.edges, star.diameter, star.edge_connectivity),
        (99, 2, 1)
    );
    assert_eq!(star.articulation_points.len(), 1);
    let ring = analyse(TopologyKind::Ring);
    assert_eq!(
        (ring.edges, ring.diameter, ring.edge_connectivity),
        (100, 50, 2)
    );
    assert!(ring.articulation_points.is_empty());
    let random = analyse(TopologyKind::KNeighbours);
    assert_eq!(random.components, 1);
    assert!((980..=1_000).contains(&random.edges), "{random:?}");
    assert!(random.share_with_degree(20) >= 0.85, "{random:?}");
    let again = Topology::build(TopologyKind::KNeighbours, &room, 20, 7);
    assert_eq!(Analysis::of(&again.graph()), random, "one seed, one graph");
}

#[test]
fn k_neighbours_bridge_what_would_fall_apart() {
    for seed in 0..20 {
        let mesh = Topology::build(TopologyKind::KNeighbours, &members(seed, 30), 2, seed);
        let (_, components) = mesh.graph().components();
        assert_eq!(components, 1, "seed {seed}");
    }
}

#[test]
fn kinds_are_named_or_explained() {
    for kind in TopologyKind::ALL {
        assert_eq!(kind.to_string().parse(), Ok(kind));
    }
    let error = "mesh".parse::<TopologyKind>().expect_err("no such kind");
    assert!(error.to_string().contains("partial-mesh"), "{error}");
}

#[test]
fn a_graph_known_by_heart_is_measured_right() {
    // Two triangles that share node 2, a bridge 4–5, and node 6 on its own.
    let links = [(0, 1), (1, 2), (2, 0), (2, 3), (3, 4), (4, 2), (4, 5)];
    let analysis = Analysis::of(&Graph::from_links(7, links));
    assert_eq!((analysis.edges, analysis.components), (7, 2));
    assert_eq!(analysis.articulation_points, [2, 4]);
    assert_eq!((analysis.diameter, analysis.edge_connectivity), (3, 0));
    let hops: Vec<_> = analysis.hop_distribution.into_iter().collect();
    assert_eq!(hops, [(1, 14), (2, 12), (3, 4)]);
    let mean = f64::from(14 + 2 * 12 + 3 * 4) / 30.0;
    assert!((analysis.average_path_length - mean).abs() < 1e-9);
    // 0 and 1: 1; 2: 2 of 6; 3: 1; 4: 1 of 3.
    let clustering = (1.0 + 1.0 + 2.0 / 6.0 + 1.0 + 1.0 / 3.0) / 7.0;
    assert!((analysis.clustering_coefficient - clustering).abs() < 1e-9);
    let nothing = Analysis::of(&Graph::from_links(0, []));
    assert_eq!((nothing.diameter, nothing.components), (0, 0));
}

/// The least number of links whose removal disconnects a small graph, by trying every set of nodes.
fn least_cut(graph: &Graph) -> usize {
    let sides = 1..(1u32 << graph.nodes()) - 1;
    let crossing = |side: u32| {
        let inside = |node: usize| side >> node & 1 == 1;
        let from = (0..graph.nodes()).filter(|&node| inside(node));
        let out = |node: usize| {
            graph
                .neighbours(node)
                .iter()
                .filter(|&&n| !inside(n))
                .count()
        };
        from.map(out).sum()
    };
    sides.map(crossing).min().unwrap_or(0)
}

proptest! {
    #[test]
    fn always_connected_simple_and_bounded(seed: u64, count in 1usize..80, k in 2usize..24) {
        let mesh = Topology::partial_mesh(&members(seed, count), k);
        prop_assert_eq!(reached(&mesh, usize::MAX), count);
        for &member in mesh.members() {
            let neighbours = mesh.neighbours(member);
            prop_assert!(!neighbours.contains(&member), "no self-link");
            prop_assert!(neighbours.len() <= k.min(count - 1), "degree {}", neighbours.len());
            for other in neighbours {
                prop_assert!(mesh.neighbours(other).contains(&member), "symmetric");
            }
        }
        let links: Vec<_> = mesh.links().collect();
        let distinct: BTreeSet<_> = links.iter().collect();
        prop_assert_eq!(links.len(), distinct.len());
        if k + 1 >= count {
            prop_assert_eq!(links.len(), count * (count - 1) / 2);
        }
    }

    #[test]
    fn edge_connectivity_and_articulation_points_agree_with_trying_all(
        links in prop::collection::vec((0usize..8, 0usize..8), 0..24),
    ) {
        let graph = Graph::from_links(8, links.iter().copied());
        prop_assert_eq!(Analysis::of(&graph).edge_connectivity, least_cut(&graph));
        let (_, components) = graph.components();
        let cuts = (0..8).filter(|&node| {
            let without = links.iter().copied().filter(|&(a, b)| a != node && b != node);
            // The node itself is left over as a component of its own.
            let (_, left) = Graph::from_links(8, without).components();
            left - 1 > components - usize::from(graph.degree(node) == 0)
        });
        prop_assert_eq!(graph.articulation_points(), cuts.collect::<Vec<_>>());
    }
}
