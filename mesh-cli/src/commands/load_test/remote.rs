//! An agent that is not in this process, spoken to in the lines of `mesh agent`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use mesh_core::{Delivery, Event, MessageId, Payload, PeerId};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Lines that may wait, and events.
pub(super) const LINES: usize = 4_096;

/// How long an agent may take to answer a command: a busy one is not gone.
const ANSWER: Duration = Duration::from_secs(30);

/// The two directions of a conversation.
pub(super) struct Lines {
    pub(super) incoming: mpsc::Receiver<String>,
    pub(super) outgoing: mpsc::Sender<String>,
}

/// A handle of the agent.
#[derive(Clone, Debug)]
pub(super) struct Remote {
    id: PeerId,
    name: String,
    lines: mpsc::Sender<String>,
    asked: Arc<AtomicU64>,
    waiting: Arc<Mutex<BTreeMap<u64, oneshot::Sender<Answer>>>>,
}

/// A result, or the code of the error.
type Answer = Result<Value, String>;

/// The first line of an agent.
#[derive(Deserialize)]
struct Ready {
    id: PeerId,
    name: String,
}

impl Remote {
    /// Waits until the agent has joined; returns its events too.
    pub(super) async fn meet(
        mut lines: Lines,
        patience: Duration,
    ) -> anyhow::Result<(Self, mpsc::Receiver<Event>)> {
        let first = timeout(patience, lines.incoming.recv()).await;
        let first = first.context("it has not joined in time")?;
        let first = first.context("it ended before it had joined")?;
        let Ready { id, name } = serde_json::from_str(&first)
            .map_err(|error| anyhow!("it does not begin with its id, but with {first}: {error}"))?;
        let remote = Self {
            id,
            name,
            lines: lines.outgoing,
            asked: Arc::default(),
            waiting: Arc::default(),
        };
        let (events, told) = mpsc::channel(LINES);
        tokio::spawn(remote.clone().listen(lines.incoming, events));
        Ok((remote, told))
    }

    pub(super) fn id(&self) -> PeerId {
        self.id
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    async fn listen(self, mut lines: mpsc::Receiver<String>, events: mpsc::Sender<Event>) {
        while let Some(line) = lines.recv().await {
            let Ok(value) = serde_json::from_str::<Value>(&line) else {
                tracing::warn!("{} says what is no JSON: {line}", self.name);
                continue;
            };
            let reference = value["ref"].as_u64();
            let answer = match value["type"].as_str() {
                Some("result") => Ok(value),
                Some("error") => Err(value["code"].as_str().unwrap_or("unknown").to_owned()),
                _ => {
                    match serde_json::from_value(value) {
                        Ok(event) => _ = events.send(event).await,
                        Err(error) => tracing::warn!("{}: {error}: {line}", self.name),
                    }
                    continue;
                }
            };
            if let Some(asker) = reference.and_then(|number| self.take(number)) {
                let _ = asker.send(answer); // Who asked may have given up.
            }
        }
        self.waiting().clear(); // Nobody will answer any more.
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, oneshot::Sender<Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, number: u64) -> Option<oneshot::Sender<Answer>> {
        self.waiting().remove(&number)
    }

    async fn ask(&self, mut command: Value) -> Answer {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        command["ref"] = number.into();
        let (asker, answer) = oneshot::channel();
        self.waiting().insert(number, asker);
        let gone = || "gone".to_owned();
        let sent = self.lines.send(command.to_string()).await;
        let answer = match sent {
            Ok(()) => timeout(ANSWER, answer).await,
            Err(_) => return Err(gone()),
        };
        self.take(number);
        answer.map_err(|_| gone())?.map_err(|_| gone())?
    }

    pub(super) async fn send(
        &self,
        to: PeerId,
        payload: Payload,
        delivery: Delivery,
    ) -> Result<MessageId, String> {
        let command = json!({
            "type": "send", "to": to, "payload": payload, "delivery": delivery,
        });
        let result = self.ask(command).await?;
        serde_json::from_value(result["id"].clone()).map_err(|_| "unknown".to_owned())
    }

    /// One of the agent's tables: peers, routes, stats.
    pub(super) async fn table<T: DeserializeOwned>(&self, table: &str) -> anyhow::Result<T> {
        match self.ask(json!({ "type": table })).await {
            Ok(result) => Ok(serde_json::from_value(result[table].clone())?),
            Err(code) => bail!("{} does not tell its {table}: {code}", self.name),
        }
    }

    pub(super) async fn rotate_keys(&self) -> anyhow::Result<()> {
        let asked = self.ask(json!({ "type": "rotateKeys" })).await;
        asked.map(drop).map_err(|code| anyhow!(code))
    }

    pub(super) async fn close(&self) {
        let _ = self
            .lines
            .send(json!({ "type": "close" }).to_string())
            .await;
    }
}
