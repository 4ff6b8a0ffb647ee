//! Verdicts and round trips, by the clock.

use super::*;

fn at(ms: u64) -> Instant {
    Instant::from_micros(ms * 1_000)
}

const RHYTHM: Rhythm = Rhythm {
    interval: Duration::from_secs(5),
    grace: Duration::ZERO,
    congested: false,
};

fn config() -> Config {
    Config::new("room", "name").expect("valid")
}

fn is_ping(action: KeepaliveAction) -> bool {
    matches!(action, KeepaliveAction::Ping(..))
}

/// A link that is about to be asked for the first time.
fn asking() -> (Config, Keepalive) {
    let config = config();
    let mut keepalive = Keepalive::new(&config, at(0));
    keepalive.probe(Suspicion::Possible, at(0));
    (config, keepalive)
}

#[test]
fn a_path_that_gets_longer_than_answers_are_waited_for_is_measured() {
    let (config, mut keepalive) = asking();
    let mut now = at(0);
    for sample_ms in [20, 20, 20, 1_100] {
        keepalive.probe(Suspicion::Possible, now);
        let KeepaliveAction::Ping(first, _) = keepalive.poll(&config, RHYTHM, 0.5, now) else {
            panic!("a ping is due");
        };
        let answered_at = now + Duration::from_millis(sample_ms);
        now = keepalive.deadline().min(answered_at);
        if now < answered_at {
            assert!(is_ping(keepalive.poll(&config, RHYTHM, 0.5, now)));
            now = answered_at;
        }
        assert!(keepalive.pong((first, Channel::Stream), 0.5, now).is_some());
        assert_eq!(
            keepalive.pong((first, Channel::Stream), 0.5, now),
            None,
            "answered"
        );
    }
    assert!(keepalive.srtt() > Some(Duration::from_millis(200)));
}

#[test]
fn a_new_link_is_measured_at_once_only_where_paths_depend_on_it() {
    let mut config = config();
    assert_eq!(Keepalive::new(&config, at(0)).deadline(), at(1_000));
    config.metric = Metric::Latency;
    assert_eq!(Keepalive::new(&config, at(0)).deadline(), at(0));
}

#[test]
fn measures_and_smooths_the_round_trip() {
    let (config, mut keepalive) = asking();
    let KeepaliveAction::Ping(nonce, _) = keepalive.poll(&config, RHYTHM, 0.5, at(0)) else {
        panic!("the first ping is due at once");
    };
    assert_eq!(
        keepalive.pong((nonce + 1, Channel::Stream), 0.5, at(8)),
        None,
        "not ours"
    );
    assert!(
        keepalive
            .pong((nonce, Channel::Stream), 0.5, at(8))
            .is_some()
    );
    assert_eq!(keepalive.srtt(), Some(Duration::from_millis(8)));
    // The first sample is replaced by the second, later ones are smoothed, and one that is far
    // below counts at once.
    for (sample_ms, srtt_ms) in [(16, 16), (8, 12), (3, 3), (3, 3), (8, 4)] {
        let next = keepalive.deadline();
        let KeepaliveAction::Ping(nonce, _) = keepalive.poll(&config, RHYTHM, 0.5, next) else {
            panic!("due");
        };
        keepalive.pong(
            (nonce, Channel::Stream),
            0.5,
            next + Duration::from_millis(sample_ms),
        );
        assert_eq!(keepalive.srtt(), Some(Duration::from_millis(srtt_ms)));
    }
}

/// The path may lead one way alone.
#[test]
fn an_end_that_hears_nothing_has_to_answer_one_ping() {
    for answers in [false, true] {
        let (config, mut keepalive) = asking();
        keepalive.heard(at(900));
        keepalive.probe(Suspicion::Unheard, at(1_000));
        let KeepaliveAction::Ping(nonce, _) = keepalive.poll(&config, RHYTHM, 0.5, at(1_000))
        else {
            panic!("a ping is due at once");
        };
        keepalive.heard(at(1_001));
        keepalive.probe(Suspicion::Unheard, at(1_002));
        let due = keepalive.deadline();
        assert_eq!(
            keepalive.poll(&config, RHYTHM, 0.5, at(1_002)),
            KeepaliveAction::Wait
        );
        assert_eq!(keepalive.unanswered_since(), Some(at(1_000)));
        if answers {
            assert!(
                keepalive
                    .pong((nonce, Channel::Stream), 0.5, at(1_010))
                    .is_some()
            );
            let action = keepalive.poll(&config, RHYTHM, 0.5, due);
            assert_ne!(action, KeepaliveAction::Dead);
        } else {
            assert_eq!(
                keepalive.poll(&config, RHYTHM, 0.5, due),
                KeepaliveAction::Dead
            );
        }
    }
}

#[test]
fn silence_is_death_and_any_frame_is_life() {
    let (config, mut keepalive) = asking();
    assert!(is_ping(keepalive.poll(&config, RHYTHM, 0.5, at(0))));
    assert_eq!(
        keepalive.poll(&config, RHYTHM, 0.5, at(2_999)),
        KeepaliveAction::Wait
    );
    assert!(is_ping(keepalive.poll(&config, RHYTHM, 0.5, at(3_000))));
    keepalive.heard(at(3_500));
    assert_eq!(
        keepalive.poll(&config, RHYTHM, 0.5, at(6_000)),
        KeepaliveAction::Wait
    );
    for _ in 0..config.pings_max {
        let due = keepalive.deadline();
        assert!(is_ping(keepalive.poll(&config, RHYTHM, 0.5, due)));
    }
    let due = keepalive.deadline();
    assert_eq!(
        keepalive.poll(&config, RHYTHM, 0.5, due),
        KeepaliveAction::Dead
    );
}

#[test]
fn a_short_round_trip_makes_for_a_quick_verdict() {
    let ms = Duration::from_millis;
    // On a busy machine answers take longer.
    for (grace, verdict) in [(0, 1_500), (1_000, 3_024), (60_000, 9_000)] {
        let (config, mut keepalive) = asking();
        let rhythm = Rhythm {
            grace: ms(grace),
            ..RHYTHM
        };
        let KeepaliveAction::Ping(nonce, _) = keepalive.poll(&config, rhythm, 0.5, at(0)) else {
            panic!("the first ping is due at once");
        };
        keepalive.pong((nonce, Channel::Stream), 0.5, at(2));
        keepalive.probe(Suspicion::Possible, at(100));
        let mut due = at(100);
        for n in 0..config.pings_max {
            let action = keepalive.poll(&config, rhythm, 0.5, due);
            assert!(
                matches!(action, KeepaliveAction::Ping(..)),
                "{n}: {action:?}"
            );
            due = keepalive.deadline();
        }
        assert_eq!(due.since(at(100)), ms(verdict), "{grace}");
        assert_eq!(
            keepalive.poll(&config, rhythm, 0.5, due),
            KeepaliveAction::Dead
        );
    }
}

#[test]
fn a_peer_that_left_the_hub_and_one_that_owes_an_answer_are_judged_sooner() {
    let verdict = |suspicion| {
        let (config, mut keepalive) = asking();
        let KeepaliveAction::Ping(nonce, _) = keepalive.poll(&config, RHYTHM, 0.5, at(0)) else {
            panic!("the first ping is due at once");
        };
        keepalive.pong((nonce, Channel::Stream), 0.5, at(2));
        keepalive.heard(at(2));
        keepalive.probe(suspicion, at(2_000));
        let mut due = keepalive.deadline();
        while keepalive.poll(&config, RHYTHM, 0.5, due) != KeepaliveAction::Dead {
            due = keepalive.deadline();
        }
        due.since(at(2_000)).as_millis()
    };
    assert_eq!(verdict(Suspicion::Possible), 1_500);
    assert_eq!(
        verdict(Suspicion::Unanswered),
        1_000,
        "that is one sign already"
    );
    assert_eq!(verdict(Suspicion::Left), 300);
}

#[test]
fn while_a_round_trip_is_unknown_an_answer_takes_no_longer_than_it_took_to_open() {
    let config = config();
    let ms = Duration::from_millis;
    for (took, timeout) in [(10, 500), (400, 800), (9_000, 3_000)] {
        let mut keepalive = Keepalive::opened(&config, ms(took), at(0));
        keepalive.probe(Suspicion::Possible, at(0));
        keepalive.poll(&config, RHYTHM, 0.5, at(0));
        assert_eq!(keepalive.deadline(), at(timeout), "{took}");
    }
}

#[test]
fn who_looks_too_late_asks_once_more() {
    let (config, mut keepalive) = asking();
    for ms in [0, 3_000, 6_000] {
        let action = keepalive.poll(&config, RHYTHM, 0.5, at(ms));
        assert!(matches!(action, KeepaliveAction::Ping(..)));
    }
    // The machine slept: no peer could have answered.
    let action = keepalive.poll(&config, RHYTHM, 0.5, at(60_000));
    assert!(matches!(action, KeepaliveAction::Ping(..)));
    assert_eq!(
        keepalive.poll(&config, RHYTHM, 0.5, at(63_000)),
        KeepaliveAction::Dead
    );
}

#[test]
fn who_speaks_is_not_asked_but_for_the_round_trip_and_when_suspected() {
    let (config, mut keepalive) = asking();
    let mut pings = Vec::new();
    let mut ask = |keepalive: &mut Keepalive, ms: u64| {
        let action = keepalive.poll(&config, RHYTHM, 0.5, at(ms));
        if let KeepaliveAction::Ping(nonce, _) = action {
            pings.push(ms);
            keepalive.pong((nonce, Channel::Stream), 0.5, at(ms + 1));
        }
        matches!(action, KeepaliveAction::Ping(..))
    };
    for second in 0..60 {
        keepalive.heard(at(1_000 * second));
        ask(&mut keepalive, 1_000 * second);
    }
    keepalive.probe(Suspicion::Possible, at(60_000));
    keepalive.heard(at(60_000));
    assert!(ask(&mut keepalive, 60_000), "suspected");
    let quiet: Vec<_> = pings.windows(2).map(|two| two[1] - two[0]).collect();
    assert_eq!(quiet[0], 2_000, "the second sample soon");
    assert_eq!(quiet[1], 6_000, "the third is the first that is credible");
    assert!(
        quiet[2..quiet.len() - 1].iter().all(|ms| *ms >= 20_000),
        "{pings:?}"
    );
}

#[test]
fn a_ping_that_gets_lost_is_counted_and_the_next_is_urgent() {
    let (config, mut keepalive) = asking();
    let mut channels = Vec::new();
    let mut ask = |keepalive: &mut Keepalive, answers: bool| {
        let due = keepalive.deadline();
        let KeepaliveAction::Ping(nonce, over) = keepalive.poll(&config, RHYTHM, 0.5, due) else {
            panic!("due");
        };
        channels.push(over);
        if answers {
            keepalive.pong(
                (nonce, Channel::Stream),
                0.5,
                due + Duration::from_millis(2),
            );
        }
    };
    for answers in [true, true, true, true, false, true, true] {
        ask(&mut keepalive, answers);
    }
    keepalive.probe(Suspicion::Possible, keepalive.deadline());
    ask(&mut keepalive, true);
    // The fifth was lost, and what followed it is urgent.
    let expected = [SURE, SURE, SURE, CALM, CALM, URGENT, CALM, SURE];
    assert_eq!(channels, expected);
    let fates = keepalive.take_fates();
    assert_eq!((fates.answered, fates.lost), (2, 1));
}
