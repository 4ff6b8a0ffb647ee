//! Readers of an agent's events: each has a queue of its own, with a bound.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use crate::io::Event;
use crate::messages::OF_AUTHOR_MAX;

/// Events that wait for one reader at most. A reader that does nothing else keeps up with thousands
/// a turn of the driver; one that is further behind is told so.
pub const EVENTS_MAX: usize = 4_096;

/// Bytes of the events that wait for one reader at most: the cost of a reader that was abandoned.
/// 500 of the largest messages fit.
pub const EVENT_BYTES_MAX: usize = 8 << 20;

/// Large messages that wait for one reader at most, whatever their size: as many of two authors as
/// an agent takes at once. They take no room of other events.
const LARGE_MAX: usize = 2 * OF_AUTHOR_MAX;

/// The agent's end of one reader: the reader's [`EventQueue`], behind the lock that the threads of
/// a binding need.
pub trait Reader {
    /// Does something with the queue; nothing if the reader is gone.
    fn with<T>(&self, call: impl FnOnce(&mut EventQueue) -> T) -> Option<T>;
}

/// The events that one reader has not read yet, bounded in number and bytes.
///
/// What does not fit is dropped and counted; [`Event::Lagged`] stands in its place. The last event,
/// [`Event::Left`], always fits.
#[derive(Debug, Default)]
pub struct EventQueue {
    events: VecDeque<Event>,
    bytes: usize,
    /// Large messages among them, whose bytes do not count.
    large: usize,
    missed: u64,
    ended: bool,
    wakers: Vec<Waker>,
}

impl EventQueue {
    /// Adds an event for the reader. Harmless after the end.
    pub fn push(&mut self, event: &Event) {
        if self.ended {
            return;
        }
        let last = matches!(event, Event::Left);
        if last || self.has_room(event) {
            if self.missed > 0 {
                let missed = std::mem::take(&mut self.missed);
                self.queue(Event::Lagged { missed });
            }
            self.queue(event.clone());
        } else {
            self.missed += 1;
        }
        if last {
            self.end();
        } else {
            self.wake();
        }
    }

    /// The next event, or none after the end; `Pending` registers the caller's waker.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        if let Some(event) = self.events.pop_front() {
            match event.is_large() {
                true => self.large -= 1,
                false => self.bytes -= event.memory_bytes(),
            }
            return Poll::Ready(Some(event));
        }
        if self.missed > 0 {
            let missed = std::mem::take(&mut self.missed);
            return Poll::Ready(Some(Event::Lagged { missed }));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let waker = context.waker();
        if !self.wakers.iter().any(|known| known.will_wake(waker)) {
            self.wakers.push(waker.clone());
        }
        Poll::Pending
    }

    /// Takes no more events. Those that wait can still be read.
    pub fn end(&mut self) {
        self.ended = true;
        self.wake();
    }

    /// Takes no more events, and drops those that wait: the reader reads no more.
    pub fn abandon(&mut self) {
        self.events.clear();
        self.bytes = 0;
        self.large = 0;
        self.missed = 0;
        self.end();
    }

    /// Whether no event will be added any more.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    fn has_room(&self, event: &Event) -> bool {
        self.events.len() < EVENTS_MAX
            && match event.is_large() {
                true => self.large < LARGE_MAX,
                false => self.bytes < EVENT_BYTES_MAX,
            }
    }

    fn queue(&mut self, event: Event) {
        match event.is_large() {
            true => self.large += 1,
            false => self.bytes += event.memory_bytes(),
        }
        self.events.push_back(event);
    }

    fn wake(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{MessageId, PeerId, Target};
    use crate::io::Received;
    use crate::payload::{Delivery, Payload};
    use crate::trust::Identity;

    fn next(queue: &mut EventQueue) -> Poll<Option<Event>> {
        queue.poll_next(&mut Context::from_waker(Waker::noop()))
    }

    fn message(bytes: usize) -> Event {
        let from: PeerId = Identity::from_secret([1; 32]).peer();
        Event::Message(Received {
            id: MessageId {
                author: from,
                incarnation: 1,
                target: Target::Room,
                sequence: 1,
            },
            from,
            name: String::new(),
            topic: None,
            payload: Payload::Bytes(vec![0; bytes]),
            delivery: Delivery::Reliable,
            wants_reply: false,
            hops: 1,
            latency_ms: 0.0,
        })
    }

    #[test]
    fn events_beyond_the_bound_are_counted_and_told_as_soon_as_there_is_room() {
        let mut queue = EventQueue::default();
        (0..EVENTS_MAX + 7).for_each(|_| queue.push(&Event::TopologyChanged));
        assert_eq!(next(&mut queue), Poll::Ready(Some(Event::TopologyChanged)));
        queue.push(&Event::SignalingRestored { hub: 0 });
        (1..EVENTS_MAX).for_each(|_| {
            assert_eq!(next(&mut queue), Poll::Ready(Some(Event::TopologyChanged)));
        });
        assert_eq!(
            next(&mut queue),
            Poll::Ready(Some(Event::Lagged { missed: 7 }))
        );
        assert_eq!(
            next(&mut queue),
            Poll::Ready(Some(Event::SignalingRestored { hub: 0 }))
        );
        assert!(next(&mut queue).is_pending());
    }

    #[test]
    fn a_reader_that_has_read_all_is_told_at_once_how_many_it_missed() {
        let mut queue = EventQueue::default();
        (0..EVENTS_MAX + 1).for_each(|_| queue.push(&Event::TopologyChanged));
        (0..EVENTS_MAX).for_each(|_| assert!(next(&mut queue).is_ready()));
        assert_eq!(
            next(&mut queue),
            Poll::Ready(Some(Event::Lagged { missed: 1 }))
        );
        assert!(next(&mut queue).is_pending());
    }

    #[test]
    fn large_messages_take_no_room_of_others_and_are_few() {
        let mut queue = EventQueue::default();
        (0..LARGE_MAX + 2).for_each(|_| queue.push(&message(EVENT_BYTES_MAX)));
        assert_eq!((queue.large, queue.missed), (LARGE_MAX, 2));
        queue.push(&message(15_000));
        assert_eq!(
            queue.missed, 0,
            "it has room, and what was missed is told before it"
        );
        while next(&mut queue).is_ready() {}
        assert_eq!((queue.large, queue.bytes), (0, 0));
    }

    #[test]
    fn an_abandoned_reader_holds_a_bounded_number_of_bytes() {
        let mut queue = EventQueue::default();
        (0..EVENTS_MAX).for_each(|_| queue.push(&message(15_000)));
        let largest = message(15_000).memory_bytes();
        assert!(queue.bytes <= EVENT_BYTES_MAX + largest);
        assert!(queue.missed > 3_000, "{}", queue.missed);
        while next(&mut queue).is_ready() {}
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn the_last_event_always_fits_and_ends_the_queue() {
        let mut queue = EventQueue::default();
        (0..EVENTS_MAX + 2).for_each(|_| queue.push(&Event::TopologyChanged));
        queue.push(&Event::Left);
        queue.push(&Event::SignalingRestored { hub: 0 });
        (0..EVENTS_MAX).for_each(|_| assert!(next(&mut queue).is_ready()));
        let lagged = Event::Lagged { missed: 2 };
        assert_eq!(next(&mut queue), Poll::Ready(Some(lagged)));
        assert_eq!(next(&mut queue), Poll::Ready(Some(Event::Left)));
        assert_eq!(next(&mut queue), Poll::Ready(None));
    }
}
