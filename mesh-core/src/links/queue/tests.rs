//! What waits for a link: frames, order, acknowledgements, shares.

use super::*;
use crate::id::Target;
use crate::trust::Identity;
use crate::wire::{Frame, LinkState};

const NOW: Instant = Instant::from_micros(0);

fn envelope(ttl: u8) -> Envelope {
    let record = LinkState {
        version: 1,
        name: "x".repeat(60),
        departed: false,
        lacks: 0,
        links: Vec::new(),
    };
    Envelope {
        ttl,
        target: Target::Room,
        signed: Identity::from_secret([1; 32]).sign("room", &record),
    }
}

#[test]
fn what_gathered_shares_frames_in_order() {
    let mut queue = LinkQueue::default();
    for ttl in 0..200 {
        queue.envelope(Channel::Data, envelope(ttl), NOW);
    }
    queue.control(&Record::Drain);
    let (channel, frame) = queue.next_frame(NOW).expect("a frame");
    assert_eq!(channel, Channel::Control, "control goes first");
    assert_eq!(
        Frame::decode(&frame).expect("decodes").records,
        [Record::Drain]
    );
    let (mut ttls, mut frames) = (Vec::new(), 0);
    while let Some((_, frame)) = queue.next_frame(NOW) {
        frames += 1;
        for record in Frame::decode(&frame).expect("decodes").records {
            let Record::Envelope(envelope) = record else {
                panic!("an envelope");
            };
            ttls.push(envelope.ttl);
        }
    }
    assert_eq!(ttls, (0..200).collect::<Vec<_>>());
    assert!(
        frames <= 4,
        "{frames} frames for 200 records of about 200 bytes"
    );
}

#[test]
fn unacknowledged_envelopes_survive_the_link() {
    let mut queue = LinkQueue::default();
    (0..5).for_each(|ttl| queue.envelope(Channel::Data, envelope(ttl), NOW));
    assert!(!queue.acknowledged(1, NOW), "nothing was sent yet");
    while queue.next_frame(NOW).is_some() {}
    assert!(queue.acknowledged(2, NOW));
    assert!(queue.acknowledged(1, NOW), "overtaken");
    assert!(!queue.acknowledged(6, NOW), "more than was sent");
    let left: Vec<_> = queue.take_unacknowledged().iter().map(|e| e.ttl).collect();
    assert_eq!(left, [2, 3, 4]);
    assert!(queue.is_settled());
}

#[test]
fn a_driver_gets_no_more_at_once_than_it_can_tell_that_it_has() {
    let mut queue = LinkQueue::default();
    (0..1_000).for_each(|n| queue.envelope(Channel::Data, envelope(n as u8), NOW));
    let mut drain = |now| {
        let frames = std::iter::from_fn(|| queue.next_frame(now));
        let bytes: usize = frames.map(|(_, frame)| frame.len()).sum();
        (bytes, queue.is_held_up())
    };
    let (bytes, held_up) = drain(NOW);
    assert!(
        (BURST_BYTES..BURST_BYTES + 16 * 1024).contains(&bytes),
        "{bytes} bytes"
    );
    assert!(held_up);
    assert_eq!(drain(NOW), (0, true), "in the same moment");
    let (bytes, held_up) = drain(NOW + BURST);
    assert!(bytes > 0 && !held_up, "{bytes} bytes");
}

#[test]
fn a_full_queue_has_room_for_authors_that_have_less_than_their_share() {
    let config = Config::new("room", "name").expect("valid");
    let mut queue = LinkQueue::default();
    let [busy, other] = [1, 2].map(|n| Identity::from_secret([n; 32]));
    let of = |author: &Identity| {
        let body = LinkState {
            version: 1,
            name: "x".to_owned(),
            departed: false,
            lacks: 0,
            links: Vec::new(),
        };
        let signed = author.sign("room", &body);
        let target = Target::Room;
        Envelope {
            ttl: 1,
            target,
            signed,
        }
    };
    let mut fill = |author: &Identity, envelope: Envelope| {
        let mut taken = 0;
        while !queue.is_full_for(Lane::new(author.peer(), Channel::Data), &config) {
            queue.envelope(Channel::Data, envelope.clone(), NOW);
            taken += 1;
        }
        taken
    };
    let max = config.link_queue_max;
    assert_eq!(fill(&busy, of(&busy)), max);
    assert_eq!(fill(&other, of(&other)), max / 2);
    let crowd = (3..200).map(|n| Identity::from_secret([n; 32]));
    let more: usize = crowd.map(|author| fill(&author, of(&author))).sum();
    assert_eq!(
        max + max / 2 + more,
        max * 2,
        "there is a bound, whoever comes"
    );
    assert!(
        queue.is_full(Channel::Data, &config),
        "this says that it is full"
    );
}

#[test]
fn acknowledgements_ride_along_unless_they_could_get_lost() {
    let records = |queue: &mut LinkQueue| {
        let (channel, frame) = queue.next_frame(NOW).expect("a frame");
        let frame = Frame::decode(&frame).expect("decodes");
        (channel, frame.records)
    };
    let ack = |received| Record::Ack { received };
    let mut queue = LinkQueue::default();
    queue.acknowledge();
    assert!(queue.next_frame(NOW).is_none(), "none is owed");

    assert_eq!(queue.count_received(false, NOW), Some(NOW));
    queue.envelope(Channel::Stream, envelope(1), NOW);
    let alone = (Channel::Stream, vec![Record::Envelope(envelope(1))]);
    assert_eq!(records(&mut queue), alone);
    queue.envelope(Channel::Data, envelope(2), NOW);
    let carrying = (Channel::Data, vec![ack(1), Record::Envelope(envelope(2))]);
    assert_eq!(records(&mut queue), carrying);
    assert_eq!(queue.owed_since(), None);

    let due = (1..=ACK_EVERY).position(|_| queue.count_received(false, NOW).is_none());
    assert_eq!(due, Some(ACK_EVERY as usize - 1));
    queue.acknowledge();
    queue.control(&Record::Drain);
    let both = (Channel::Control, vec![ack(1 + ACK_EVERY), Record::Drain]);
    assert_eq!(records(&mut queue), both);
    assert!(queue.next_frame(NOW).is_none());
}

#[test]
fn a_congested_link_sends_control_only() {
    let mut queue = LinkQueue::default();
    queue.set_congested(true, NOW);
    queue.envelope(Channel::Data, envelope(1), NOW);
    queue.control(&Record::Drain);
    assert!(queue.next_frame(NOW).is_some());
    assert!(queue.next_frame(NOW).is_none());
    queue.set_congested(false, NOW);
    assert!(queue.next_frame(NOW).is_some());
}
