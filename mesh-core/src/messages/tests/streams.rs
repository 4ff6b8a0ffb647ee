//! Streams: order, gaps, windows, and what comes too late.

use super::*;

#[test]
fn what_overtakes_is_held_back_and_what_is_missing_asked_for() {
    let mut rig = Rig::linked();
    let reliable = |number, awaited| placed(Delivery::Reliable, number, awaited);
    rig.receive(2, 1, reliable(0, 0));
    rig.receive(2, 3, reliable(2, 2));
    assert_eq!(rig.told().len(), 1);
    assert_eq!(rig.sent(), []);
    rig.cx.now = rig.cx.now + SECOND;
    rig.run(Messages::tend_gaps);
    let missing = Content::Progress(Progress {
        incarnation: 1,
        stream: 1,
        next: 1,
        seen: 3,
        missing: vec![(1, 1)],
        repeated: false,
    });
    assert_eq!(rig.sent(), [(Target::Peer(peer(2)), missing)]);
    rig.receive(2, 2, reliable(1, 1));
    let told = rig.told();
    let sequences = told.iter().map(|event| match event {
        Event::Message(message) => message.id.sequence,
        other => panic!("{other:?}"),
    });
    assert!(sequences.eq([2, 3]));
    rig.receive(2, 2, reliable(1, 1));
    assert_eq!((rig.told(), rig.cx.stats.duplicates), (vec![], 1));
    let Content::Progress(progress) = &rig.sent()[0].1 else {
        panic!("who repeats is told how far it has come");
    };
    assert_eq!((progress.next, progress.seen), (3, 3));
}

#[test]
fn what_its_author_has_given_up_is_waited_for_no_longer() {
    let mut rig = Rig::linked();
    rig.receive(3, 1, placed(Delivery::Reliable, 0, 0));
    rig.receive(3, 4, placed(Delivery::Reliable, 3, 3));
    assert_eq!(rig.told().len(), 1);
    rig.receive(3, 5, placed(Delivery::Reliable, 4, 1));
    assert_eq!((rig.told().len(), rig.cx.stats.skipped), (2, 2));
    // A copy that was under way for too long.
    rig.receive(3, 3, placed(Delivery::Acknowledged, 2, 0));
    assert_eq!(rig.told(), []);
    assert_eq!(rig.cx.stats.lost[&LossReason::Deadline], 1);
    let receipts = rig.sent();
    let is_receipt = |content: &Content| matches!(content, Content::Receipt { .. });
    assert!(!receipts.iter().any(|(_, content)| is_receipt(content)));
    // Nothing is known of one that died.
    rig.receive(3, 9, placed(Delivery::Reliable, 8, 8));
    rig.cx.now = rig.cx.now + SECOND * 10;
    rig.run(Messages::tend_gaps);
    assert_eq!((rig.told().len(), rig.cx.stats.skipped), (1, 5));
}

#[test]
fn what_is_not_ordered_is_handed_over_at_once_and_once() {
    let mut rig = Rig::linked();
    let mut content = placed(Delivery::Reliable, 1, 1);
    if let Content::Data(Data {
        place: Some(place), ..
    }) = &mut content
    {
        place.ordered = false;
    }
    rig.receive(3, 2, content.clone());
    rig.receive(3, 2, content);
    assert_eq!(rig.told().len(), 1);
    rig.receive(3, 1, placed(Delivery::Reliable, 0, 0));
    rig.receive(3, 3, placed(Delivery::Reliable, 2, 0));
    assert_eq!(rig.told().len(), 2);
}

#[test]
fn a_stream_takes_no_more_than_its_window_until_there_are_news() {
    let mut rig = Rig::linked();
    let taken = (0..1_000).take_while(|_| rig.send(2, Delivery::Reliable).is_ok());
    assert_eq!(taken.count(), 64);
    assert_eq!(
        rig.send(2, Delivery::Reliable),
        Err(SendError::Backpressure)
    );
    rig.send(2, Delivery::Datagram).expect("it needs no room");
    let asks = |content: &Content| match content {
        Content::Data(data) => data.place.is_some_and(|place| place.asks),
        _ => false,
    };
    assert!(rig.sent().iter().any(|(_, content)| asks(content)));
    rig.cx.outbox.clear();
    let progress = Progress {
        incarnation: rig.run(|_, net| net.trust.incarnation()),
        stream: 1,
        next: 64,
        seen: 64,
        missing: vec![],
        repeated: false,
    };
    rig.receive(2, 1, Content::Progress(progress));
    assert!(rig.cx.outbox.contains(&Output::Writable));
    let taken = (0..1_000).take_while(|_| rig.send(2, Delivery::Reliable).is_ok());
    assert_eq!(
        taken.count(),
        128,
        "all has arrived: twice as much may be next"
    );
}

#[test]
fn what_is_sent_now_and_then_asks_for_nothing() {
    let mut rig = Rig::linked();
    for _ in 0..1_000 {
        rig.send(2, Delivery::Reliable).expect("room");
        let [(_, Content::Data(data))] = &rig.sent()[..] else {
            panic!("the message");
        };
        let place = data.place.expect("a place");
        assert!(!place.asks && place.awaited < 64, "{place:?}");
        rig.cx.now = rig.cx.now + Duration::from_millis(200);
    }
    assert_eq!(rig.told(), []);
}

#[test]
fn an_author_is_told_of_a_reliable_message_that_came_too_late() {
    let mut rig = Rig::linked();
    rig.receive(2, 1, placed(Delivery::Reliable, 0, 0));
    rig.receive(2, 4, placed(Delivery::Reliable, 3, 0));
    rig.sent();
    rig.receive(2, 2, placed(Delivery::Reliable, 1, 0));
    let notice = Content::Undelivered {
        message: (1, Target::Peer(peer(1)), 2),
        count: 1,
        reason: LossReason::Deadline,
    };
    assert!(rig.sent().contains(&(Target::Peer(peer(2)), notice)));
    // That comes again, and one that had arrived.
    rig.receive(2, 2, placed(Delivery::Reliable, 1, 0));
    rig.receive(2, 1, placed(Delivery::Reliable, 0, 0));
    let is_notice = |content: &Content| matches!(content, Content::Undelivered { .. });
    assert!(!rig.sent().iter().any(|(_, content)| is_notice(content)));
}

#[test]
fn a_target_that_waits_for_a_message_no_longer_ends_it() {
    let mut rig = Rig::linked();
    let id = rig.send(2, Delivery::Reliable).expect("taken");
    rig.sent();
    let notice = Content::Undelivered {
        message: (id.incarnation, id.target, id.sequence),
        count: 1,
        reason: LossReason::Deadline,
    };
    let of_former_life = Content::Undelivered {
        message: (id.incarnation - 1, id.target, id.sequence),
        count: 1,
        reason: LossReason::Deadline,
    };
    rig.receive(2, 1, of_former_life);
    assert_eq!(rig.told(), []);
    rig.receive(2, 2, notice.clone());
    rig.receive(2, 3, notice);
    let failed = Event::DeliveryFailed {
        id,
        to: Some(peer(2)),
        reason: LossReason::Deadline,
        at: peer(2),
    };
    assert_eq!(rig.told(), [failed], "once, and it is not repeated");
    rig.cx.now = rig.cx.now + SECOND;
    rig.run(Messages::tend_streams);
    assert_eq!(rig.sent(), []);
}

#[test]
fn a_target_that_waits_for_what_its_author_has_given_up_is_told_so() {
    let mut rig = Rig::linked();
    rig.send(2, Delivery::Reliable).expect("taken");
    rig.sent();
    rig.cx.now = rig.cx.now + rig.cx.config.deadline / 2;
    rig.send(2, Delivery::Reliable).expect("taken");
    let sent = rig.sent();
    let Some((_, Content::Data(Data { place, .. }))) = sent.first() else {
        panic!("{sent:?}");
    };
    let place = place.expect("it stands in a stream");
    assert_eq!((place.number, place.awaited), (1, 1));
    let progress = |rig: &Rig| {
        Content::Progress(Progress {
            incarnation: rig.trust.incarnation(),
            stream: place.stream,
            next: 0,
            seen: 2,
            missing: vec![(0, 1)],
            repeated: false,
        })
    };
    let is_skip = |content: &Content| matches!(content, Content::Skip { next: 2, .. });
    let told = progress(&rig);
    rig.receive(2, 1, told);
    assert!(!rig.sent().iter().any(|(_, content)| is_skip(content)));
    rig.cx.now = rig.cx.now + rig.cx.config.deadline / 2;
    rig.run(Messages::expire_streams);
    let told = progress(&rig);
    rig.receive(2, 2, told);
    assert!(rig.sent().iter().any(|(_, content)| is_skip(content)));
}

#[test]
fn what_is_held_back_for_what_does_not_come_is_handed_over_when_its_author_says_so() {
    let mut rig = Rig::linked();
    rig.receive(2, 1, placed(Delivery::Reliable, 0, 0));
    rig.receive(2, 3, placed(Delivery::Reliable, 2, 2));
    assert_eq!(rig.told().len(), 1);
    for (sequence, stream, handed_over) in [(4, 7, 0), (5, 1, 1), (6, 1, 0)] {
        rig.receive(2, sequence, Content::Skip { stream, next: 2 });
        assert_eq!(rig.told().len(), handed_over, "stream {stream}");
    }
    assert_eq!(rig.cx.stats.skipped, 1);
    let endless = Content::Skip {
        stream: 1,
        next: u64::MAX,
    };
    rig.receive(2, 7, endless);
    assert_eq!(rig.cx.stats.rejected[&RejectReason::Malformed], 1);
}
