//! The mesh of an agent, shared by its handles and the loop around it.
//!
//! A handle calls the mesh itself and wakes the loop, which carries out what follows: nothing is
//! queued for it, no answer of it awaited, and what is sent until it comes around leaves together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mesh_core::{Event, Instant, LossReason, Mesh, MessageId, Payload};
use tokio::sync::{Notify, oneshot};

use crate::agent::Subscriber;
use crate::clock::Clock;
use crate::metrics::Metrics;

/// What handles and loop share. It is locked for moments only, never while anything is awaited.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    state: Mutex<State>,
    /// A handle has called the mesh.
    called: Notify,
}

/// The mesh, and who wants to hear of it.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) mesh: Mesh,
    pub(crate) subscribers: Vec<Subscriber>,
    /// Requests that were sent, and who waits for their replies.
    pub(crate) waiting: BTreeMap<MessageId, oneshot::Sender<Result<Payload, LossReason>>>,
    /// Who takes note of what it does.
    pub(crate) metrics: Option<Metrics>,
    /// It has left the mesh; the loop is about to end.
    pub(crate) closed: bool,
}

impl Shared {
    pub(crate) fn new(mesh: Mesh, clock: Clock, metrics: Option<Metrics>) -> Self {
        Self {
            clock,
            state: Mutex::new(State {
                mesh,
                subscribers: Vec::new(),
                waiting: BTreeMap::new(),
                metrics,
                closed: false,
            }),
            called: Notify::new(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked has told; the others may go on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the mesh, or what is around it, and has the loop carry out what follows.
    pub(crate) fn call<T>(&self, call: impl FnOnce(&mut State, Instant) -> T) -> T {
        let result = {
            let mut state = self.lock();
            let now = self.clock.now();
            state.mesh.set_unix_time(now, Clock::unix_now());
            call(&mut state, now)
        };
        self.called.notify_one();
        result
    }

    /// Resolves when the mesh was called since the last time.
    pub(crate) async fn called(&self) {
        self.called.notified().await;
    }
}

impl State {
    /// Leaves the mesh, for good.
    pub(crate) fn close(&mut self, now: Instant) {
        self.mesh.leave(now);
        self.closed = true;
    }

    /// Hands over how long pieces of work took, where that is wanted.
    pub(crate) fn tell_samples(&mut self) {
        if let Some(metrics) = &self.metrics {
            while let Some(sample) = self.mesh.poll_sample() {
                metrics.observe(sample);
            }
        }
    }

    /// Tells an event to all who want it.
    pub(crate) fn emit(&mut self, event: &Event) {
        if let Some((id, outcome)) = event.outcome()
            && let Some(reply) = self.waiting.remove(&id)
        {
            let _ = reply.send(outcome); // The caller may have given up.
        }
        tracing::trace!(?event);
        if let Event::Warning { message, .. } = event {
            tracing::warn!("{message}");
        }
        if let Some(metrics) = &self.metrics {
            metrics.note(event);
        }
        self.subscribers.retain(|subscriber| subscriber.tell(event));
        // The mesh may leave of its own accord: when another agent has taken its identity.
        self.closed |= matches!(event, Event::Left);
    }
}

/// Ends what handles wait for when the loop ends, however it does: a panic in it must not leave
/// them waiting for ever.
#[derive(Debug)]
pub(crate) struct Ending(pub(crate) Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closed = true;
        state.waiting.clear();
        if let Some(metrics) = state.metrics.take() {
            metrics.agent_ended(&self.0, &state.mesh);
        }
        for subscriber in state.subscribers.drain(..) {
            subscriber.lock().end();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use mesh_core::{Config, Identity};

    use super::*;
    use crate::random_seed;

    #[tokio::test]
    async fn a_panic_of_the_loop_ends_what_handles_wait_for() {
        let identity = Identity::from_secret(random_seed());
        let config = Config::new("room", "agent").expect("valid");
        let clock = Clock::start();
        let now = clock.now();
        let mesh = Mesh::new(config, identity, random_seed(), now, Clock::unix_now());
        let shared = Arc::new(Shared::new(mesh, clock, None));
        let subscriber = Subscriber::default();
        let (reply, answer) = oneshot::channel();
        let id = MessageId {
            author: shared.lock().mesh.id(),
            incarnation: 1,
            target: mesh_core::Target::Room,
            sequence: 1,
        };
        shared.call(|state, _| {
            state.subscribers.push(subscriber.clone());
            state.waiting.insert(id, reply);
        });
        let ending = Ending(Arc::clone(&shared));
        let failed = tokio::spawn(async move {
            let _ending = ending;
            panic!("as a bug of ours might");
        });
        assert!(failed.await.is_err());
        assert!(answer.await.is_err(), "the request is not awaited for ever");
        let mut queue = subscriber.lock();
        let next = queue.poll_next(&mut Context::from_waker(Waker::noop()));
        assert_eq!(next, Poll::Ready(None), "the events end");
        assert!(shared.lock().closed);
    }
}
