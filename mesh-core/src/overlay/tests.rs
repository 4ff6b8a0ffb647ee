//! The overlay by itself: members in, wanted and surplus links out.

use super::*;
use crate::io::Output;
use crate::links::LINGER;
use crate::timeout::TimeoutReason;
use crate::trust::Identity;

/// An agent, and what it asks.
struct Rig {
    overlay: Overlay,
    links: Links,
    routing: Routing,
    cx: Context,
}

fn peer(n: u8) -> PeerId {
    Identity::from_secret([n; 32]).peer()
}

fn member(n: u8) -> Member {
    Member {
        peer: peer(n),
        name: format!("agent-{n}"),
    }
}

impl Rig {
    fn new() -> Self {
        let cx = Context::in_test(peer(1));
        Self {
            overlay: Overlay::new(cx.this, cx.now),
            links: Links::new([7; 32]),
            routing: Routing::new(cx.config.metric, [7; 32]),
            cx,
        }
    }

    /// The hub lists these.
    fn listed(members: impl IntoIterator<Item = u8>) -> Self {
        let mut rig = Self::new();
        for n in members {
            rig.overlay.list(member(n), &mut rig.links, &mut rig.cx);
        }
        rig.members_changed();
        rig
    }

    fn members_changed(&mut self) -> bool {
        let (links, routing) = (&mut self.links, &self.routing);
        self.overlay.members_changed(links, routing, &mut self.cx)
    }

    fn reconcile(&mut self) {
        let (links, routing) = (&self.links, &mut self.routing);
        self.overlay.reconcile(links, routing, &mut self.cx);
    }

    fn surplus(&mut self) -> Vec<LinkId> {
        let (links, routing) = (&self.links, &self.routing);
        self.overlay.surplus(links, routing, &self.cx)
    }

    fn open(&mut self, n: u8) -> LinkId {
        let id = self.links.dial(peer(n), false, &mut self.cx);
        let ours = self.overlay.wanted().contains(&peer(n));
        self.overlay.link_begun(id, ours);
        self.links.opened(id, &mut self.cx);
        self.overlay.link_up(id, peer(n), &self.cx);
        id
    }

    fn orders(&mut self) -> Vec<Output> {
        self.cx.outbox.drain(..).collect()
    }
}

#[test]
fn the_application_is_told_of_members_once_and_links_follow_soon() {
    let mut rig = Rig::new();
    let (links, cx) = (&mut rig.links, &mut rig.cx);
    assert!(!rig.overlay.list(member(1), links, cx), "this agent itself");
    assert!(rig.overlay.list(member(2), links, cx));
    assert!(rig.members_changed());
    let joined = Event::PeerJoined {
        peer: peer(2),
        name: "agent-2".into(),
    };
    let expected = [joined, Event::TopologyChanged].map(Output::Emit);
    assert_eq!(rig.orders(), expected);
    let settle = rig.cx.now + SETTLE;
    assert_eq!(
        rig.overlay.deadline(),
        Some((settle, TimeoutReason::Settle))
    );
    assert!(!rig.members_changed(), "no news");
    assert_eq!(rig.orders(), []);
    rig.overlay.unlist(peer(2));
    assert!(rig.members_changed());
    let left = Event::PeerLeft {
        peer: peer(2),
        name: "agent-2".into(),
    };
    let expected = [left, Event::TopologyChanged].map(Output::Emit);
    assert_eq!(rig.orders(), expected);
}

#[test]
fn in_a_small_room_all_are_wanted() {
    let mut rig = Rig::listed(2..=4);
    assert!(!rig.overlay.is_linked(&rig.links), "members wait");
    rig.reconcile();
    let all: BTreeSet<_> = (2..=4).map(peer).collect();
    assert_eq!(rig.overlay.wanted(), &all);
    for n in 2..=4 {
        assert!(!rig.overlay.is_linked(&rig.links));
        rig.open(n);
    }
    assert!(rig.overlay.is_linked(&rig.links));
    assert_eq!(rig.surplus(), []);
}

#[test]
fn a_newcomer_wants_the_inner_rings_and_one_of_a_burst_all_that_the_topology_names() {
    let mut rig = Rig::listed(2..=200);
    rig.reconcile();
    let inner = 2 * selection::INNER_RINGS;
    assert_eq!(
        rig.overlay.wanted().len(),
        inner,
        "of the others it will hear"
    );
    rig.overlay.admitted(&rig.cx);
    rig.overlay.room_counted(200, 199, &rig.cx);
    rig.reconcile();
    let k = rig.cx.config.k_for(200);
    assert_eq!(rig.overlay.wanted().len(), k);
    // While the room forms, twice as many may be open.
    let accepts = |rig: &Rig, peer| rig.overlay.has_room_for(peer, &rig.links, &rig.cx);
    let others = (2..=200).filter(|&n| !rig.overlay.wanted().contains(&peer(n)));
    for n in others.collect::<Vec<_>>() {
        if accepts(&rig, peer(n)) {
            rig.open(n);
        }
    }
    assert_eq!(rig.links.len(), 2 * k + rig.cx.config.links_slack);
    let wanted = *rig.overlay.wanted().first().expect("some");
    assert!(accepts(&rig, wanted), "room for it is always there");
}

#[test]
fn a_link_to_a_member_that_is_gone_is_surplus_after_a_while() {
    let mut rig = Rig::listed(2..=4);
    rig.reconcile();
    let ids = [2, 3, 4].map(|n| rig.open(n));
    rig.overlay.unlist(peer(3));
    rig.members_changed();
    rig.reconcile();
    assert_eq!(rig.overlay.wanted(), &[2, 4].map(peer).into());
    assert_eq!(rig.surplus(), [], "it may come back");
    rig.cx.now = rig.cx.now + LINGER;
    assert_eq!(rig.surplus(), [ids[1]]);
}

#[test]
fn many_newcomers_at_once_are_a_burst_that_this_agent_is_one_of() {
    let mut rig = Rig::new();
    rig.overlay.admitted(&rig.cx);
    assert!(!rig.overlay.is_forming(&rig.cx));
    rig.overlay.room_counted(100, 90, &rig.cx);
    assert!(rig.overlay.is_forming(&rig.cx));
    rig.cx.now = rig.cx.now + Duration::from_secs(20);
    rig.reconcile();
    assert!(!rig.overlay.is_forming(&rig.cx), "calm for long enough");
}

#[test]
fn members_of_another_shard_are_remote() {
    let mut rig = Rig::listed(2..=9);
    let shards = Shards::of_room(1_000, 250);
    assert!(rig.overlay.divide(shards) && !rig.overlay.divide(shards));
    rig.members_changed();
    let local = |n: &u8| shards.same(peer(*n), peer(1));
    let expected: BTreeSet<_> = (2..=9).filter(local).map(peer).collect();
    assert_eq!(rig.overlay.members().collect::<BTreeSet<_>>(), expected);
    assert!((2..=9).all(|n| rig.overlay.may_be_here(peer(n))));
}
