//! Why two members are not linked: asked of both.

use std::future::poll_fn;
use std::time::Duration;

use mesh_core::agent::Line;
use mesh_core::doctor::Finding;
use mesh_core::{LinkReport, MeshError, MessageId, PeerId, SendError};

use super::Agent;
use super::calls::Call;
use crate::shared::Shared;

impl Agent {
    /// Asks a member how it sees its link to another, or why it has none. This agent may be asked
    /// too. Without a deadline that of messages counts.
    ///
    /// # Errors
    /// As [`Agent::request`]. A member of an older version does not know the question, and gives no
    /// answer.
    pub async fn explain_link(
        &self,
        of: PeerId,
        about: PeerId,
        deadline: Option<Duration>,
    ) -> Result<LinkReport, MeshError> {
        tokio::task::coop::consume_budget().await;
        let mut call = Call::of(&self.shared, Line::Questions);
        let asked = poll_fn(|context| {
            call.shared.call(|agent, now| {
                let pair = (of, about);
                agent.poll_explain(&mut call.ticket, context, pair, deadline, now)
            })
        });
        let question = Question {
            id: asked.await?,
            shared: &self.shared,
        };
        let lock = || self.shared.lock();
        poll_fn(|context| lock().agent.poll_report(question.id, context)).await
    }

    /// Asks two members, at once, how they see the link between them. Returns what there is to say
    /// of it, in words, with a remedy where something is wrong: an end that gives no answer by the
    /// deadline is part of that.
    ///
    /// # Errors
    /// [`SendError::ToSelf`] if both are the same member; [`MeshError::Closed`].
    pub async fn diagnose_pair(
        &self,
        one: PeerId,
        other: PeerId,
        deadline: Option<Duration>,
    ) -> Result<Vec<Finding>, MeshError> {
        if one == other {
            return Err(SendError::ToSelf.into());
        }
        let reports = tokio::join!(
            self.explain_link(one, other, deadline),
            self.explain_link(other, one, deadline)
        );
        self.read(|mesh| mesh.diagnose_pair([(one, reports.0), (other, reports.1)]))
    }
}

/// A question that was asked. Dropping it gives up its answer.
struct Question<'a> {
    id: MessageId,
    shared: &'a Shared,
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.shared.lock().agent.forget_reply(self.id);
    }
}
