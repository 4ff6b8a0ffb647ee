//! Both ends of a stream, with whatever may happen between them.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::error::LossReason;
use crate::id::{PeerId, Target};
use crate::payload::Delivery;
use crate::time::Instant;
use crate::time::UnixTime;
use crate::trust::Identity;
use crate::wire::{Content, Item};
use crate::wire::{Data, Envelope, Message, MessageHeader, Progress};

const PATIENCE: Patience = Patience {
    min: Duration::from_millis(500),
    max: Duration::from_secs(1),
};

/// How long each message is tried for: longer than any run.
const DEADLINE: Duration = Duration::from_secs(100_000);

fn peer() -> PeerId {
    Identity::from_secret([2; 32]).peer()
}

fn envelope(sequence: u64, count: u64) -> Envelope {
    let header = MessageHeader {
        incarnation: 1,
        sequence,
        target: Target::Room,
        sent_at: UnixTime::default(),
        ttl: 16,
    };
    let item = || Item {
        topic: String::new(),
        payload: "x".into(),
    };
    let content = Content::Data(Data {
        items: (0..count).map(|_| item()).collect(),
        ..Data::one("".into(), Delivery::Reliable)
    });
    Envelope {
        ttl: 16,
        target: Target::Room,
        signed: Identity::from_secret([1; 32]).sign("room", &Message { header, content }),
    }
}

/// What travels: numbers with the base that they were first sent with, or news.
#[derive(Clone, Debug)]
enum Way {
    There {
        number: u64,
        count: u64,
        base: u64,
        asks: bool,
    },
    Back(Progress),
}

/// A stream, the network, and what the application got.
struct Rig {
    outbox: Outbox,
    inbox: Inbox<u64>,
    way: VecDeque<Way>,
    now: Instant,
    sent: u64,
    delivered: Vec<u64>,
}

impl Rig {
    fn new() -> Self {
        Self {
            outbox: Outbox::new(1, 1),
            inbox: Inbox::default(),
            way: VecDeque::new(),
            now: Instant::from_micros(1),
            sent: 0,
            delivered: Vec::new(),
        }
    }

    /// Sends up to so many messages under one signature, as many as there is room for.
    fn send(&mut self, count: u64) {
        let (first, mut sent, mut asks) = (self.sent, 0, false);
        while sent < count && self.outbox.has_room() {
            self.sent += 1;
            let times = (self.now, self.now + DEADLINE);
            let (number, asked) = self.outbox.push(self.sent, 100, Asks::OfHalf, times);
            assert_eq!(number, first + sent);
            asks |= asked;
            sent += 1;
        }
        if sent > 0 {
            let envelope = envelope(first + 1, sent);
            self.outbox.keep(first, envelope, None);
            let base = self.outbox.base();
            let (number, count) = (first, sent);
            self.way.push_back(Way::There {
                number,
                count,
                base,
                asks,
            });
        }
    }

    /// What travels arrives, at this place of all that does.
    fn arrive(&mut self, place: usize) {
        let Some(way) = self.way.remove(place) else {
            return;
        };
        match way {
            Way::There {
                number,
                count,
                base,
                asks,
            } => {
                let mut ready = Vec::new();
                let skipped = self.inbox.begin((1, 1), base, self.now, &mut ready);
                assert_eq!(skipped, Some(0), "none is given up");
                let mut again = false;
                for number in number..number + count {
                    let item = Some((number, 1));
                    let arrival = self.inbox.accept(number, item, self.now, &mut ready);
                    again |= arrival != Arrival::New;
                    assert_ne!(arrival, Arrival::NoRoom, "an author keeps to its window");
                }
                self.delivered.extend(ready);
                if asks || again {
                    self.way.push_back(Way::Back(self.inbox.progress()));
                }
            }
            Way::Back(progress) => {
                let news = self.outbox.progress(&progress, peer(), self.now);
                assert!(news.is_some(), "an honest target");
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        assert_eq!(self.outbox.expire(peer(), self.now), []);
        for repeat in self.outbox.due(PATIENCE, self.now, |_| false) {
            let count = repeat.envelope.messages() as u64;
            let (number, base) = (repeat.number, 0);
            // The first copy, which asked or did not, is the same as all others.
            let asks = false;
            self.way.push_back(Way::There {
                number,
                count,
                base,
                asks,
            });
        }
        if self.inbox.asks(self.now) {
            self.way.push_back(Way::Back(self.inbox.progress()));
        }
    }

    /// Lets all arrive that may, in order, until nothing is under way.
    fn finish(&mut self) {
        for _ in 0..10_000 {
            while !self.way.is_empty() {
                self.arrive(0);
            }
            if self.outbox.is_calm() && !self.inbox.is_holding() {
                return;
            }
            self.pass(Duration::from_millis(100));
        }
        panic!("it never comes to rest");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Send(u64),
    Arrive(prop::sample::Index),
    Lose(prop::sample::Index),
    Double(prop::sample::Index),
    Stuck(prop::sample::Index, bool),
    Pass(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    let place = any::<prop::sample::Index>;
    prop_oneof![
        3 => (1u64..40).prop_map(Step::Send),
        6 => place().prop_map(Step::Arrive),
        1 => place().prop_map(Step::Lose),
        1 => place().prop_map(Step::Double),
        1 => (place(), any::<bool>()).prop_map(|(place, full)| Step::Stuck(place, full)),
        2 => (1u64..1_500).prop_map(Step::Pass),
    ]
}

proptest! {
    /// All arrives once and in order, whatever overtakes, gets lost or doubles, as long as news
    /// still come: a last message tells what is missing.
    #[test]
    fn all_is_delivered_in_order_and_once(steps in prop::collection::vec(any_step(), 1..200)) {
        let mut rig = Rig::new();
        for step in steps {
            let travelling = rig.way.len();
            let place = |index: prop::sample::Index| match travelling {
                0 => 0,
                some => index.index(some),
            };
            match step {
                Step::Send(count) => rig.send(count),
                Step::Arrive(index) => rig.arrive(place(index)),
                Step::Lose(index) => _ = rig.way.remove(place(index)),
                Step::Double(index) => {
                    let copy = rig.way.get(place(index)).cloned();
                    rig.way.extend(copy);
                }
                Step::Stuck(index, full) => {
                    if let Some(Way::There { number, .. }) = rig.way.remove(place(index)) {
                        let reason = match full {
                            true => LossReason::QueueFull,
                            false => LossReason::NoRoute,
                        };
                        rig.outbox.stuck(number + 1, (reason, peer()), rig.now);
                    }
                }
                Step::Pass(ms) => rig.pass(Duration::from_millis(ms)),
            }
            prop_assert!(rig.delivered.iter().copied().eq(0..rig.delivered.len() as u64));
        }
        rig.finish();
        // The tail of a stream that asks for nothing may be lost unseen: one more message shows it.
        while !rig.outbox.has_room() {
            rig.pass(Duration::from_millis(100));
            rig.finish();
        }
        rig.send(1);
        rig.finish();
        prop_assert!(rig.delivered.iter().copied().eq(0..rig.sent));
    }
}

#[test]
fn a_stream_that_is_busy_asks_for_its_tail_too() {
    let mut rig = Rig::new();
    rig.send(40);
    rig.arrive(0);
    rig.send(5);
    rig.way.pop_front(); // The news, and after them the tail, …
    rig.way.clear(); // … are lost.
    rig.finish();
    assert_eq!(rig.delivered.len(), 45);
    assert!(rig.outbox.is_empty());
}

#[test]
fn what_a_slow_path_still_carries_is_not_lost_when_the_first_question_is_answered_late() {
    let mut rig = Rig::new();
    [20, 20, 5].into_iter().for_each(|count| rig.send(count));
    rig.pass(Duration::from_secs(2));
    assert_eq!(rig.way.len(), 4, "the first copy again");
    (0..2).for_each(|_| rig.arrive(0));
    let answer = rig.way.len() - 1;
    rig.arrive(answer);
    assert!(!rig.outbox.lost && rig.outbox.window.slots() >= 64);
    assert_eq!(rig.outbox.slots(), 5, "the tail is on its way");
    rig.finish();
    assert_eq!(rig.delivered.len(), 45);
    assert!(rig.outbox.window.slots() >= 64);
}

#[test]
fn what_a_full_queue_refuses_halves_the_window_and_nothing_more_leaves_until_it_is_repeated() {
    let mut rig = Rig::new();
    rig.send(20);
    rig.send(20);
    rig.way.pop_back();
    assert!(
        rig.outbox
            .stuck(21, (LossReason::QueueFull, peer()), rig.now)
    );
    assert!(!rig.outbox.has_room());
    rig.finish();
    assert_eq!(rig.delivered.len(), 40);
    rig.send(1_000);
    assert!(rig.sent < 40 + 64, "{}", rig.sent);
}

#[test]
fn a_stream_on_a_path_that_works_grows_to_its_largest_window() {
    let mut rig = Rig::new();
    for _ in 0..200 {
        rig.send(64);
        if !rig.outbox.has_room() {
            rig.now = rig.now + Duration::from_millis(20);
            while !rig.way.is_empty() {
                rig.arrive(0);
            }
        }
    }
    rig.finish();
    let before = rig.sent;
    (0..50).for_each(|_| rig.send(64));
    assert_eq!(rig.sent - before, 1_024);
}

#[test]
fn a_path_that_is_narrow_is_not_given_everything_twice() {
    let mut rig = Rig::new();
    // It carries 40 messages a second, one after the other: those of the first window take 1.6 s.
    let turns = 4_000;
    for _ in 0..turns {
        while rig.outbox.has_room() {
            rig.send(1);
        }
        rig.arrive(0);
        while let Some(Way::Back(_)) = rig.way.back() {
            rig.arrive(rig.way.len() - 1);
        }
        rig.pass(Duration::from_millis(25));
    }
    let delivered = rig.delivered.len();
    assert!(delivered * 100 >= turns * 85, "{delivered} of {turns}");
}

#[test]
fn a_path_that_was_away_for_long_is_asked_soon_again() {
    let mut rig = Rig::new();
    for _ in 0..20 {
        rig.send(40);
        rig.finish();
    }
    (0..10).for_each(|_| rig.send(4));
    for _ in 0..300 {
        rig.way.clear();
        rig.pass(Duration::from_millis(100));
    }
    rig.finish();
    (0..10).for_each(|_| rig.send(4));
    rig.way.clear();
    let lost_at = rig.now;
    rig.finish();
    let took = rig.now.since(lost_at);
    assert!(took < Duration::from_secs(3), "{took:?}");
}
