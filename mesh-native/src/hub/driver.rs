//! The loop around the hub, as an agent's driver is the loop around its mesh.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_core::{ClientId, Hub, HubInput, HubOutput, HubStats};
use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;

/// Facts handled in one turn at most.
const FACTS_A_TURN: usize = 512;
const IDLE: Duration = Duration::from_secs(3_600);

/// What the task that owns the hub is told.
pub(super) enum Fact {
    Connected(ClientId, mpsc::Sender<String>),
    Received(ClientId, String),
    Closed(ClientId),
    Ask(oneshot::Sender<HubStats>),
}

/// Runs the hub until nobody can tell it anything any more.
pub(super) async fn drive(mut hub: Hub, mut facts: mpsc::Receiver<Fact>) {
    let clock = Clock::start();
    let mut clients = BTreeMap::new();
    loop {
        let deadline = match hub.poll_timeout() {
            Some(at) => clock.at(at),
            None => tokio::time::Instant::now() + IDLE,
        };
        tokio::select! {
            fact = facts.recv() => {
                let Some(fact) = fact else { return };
                hub.set_unix_time(clock.now(), Clock::unix_now());
                apply(&mut hub, &mut clients, fact, clock);
                for _ in 0..FACTS_A_TURN {
                    let Ok(fact) = facts.try_recv() else { break };
                    apply(&mut hub, &mut clients, fact, clock);
                }
            }
            () = tokio::time::sleep_until(deadline) => {}
        }
        let now = clock.now();
        if hub.poll_timeout().is_some_and(|at| at <= now) {
            hub.handle_timeout(now);
        }
        while let Some(output) = hub.poll_output() {
            match output {
                HubOutput::Send(client, text) => {
                    let queue: Option<&mpsc::Sender<String>> = clients.get(&client);
                    if queue.is_some_and(|queue| queue.try_send(text).is_err()) {
                        tracing::debug!(?client, "too slow or gone");
                        clients.remove(&client);
                        hub.handle_input(HubInput::ClientClosed(client), now);
                    }
                }
                HubOutput::Close(client) => {
                    clients.remove(&client);
                }
            }
        }
    }
}

fn apply(
    hub: &mut Hub,
    clients: &mut BTreeMap<ClientId, mpsc::Sender<String>>,
    fact: Fact,
    clock: Clock,
) {
    let input = match fact {
        Fact::Connected(client, texts) => {
            clients.insert(client, texts);
            HubInput::ClientConnected(client)
        }
        Fact::Received(client, text) => HubInput::TextReceived(client, text),
        Fact::Closed(client) => {
            clients.remove(&client);
            HubInput::ClientClosed(client)
        }
        Fact::Ask(answer) => {
            let _ = answer.send(hub.stats()); // Who asked may have gone.
            return;
        }
    };
    hub.handle_input(input, clock.now());
}
