//! The events of an agent, for those that read them.

use std::future::poll_fn;

use mesh_core::Event;

use crate::shared::Subscriber;

/// The events of an agent, as a stream of its own for each reader: see
/// [`EventQueue`](mesh_core::EventQueue) for how many may wait.
#[derive(Debug)]
pub struct Events {
    pub(super) queue: Subscriber,
}

impl Events {
    /// The next event; none after the agent was closed.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|context| self.queue.lock().poll_next(context)).await
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.queue.lock().abandon();
    }
}
