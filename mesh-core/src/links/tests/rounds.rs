//! Further rounds on a live link, and successors that take its place.

use super::*;
use crate::wire::Step;

/// Signals that this end has for its other end.
fn signals(links: &mut Links) -> Vec<PeerSignal> {
    let events = std::iter::from_fn(|| links.poll_event());
    let signals = events.filter_map(|event| match event {
        LinkEvent::Signal { signal, .. } => Some(signal),
        _ => None,
    });
    signals.collect()
}

fn offer() -> LinkSignal {
    LinkSignal::Offer { sdp: OFFER.into() }
}

#[test]
fn a_live_link_goes_through_further_rounds_at_both_ends() {
    let [lower, higher] = peers();
    let (mut links, mut cx, id) = open();
    let attempt = links.get(id).expect("there").negotiation.attempt();
    let mut answerer = (Links::new([7; 32]), context(higher));
    let there = answerer
        .0
        .answer(lower, (attempt, OFFER.into()), false, &mut answerer.1);
    answerer.0.opened(there, &mut answerer.1);
    events(&mut answerer.0);
    orders(&mut answerer.1);
    for round in 1..=2 {
        cx.now = cx.now + Duration::from_secs(10);
        assert!(
            !links.restart_asked(higher, (attempt, Step::Rebind), &mut cx),
            "it offers"
        );
        let configured = |link, ice| Output::ConfigureLink { link, ice };
        let (ice, link) = (IceConfig::default(), id);
        let restart = Output::RestartLink { link };
        assert_eq!(orders(&mut cx), [configured(id, ice.clone()), restart]);
        assert!(!links.restart_asked(higher, (attempt, Step::Rebind), &mut cx));
        assert_eq!(orders(&mut cx), [], "not at once again");
        links.signaled(id, offer(), &cx);
        let signal = offer();
        assert_eq!(signals(&mut links), [PeerSignal::Link { round, signal }]);

        let (other, its) = (&mut answerer.0, &mut answerer.1);
        for copy in [1, 2] {
            other.apply(message(lower, higher, copy), (attempt, round), offer(), its);
        }
        let (link, signal) = (there, offer());
        let apply = Output::ApplySignal { link, signal };
        assert_eq!(orders(its), [configured(there, ice), apply], "once");
        other.signaled(there, answer(), its);
        let signal = answer();
        assert_eq!(signals(other), [PeerSignal::Link { round, signal }]);

        let answered = message(higher, lower, 1);
        links.apply(answered, (attempt, round - 1), answer(), &mut cx);
        assert_eq!(orders(&mut cx), [], "of the round before");
        links.apply(answered, (attempt, round), answer(), &mut cx);
        let (link, signal) = (id, answer());
        assert_eq!(orders(&mut cx), [Output::ApplySignal { link, signal }]);
    }
    assert!(is_usable(&links, id) && is_usable(&answerer.0, there));
    assert!(cx.stats.rejected.is_empty() && answerer.1.stats.rejected.is_empty());
}

#[test]
fn a_link_that_was_never_open_is_not_restarted() {
    let [this, peer] = peers();
    let (mut links, mut cx) = (Links::new([7; 32]), context(this));
    let id = links.dial(peer, false, &mut cx);
    orders(&mut cx);
    assert_eq!(links.restart(id, true, &mut cx), None);
    let attempt = attempt(&mut links, &cx);
    links.restart_asked(peer, (attempt, Step::Rebind), &mut cx);
    assert_eq!(orders(&mut cx), []);
}

#[test]
fn an_end_asks_for_a_restart_and_waits_while_it_cannot() {
    let [lower, this] = peers();
    let (mut links, mut cx) = (Links::new([7; 32]), context(this));
    let id = links.answer(lower, (7, OFFER.into()), false, &mut cx);
    links.opened(id, &mut cx);
    links.stranded(id, &mut cx);
    let told = events(&mut links);
    assert!(
        told.last()
            .is_some_and(|last| last.starts_with("RestartDue")),
        "{told:?}"
    );
    assert_eq!(
        links.restart(id, false, &mut cx),
        None,
        "no way leads to the peer"
    );
    links.restart_silent(&cx);
    let asked = Some((lower, 7, Step::Rebind));
    assert_eq!(links.restart(id, true, &mut cx), asked);
    assert_eq!(links.restart(id, true, &mut cx), None, "not at once again");
    orders(&mut cx);
    for step in [Step::Restart, Step::Rebind] {
        let mut asked = |attempt, step| links.restart_asked(lower, (attempt, step), &mut cx);
        assert!(asked(7, step), "it asks in turn");
        assert!(!asked(7, Step::Rebind), "once");
        assert!(!asked(8, Step::Rebind), "it knows no such link");
        cx.now = cx.now + Duration::from_millis(500);
    }
    assert_eq!(orders(&mut cx), [], "the lower end offers");
}

/// The path may lead one way alone.
#[test]
fn an_end_that_hears_asks_for_an_answer_instead_of_a_restart() {
    for answers in [true, false] {
        let (mut links, mut cx, id) = open();
        let [_, peer] = peers();
        let attempt = links.get(id).expect("there").negotiation.attempt();
        sent(&mut links, &mut cx);
        let asked = (attempt, Step::Restart);
        assert!(!links.restart_asked(peer, asked, &mut cx));
        links.attend(id, &mut cx);
        let [Record::Ping { nonce }, Record::Ping { nonce: again }] = sent(&mut links, &mut cx)[..]
        else {
            panic!("one ping over two channels");
        };
        assert_eq!(nonce, again);
        if answers {
            links.pong(id, Channel::Stream, nonce, &mut cx);
        }
        // Later than an answer, and sooner than the next ping.
        cx.now = cx.now + Duration::from_millis(900);
        let link = links.table.get_mut(id).expect("there");
        link.keepalive.heard(cx.now);
        links.attend(id, &mut cx);
        assert_eq!(links.is_silent(id), !answers);
    }
}

#[test]
fn a_successor_takes_the_place_of_a_link_when_it_is_open() {
    let (mut links, mut cx, id) = open();
    let [_, peer] = peers();
    let predecessor = links.get(id).expect("there").negotiation.attempt();
    let held = envelope(1);
    links.queue_envelope(peer, Channel::Data, held.clone(), &cx);
    sent(&mut links, &mut cx);
    cx.now = cx.now + Duration::from_secs(2);
    assert_eq!(links.rotate_all(&cx), []);
    links.attend(id, &mut cx);
    let due = LinkEvent::RotationDue(id, peer);
    assert_eq!(events(&mut links), [format!("{due:?}")]);
    let successor = links.rotate(id, (true, false), &mut cx).expect("offered");
    let opened = orders(&mut cx);
    let [
        Output::OpenLink {
            link,
            fresh_keys: true,
            ..
        },
    ] = opened[..]
    else {
        panic!("{opened:?}");
    };
    assert_eq!(
        (link, links.id_of(peer)),
        (successor, Some(id)),
        "the link goes on"
    );
    links.signaled(successor, offer(), &cx);
    let sdp = OFFER.to_owned();
    assert_eq!(
        signals(&mut links),
        [PeerSignal::Succeed { predecessor, sdp }]
    );
    links.opened(successor, &mut cx);
    assert_eq!(links.id_of(peer), Some(successor));
    assert_eq!((links.len(), cx.stats.links.rotated), (1, 1));
    let replaced = LinkEvent::Replaced {
        former: id,
        link: successor,
    };
    assert_eq!(events(&mut links), [format!("{replaced:?}")]);
    // What was sent over the first and not acknowledged leaves again, when it ends.
    let [Output::Emit(Event::LinkRotated { .. })] = orders(&mut cx)[..] else {
        panic!("told once");
    };
    links.closed(id, "closed by the peer", &mut cx);
    let down = LinkEvent::Down(Down {
        id,
        peer,
        was: Was::Draining,
        unacknowledged: vec![held],
    });
    assert_eq!(events(&mut links), [format!("{down:?}")]);
    assert_eq!(
        orders(&mut cx),
        [],
        "nothing has closed, to the application"
    );
}

#[test]
fn a_successor_that_does_not_open_leaves_the_link_as_it_was() {
    let (mut links, mut cx, id) = open();
    let [_, peer] = peers();
    let successor = links.rotate(id, (true, false), &mut cx).expect("offered");
    orders(&mut cx);
    links.closed(successor, "no path", &mut cx);
    assert_eq!((links.id_of(peer), orders(&mut cx)), (Some(id), Vec::new()));
    assert_eq!(cx.stats.links.rotations_failed, 1);
    assert!(
        links.get(id).expect("there").rotate_at.is_some(),
        "tried again"
    );
    // And one whose link dies meanwhile is the link.
    let successor = links.rotate(id, (true, false), &mut cx).expect("offered");
    links.closed(id, "closed by the peer", &mut cx);
    assert_eq!(links.id_of(peer), Some(successor));
    links.opened(successor, &mut cx);
    let up = format!("{:?}", LinkEvent::Up(successor, peer));
    assert!(events(&mut links).contains(&up));
}

#[test]
fn an_offer_to_succeed_is_answered_beside_the_link_that_it_names() {
    let [lower, this] = peers();
    let (mut links, mut cx) = (Links::new([7; 32]), context(this));
    let id = links.answer(lower, (7, OFFER.into()), false, &mut cx);
    links.opened(id, &mut cx);
    let offer = |attempt: u64| (attempt, OFFER.to_owned());
    let answer = |links: &mut Links, predecessor, attempt, cx: &mut Context| {
        links.answer_successor(lower, (predecessor, false), offer(attempt), cx)
    };
    assert_eq!(
        answer(&mut links, 7, 8, &mut cx),
        Succession::Ignored,
        "too soon"
    );
    cx.now = cx.now + Duration::from_secs(2);
    assert_eq!(answer(&mut links, 6, 8, &mut cx), Succession::Strange);
    let Succession::Begun(first) = answer(&mut links, 7, 8, &mut cx) else {
        panic!("welcome");
    };
    assert_eq!(
        answer(&mut links, 7, 8, &mut cx),
        Succession::Ignored,
        "a copy"
    );
    let Succession::Begun(second) = answer(&mut links, 7, 9, &mut cx) else {
        panic!("welcome");
    };
    assert!(links.get(first).is_none(), "the offerer has given it up");
    links.opened(second, &mut cx);
    assert_eq!(links.id_of(lower), Some(second));
}
