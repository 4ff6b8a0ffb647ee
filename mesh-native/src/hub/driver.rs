//! The loop around the hub, as an agent's driver is the loop around its mesh.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_core::{ClientId, Hub, HubInput, HubOutput, HubStats, Instant};
use tokio::sync::{mpsc, oneshot};

use super::health::{Health, Phase};
use super::queue::{Full, Item, Sender};
use crate::clock::Clock;

/// Facts handled in one turn at most.
const FACTS_A_TURN: usize = 512;
/// How long the loop waits at most: its turns show that it lives.
const IDLE: Duration = Duration::from_secs(1);

/// The queues of the WebSockets that are open.
type Clients = BTreeMap<ClientId, Sender>;

/// What the task that owns the hub is told.
pub(super) enum Fact {
    Connected(ClientId, Sender),
    Received(ClientId, String),
    Answered(ClientId),
    Closed(ClientId),
    Ask(oneshot::Sender<HubStats>),
    /// The server is to stop: the loop ends when the last client has gone.
    Stopping,
    /// Clients are to move in this time, and no others are let in.
    Drain(Duration),
}

/// Runs the hub until nobody can tell it anything any more, or it is to stop and its last client
/// has gone.
pub(super) async fn drive(mut hub: Hub, mut facts: mpsc::Receiver<Fact>, health: Health) {
    let clock = Clock::start();
    let mut clients = Clients::new();
    loop {
        health.beat();
        if health.is_past(Phase::Unready) && clients.is_empty() {
            return;
        }
        let idle = tokio::time::Instant::now() + IDLE;
        let due = hub.poll_timeout().map(|at| clock.at(at));
        let deadline = due.map_or(idle, |at| at.min(idle));
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
            carry_out(&mut hub, &mut clients, output, now);
        }
    }
}

fn carry_out(hub: &mut Hub, clients: &mut Clients, output: HubOutput, now: Instant) {
    let (client, outcome) = match output {
        HubOutput::Send(client, text) => {
            let queue = clients.get(&client);
            (client, queue.map(|queue| queue.send(Item::Text(text))))
        }
        HubOutput::Ping(client) => {
            let queue = clients.get(&client);
            (client, queue.map(|queue| queue.send(Item::Ping)))
        }
        HubOutput::Relay { from, to, text } => {
            let outcome = clients.get(&to).map(|queue| queue.relay(from, text));
            if outcome == Some(Err(Full::Signals)) {
                hub.handle_input(HubInput::SignalDropped { from, to }, now);
                return;
            }
            (to, outcome)
        }
        HubOutput::Close(client) => {
            clients.remove(&client);
            return;
        }
    };
    if outcome == Some(Err(Full::Client)) {
        tracing::debug!(?client, "too slow or gone");
        if let Some(queue) = clients.remove(&client) {
            queue.give_up();
        }
        hub.handle_input(HubInput::ClientClosed(client), now);
    }
}

fn apply(hub: &mut Hub, clients: &mut Clients, fact: Fact, clock: Clock) {
    let input = match fact {
        Fact::Connected(client, queue) => {
            clients.insert(client, queue);
            HubInput::ClientConnected(client)
        }
        Fact::Received(client, text) => HubInput::TextReceived(client, text),
        Fact::Answered(client) => HubInput::ClientAnswered(client),
        Fact::Closed(client) => {
            clients.remove(&client);
            HubInput::ClientClosed(client)
        }
        Fact::Stopping => return,
        Fact::Drain(within) => {
            hub.drain(within, clock.now());
            return;
        }
        Fact::Ask(answer) => {
            let _ = answer.send(hub.stats()); // Who asked may have gone.
            return;
        }
    };
    hub.handle_input(input, clock.now());
}
