//! Members ask each other how they see their links to third ones: what keeps two of them apart is
//! known at their ends alone. Both the question and its answer travel as messages do, and neither
//! is one of the application's.

use std::collections::BTreeMap;
use std::time::Duration;

use super::losses::delivery_failed;
use super::{Messages, Net};
use crate::error::{LossReason, RejectReason, SendError};
use crate::id::{MessageId, PeerId, Target};
use crate::io::{Channel, Event};
use crate::link_report::LinkReport;
use crate::time::Instant;
use crate::timeout::TimeoutReason;
use crate::wire::Content;

/// Questions of this agent that await their answers at most: two are asked at once, one of each end
/// of a link.
const QUESTIONS_MAX: usize = 64;

/// Time after which a question without an answer is asked again, until its deadline: a round trip
/// takes less, and what is lost on a way that breaks is soon asked over another.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Mean time between two answers of this agent, whoever asks. An answer costs a signature and some
/// hundred bytes, so that even a member that asks without end costs little; a person asks seldom.
const ANSWER_EVERY: Duration = Duration::from_millis(100);

/// Answers that may leave at once, after a while without any: some people look at the same member.
const ANSWERS_BURST: u32 = 20;

/// What this agent has asked others of their links, and how much it has answered.
#[derive(Debug, Default)]
pub(super) struct Questions {
    open: BTreeMap<MessageId, Question>,
    /// When all answers of late would have left at the mean rate: the generic cell rate algorithm
    /// (ITU-T I.371, annex A), as for messages.
    even_at: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Question {
    of: PeerId,
    about: PeerId,
    again_at: Instant,
    deadline: Instant,
}

impl Questions {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether one answer more may be given now.
    fn may_answer(&mut self, now: Instant) -> bool {
        let ahead = self.even_at.max(now).since(now);
        let may = ahead <= ANSWER_EVERY * (ANSWERS_BURST - 1);
        if may {
            self.even_at = self.even_at.max(now) + ANSWER_EVERY;
        }
        may
    }
}

impl Messages {
    /// See [`Mesh::explain_link`](crate::Mesh::explain_link).
    pub(crate) fn explain_link(
        &mut self,
        (of, about): (PeerId, PeerId),
        deadline: Option<Duration>,
        net: &mut Net<'_>,
    ) -> Result<MessageId, SendError> {
        if !net.cx.joined {
            return Err(SendError::NotJoined);
        }
        if of == about {
            return Err(SendError::ToSelf);
        }
        if of != net.cx.this && !net.overlay.may_be_here(of) {
            return Err(SendError::UnknownPeer(of));
        }
        let deadline = deadline.unwrap_or(net.cx.config.deadline);
        if deadline.is_zero() || deadline > net.cx.config.deadline_max {
            return Err(SendError::Deadline(net.cx.config.deadline_max));
        }
        if self.questions.len() >= QUESTIONS_MAX {
            self.backpressured = true;
            return Err(SendError::TooManyPending(QUESTIONS_MAX));
        }
        let id = self.next_header(Target::Peer(of), net).id(net.cx.this);
        if of == net.cx.this {
            self.explained(id, about, Box::new(net.report(about)), net);
            return Ok(id);
        }
        let question = Question {
            of,
            about,
            again_at: net.cx.now,
            deadline: net.cx.now + deadline,
        };
        self.questions.open.insert(id, question);
        self.tend_questions(net);
        Ok(id)
    }

    /// Asks what is due to be asked, and gives up what was asked for too long.
    pub(crate) fn tend_questions(&mut self, net: &mut Net<'_>) {
        let now = net.cx.now;
        let due = self.questions.open.iter();
        let due: Vec<_> = due
            .filter(|(_, question)| question.again_at <= now)
            .map(|(id, question)| (*id, *question))
            .collect();
        for (id, question) in due {
            if question.deadline <= now {
                self.give_up_question(id, LossReason::Deadline, net);
                continue;
            }
            let content = Content::LinkQuery {
                number: id.sequence,
                about: question.about,
            };
            let patience = AGAIN_AFTER.min(question.deadline.since(now));
            let envelope = self.sign(Target::Peer(question.of), content, net);
            // Forwarders that do not know the kind pass it on here, and on no other channel.
            self.dispatch(envelope, Channel::Data, None, patience, net);
            if let Some(asked) = self.questions.open.get_mut(&id) {
                asked.again_at = now + patience;
            }
        }
        let open = self.questions.open.values();
        if let Some(at) = open.map(|question| question.again_at).min() {
            self.timers.arm(TimeoutReason::Explain, at);
        }
    }

    /// A member asks how this agent sees its link to another.
    pub(super) fn asked_of_link(
        &mut self,
        author: PeerId,
        (number, about): (u64, PeerId),
        via: Option<PeerId>,
        net: &mut Net<'_>,
    ) {
        if !self.questions.may_answer(net.cx.now) {
            return net
                .links
                .reject(via, Some(author), RejectReason::Limit, net.cx);
        }
        let report = net.report(about);
        let content = Content::LinkReport {
            number,
            about,
            report: Box::new(report),
        };
        let envelope = self.sign(Target::Peer(author), content, net);
        // Later the author asks again.
        self.dispatch(envelope, Channel::Data, None, AGAIN_AFTER, net);
    }

    /// A member answers. What was not asked of it, or was answered before, is nothing new.
    pub(super) fn link_reported(
        &mut self,
        author: PeerId,
        (number, about): (u64, PeerId),
        report: Box<LinkReport>,
        net: &mut Net<'_>,
    ) {
        let open = self.questions.open.iter();
        let mut asked = open.filter(|(id, question)| {
            (id.sequence, question.of, question.about) == (number, author, about)
        });
        let Some(id) = asked.next().map(|(id, _)| *id) else {
            net.cx.stats.duplicates += 1;
            return;
        };
        self.questions.open.remove(&id);
        self.explained(id, about, report, net);
        self.notify_writable(net);
    }

    fn explained(&self, id: MessageId, about: PeerId, report: Box<LinkReport>, net: &mut Net<'_>) {
        let Target::Peer(of) = id.target else {
            return; // It was asked of one member.
        };
        net.cx.emit(Event::LinkExplained {
            id,
            of,
            about,
            report,
        });
    }

    fn give_up_question(&mut self, id: MessageId, reason: LossReason, net: &mut Net<'_>) {
        self.questions.open.remove(&id);
        net.cx.stats.lose(reason);
        delivery_failed(id, reason, net.cx.this, net.cx);
        self.notify_writable(net);
    }

    /// The agent leaves: no answer comes any more.
    pub(super) fn fail_questions(&mut self, net: &mut Net<'_>) {
        for (id, _) in std::mem::take(&mut self.questions.open) {
            net.cx.stats.lose(LossReason::Left);
            delivery_failed(id, LossReason::Left, net.cx.this, net.cx);
        }
    }
}

impl Net<'_> {
    /// How this agent sees its link to another member.
    fn report(&self, about: PeerId) -> LinkReport {
        self.overlay
            .report(about, self.links, self.routing, self.cx)
    }
}
