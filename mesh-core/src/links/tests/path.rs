//! Direct first, relayed where that fails.

use super::*;
use crate::ice::{CandidateType, IceServer, IceTransportPolicy, LinkPath};

const SECOND: Duration = Duration::from_secs(1);

fn turn() -> Vec<IceServer> {
    vec![IceServer {
        urls: vec!["turn:turn.example.org".to_owned()],
        username: Some("user".to_owned()),
        credential: Some("secret".to_owned()),
    }]
}

fn direct() -> IceConfig {
    IceConfig::direct(&turn())
}

fn relayed() -> IceConfig {
    IceConfig::relayed(&turn(), IceTransportPolicy::All)
}

/// A link that was offered and answered a moment ago.
fn answered() -> (Links, Context, LinkId, u64) {
    let [this, peer] = peers();
    let (mut links, mut cx) = (Links::new([7; 32]), context(this));
    links.set_ice_servers(turn());
    let id = links.dial(peer, false, &mut cx);
    let [Output::OpenLink { ice, .. }] = &orders(&mut cx)[..] else {
        panic!("opened");
    };
    assert_eq!(*ice, direct());
    let attempt = attempt(&mut links, &cx);
    links.apply(message(peer, this, 1), (attempt, 0), answer(), &mut cx);
    orders(&mut cx);
    (links, cx, id, attempt)
}

/// Attends what is due so much later.
fn attend_after(links: &mut Links, cx: &mut Context, wait: Duration) {
    cx.now = cx.now + wait;
    while links.deadline().is_some_and(|(at, _)| at <= cx.now) {
        links.attend_next(cx);
    }
}

#[test]
fn a_link_that_finds_no_direct_path_begins_a_round_with_relays_once() {
    let [this, peer] = peers();
    let (mut links, mut cx, link, attempt) = answered();
    let deadline = links.deadline();
    let wait = cx.config.turn_fallback_timeout;
    assert_eq!(deadline, Some((cx.now + wait, TimeoutReason::Fallback)));
    attend_after(&mut links, &mut cx, wait);
    let ice = relayed();
    let begun = [
        Output::ConfigureLink { link, ice },
        Output::RestartLink { link },
    ];
    assert_eq!(orders(&mut cx), begun);
    let sdp = OFFER.to_owned();
    links.signaled(link, LinkSignal::Offer { sdp }, &cx);
    let told = events(&mut links).concat();
    assert!(
        told.contains("round: 1") && told.contains("AsBegun"),
        "{told}"
    );
    // An answer of the round before comes too late, one of this is applied.
    for (round, applied) in [(0, 0), (1, 1)] {
        links.apply(message(peer, this, 2), (attempt, round), answer(), &mut cx);
        assert_eq!(orders(&mut cx).len(), applied);
    }
    attend_after(&mut links, &mut cx, SECOND * 9);
    assert_eq!(orders(&mut cx), [], "no third round");
    assert!(
        links.get(link).is_some_and(Link::is_negotiating),
        "it has new time"
    );
    links.opened(link, &mut cx);
    assert!(is_usable(&links, link));
    assert!(cx.stats.rejected.is_empty(), "{:?}", cx.stats.rejected);
}

#[test]
fn a_link_that_ice_has_found_a_path_for_is_left_alone() {
    let (mut links, mut cx, id, _) = answered();
    links.reached(id, &mut cx);
    attend_after(&mut links, &mut cx, SECOND * 5);
    assert_eq!(orders(&mut cx), []);
}

#[test]
fn the_answerer_adds_relays_when_it_is_offered_the_one_further_round() {
    let [lower, this] = peers();
    let (mut links, mut cx) = (Links::new([7; 32]), context(this));
    links.set_ice_servers(turn());
    let link = links.answer(lower, (7, OFFER.into()), false, &mut cx);
    let [Output::OpenLink { ice, .. }] = &orders(&mut cx)[..] else {
        panic!("opened");
    };
    assert_eq!(*ice, direct());
    let sdp = OFFER.to_owned();
    let signal = LinkSignal::Offer { sdp };
    cx.now = cx.now + SECOND * 9;
    for (round, taken) in [(2, false), (1, true), (1, false), (2, false)] {
        links.apply(message(lower, this, 2), (7, round), signal.clone(), &mut cx);
        let ice = relayed();
        let apply = Output::ApplySignal {
            link,
            signal: signal.clone(),
        };
        let expected = [Output::ConfigureLink { link, ice }, apply];
        let expected = if taken { &expected[..] } else { &[] };
        assert_eq!(orders(&mut cx), expected, "round {round}");
    }
    attend_after(&mut links, &mut cx, SECOND * 9);
    assert!(
        links.get(link).is_some_and(Link::is_negotiating),
        "it has new time"
    );
}

#[test]
fn where_relays_are_demanded_or_not_waited_for_they_are_there_from_the_start() {
    let [this, peer] = peers();
    for (policy, wait) in [
        (IceTransportPolicy::Relay, SECOND),
        (IceTransportPolicy::All, Duration::ZERO),
    ] {
        let (mut links, mut cx) = (Links::new([7; 32]), context(this));
        cx.config.ice_transport_policy = policy;
        cx.config.turn_fallback_timeout = wait;
        links.set_ice_servers(turn());
        links.dial(peer, false, &mut cx);
        let [Output::OpenLink { ice, .. }] = &orders(&mut cx)[..] else {
            panic!("opened");
        };
        assert_eq!(*ice, IceConfig::relayed(&turn(), policy));
        let attempt = attempt(&mut links, &cx);
        links.apply(message(peer, this, 1), (attempt, 0), answer(), &mut cx);
        orders(&mut cx);
        attend_after(&mut links, &mut cx, SECOND * 5);
        assert_eq!(orders(&mut cx), [], "no further round");
    }
}

#[test]
fn without_a_turn_server_no_further_round_begins() {
    let [this, peer] = peers();
    let (mut links, mut cx) = (Links::new([7; 32]), context(this));
    links.dial(peer, false, &mut cx);
    let attempt = attempt(&mut links, &cx);
    links.apply(message(peer, this, 1), (attempt, 0), answer(), &mut cx);
    orders(&mut cx);
    attend_after(&mut links, &mut cx, SECOND * 5);
    assert_eq!(orders(&mut cx), []);
}

#[test]
fn an_attempt_that_ends_before_relays_are_tried_is_followed_by_one_that_begins_with_them() {
    let [this, peer] = peers();
    let (mut links, mut cx, id, _) = answered();
    links.closed(id, "no path", &mut cx);
    let opened = |links: &mut Links, cx: &mut Context| {
        orders(cx);
        links.dial(peer, false, cx);
        match &orders(cx)[..] {
            [Output::OpenLink { ice, link, .. }] => (ice.clone(), *link),
            other => panic!("{other:?}"),
        }
    };
    let (ice, again) = opened(&mut links, &mut cx);
    assert_eq!(ice, relayed());
    links.opened(again, &mut cx);
    links.forget_failures(peer);
    links.close(again, "enough", &mut cx);
    let (ice, third) = opened(&mut links, &mut cx);
    assert_eq!(ice, direct(), "it was open");
    // An attempt that was not answered says nothing of paths.
    links.closed(third, "no answer", &mut cx);
    assert_eq!(opened(&mut links, &mut cx).0, direct());
    assert!(this < peer);
}

#[test]
fn another_network_is_not_forgotten_while_a_successor_is_being_opened() {
    let [_, peer] = peers();
    let (mut links, mut cx, id, _) = answered();
    links.opened(id, &mut cx);
    let relay = LinkPath::new(CandidateType::Relay, CandidateType::Host);
    links.path_found(id, relay, &mut cx);
    cx.now = cx.now + SECOND * 2;
    let successor = links.rotate(id, (true, false), &mut cx).expect("offered");
    links.seek_direct(&cx);
    cx.now = cx.now + SECOND * 2;
    events(&mut links);
    links.attend(id, &mut cx);
    assert_eq!(events(&mut links), [] as [&str; 0], "one at a time");
    links.closed(successor, "no path", &mut cx);
    cx.now = cx.now + cx.config.redial_min;
    events(&mut links);
    links.attend(id, &mut cx);
    let due = LinkEvent::RotationDue(id, peer);
    assert_eq!(events(&mut links), [format!("{due:?}")]);
}
