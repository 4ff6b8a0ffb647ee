//! The wait of a join until a signaling server has decided.

use std::pin::pin;
use std::time::Duration;

use mesh_core::agent::{AdmissionError, AdmissionStep};
use tokio::time::sleep;

use crate::shared::Shared;
use crate::signaling::Endpoint;

/// Waits until a signaling server has admitted the agent, or none does.
///
/// # Errors
/// Why the agent is not in its room.
pub(super) async fn wait(
    shared: &Shared,
    endpoints: &[Endpoint],
    timeout: Duration,
) -> Result<(), AdmissionError> {
    let step = || std::future::poll_fn(|context| shared.lock().agent.poll_admission(context));
    let mut timeout = pin!(sleep(timeout));
    let mut late = false;
    loop {
        let step = tokio::select! {
            step = step() => step,
            () = &mut timeout, if !late => {
                late = true;
                shared.lock().agent.join_is_late();
                continue;
            }
        };
        match step {
            // The attempt has shown what is there.
            AdmissionStep::Look(hub) => {
                shared.lock().agent.found(hub, endpoints[hub].finding());
            }
            AdmissionStep::Decided(outcome) => return outcome,
        }
    }
}
