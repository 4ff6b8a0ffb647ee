//! An agent of the mesh as one end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use mesh_native::core::{Event, PeerId};
use mesh_native::{Agent, Events, JoinOptions, SendOptions};
use serde_json::json;

use super::end::{Commands, Connection, Total, answer};
use crate::wait::until;

/// How long links and routes may take to be there.
const PATIENCE: Duration = Duration::from_secs(60);

/// Agents in the longest row.
const AGENTS_MAX: usize = 4;

/// The longest that a message may be under way.
const DEADLINE: Duration = Duration::from_secs(30);

struct Ours {
    agent: Agent,
    to: PeerId,
}

#[async_trait]
impl Connection for Ours {
    async fn ask(&self, payload: Vec<u8>) -> Result<()> {
        let deadline = Some(DEADLINE);
        self.agent.request(self.to, payload, deadline).await?;
        Ok(())
    }

    async fn send(&self, payload: Vec<u8>) -> Result<()> {
        let options = SendOptions {
            deadline: Some(DEADLINE),
            ..SendOptions::default()
        };
        self.agent.send(self.to, payload, options).await?;
        Ok(())
    }

    async fn send_large(&self, bytes: usize) -> Result<()> {
        let options = SendOptions::default();
        let payload = vec![b'x'; bytes];
        let mut sending = self.agent.start_send(self.to, payload, options).await?;
        // A slow path does not bring all of it in time.
        while let Ok(Some(_)) = sending.progress().await {}
        Ok(())
    }
}

/// Joins, tells its id, then awaits a path of so many hops to the agent of the first command, tells
/// how long it took, and carries out the others.
///
/// # Errors
/// If it cannot join, or the path does not come.
pub(super) async fn run(hub: &str, name: &str) -> Result<()> {
    let began = Instant::now();
    let (agent, events) = Agent::join_with_events(JoinOptions {
        k: Some(AGENTS_MAX - 1), // All try all: those that can reach each other link at once.
        ..JoinOptions::new(hub, "paths", name)
    })
    .await?;
    answer(&json!(agent.id()));
    let total = Total::default();
    tokio::spawn(receive(agent.clone(), events, Arc::clone(&total)));
    let mut commands = Commands::new();
    let Some(command) = commands.next().await? else {
        return Ok(());
    };
    let to: PeerId = command[0].as_str().context("an id")?.parse()?;
    let hops = command[1].as_u64().context("how many hops")?;
    let routed = until("a path", PATIENCE, async || {
        let routes = agent.routes()?;
        let route = routes.iter().find(|route| route.destination == to);
        let found = route.map(|route| u64::from(route.hops));
        ensure!(found == Some(hops), "it has {found:?} hops of {hops}");
        Ok(())
    });
    routed.await?;
    answer(&json!(began.elapsed().as_millis() as u64));
    let ours = Arc::new(Ours { agent, to });
    commands.serve(ours, total).await
}

async fn receive(agent: Agent, mut events: Events, total: Total) {
    while let Some(event) = events.next().await {
        if let Event::Message(message) = event {
            if message.wants_reply {
                let _ = agent.reply(message.id, message.payload); // The asking end may have gone.
            } else {
                let bytes = message.payload.len() as u64;
                total.fetch_add(bytes, Ordering::Relaxed);
            }
        }
    }
}
