//! The author's end of a stream: what was sent and not heard of, and how much more may be sent.

use std::collections::VecDeque;
use std::time::Duration;

use super::SPAN_MAX;
use super::lateness::Lateness;
use super::news::Asked;
use super::round_trip::RoundTrip;
use super::window::{Window, slots};
use crate::error::LossReason;
use crate::id::PeerId;
use crate::time::Instant;
use crate::wire::Envelope;

/// The round trip that is taken for one not known yet: longer than that of most paths.
pub(super) const ROUND_TRIP: Duration = Duration::from_millis(200);

/// Wait before a message is repeated for which a full queue had no room; doubles each time. A queue
/// at 10,000 messages a second is empty by then.
pub(super) const ROOM_PATIENCE: Duration = Duration::from_millis(100);

/// Wait for the first news of a stream: as TCP's first retransmission waits (RFC 6298).
pub(super) const FIRST_PATIENCE: Duration = Duration::from_secs(1);

/// At most this many doublings of a wait for room or news: 1.6 s where a queue is full.
pub(super) const DOUBLINGS_MAX: u32 = 4;

const _: () = assert!(ROOM_PATIENCE.as_millis() < FIRST_PATIENCE.as_millis());

/// How long answers are waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// At least.
    pub(crate) min: Duration,
    /// At most, on a path whose round trip is short.
    pub(crate) max: Duration,
}

/// A message, or several under one signature, that the target is not known to have.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) number: u64,
    pub(super) sequence: u64,
    pub(super) count: u64,
    pub(super) slots: usize,
    /// The signed copy. None of a draft, and of what is repeated elsewhere: acknowledged messages.
    pub(super) copy: Option<Envelope>,
    pub(super) deadline: Instant,
    /// When the last copy left.
    pub(super) sent_at: Instant,
    /// The neighbour that it was handed to.
    pub(super) hop: Option<PeerId>,
    pub(super) repeats: u32,
    /// Known to be lost: why, where, and when another copy leaves.
    pub(super) lost: Option<Lost>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Lost {
    pub(super) reason: LossReason,
    pub(super) at: PeerId,
    pub(super) repeat_at: Instant,
}

impl Sent {
    pub(super) fn end(&self) -> u64 {
        self.number + self.count
    }
}

/// When a message asks for news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    /// Not for itself: something else will tell that it has arrived.
    Never,
    /// When half of the window was sent since the last question.
    OfHalf,
    /// At once.
    Always,
}

/// A message, or several, that became something: what the author's application is to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The sequence of the first.
    pub(crate) sequence: u64,
    pub(crate) count: u64,
    /// Why it is not known to have arrived, and which agent said so.
    pub(crate) lost: Option<(LossReason, PeerId)>,
}

/// Messages of this agent to one target.
#[derive(Debug)]
pub(crate) struct Outbox {
    pub(super) incarnation: u64,
    /// The stream's name.
    pub(super) stream: u64,
    /// The number of the next message.
    pub(super) next: u64,
    /// What may still be under way, by number.
    pub(super) sent: VecDeque<Sent>,
    pub(super) slots: usize,
    /// A lower bound of their deadlines.
    pub(super) expires_at: Option<Instant>,
    pub(super) window: Window,
    pub(super) asked: Option<Asked>,
    /// The numbers of messages that asked when they first left and are not answered, and when they
    /// left: while much is under way the last is asked before the one before it is answered.
    pub(super) questions: VecDeque<(u64, Instant)>,
    /// Slots and numbers sent since the last question that nothing else will tell of.
    pub(super) unasked: (usize, u64),
    /// That of questions for news.
    pub(super) news: RoundTrip,
    /// That of messages with receipts.
    answers: RoundTrip,
    /// That of receipts and replies.
    lateness: Lateness,
    /// When news came that had taken far longer than the shortest round trip, if the last have.
    pub(super) late_at: Option<Instant>,
    /// The shortest one.
    pub(super) shortest: Option<Duration>,
    /// Some are known to be lost.
    pub(super) lost: bool,
}

impl Outbox {
    /// A stream whose first message will have this sequence.
    pub(crate) fn new(incarnation: u64, stream: u64) -> Self {
        Self {
            incarnation,
            stream,
            next: 0,
            sent: VecDeque::new(),
            slots: 0,
            expires_at: None,
            window: Window::default(),
            asked: None,
            questions: VecDeque::new(),
            unasked: (0, 0),
            news: RoundTrip::default(),
            answers: RoundTrip::default(),
            lateness: Lateness::default(),
            late_at: None,
            shortest: None,
            lost: false,
        }
    }

    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    pub(crate) fn stream(&self) -> u64 {
        self.stream
    }

    /// The first number that may still come.
    pub(crate) fn base(&self) -> u64 {
        self.sent.front().map_or(self.next, |sent| sent.number)
    }

    /// Whether one more message may be under way.
    pub(crate) fn has_room(&self) -> bool {
        !self.lost && self.slots < self.window.slots() && self.next - self.base() < SPAN_MAX
    }

    /// Whether nothing is known to be missing, and no news is awaited.
    pub(crate) fn is_calm(&self) -> bool {
        self.asked.is_none() && !self.lost
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// What may be under way, in messages or KiB.
    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    /// Messages that may be under way.
    pub(crate) fn len(&self) -> u64 {
        self.sent.iter().map(|sent| sent.count).sum()
    }

    /// A message takes the next number. Returns that, and whether it is to ask for news.
    pub(crate) fn push(
        &mut self,
        sequence: u64,
        bytes: usize,
        asks: Asks,
        (now, deadline): (Instant, Instant),
    ) -> (u64, bool) {
        let number = self.next;
        self.next += 1;
        let slots = slots(bytes);
        self.slots += slots;
        let expires_at = self.expires_at.get_or_insert(deadline);
        *expires_at = deadline.min(*expires_at);
        self.sent.push_back(Sent {
            number,
            sequence,
            count: 1,
            slots,
            copy: None,
            deadline,
            sent_at: now,
            hop: None,
            repeats: 0,
            lost: None,
        });
        if asks != Asks::Never {
            self.unasked.0 += slots;
            self.unasked.1 += 1;
        }
        let asks = match asks {
            Asks::Never => false,
            Asks::OfHalf => {
                let (slots, numbers) = self.unasked;
                slots * 2 >= self.window.slots() || numbers * 2 >= SPAN_MAX
            }
            Asks::Always => true,
        };
        // One that nothing else tells of, before many that ask for nothing, would hold all numbers.
        let is_spanned = (self.next - self.base()) * 2 >= SPAN_MAX;
        let asks = asks || is_spanned && self.asked.is_none() && self.unasked.1 > 0;
        if asks {
            self.ask(number, now);
        }
        (number, asks)
    }

    /// So many from this number on were signed together and leave: the copy is kept.
    pub(crate) fn keep(&mut self, number: u64, envelope: Envelope, hop: Option<PeerId>) {
        let count = envelope.messages() as u64;
        let first = self.sent.partition_point(|sent| sent.number < number);
        let after = self
            .sent
            .partition_point(|sent| sent.number < number + count);
        let slots = self.sent.range(first..after).map(|sent| sent.slots).sum();
        // Some may have been given up meanwhile: then it is the first left that has the copy.
        if let Some(sent) = self.sent.get_mut(first).filter(|_| first < after) {
            sent.number = number;
            sent.count = count;
            sent.slots = slots;
            sent.copy = Some(envelope);
            sent.hop = hop;
            self.sent.drain(first + 1..after);
        }
    }

    /// A copy that left otherwise took this way.
    pub(crate) fn repeated(&mut self, number: u64, hop: PeerId, now: Instant) {
        if let Some(place) = self.find(|sent| sent.end() <= number) {
            let sent = &mut self.sent[place];
            (sent.hop, sent.sent_at) = (Some(hop), now);
        }
    }

    /// The first of which this is false, if there is one.
    pub(super) fn find(&self, is_before: impl Fn(&Sent) -> bool) -> Option<usize> {
        let place = self.sent.partition_point(is_before);
        (place < self.sent.len()).then_some(place)
    }

    /// Those from this sequence on have arrived, or their outcome was told.
    pub(crate) fn settle(&mut self, sequence: u64, count: u64) {
        let end = sequence.saturating_add(count);
        let first = self.sent.partition_point(|sent| sent.sequence < sequence);
        // What was signed together with others stays until all of it is settled.
        let is_before = |sent: &Sent| sent.sequence + sent.count <= end;
        let after = self.sent.partition_point(is_before).max(first);
        let slots: usize = self
            .sent
            .drain(first..after)
            .map(|settled| settled.slots)
            .sum();
        if self.uses_window() {
            self.window.grow(slots);
        }
        self.slots -= slots;
        self.calm_down();
    }

    pub(super) fn uses_window(&self) -> bool {
        self.slots * 2 >= self.window.slots()
    }

    pub(super) fn calm_down(&mut self) {
        self.lost = self.lost && self.sent.iter().any(|sent| sent.lost.is_some());
        if self.sent.is_empty() {
            self.asked = None;
            self.questions.clear();
            self.unasked = (0, 0);
            self.expires_at = None;
        }
    }

    /// A forwarder could not pass on those from this sequence on. Returns whether they are
    /// repeated.
    pub(crate) fn stuck(
        &mut self,
        sequence: u64,
        (reason, at): (LossReason, PeerId),
        now: Instant,
    ) -> bool {
        let round_trip = self.round_trip();
        let place = self.find(|sent| sent.sequence + sent.count <= sequence);
        let Some(sent) = place.map(|place| &mut self.sent[place]) else {
            return false;
        };
        if sent.sequence > sequence {
            return false;
        }
        let full = reason == LossReason::QueueFull;
        if full {
            self.window.shrink(round_trip, now);
        }
        if sent.copy.is_none() || sent.deadline <= now {
            return false;
        }
        let wait = ROOM_PATIENCE * (1 << sent.repeats.min(DOUBLINGS_MAX));
        // Other routes may be known soon; a full queue needs time.
        let wait = match sent.repeats == 0 && !full {
            true => ROOM_PATIENCE / 2,
            false => wait,
        };
        sent.lost.get_or_insert(Lost {
            reason,
            at,
            repeat_at: now + wait,
        });
        self.lost = true;
        true
    }

    /// A receipt has come so long after its message left.
    pub(crate) fn answered_after(&mut self, took: Duration, now: Instant) {
        self.answers.measured(took);
        self.lateness.measured(took, now);
    }

    /// The same of a reply, which takes as long as the target's application thinks, too.
    pub(crate) fn replied_after(&mut self, took: Duration, now: Instant) {
        self.lateness.measured(took, now);
    }

    /// How long a message that will be answered waits for others.
    pub(crate) fn gathering(&self) -> Duration {
        self.lateness.gathering()
    }

    /// The longest that a receipt is likely to take, if any has come.
    pub(crate) fn answers_within(&self) -> Option<Duration> {
        self.answers.longest()
    }

    pub(super) fn round_trip(&self) -> Duration {
        self.news.usual().unwrap_or(ROUND_TRIP)
    }

    /// When something is due.
    pub(crate) fn deadline(&self, patience: Patience) -> Option<Instant> {
        let lost = self.lost.then(|| self.sent.iter()).into_iter().flatten();
        let lost = lost.filter_map(|sent| Some(sent.lost?.repeat_at.min(sent.deadline)));
        let ask = self.ask_again_at(patience);
        lost.chain(ask).min()
    }

    /// Gives up what is late. What became of it is not known: it is lost if a forwarder has said
    /// so, or if news were asked for and do not come.
    pub(crate) fn expire(&mut self, at: PeerId, now: Instant) -> Vec<Ended> {
        if self.expires_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let unanswered = self.asked.is_some_and(|asked| asked.again > 0);
        let (mut ended, mut freed, mut expires_at) = (Vec::new(), 0, None::<Instant>);
        self.sent.retain(|sent| {
            if sent.deadline > now {
                let earliest = expires_at.get_or_insert(sent.deadline);
                *earliest = sent.deadline.min(*earliest);
                return true;
            }
            freed += sent.slots;
            let lost = sent.lost.map(|lost| (lost.reason, lost.at));
            let silence = (unanswered && sent.copy.is_some()).then_some((LossReason::Deadline, at));
            ended.push(Ended {
                sequence: sent.sequence,
                count: sent.count,
                lost: lost.or(silence),
            });
            false
        });
        self.slots -= freed;
        let (slots, numbers) = self.unasked;
        self.unasked = (slots.min(self.slots), numbers.min(self.next - self.base()));
        self.expires_at = expires_at;
        self.calm_down();
        ended
    }
}
