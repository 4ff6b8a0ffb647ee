//! The loop around the hub, as an agent's driver is the loop around its mesh.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_core::signaling::directory::DirectoryFact;
use mesh_core::{ClientId, Hub, HubInput, HubOutput, HubStats, Instant};
use tokio::sync::{mpsc, oneshot};

use super::health::{Health, Phase};
use super::queue::{Full, Item, Sender};
use super::redis::Directory;
use crate::clock::Clock;

/// Facts handled in one turn at most.
const FACTS_A_TURN: usize = 512;

/// Where the hub's orders go.
pub(super) struct Outlets {
    /// The queues of the WebSockets that are open.
    clients: BTreeMap<ClientId, Sender>,
    /// What the hub shares with others, if it does.
    directory: Option<Directory>,
}

impl Outlets {
    pub(super) fn new(directory: Option<Directory>) -> Self {
        Self {
            clients: BTreeMap::new(),
            directory,
        }
    }
}

/// What the task that owns the hub is told.
pub(super) enum Fact {
    Connected(ClientId, Sender),
    Received(ClientId, String),
    Answered(ClientId),
    Closed(ClientId),
    Directory(DirectoryFact),
    Ask(oneshot::Sender<HubStats>),
    /// The server is to stop: the loop ends when the last client has gone.
    Stopping,
    /// Clients are to move in this time, and no others are let in.
    Drain(Duration),
}

/// Runs the hub until nobody can tell it anything any more, or it is to stop and its last client
/// has gone.
pub(super) async fn drive(
    mut hub: Hub,
    mut outlets: Outlets,
    mut facts: mpsc::Receiver<Fact>,
    health: Health,
) {
    let clock = Clock::start();
    loop {
        health.beat();
        if health.is_past(Phase::Unready) && outlets.clients.is_empty() {
            return;
        }
        let idle = tokio::time::Instant::now() + health.idle();
        let due = hub.poll_timeout().map(|at| clock.at(at));
        let deadline = due.map_or(idle, |at| at.min(idle));
        tokio::select! {
            fact = facts.recv() => {
                let Some(fact) = fact else { return };
                hub.set_unix_time(clock.now(), Clock::unix_now());
                apply(&mut hub, &mut outlets, fact, clock);
                for _ in 0..FACTS_A_TURN {
                    let Ok(fact) = facts.try_recv() else { break };
                    apply(&mut hub, &mut outlets, fact, clock);
                }
            }
            () = tokio::time::sleep_until(deadline) => {}
        }
        let now = clock.now();
        if hub.poll_timeout().is_some_and(|at| at <= now) {
            hub.handle_timeout(now);
        }
        while let Some(output) = hub.poll_output() {
            carry_out(&mut hub, &mut outlets, output, now);
        }
    }
}

fn carry_out(hub: &mut Hub, outlets: &mut Outlets, output: HubOutput, now: Instant) {
    let clients = &mut outlets.clients;
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
        HubOutput::Directory(order) => {
            let directory = outlets.directory.as_ref();
            if let Some(fact) = directory.and_then(|directory| directory.take(order)) {
                hub.handle_input(HubInput::Directory(fact), now);
            }
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

fn apply(hub: &mut Hub, outlets: &mut Outlets, fact: Fact, clock: Clock) {
    let input = match fact {
        Fact::Connected(client, queue) => {
            outlets.clients.insert(client, queue);
            HubInput::ClientConnected(client)
        }
        Fact::Received(client, text) => HubInput::TextReceived(client, text),
        Fact::Answered(client) => HubInput::ClientAnswered(client),
        Fact::Directory(fact) => HubInput::Directory(fact),
        Fact::Closed(client) => {
            outlets.clients.remove(&client);
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
