//! Attempts that fail at one end.

use super::*;

/// The signals that were to be sent, without what else was told.
fn signals(links: &mut Links) -> Vec<(PeerId, u64, PeerSignal)> {
    let events = std::iter::from_fn(|| links.poll_event());
    let signal = |event| match event {
        LinkEvent::Signal {
            to,
            attempt,
            signal,
            ..
        } => Some((to, attempt, signal)),
        _ => None,
    };
    events.filter_map(signal).collect()
}

fn failures(cx: &mut Context) -> usize {
    let is_failure = |order: &Output| matches!(order, Output::Emit(Event::LinkFailed { .. }));
    orders(cx).iter().filter(|order| is_failure(order)).count()
}

#[test]
fn an_end_that_gives_up_tells_the_other_which_ends_the_attempt() {
    const ATTEMPT: u64 = 300;
    let [lower, higher] = peers();
    let (mut answerer, mut cx) = (Links::new([7; 32]), context(higher));
    let offer = || (ATTEMPT, OFFER.to_owned());
    // In its own time, or because its driver finds no path.
    for by_driver in [false, true] {
        let id = answerer.answer(lower, offer(), false, &mut cx);
        if by_driver {
            answerer.closed(id, "no path", &mut cx);
        } else {
            cx.now = answerer.deadline().expect("patience ends").0;
            answerer.attend_next(&mut cx);
        }
        assert!(!answerer.knows(id));
        assert_eq!(failures(&mut cx), 1);
        let told = [(lower, ATTEMPT, PeerSignal::Failed)];
        assert_eq!(signals(&mut answerer), told);
    }

    let (mut offerer, mut cx) = (Links::new([7; 32]), context(lower));
    let id = offerer.dial(higher, false, &mut cx);
    let attempt = attempt(&mut offerer, &cx);
    offerer.failed_at_other_end(higher, attempt + 1, &mut cx);
    assert!(offerer.knows(id), "that was another attempt");
    offerer.failed_at_other_end(higher, attempt, &mut cx);
    assert!(!offerer.knows(id));
    assert_eq!((failures(&mut cx), offerer.failures(higher)), (1, 1));
    assert_eq!(signals(&mut offerer), [], "the answerer knows");

    let id = offerer.dial(higher, false, &mut cx);
    let attempt = self::attempt(&mut offerer, &cx);
    cx.now = offerer.deadline().expect("patience ends").0;
    offerer.attend_next(&mut cx);
    assert!(!offerer.knows(id));
    let told = [(higher, attempt, PeerSignal::Failed)];
    assert_eq!(signals(&mut offerer), told);
}

#[test]
fn an_attempt_that_the_link_before_it_makes_needless_is_over_at_both_ends() {
    let (mut links, mut cx, id) = open();
    let [_, peer] = peers();
    links.disarm(TimeoutReason::Suspect);
    while links.leads_to(peer) {
        sent(&mut links, &mut cx);
        cx.now = links.deadline().expect("its keepalive").0;
        links.attend(id, &mut cx);
    }
    events(&mut links);
    links.dial(peer, false, &mut cx);
    let attempt = attempt(&mut links, &cx);
    links.revive(id, Duration::ZERO, &mut cx);
    let told = [(peer, attempt, PeerSignal::Failed)];
    assert_eq!(signals(&mut links), told);
    assert!(is_usable(&links, id));
}

#[test]
fn an_open_link_stays_whatever_its_answerer_says_of_the_attempt() {
    let [this, peer] = peers();
    let (mut links, mut cx) = (Links::new([7; 32]), context(this));
    let id = links.dial(peer, false, &mut cx);
    let attempt = attempt(&mut links, &cx);
    links.opened(id, &mut cx);
    links.failed_at_other_end(peer, attempt, &mut cx);
    assert!(links.open_to(peer).is_some());
}
