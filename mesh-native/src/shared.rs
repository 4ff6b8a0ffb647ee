//! The agent, shared by its handles and the loop around it.
//!
//! A handle calls the mesh itself and wakes the loop, which carries out what follows: nothing is
//! queued for it, no answer of it awaited, and what is sent until it comes around leaves together.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mesh_core::agent::{AgentState, EventQueue, Reader};
use mesh_core::{Event, Instant, Mesh, PeerId};
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::media::{Local, Media};
use crate::metrics::Metrics;

/// What handles and loop share. It is locked for moments only, never while anything is awaited.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    state: Mutex<State>,
    pub(crate) media: Media,
    /// A handle has called the mesh.
    called: Notify,
}

/// The agent, and where it is counted.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) agent: AgentState<Subscriber>,
    pub(crate) metrics: Option<Metrics>,
}

/// The agent's end of one reader of its events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subscriber(Arc<Mutex<EventQueue>>);

impl Subscriber {
    pub(crate) fn lock(&self) -> MutexGuard<'_, EventQueue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader for Subscriber {
    fn with<T>(&self, call: impl FnOnce(&mut EventQueue) -> T) -> Option<T> {
        Some(call(&mut self.lock()))
    }
}

impl Shared {
    /// An agent that is about to join one of these hubs.
    pub(crate) fn new(mesh: Mesh, hubs: &[String], clock: Clock, metrics: Option<Metrics>) -> Self {
        let agent = AgentState::new(mesh, hubs);
        Self {
            clock,
            state: Mutex::new(State { agent, metrics }),
            media: Media::default(),
            called: Notify::new(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked has told; the others may go on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the agent, and has the loop carry out what follows.
    pub(crate) fn call<T>(
        &self,
        call: impl FnOnce(&mut AgentState<Subscriber>, Instant) -> T,
    ) -> T {
        let result = {
            let mut state = self.lock();
            let now = self.clock.now();
            state.agent.set_unix_time(now, Clock::unix_now());
            call(&mut state.agent, now)
        };
        self.called.notify_one();
        result
    }

    /// Tells an event that a connection has found out.
    pub(crate) fn tell(&self, event: &Event) {
        self.lock().tell(event);
    }

    /// A track of this agent has ended.
    pub(crate) fn end_track(&self, peer: PeerId, local: &Arc<Local>) {
        let Some(media) = self.media.of(peer) else {
            return;
        };
        self.call(|agent, now| {
            let tracks = media.remove(local);
            // Without a link, or an agent, there is nobody to be told.
            let _ = agent.call(|mesh| mesh.set_tracks(peer, tracks, now));
        });
    }

    /// Resolves when the mesh was called since the last time.
    pub(crate) async fn called(&self) {
        self.called.notified().await;
    }
}

impl State {
    /// Hands over how long pieces of work took, where that is wanted.
    pub(crate) fn tell_samples(&mut self) {
        if let Some(metrics) = &self.metrics {
            while let Some(sample) = self.agent.poll_sample() {
                metrics.observe(sample);
            }
        }
    }

    /// Tells an event to all that read them.
    pub(crate) fn tell(&mut self, event: &Event) {
        self.agent.tell(event);
        self.note(event);
    }

    /// Logs and counts an event that its readers were told.
    pub(crate) fn note(&self, event: &Event) {
        tracing::trace!(?event);
        if let Event::Warning { message, .. } = event {
            tracing::warn!("{message}");
        }
        if let Some(metrics) = &self.metrics {
            metrics.note(event);
        }
    }
}

/// Ends what handles wait for when the loop ends, however it does: a panic in it must not leave
/// them waiting for ever.
#[derive(Debug)]
pub(crate) struct Ending(pub(crate) Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.agent.end();
        if let Some(metrics) = state.metrics.take() {
            metrics.agent_ended(&self.0, state.agent.mesh());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use mesh_core::agent::{AdmissionError, AdmissionStep};
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
        let hubs = ["ws://localhost:9/signal".to_owned()];
        let shared = Arc::new(Shared::new(mesh, &hubs, clock, None));
        let subscriber = Subscriber::default();
        shared.call(|agent, _| agent.subscribe(subscriber.clone()));
        let joining = tokio::spawn({
            let shared = Arc::clone(&shared);
            std::future::poll_fn(move |context| shared.lock().agent.poll_admission(context))
        });
        let ending = Ending(Arc::clone(&shared));
        let failed = tokio::spawn(async move {
            let _ending = ending;
            panic!("as a bug of ours might");
        });
        assert!(failed.await.is_err());
        let ended = AdmissionStep::Decided(Err(AdmissionError::Ended));
        assert_eq!(joining.await.expect("it ends"), ended);
        let mut queue = subscriber.lock();
        let next = queue.poll_next(&mut Context::from_waker(Waker::noop()));
        assert_eq!(next, Poll::Ready(None), "the events end");
        assert!(shared.lock().agent.is_ended());
    }
}
