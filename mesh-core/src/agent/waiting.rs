//! Callers that wait: for room in the mesh, and for the reply to a request.

use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};

use crate::error::{LossReason, MeshError};
use crate::id::{MessageId, PeerId};
use crate::io::Event;
use crate::link_report::LinkReport;
use crate::payload::{Delivery, Payload};

/// What callers wait for room for. Callers that wait for the same are served in the order in which
/// they came, and none overtakes them; others do not wait for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Line {
    /// Any first link.
    Ready,
    /// Broadcasts.
    Room,
    /// Messages and requests to one member.
    Messages(PeerId),
    /// Large ones.
    Large(PeerId),
    /// Datagrams to one member.
    Datagrams(PeerId),
    /// Replies to one member.
    Replies(PeerId),
    /// Questions to members about their links.
    Questions,
}

impl Line {
    /// Where a message to this member waits.
    pub fn of(to: PeerId, payload: &Payload, delivery: Delivery) -> Self {
        match delivery {
            _ if payload.is_large() => Self::Large(to),
            Delivery::Datagram => Self::Datagrams(to),
            Delivery::Reliable | Delivery::Acknowledged => Self::Messages(to),
        }
    }
}

/// The place of one caller among those that wait for room. A binding that drops a call hands it to
/// [`AgentState::give_up`](super::AgentState::give_up).
#[derive(Debug)]
pub struct Ticket {
    line: Line,
    number: Option<u64>,
}

impl Ticket {
    /// A caller that has not waited yet.
    pub fn new(line: Line) -> Self {
        let number = None;
        Self { line, number }
    }

    /// Whether the caller has ever waited: then it is to be given up.
    pub fn has_waited(&self) -> bool {
        self.number.is_some()
    }
}

/// Callers that wait until the mesh has room, each by the number of its ticket.
#[derive(Debug, Default)]
pub(super) struct Callers {
    last: u64,
    /// The first of each line is woken when there may be room; it holds its place until it is
    /// served.
    lines: BTreeMap<Line, BTreeMap<u64, Option<Waker>>>,
}

impl Callers {
    /// Whether no caller that came before waits for the same.
    pub(super) fn is_next(&self, ticket: &Ticket) -> bool {
        let first = self
            .lines
            .get(&ticket.line)
            .and_then(BTreeMap::first_key_value);
        first.is_none_or(|(first, _)| ticket.number == Some(*first))
    }

    pub(super) fn wait(&mut self, ticket: &mut Ticket, context: &Context<'_>) {
        let number = *ticket.number.get_or_insert_with(|| {
            self.last += 1;
            self.last
        });
        let line = self.lines.entry(ticket.line).or_default();
        line.insert(number, Some(context.waker().clone()));
    }

    /// Has the first of each line call again.
    pub(super) fn wake(&mut self) {
        for line in self.lines.values_mut() {
            Self::wake_first(line);
        }
    }

    /// Has all of them call again.
    pub(super) fn wake_all(&mut self) {
        let lines = std::mem::take(&mut self.lines).into_values();
        lines
            .flat_map(BTreeMap::into_values)
            .flatten()
            .for_each(Waker::wake);
    }

    fn wake_first(line: &mut BTreeMap<u64, Option<Waker>>) {
        if let Some(mut first) = line.first_entry()
            && let Some(waker) = first.get_mut().take()
        {
            waker.wake();
        }
    }

    /// A caller is served, or has given up: the next may be.
    pub(super) fn leave(&mut self, ticket: &Ticket) {
        let Some(number) = ticket.number else {
            return;
        };
        if let Some(line) = self.lines.get_mut(&ticket.line) {
            let is_first = line
                .first_key_value()
                .is_some_and(|(first, _)| *first == number);
            line.remove(&number);
            if is_first {
                Self::wake_first(line);
            }
            if line.is_empty() {
                self.lines.remove(&ticket.line);
            }
        }
    }
}

/// What has become of a large message.
#[derive(Clone, Debug, PartialEq)]
pub enum TransferStep {
    /// So much more of it has arrived.
    Progress {
        /// Bytes that have arrived.
        bytes: u64,
        /// All of them.
        bytes_total: u64,
    },
    /// All of it has arrived, or it has failed.
    Done(Result<(), MeshError>),
}

impl Answer {
    /// That of a message which has none.
    fn nothing() -> Self {
        Self::Payload(Payload::Bytes(Vec::new()))
    }
}

/// Requests and large messages that were sent and whose outcome a caller has not taken.
#[derive(Debug, Default)]
pub(super) struct Replies {
    requests: BTreeMap<MessageId, Request>,
    ended: bool,
}

#[derive(Debug)]
enum Request {
    /// The caller, once it has asked, and how far a large one has come since.
    Awaited(Option<Waker>, Option<(u64, u64)>),
    Settled(Result<Answer, LossReason>),
}

/// What a caller gets.
#[derive(Debug)]
enum Answer {
    Payload(Payload),
    Report(Box<LinkReport>),
}

impl Replies {
    /// A request was sent.
    pub(super) fn expect(&mut self, request: MessageId) {
        self.requests.insert(request, Request::Awaited(None, None));
    }

    /// Takes note of an event that may settle a request.
    pub(super) fn settle(&mut self, event: &Event) {
        if let Event::Sending {
            id,
            bytes,
            bytes_total,
            ..
        } = event
            && let Some(Request::Awaited(waker, progress)) = self.requests.get_mut(id)
        {
            *progress = Some((*bytes, *bytes_total));
            waker.take().into_iter().for_each(Waker::wake);
        }
        let outcome = match event {
            // Of a large message: a request is settled by its reply.
            Event::Delivered { id, .. } => Some((*id, Ok(Answer::nothing()))),
            Event::LinkExplained { id, report, .. } => {
                Some((*id, Ok(Answer::Report(report.clone()))))
            }
            event => {
                let outcome = event.outcome();
                outcome.map(|(id, outcome)| (id, outcome.map(Answer::Payload)))
            }
        };
        if let Some((id, outcome)) = outcome
            && let Some(request) = self.requests.get_mut(&id)
        {
            let before = std::mem::replace(request, Request::Settled(outcome));
            if let Request::Awaited(Some(waker), _) = before {
                waker.wake();
            }
        }
    }

    /// What has become of a large message since it was last asked for.
    pub(super) fn poll_transfer(
        &mut self,
        id: MessageId,
        context: &Context<'_>,
    ) -> Poll<TransferStep> {
        if let Some(Request::Awaited(_, progress)) = self.requests.get_mut(&id)
            && let Some((bytes, bytes_total)) = progress.take()
        {
            return Poll::Ready(TransferStep::Progress { bytes, bytes_total });
        }
        let outcome = self.poll(id, context);
        outcome.map(|outcome| {
            let told = |error| match error {
                MeshError::NoReply(reason) => MeshError::NotDelivered(reason),
                other => other,
            };
            TransferStep::Done(outcome.map(|_| ()).map_err(told))
        })
    }

    /// The outcome of a request, once. One that is not known, or will not be settled any more,
    /// was this agent's that is closed.
    pub(super) fn poll(
        &mut self,
        id: MessageId,
        context: &Context<'_>,
    ) -> Poll<Result<Payload, MeshError>> {
        let answer = self.poll_answer(id, context);
        answer.map_ok(|answer| match answer {
            Answer::Payload(payload) => payload,
            Answer::Report(_) => Payload::Bytes(Vec::new()), // Another call awaits it.
        })
    }

    /// How a member sees a link, once: as [`Replies::poll`].
    pub(super) fn poll_report(
        &mut self,
        id: MessageId,
        context: &Context<'_>,
    ) -> Poll<Result<LinkReport, MeshError>> {
        self.poll_answer(id, context).map(|answer| match answer? {
            Answer::Report(report) => Ok(*report),
            Answer::Payload(_) => Err(MeshError::Closed), // Another call was asked for it.
        })
    }

    fn poll_answer(
        &mut self,
        id: MessageId,
        context: &Context<'_>,
    ) -> Poll<Result<Answer, MeshError>> {
        match self.requests.remove(&id) {
            Some(Request::Settled(outcome)) => Poll::Ready(outcome.map_err(MeshError::from)),
            Some(Request::Awaited(_, progress)) if !self.ended => {
                let waker = Some(context.waker().clone());
                self.requests.insert(id, Request::Awaited(waker, progress));
                Poll::Pending
            }
            Some(Request::Awaited(..)) | None => Poll::Ready(Err(MeshError::Closed)),
        }
    }

    pub(super) fn forget(&mut self, id: MessageId) {
        self.requests.remove(&id);
    }

    /// No more replies come. Those that have come can still be taken.
    pub(super) fn end(&mut self) {
        self.ended = true;
        for request in self.requests.values_mut() {
            if let Request::Awaited(waker, _) = request
                && let Some(waker) = waker.take()
            {
                waker.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;
    use crate::id::{PeerId, Target};

    /// Counts how often it was woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A caller, and how often it was woken.
    fn caller() -> (Waker, impl Fn() -> usize) {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        (waker, move || woken.0.load(Ordering::Relaxed))
    }

    fn id(sequence: u64) -> MessageId {
        MessageId {
            author: PeerId::from_bytes([1; 32]),
            incarnation: 1,
            target: Target::Room,
            sequence,
        }
    }

    fn replied(sequence: u64) -> Event {
        Event::Replied {
            id: id(sequence),
            from: PeerId::from_bytes([2; 32]),
            payload: Payload::from("reply"),
            round_trip_ms: 1.0,
        }
    }

    fn failed(sequence: u64, reason: LossReason) -> Event {
        Event::DeliveryFailed {
            id: id(sequence),
            to: None,
            reason,
            at: PeerId::from_bytes([1; 32]),
        }
    }

    fn peer(n: u8) -> PeerId {
        PeerId::from_bytes([n; 32])
    }

    #[test]
    fn callers_for_the_same_are_served_in_their_order_and_hold_up_no_others() {
        let mut callers = Callers::default();
        let ((first, first_woken), (second, second_woken)) = (caller(), caller());
        let (other, other_woken) = caller();
        let of = |delivery| Line::of(peer(1), &Payload::from("x"), delivery);
        let line = of(Delivery::Reliable);
        let [mut one, mut two, newcomer] = [0; 3].map(|_| Ticket::new(line));
        let mut three = Ticket::new(of(Delivery::Datagram));
        assert!(callers.is_next(&one));
        callers.wait(&mut one, &Context::from_waker(&first));
        callers.wait(&mut one, &Context::from_waker(&first)); // Polled for another reason.
        assert!(!callers.is_next(&two) && callers.is_next(&three));
        callers.wait(&mut two, &Context::from_waker(&second));
        callers.wait(&mut three, &Context::from_waker(&other));
        callers.wake();
        callers.wake();
        assert_eq!((first_woken(), second_woken(), other_woken()), (1, 0, 1));
        assert!(
            !callers.is_next(&newcomer),
            "the first is woken and not served"
        );
        callers.leave(&one);
        assert_eq!((first_woken(), second_woken()), (1, 1));
        assert!(callers.is_next(&two));
        callers.leave(&two);
        assert!(callers.is_next(&newcomer));
    }

    #[test]
    fn a_caller_that_has_given_up_leaves_nothing_behind() {
        let mut callers = Callers::default();
        let ((waker, woken), (next, next_woken)) = (caller(), caller());
        let [mut ticket, mut behind] = [0; 2].map(|_| Ticket::new(Line::Room));
        assert!(!ticket.has_waited());
        callers.wait(&mut ticket, &Context::from_waker(&waker));
        callers.wait(&mut behind, &Context::from_waker(&next));
        assert!(ticket.has_waited());
        callers.leave(&ticket);
        callers.leave(&ticket);
        assert_eq!(
            (woken(), next_woken()),
            (0, 1),
            "there may be room for the next"
        );
        callers.leave(&behind);
        assert!(callers.lines.is_empty());
        callers.wake();
        assert_eq!((woken(), next_woken()), (0, 1));
    }

    #[test]
    fn a_reply_is_told_once_to_the_caller_that_awaits_it() {
        let mut replies = Replies::default();
        let (waker, woken) = caller();
        let context = Context::from_waker(&waker);
        (1..=3).for_each(|n| replies.expect(id(n)));
        assert!(replies.poll(id(1), &context).is_pending());
        replies.settle(&replied(9));
        assert_eq!(woken(), 0, "that is another request");
        replies.settle(&replied(1));
        replies.settle(&replied(2)); // Before it is asked for.
        replies.settle(&failed(3, LossReason::Deadline));
        assert_eq!(woken(), 1);
        let reply = || Poll::Ready(Ok(Payload::from("reply")));
        assert_eq!(replies.poll(id(1), &context), reply());
        assert_eq!(replies.poll(id(2), &context), reply());
        let lost = Poll::Ready(Err(MeshError::NoReply(LossReason::Deadline)));
        assert_eq!(replies.poll(id(3), &context), lost);
        assert!(replies.requests.is_empty());
    }

    #[test]
    fn a_large_message_tells_the_latest_of_how_far_it_has_come_and_then_what_became_of_it() {
        let mut replies = Replies::default();
        let (waker, woken) = caller();
        let context = Context::from_waker(&waker);
        replies.expect(id(1));
        let sending = |bytes| Event::Sending {
            id: id(1),
            to: peer(2),
            bytes,
            bytes_total: 9,
        };
        assert!(replies.poll_transfer(id(1), &context).is_pending());
        replies.settle(&sending(3));
        replies.settle(&sending(6));
        assert_eq!(woken(), 1);
        let (bytes, bytes_total) = (6, 9);
        let step = Poll::Ready(TransferStep::Progress { bytes, bytes_total });
        assert_eq!(replies.poll_transfer(id(1), &context), step);
        assert!(replies.poll_transfer(id(1), &context).is_pending());
        replies.settle(&failed(1, LossReason::TooLarge));
        let lost = MeshError::NotDelivered(LossReason::TooLarge);
        let done = Poll::Ready(TransferStep::Done(Err(lost)));
        assert_eq!(replies.poll_transfer(id(1), &context), done);
        assert!(replies.requests.is_empty());
    }

    #[test]
    fn a_reply_that_is_awaited_no_longer_is_not_kept() {
        let mut replies = Replies::default();
        (1..=2).for_each(|n| replies.expect(id(n)));
        replies.settle(&replied(1));
        replies.forget(id(1));
        replies.forget(id(2));
        replies.settle(&replied(2));
        assert!(replies.requests.is_empty());
    }

    #[test]
    fn when_the_agent_leaves_or_ends_its_requests_say_that_it_is_closed() {
        let mut replies = Replies::default();
        let (waker, woken) = caller();
        let context = Context::from_waker(&waker);
        (1..=3).for_each(|n| replies.expect(id(n)));
        assert!(replies.poll(id(1), &context).is_pending());
        replies.settle(&failed(2, LossReason::Left));
        replies.settle(&replied(3));
        replies.end();
        assert_eq!(woken(), 1);
        let closed = Poll::Ready(Err(MeshError::Closed));
        assert_eq!(replies.poll(id(1), &context), closed);
        assert_eq!(replies.poll(id(2), &context), closed);
        let reply = Poll::Ready(Ok(Payload::from("reply")));
        assert_eq!(
            replies.poll(id(3), &context),
            reply,
            "it came before the end"
        );
    }
}
