//! The wait of a join until a signaling server has decided, and what a failure is called.
//!
//! A driver looks at an address when it is asked to, in its own way, and tells when the time is up.
//! Which failures may heal, when trying on is of no use, and all words are decided here.

use std::collections::BTreeSet;
use std::task::{Context, Poll, Waker};

use thiserror::Error;

use super::facts::SocketEnd;
use crate::io::Event;

/// Why an agent is not in its room.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AdmissionError {
    /// What answers is no signaling server.
    #[error("{url} is no signaling server: {reason}")]
    NotAHub {
        /// Where it should be.
        url: String,
        /// What it answered.
        reason: String,
    },
    /// The signaling server's certificate is not to be trusted.
    #[error("the certificate of {url} is not to be trusted: {reason}")]
    Distrusted {
        /// Where the server is.
        url: String,
        /// The cause and the remedy.
        reason: String,
    },
    /// The signaling server admits no pages from this one's origin.
    #[error("the signaling server at {url} refuses pages from here: {reason}")]
    OriginRefused {
        /// Where the server is.
        url: String,
        /// The server's own words, which name the remedy.
        reason: String,
    },
    /// The signaling server cannot be reached.
    #[error("the signaling server at {url} cannot be reached: {reason}")]
    Unreachable {
        /// Where it should be.
        url: String,
        /// The last cause, in the server's own words if it had any, and what to look at.
        reason: String,
    },
    /// None of several signaling servers has admitted this agent.
    #[error("none of the {} signaling servers lets this agent in: {}", .0.len(), listed(.0))]
    NoneAdmits(Vec<Self>),
    /// The signaling server will not have this agent.
    #[error("the signaling server refuses this agent ({code}): {message}")]
    Refused {
        /// The protocol's code.
        code: String,
        /// The cause and the remedy.
        message: String,
    },
    /// The agent was closed, or its driver failed, before the signaling server had decided.
    #[error("this agent was closed before the signaling server had admitted it")]
    Ended,
}

impl AdmissionError {
    /// A stable code for programs, the same in every binding.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotAHub { .. } => "not-a-hub",
            Self::Distrusted { .. } => "distrusted",
            Self::OriginRefused { .. } => "origin-refused",
            Self::Unreachable { .. } => UNREACHABLE,
            // What is wrong with all of them has its own code.
            Self::NoneAdmits(errors) => match errors.first().map(Self::code) {
                Some(code) if errors.iter().all(|error| error.code() == code) => code,
                _ => UNREACHABLE,
            },
            Self::Refused { .. } => "refused",
            Self::Ended => "closed",
        }
    }
}

/// The code of a join that has found no hub.
const UNREACHABLE: &str = "signaling-unreachable";

/// Several causes, one after the other.
fn listed(errors: &[AdmissionError]) -> String {
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    errors.join("; ")
}

/// What a join has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdmissionStep {
    /// No WebSocket has opened at this address: look what is there, and tell
    /// [`AgentState::found`](super::AgentState::found).
    Look(usize),
    /// Nothing more: this is the outcome.
    Decided(Result<(), AdmissionError>),
}

/// What a driver finds at an address where no WebSocket has opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing but the failure itself.
    Silence,
    /// Something answers there, and a hub may yet: what is known of it, for people, or none if the
    /// failure itself has its words.
    Answers(Option<String>),
    /// Trying again is of no use.
    Final(AdmissionError),
}

/// An address of a signaling server, and how far the attempts there have come.
#[derive(Debug)]
struct Address {
    url: String,
    /// Whether a WebSocket has opened at the last attempt.
    opened: bool,
    /// How the last attempt failed, if one has.
    failure: Option<String>,
    finding: Finding,
}

/// The attempts of one agent to be admitted.
#[derive(Debug)]
pub(super) struct Admission {
    addresses: Vec<Address>,
    /// Addresses that the driver is to look at.
    looks: BTreeSet<usize>,
    late: bool,
    decided: Option<Result<(), AdmissionError>>,
    waker: Option<Waker>,
}

impl Admission {
    pub(super) fn new(hubs: &[String]) -> Self {
        let address = |url: &String| Address {
            url: url.clone(),
            opened: false,
            failure: None,
            finding: Finding::Silence,
        };
        Self {
            addresses: hubs.iter().map(address).collect(),
            looks: BTreeSet::new(),
            late: false,
            decided: None,
            waker: None,
        }
    }

    /// A WebSocket is dialled.
    pub(super) fn dialled(&mut self, hub: usize) {
        if let Some(address) = self.addresses.get_mut(hub) {
            address.opened = false;
        }
    }

    /// A WebSocket has opened: what was seen there before has passed.
    pub(super) fn opened(&mut self, hub: usize) {
        if let Some(address) = self.addresses.get_mut(hub) {
            address.opened = true;
            address.finding = Finding::Answers(None);
        }
    }

    /// The first text of a WebSocket is none of a hub's. Returns why it ends.
    pub(super) fn speaks_otherwise(&mut self, hub: usize, text: &str) -> SocketEnd {
        let begin: String = text.chars().take(super::QUOTED_CHARS).collect();
        let reason = format!(
            "the WebSocket there does not speak the protocol of a hub, and begins with {begin:?}"
        );
        let url = self.addresses.get(hub).map(|address| address.url.clone());
        let url = url.unwrap_or_default();
        let error = AdmissionError::NotAHub { url, reason };
        let end = SocketEnd::Told(error.to_string());
        self.found(hub, Finding::Final(error));
        end
    }

    /// The driver has looked at an address.
    pub(super) fn found(&mut self, hub: usize, finding: Finding) {
        if let Some(address) = self.addresses.get_mut(hub) {
            address.finding = finding;
        }
        self.wake();
    }

    /// Takes note of an event that may decide.
    pub(super) fn hear(&mut self, event: &Event) {
        if self.decided.is_some() {
            return;
        }
        match event {
            Event::Joined { .. } => self.decided = Some(Ok(())),
            Event::Refused { code, message } => {
                let (code, message) = (code.clone(), message.clone());
                self.decided = Some(Err(AdmissionError::Refused { code, message }));
            }
            Event::SignalingLost { hub, reason, .. } => {
                let Some(address) = self.addresses.get_mut(*hub) else {
                    return;
                };
                address.failure = Some(reason.clone());
                if !address.opened {
                    self.looks.insert(*hub);
                }
            }
            _ => return,
        }
        self.wake();
    }

    pub(super) fn is_late(&mut self) {
        self.late = true;
        self.wake();
    }

    pub(super) fn end(&mut self) {
        self.decided.get_or_insert(Err(AdmissionError::Ended));
        self.wake();
    }

    pub(super) fn poll(&mut self, context: &Context<'_>) -> Poll<AdmissionStep> {
        if let Some(outcome) = &self.decided {
            return Poll::Ready(AdmissionStep::Decided(outcome.clone()));
        }
        if let Some(hub) = self.looks.pop_first() {
            return Poll::Ready(AdmissionStep::Look(hub));
        }
        if self.is_over() {
            return Poll::Ready(AdmissionStep::Decided(Err(self.error())));
        }
        self.waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Whether trying on is of no use, or not wanted any more.
    fn is_over(&self) -> bool {
        let mut addresses = self.addresses.iter();
        let tried = self.is_single() || addresses.all(|address| address.failure.is_some());
        let is_final = |address: &Address| matches!(address.finding, Finding::Final(_));
        (self.late && tried) || self.addresses.iter().all(is_final)
    }

    fn is_single(&self) -> bool {
        self.addresses.len() == 1
    }

    fn error(&self) -> AdmissionError {
        let is_single = self.is_single();
        let errors = self
            .addresses
            .iter()
            .map(|address| address.error(is_single));
        let mut errors: Vec<_> = errors.collect();
        match errors.pop() {
            Some(error) if is_single => error,
            last => {
                errors.extend(last);
                AdmissionError::NoneAdmits(errors)
            }
        }
    }
}

impl Address {
    /// Why the agent is not admitted there.
    fn error(&self, is_single: bool) -> AdmissionError {
        let failure = self.failure.as_deref().unwrap_or("no answer");
        let reason = match &self.finding {
            Finding::Final(error) => return error.clone(),
            Finding::Answers(Some(seen)) => format!("{seen} ({failure})"),
            // Words of the server name the remedy.
            Finding::Answers(None) => failure.to_owned(),
            Finding::Silence if is_single => format!("{failure}. Is `mesh up` running there?"),
            Finding::Silence => failure.to_owned(),
        };
        let url = self.url.clone();
        AdmissionError::Unreachable { url, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "ws://a/signal";
    const B: &str = "ws://b/signal";

    fn admission(hubs: &[&str]) -> Admission {
        let hubs: Vec<_> = hubs.iter().map(|&url| url.to_owned()).collect();
        Admission::new(&hubs)
    }

    fn lost(hub: usize, reason: &str) -> Event {
        Event::SignalingLost {
            hub,
            reason: reason.to_owned(),
            retry_in_ms: 1,
        }
    }

    fn not_a_hub(url: &str) -> AdmissionError {
        AdmissionError::NotAHub {
            url: url.to_owned(),
            reason: "it answered 404".to_owned(),
        }
    }

    fn step(admission: &mut Admission) -> Poll<AdmissionStep> {
        admission.poll(&Context::from_waker(Waker::noop()))
    }

    /// The outcome that stands after all that is to be looked at was looked at in vain.
    fn error(admission: &mut Admission) -> AdmissionError {
        loop {
            match step(admission) {
                Poll::Ready(AdmissionStep::Look(_)) => {}
                Poll::Ready(AdmissionStep::Decided(Err(error))) => return error,
                other => panic!("no failure: {other:?}"),
            }
        }
    }

    #[test]
    fn a_join_ends_when_a_hub_admits_or_refuses_whatever_is_told_later() {
        let joined = Event::Joined {
            room: "room".into(),
            members: 1,
        };
        let refused = Event::Refused {
            code: "room-full".into(),
            message: "20,000 members".into(),
        };
        let error = AdmissionError::Refused {
            code: "room-full".into(),
            message: "20,000 members".into(),
        };
        for (event, outcome) in [(joined, Ok(())), (refused, Err(error))] {
            let mut admission = admission(&[A, B]);
            assert!(step(&mut admission).is_pending());
            admission.hear(&event);
            admission.hear(&lost(0, "later"));
            admission.is_late();
            admission.end();
            let decided = Poll::Ready(AdmissionStep::Decided(outcome));
            assert_eq!(step(&mut admission), decided);
        }
    }

    #[test]
    fn a_single_hub_is_tried_until_the_time_is_up() {
        let mut admission = admission(&[A]);
        for n in 0..3 {
            admission.dialled(0);
            admission.hear(&lost(0, &format!("refused {n}")));
            assert_eq!(step(&mut admission), Poll::Ready(AdmissionStep::Look(0)));
            admission.found(0, Finding::Silence);
            assert!(step(&mut admission).is_pending());
        }
        admission.is_late();
        assert_eq!(
            error(&mut admission).to_string(),
            "the signaling server at ws://a/signal cannot be reached: refused 2. Is `mesh up` \
             running there?"
        );
    }

    #[test]
    fn a_hub_that_never_failed_has_not_answered_when_the_time_is_up() {
        let mut admission = admission(&[A]);
        admission.is_late();
        let error = error(&mut admission);
        assert!(
            error.to_string().contains("no answer. Is `mesh up`"),
            "{error}"
        );
        assert_eq!(error.code(), "signaling-unreachable");
    }

    #[test]
    fn what_answers_is_quoted_and_no_other_cause_is_guessed() {
        for (finding, words) in [
            (Finding::Answers(None), "cannot be reached: 503 (full)"),
            (
                Finding::Answers(Some("a proxy answers".into())),
                "cannot be reached: a proxy answers (503 (full))",
            ),
        ] {
            let mut admission = admission(&[A]);
            admission.hear(&lost(0, "503 (full)"));
            assert_eq!(step(&mut admission), Poll::Ready(AdmissionStep::Look(0)));
            admission.found(0, finding);
            admission.is_late();
            let error = error(&mut admission).to_string();
            assert!(error.ends_with(words), "{error}");
        }
    }

    #[test]
    fn several_hubs_are_each_tried_however_late_it_is() {
        let mut admission = admission(&[A, B]);
        admission.is_late();
        admission.hear(&lost(0, "refused"));
        assert_eq!(step(&mut admission), Poll::Ready(AdmissionStep::Look(0)));
        assert!(
            step(&mut admission).is_pending(),
            "the second was not tried"
        );
        admission.hear(&lost(1, "silent"));
        let error = error(&mut admission);
        assert_eq!(error.code(), "signaling-unreachable");
        assert_eq!(
            error.to_string(),
            "none of the 2 signaling servers lets this agent in: the signaling server at \
             ws://a/signal cannot be reached: refused; the signaling server at ws://b/signal \
             cannot be reached: silent"
        );
    }

    #[test]
    fn hubs_that_are_none_end_a_join_before_its_time_with_a_code_of_their_own() {
        let mut admission = admission(&[A, B]);
        admission.hear(&lost(0, "404"));
        assert_eq!(step(&mut admission), Poll::Ready(AdmissionStep::Look(0)));
        admission.found(0, Finding::Final(not_a_hub(A)));
        assert!(step(&mut admission).is_pending(), "the other may be one");
        admission.found(1, Finding::Final(not_a_hub(B)));
        let error = error(&mut admission);
        assert_eq!(
            error,
            AdmissionError::NoneAdmits(vec![not_a_hub(A), not_a_hub(B)])
        );
        assert_eq!(error.code(), "not-a-hub");
    }

    #[test]
    fn a_websocket_that_talks_otherwise_ends_a_join_at_once() {
        let mut admission = admission(&[A]);
        admission.dialled(0);
        admission.opened(0);
        let end = admission.speaks_otherwise(0, &"chat!".repeat(100));
        let error = error(&mut admission);
        assert_eq!(error.code(), "not-a-hub");
        let words = error.to_string();
        assert!(words.contains("does not speak the protocol"), "{words}");
        assert!(words.len() < 250, "{words}");
        assert_eq!(end, SocketEnd::Told(words));
    }

    #[test]
    fn an_address_is_looked_at_only_where_no_websocket_has_opened() {
        let mut admission = admission(&[A]);
        admission.dialled(0);
        admission.opened(0);
        admission.hear(&lost(0, "draining"));
        assert!(step(&mut admission).is_pending());
        admission.dialled(0);
        admission.hear(&lost(0, "refused"));
        assert_eq!(step(&mut admission), Poll::Ready(AdmissionStep::Look(0)));
        assert!(step(&mut admission).is_pending(), "it is looked at once");
    }

    #[test]
    fn an_agent_that_ends_ends_its_join() {
        let mut admission = admission(&[A]);
        admission.hear(&lost(0, "refused"));
        admission.end();
        let ended = AdmissionStep::Decided(Err(AdmissionError::Ended));
        assert_eq!(step(&mut admission), Poll::Ready(ended));
        assert_eq!(AdmissionError::Ended.code(), "closed");
    }
}
