//! Callers that wait for room in the mesh.

use std::collections::BTreeMap;
use std::task::{Context, Waker};

use crate::id::PeerId;
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

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    /// Counts how often it was woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A caller, and how often it was woken.
    pub(crate) fn caller() -> (Waker, impl Fn() -> usize) {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        (waker, move || woken.0.load(Ordering::Relaxed))
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
}
