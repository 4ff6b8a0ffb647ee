//! Calls that are not done at once: they wait for room, for a reply, or for a large message.

use std::future::poll_fn;
use std::sync::Arc;

use mesh_core::agent::{Line, Ticket, TransferStep};
use mesh_core::{MeshError, MessageId, Payload};

use crate::shared::Shared;

/// A call that may wait for room. Dropping it gives it up.
pub(super) struct Call<'a> {
    pub(super) shared: &'a Shared,
    pub(super) ticket: Ticket,
}

impl<'a> Call<'a> {
    pub(super) fn of(shared: &'a Shared, line: Line) -> Self {
        let ticket = Ticket::new(line);
        Self { shared, ticket }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if self.ticket.has_waited() {
            self.shared.lock().agent.give_up(&self.ticket);
        }
    }
}

/// A message that was sent. Dropping it gives up a large one that is under way.
#[derive(Debug)]
pub struct Sending {
    pub(super) shared: Arc<Shared>,
    pub(super) id: MessageId,
    pub(super) is_under_way: bool,
}

impl Sending {
    /// Names the message.
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// Waits until more of a large message has arrived: so many bytes, of so many. Nothing once all
    /// of it has, and for a message that is not large.
    ///
    /// # Errors
    /// [`MeshError::NotDelivered`] if it fails, [`MeshError::Closed`].
    pub async fn progress(&mut self) -> Result<Option<(u64, u64)>, MeshError> {
        if !self.is_under_way {
            return Ok(None);
        }
        let shared = &self.shared;
        let step = poll_fn(|context| shared.lock().agent.poll_transfer(self.id, context)).await;
        match step {
            TransferStep::Progress { bytes, bytes_total } => Ok(Some((bytes, bytes_total))),
            TransferStep::Done(outcome) => {
                self.is_under_way = false;
                outcome.map(|()| None)
            }
        }
    }

    /// Lets a large message go on by itself: events tell what becomes of it.
    pub fn detach(mut self) -> MessageId {
        if self.is_under_way {
            self.shared.lock().agent.forget_reply(self.id);
            self.is_under_way = false;
        }
        self.id
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if self.is_under_way {
            let id = self.id;
            self.shared.call(|agent, now| agent.cancel(id, now));
        }
    }
}

/// A request that was sent. Dropping it gives up its reply.
#[derive(Debug)]
pub struct PendingReply {
    pub(super) shared: Arc<Shared>,
    pub(super) request: MessageId,
    /// The reply, once it has come.
    pub(super) reply: Option<Result<Payload, MeshError>>,
}

impl PendingReply {
    /// Names the request.
    pub fn id(&self) -> MessageId {
        self.request
    }

    /// Waits until more of a large request has arrived: so many bytes, of so many. Nothing once its
    /// reply has come, or none will: [`PendingReply::wait`] has that.
    pub async fn progress(&mut self) -> Option<(u64, u64)> {
        if self.reply.is_some() {
            return None;
        }
        let step = poll_fn(|context| self.shared.lock().agent.poll_reply(self.request, context));
        match step.await {
            TransferStep::Progress { bytes, bytes_total } => Some((bytes, bytes_total)),
            TransferStep::Done(reply) => {
                self.reply = Some(reply);
                None
            }
        }
    }

    /// Waits for the reply.
    ///
    /// # Errors
    /// [`MeshError::NoReply`] when the deadline passes, [`MeshError::Closed`].
    pub async fn wait(mut self) -> Result<Payload, MeshError> {
        while self.progress().await.is_some() {}
        self.reply.take().unwrap_or(Err(MeshError::Closed))
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        self.shared.lock().agent.forget_reply(self.request);
    }
}
