//! Rounds for tracks.

use super::*;
use crate::error::TrackError;
use crate::io::WarningCode;
use crate::wire::{PeerSignal, Step};

const ONE: Tracks = Tracks { audio: 0, video: 1 };
const TWO: Tracks = Tracks { audio: 1, video: 1 };
const NONE: Tracks = Tracks { audio: 0, video: 0 };

/// What an end tells the other.
#[derive(Debug, PartialEq)]
enum Told {
    Offers(u16),
    Asks(Tracks),
}

fn told(links: &mut Links) -> Vec<Told> {
    let events = std::iter::from_fn(|| links.poll_event());
    let told = events.filter_map(|event| match event {
        LinkEvent::Signal {
            signal: PeerSignal::Ask(Step::Media(tracks)),
            ..
        } => Some(Told::Asks(tracks)),
        LinkEvent::Signal {
            signal: PeerSignal::Link { round, .. },
            ..
        } => Some(Told::Offers(round)),
        _ => None,
    });
    told.collect()
}

/// Lets the time come at which a link acts next, and returns its orders to the driver.
fn act(links: &mut Links, cx: &mut Context, id: LinkId) -> Vec<Output> {
    let at = links
        .get(id)
        .and_then(|link| link.media.at)
        .expect("something to tell");
    cx.now = cx.now.max(at);
    links.attend(id, cx);
    let orders = orders(cx).into_iter();
    orders
        .filter(|order| !matches!(order, Output::Transmit { .. }))
        .collect()
}

fn negotiate(link: LinkId, tracks: Tracks) -> [Output; 1] {
    [Output::NegotiateTracks { link, tracks }]
}

/// An offer with sections for so many video tracks of its answerer.
fn offer(sections: usize) -> LinkSignal {
    let section = "\nm=video 9 x\na=mid:1\na=recvonly";
    let sdp = format!("v=0{}", section.repeat(sections));
    LinkSignal::Offer { sdp }
}

/// The higher end of an open link, whose attempt has the number 7.
fn higher() -> (Links, Context, LinkId) {
    let [lower, this] = peers();
    let (mut links, mut cx) = (Links::new([7; 32]), context(this));
    let id = links.answer(lower, (7, OFFER.into()), false, &mut cx);
    links.opened(id, &mut cx);
    events(&mut links);
    orders(&mut cx);
    (links, cx, id)
}

fn answered(links: &mut Links, cx: &mut Context, id: LinkId) {
    let [this, peer] = peers();
    let negotiation = &links.get(id).expect("there").negotiation;
    let round = (negotiation.attempt(), negotiation.round());
    links.apply(message(peer, this, 1), round, answer(), cx);
    assert_eq!(orders(cx).len(), 1, "for the connection");
}

#[test]
fn the_lower_end_offers_a_round_for_its_tracks_and_rests_when_it_is_answered() {
    let (mut links, mut cx, id) = open();
    let [_, peer] = peers();
    assert_eq!(
        links.get(id).expect("there").media.at,
        None,
        "nothing without tracks"
    );
    assert_eq!(links.set_tracks(peer, ONE, &cx), Ok(()));
    assert_eq!(links.deadline(), Some((cx.now, TimeoutReason::Tracks)));
    assert_eq!(act(&mut links, &mut cx, id), negotiate(id, NONE));
    links.signaled(id, offer(0), &cx);
    assert_eq!(told(&mut links), [Told::Offers(1)]);
    answered(&mut links, &mut cx, id);
    assert_eq!(links.get(id).expect("there").media.at, None);
    assert_eq!(links.set_tracks(peer, NONE, &cx), Ok(()), "it has ended");
    assert_eq!(act(&mut links, &mut cx, id), negotiate(id, NONE));
}

#[test]
fn the_higher_end_asks_until_an_offer_has_room_for_its_tracks() {
    let (mut links, mut cx, id) = higher();
    let [lower, this] = peers();
    assert_eq!(links.set_tracks(lower, ONE, &cx), Ok(()));
    assert_eq!(act(&mut links, &mut cx, id), []);
    assert_eq!(told(&mut links), [Told::Asks(ONE)]);
    // The other end has begun a round of its own, before it was asked.
    let id_of = |sequence| message(lower, this, sequence);
    links.apply(id_of(1), (7, 1), offer(0), &mut cx);
    orders(&mut cx);
    assert_eq!(act(&mut links, &mut cx, id), []);
    assert_eq!(told(&mut links), [Told::Asks(ONE)], "there was no room");
    links.apply(id_of(2), (7, 2), offer(1), &mut cx);
    assert_eq!(links.get(id).expect("there").media.at, None);
}

#[test]
fn glare_of_two_rounds_leaves_those_of_the_lower_end_one_after_another() {
    let (mut links, mut cx, id) = open();
    let [_, peer] = peers();
    assert_eq!(links.set_tracks(peer, ONE, &cx), Ok(()));
    assert_eq!(act(&mut links, &mut cx, id), negotiate(id, NONE));
    links.tracks_asked(peer, TWO, &mut cx);
    links.tracks_asked(peer, TWO, &mut cx); // Over another path.
    let next = links.get(id).expect("there").media.at;
    assert!(next > Some(cx.now), "a round is running");
    answered(&mut links, &mut cx, id);
    assert_eq!(act(&mut links, &mut cx, id), negotiate(id, TWO));
    answered(&mut links, &mut cx, id);
    assert_eq!(links.get(id).expect("there").media.at, None);
    assert!(cx.stats.rejected.is_empty());
}

#[test]
fn a_lost_answer_is_followed_by_another_round_and_then_given_up() {
    let (mut links, mut cx, id) = open();
    let [_, peer] = peers();
    assert_eq!(links.set_tracks(peer, ONE, &cx), Ok(()));
    for round in 1..=6 {
        // It lives: what it says keeps the link.
        links.get(id).expect("there");
        let began = cx.now;
        assert_eq!(
            act(&mut links, &mut cx, id),
            negotiate(id, NONE),
            "round {round}"
        );
        assert!(
            cx.now.since(began) <= Duration::from_secs(3),
            "round {round}"
        );
        let link = links.table.get_mut(id).expect("there");
        link.keepalive = link.keepalive.succeeded(cx.now);
        assert_eq!(link.negotiation.round(), round);
    }
    let orders = act(&mut links, &mut cx, id);
    let [
        Output::Emit(Event::Warning {
            code: WarningCode::Tracks,
            message,
        }),
    ] = &orders[..]
    else {
        panic!("{orders:?}");
    };
    assert!(
        message.contains("upgrade it, or end the tracks"),
        "{message}"
    );
    assert_eq!(links.get(id).expect("there").media.at, None);
    // Its answer comes after all, and the next change is told.
    answered(&mut links, &mut cx, id);
    assert_eq!(links.set_tracks(peer, NONE, &cx), Ok(()));
    assert_eq!(act(&mut links, &mut cx, id), negotiate(id, NONE));
}

#[test]
fn tracks_wait_for_a_restart_of_ice_that_is_under_way() {
    let (mut links, mut cx, id) = open();
    let [_, peer] = peers();
    links.begin_restart(id, &mut cx);
    assert_eq!(links.set_tracks(peer, ONE, &cx), Ok(()));
    orders(&mut cx);
    assert_eq!(act(&mut links, &mut cx, id), []);
    answered(&mut links, &mut cx, id);
    assert_eq!(act(&mut links, &mut cx, id), negotiate(id, NONE));
    let round = links.get(id).expect("there").negotiation.round();
    assert_eq!(round, 2);
    // And a restart goes before what a round for tracks still waits for.
    links.begin_restart(id, &mut cx);
    assert_eq!(orders(&mut cx).len(), 2, "configured and restarted");
    answered(&mut links, &mut cx, id);
    assert_eq!(
        links.get(id).expect("there").media.at,
        None,
        "it had the tracks too"
    );
}

#[test]
fn a_successor_has_the_tracks_and_what_changes_meanwhile_follows_on_it() {
    let (mut links, mut cx, id) = open();
    let [_, peer] = peers();
    links.tracks_asked(peer, TWO, &mut cx);
    assert_eq!(act(&mut links, &mut cx, id), negotiate(id, TWO));
    answered(&mut links, &mut cx, id);
    cx.now = cx.now + Duration::from_secs(2);
    let successor = links.rotate(id, (true, false), &mut cx).expect("offered");
    let opened = orders(&mut cx);
    let [Output::OpenLink { tracks: TWO, .. }] = opened[..] else {
        panic!("{opened:?}");
    };
    assert_eq!(links.set_tracks(peer, ONE, &cx), Ok(()));
    assert_eq!(
        act(&mut links, &mut cx, id),
        [],
        "the link is being replaced"
    );
    assert_eq!(links.get(id).expect("there").media.at, None);
    links.opened(successor, &mut cx);
    orders(&mut cx);
    assert_eq!(
        act(&mut links, &mut cx, successor),
        negotiate(successor, TWO)
    );
}

#[test]
fn tracks_that_changed_while_a_successor_failed_follow_on_the_link() {
    let (mut links, mut cx, id) = open();
    let [_, peer] = peers();
    let successor = links.rotate(id, (true, false), &mut cx).expect("offered");
    assert_eq!(links.set_tracks(peer, ONE, &cx), Ok(()));
    orders(&mut cx);
    assert_eq!(act(&mut links, &mut cx, id), []);
    links.closed(successor, "no path", &mut cx);
    assert_eq!(act(&mut links, &mut cx, id), negotiate(id, NONE));
}

#[test]
fn tracks_go_to_neighbours_and_are_few() {
    let [this, peer] = peers();
    let (mut links, mut cx) = (Links::new([7; 32]), context(this));
    let not_linked = Err(TrackError::NotLinked(peer));
    assert_eq!(links.set_tracks(peer, ONE, &cx), not_linked);
    let id = links.dial(peer, false, &mut cx);
    assert_eq!(links.set_tracks(peer, ONE, &cx), not_linked, "not open yet");
    links.opened(id, &mut cx);
    let many = Tracks { audio: 4, video: 5 };
    assert_eq!(
        links.set_tracks(peer, many, &cx),
        Err(TrackError::TooMany(8))
    );
    links.tracks_asked(peer, many, &mut cx);
    assert_eq!(cx.stats.rejected[&RejectReason::Limit], 1);
    assert_eq!(links.get(id).expect("there").media.at, None);
}

#[test]
fn a_link_that_works_again_after_silence_tells_that_its_tracks_have_ended() {
    let (mut links, mut cx, id) = open();
    let [_, peer] = peers();
    assert_eq!(links.set_tracks(peer, ONE, &cx), Ok(()));
    assert_eq!(act(&mut links, &mut cx, id), negotiate(id, NONE));
    answered(&mut links, &mut cx, id);
    links.stranded(id, &mut cx);
    links.revive(id, Duration::ZERO, &mut cx);
    orders(&mut cx);
    assert_eq!(act(&mut links, &mut cx, id), negotiate(id, NONE));
}
