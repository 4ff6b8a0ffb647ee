//! Callers that wait for what becomes of a request or a large message.

use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};

use crate::error::{LossReason, MeshError};
use crate::id::MessageId;
use crate::io::Event;
use crate::link_report::LinkReport;
use crate::payload::Payload;

/// What has become of a large message, or of a request, which may be large and has a reply.
#[derive(Clone, Debug, PartialEq)]
pub enum TransferStep<T = ()> {
    /// So much more of it has arrived.
    Progress {
        /// Bytes that have arrived.
        bytes: u64,
        /// All of them.
        bytes_total: u64,
    },
    /// All of it has arrived, or the reply has come; or it has failed.
    Done(Result<T, MeshError>),
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
        let told = |error| match error {
            MeshError::NoReply(reason) => MeshError::NotDelivered(reason),
            other => other,
        };
        self.poll_request(id, context).map(|step| match step {
            TransferStep::Progress { bytes, bytes_total } => {
                TransferStep::Progress { bytes, bytes_total }
            }
            TransferStep::Done(outcome) => TransferStep::Done(outcome.map(|_| ()).map_err(told)),
        })
    }

    /// What has become of a request since it was last asked for.
    pub(super) fn poll_request(
        &mut self,
        id: MessageId,
        context: &Context<'_>,
    ) -> Poll<TransferStep<Payload>> {
        if let Some(Request::Awaited(_, progress)) = self.requests.get_mut(&id)
            && let Some((bytes, bytes_total)) = progress.take()
        {
            return Poll::Ready(TransferStep::Progress { bytes, bytes_total });
        }
        self.poll(id, context).map(TransferStep::Done)
    }

    /// The outcome of a request, once. One that is not known, or will not be settled any more,
    /// was this agent's that is closed.
    fn poll(&mut self, id: MessageId, context: &Context<'_>) -> Poll<Result<Payload, MeshError>> {
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
    use super::super::waiting::tests::caller;
    use super::*;
    use crate::id::{PeerId, Target};

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
            to: PeerId::from_bytes([2; 32]),
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
    fn a_large_request_tells_how_far_it_has_come_and_then_its_reply() {
        let mut replies = Replies::default();
        let (waker, _) = caller();
        let context = Context::from_waker(&waker);
        replies.expect(id(1));
        replies.settle(&Event::Sending {
            id: id(1),
            to: PeerId::from_bytes([2; 32]),
            bytes: 3,
            bytes_total: 9,
        });
        let (bytes, bytes_total) = (3, 9);
        let step = Poll::Ready(TransferStep::Progress { bytes, bytes_total });
        assert_eq!(replies.poll_request(id(1), &context), step);
        replies.settle(&replied(1));
        let reply = Poll::Ready(TransferStep::Done(Ok(Payload::from("reply"))));
        assert_eq!(replies.poll_request(id(1), &context), reply);
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
