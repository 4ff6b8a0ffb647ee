//! Routing by itself: records in, exact records and paths out.

use std::time::Duration;

use super::*;
use crate::io::{Event, Output};
use crate::trust::{Identity, Trust};
use crate::wire::{Frame, LinkEntry, LinkState, Record};
use crate::{UnixTime, error::RejectReason};

/// Authors that may be known in these tests.
const AUTHORS_MAX: usize = 100;

/// An agent with an open link to one neighbour.
struct Rig {
    routing: Routing,
    links: Links,
    trust: Trust,
    cx: Context,
    link: LinkId,
    neighbour: Identity,
}

fn identity(secret: u8) -> Identity {
    Identity::from_secret([secret; 32])
}

impl Rig {
    fn new() -> Self {
        let neighbour = identity(2);
        let mut cx = Context::in_test(identity(1).peer());
        let mut links = Links::new([7; 32]);
        let link = links.dial(neighbour.peer(), false, &mut cx);
        links.opened(link, &mut cx);
        while links.poll_event().is_some() {}
        cx.outbox.clear();
        let mut routing = Routing::new(cx.config.metric, [7; 32]);
        routing.flood_to([neighbour.peer()].into());
        Self {
            routing,
            links,
            trust: Trust::new(identity(1), UnixTime::from_micros(1)),
            cx,
            link,
            neighbour,
        }
    }

    /// A record of an author's links comes from the neighbour, and has its turn.
    fn hear(&mut self, author: &Identity, version: u64, linked_with: &[PeerId]) {
        let state = LinkState {
            version,
            name: "name".into(),
            departed: false,
            lacks: 0,
            links: linked_with
                .iter()
                .map(|&p| LinkEntry::unmeasured(p))
                .collect(),
        };
        let record = (self.link, author.sign("room", &state));
        let (links, cx) = (&mut self.links, &mut self.cx);
        self.routing
            .link_state_received(record, AUTHORS_MAX, links, cx);
        self.routing
            .verify_some(AUTHORS_MAX, links, &mut self.trust, cx);
    }

    fn announce(&mut self, lacks: i8) {
        let (links, trust) = (&self.links, &mut self.trust);
        self.routing.announce(lacks, links, trust, &mut self.cx);
    }

    /// What is passed on to the neighbour now.
    fn passed_on(&mut self) -> Vec<LinkState> {
        self.routing.flush_records(&mut self.links);
        let mut states = Vec::new();
        while let Some(output) = self.links.poll_transmit(&mut self.cx) {
            let Output::Transmit { frame, .. } = output else {
                panic!("{output:?}");
            };
            for record in Frame::decode(&frame).expect("decodes").records {
                if let Record::LinkState(signed) = record {
                    let verified = signed.verify::<LinkState>("room").expect("verifies");
                    states.push(verified.get().clone());
                }
            }
        }
        states
    }
}

#[test]
fn our_links_are_announced_to_the_neighbour() {
    let mut rig = Rig::new();
    rig.announce(3);
    let [state] = &rig.passed_on()[..] else {
        panic!("one record");
    };
    assert_eq!((state.lacks, state.departed), (3, false));
    let unmeasured = LinkEntry::unmeasured(rig.neighbour.peer());
    assert_eq!(state.links, [unmeasured]);
    assert_eq!(rig.passed_on(), [], "once");
}

#[test]
fn a_link_counts_when_both_ends_announce_it() {
    let mut rig = Rig::new();
    let (neighbour, far) = (rig.neighbour.clone(), identity(3));
    rig.hear(&neighbour, 1, &[identity(1).peer(), far.peer()]);
    rig.routing.update(&rig.links, &rig.cx);
    assert!(rig.routing.routes().contains(neighbour.peer()));
    assert!(
        !rig.routing.routes().contains(far.peer()),
        "its word is due"
    );
    assert!(rig.routing.take_news());
    rig.hear(&far, 1, &[neighbour.peer()]);
    rig.routing.update(&rig.links, &rig.cx);
    let route = rig.routing.routes().get(far.peer()).expect("a path");
    assert_eq!(
        (route.hops, &route.next_hops[..]),
        (2, &[neighbour.peer()][..])
    );
    let next = rig.routing.next_hop(far.peer(), &rig.cx, |_| true);
    assert_eq!(next, Some(neighbour.peer()));
    rig.routing.update(&rig.links, &rig.cx);
    rig.routing.take_news();
    rig.routing.update(&rig.links, &rig.cx);
    assert!(!rig.routing.take_news(), "nothing has happened");
}

#[test]
fn a_forged_record_is_rejected_and_passed_on_to_no_neighbour() {
    let mut rig = Rig::new();
    let state = LinkState {
        version: 9,
        name: "name".into(),
        departed: false,
        lacks: 0,
        links: Vec::new(),
    };
    let elsewhere = identity(3).sign("another room", &state);
    let (links, cx) = (&mut rig.links, &mut rig.cx);
    let record = (rig.link, elsewhere);
    rig.routing
        .link_state_received(record, AUTHORS_MAX, links, cx);
    rig.routing
        .verify_some(AUTHORS_MAX, links, &mut rig.trust, cx);
    let rejected = Event::Rejected {
        via: Some(rig.neighbour.peer()),
        author: Some(identity(3).peer()),
        reason: RejectReason::InvalidSignature,
    };
    assert_eq!(cx.outbox.pop_front(), Some(Output::Emit(rejected)));
    assert_eq!(rig.passed_on(), []);
    assert_eq!(rig.routing.database().len(), 0);
}

#[test]
fn an_old_record_changes_nothing_and_a_newer_one_of_ours_is_outlived() {
    let mut rig = Rig::new();
    let author = identity(3);
    rig.hear(&author, 5, &[]);
    rig.hear(&author, 4, &[identity(1).peer()]);
    assert_eq!(rig.routing.database().version(author.peer()), Some(5));
    // What an earlier life of this agent has said: its clock was ahead.
    let ahead = rig.cx.unix().as_micros() + 1_000_000;
    let incarnation = rig.trust.incarnation();
    rig.hear(&identity(1), ahead, &[]);
    assert_eq!(
        rig.trust.incarnation(),
        incarnation,
        "messages under way stay of this life"
    );
    rig.announce(0);
    let versions: Vec<_> = rig.passed_on().iter().map(|state| state.version).collect();
    assert!(versions.contains(&(ahead + 1)), "{versions:?}");
}

#[test]
fn a_withdrawn_link_has_the_peer_asked_for_a_sign_of_life() {
    let mut rig = Rig::new();
    let (author, neighbour) = (identity(3), rig.neighbour.peer());
    rig.hear(&author, 1, &[neighbour]);
    let due = |rig: &Rig| rig.links.deadline().map(|(at, _)| at);
    assert!(due(&rig) > Some(rig.cx.now));
    rig.hear(&author, 2, &[]);
    assert_eq!(due(&rig), Some(rig.cx.now));
}

#[test]
fn a_neighbour_with_another_database_is_sent_ours_in_its_turn() {
    let mut rig = Rig::new();
    rig.hear(&identity(3), 1, &[]);
    rig.passed_on();
    let (links, cx) = (&mut rig.links, &mut rig.cx);
    let ours = rig.routing.database().fingerprint();
    rig.routing.summary_received(rig.link, ours, links, cx);
    rig.routing.compare_next(true, links, cx);
    assert_eq!(links.poll_transmit(cx), None, "the same");
    rig.routing.summary_received(rig.link, ours ^ 1, links, cx);
    cx.now = cx.now + Duration::from_secs(1);
    rig.routing.compare_next(true, links, cx);
    let Some(Output::Transmit { frame, .. }) = links.poll_transmit(cx) else {
        panic!("a digest");
    };
    let [Record::Digest { entries, reply, .. }] =
        &Frame::decode(&frame).expect("decodes").records[..]
    else {
        panic!("a digest alone");
    };
    assert_eq!((entries.len(), *reply), (1, true));
}

#[test]
fn who_leaves_says_so_to_all_neighbours() {
    let mut rig = Rig::new();
    rig.announce(0);
    rig.passed_on();
    let (links, trust) = (&mut rig.links, &mut rig.trust);
    rig.routing.leave(true, links, trust, &mut rig.cx);
    let [goodbye] = &rig.passed_on()[..] else {
        panic!("one record");
    };
    assert!(goodbye.departed && goodbye.links.is_empty());
}
