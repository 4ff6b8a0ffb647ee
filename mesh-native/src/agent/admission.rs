//! The wait of a join until a signaling server has decided.

use std::pin::pin;
use std::time::Duration;

use mesh_core::Event;
use tokio::time::sleep;

use super::Events;
use crate::error::JoinError;
use crate::signaling::Endpoint;

/// What became of the attempts so far: for each address the last failure.
struct Attempts<'a> {
    endpoints: &'a [Endpoint],
    failures: Vec<Option<String>>,
}

/// Waits until a signaling server has admitted the agent, or none does: when the time is up and
/// each has been tried, or when all have shown that trying again is of no use.
///
/// # Errors
/// Why the agent is not in its room.
pub(super) async fn wait(
    mut events: Events,
    endpoints: &[Endpoint],
    timeout: Duration,
) -> Result<(), JoinError> {
    let mut attempts = Attempts {
        endpoints,
        failures: vec![None; endpoints.len()],
    };
    let mut timeout = pin!(sleep(timeout));
    let mut late = false;
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = &mut timeout, if !late => {
                late = true;
                if attempts.are_over(late) {
                    return Err(attempts.error());
                }
                continue;
            }
        };
        match event {
            Some(Event::Joined { .. }) => return Ok(()),
            Some(Event::Refused { code, message }) => {
                return Err(JoinError::Refused { code, message });
            }
            Some(Event::SignalingLost { hub, reason, .. }) => {
                if let Some(failure) = attempts.failures.get_mut(hub) {
                    *failure = Some(reason);
                }
                if attempts.are_over(late) {
                    return Err(attempts.error());
                }
            }
            Some(_) => {}
            None => return Err(JoinError::Ended),
        }
    }
}

impl Attempts<'_> {
    /// Whether trying on is of no use, or not wanted any more.
    fn are_over(&self, late: bool) -> bool {
        let hopeless = |endpoint: &Endpoint| endpoint.hopeless().is_some();
        let alone = self.endpoints.len() == 1;
        let all_tried = self.failures.iter().all(Option::is_some);
        (late && (alone || all_tried)) || self.endpoints.iter().all(hopeless)
    }

    fn error(&self) -> JoinError {
        let pairs = self.endpoints.iter().zip(&self.failures);
        let alone = self.endpoints.len() == 1;
        let mut errors: Vec<_> = pairs
            .map(|(endpoint, failure)| failed(endpoint, failure.as_deref(), alone))
            .collect();
        match errors.pop() {
            Some(error) if alone => error,
            last => {
                errors.extend(last);
                JoinError::NoneAdmits(errors)
            }
        }
    }
}

/// Why an address does not admit the agent.
fn failed(endpoint: &Endpoint, last: Option<&str>, alone: bool) -> JoinError {
    if let Some(error) = endpoint.hopeless() {
        return error;
    }
    let last = last.unwrap_or("no answer");
    JoinError::SignalingUnreachable {
        url: endpoint.url().to_owned(),
        // Words of the server name the remedy.
        reason: match alone && !endpoint.has_spoken() {
            true => format!("{last}. Is `mesh up` running there?"),
            false => last.to_owned(),
        },
    }
}
