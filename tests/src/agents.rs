//! Native agents that answer requests: in this process, or as child processes to be killed.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use mesh_native::core::{Event, PeerId};
use mesh_native::{Agent, Events, JoinOptions};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::hosts::Host;
use crate::member::{Member, REQUEST_DEADLINE};
use crate::process::MeshProcess;
use crate::wait::{Log, LogWriter, SOON, log};

/// An agent in this process. Dropped, it leaves.
#[derive(Debug)]
pub struct Native {
    agent: Agent,
    events: Log<Value>,
    answering: JoinHandle<()>,
}

impl Native {
    /// Joins, and answers every request with its own payload.
    ///
    /// # Errors
    /// If it cannot join.
    pub async fn join(options: JoinOptions) -> Result<Self> {
        let name = options.name.clone();
        let joined = Agent::join_with_events(options).await;
        let (agent, events) = joined.with_context(|| format!("{name} cannot join"))?;
        let (writer, reader) = log();
        let answering = tokio::spawn(answer(agent.clone(), events, writer));
        Ok(Self {
            agent,
            events: reader,
            answering,
        })
    }

    /// The agent itself.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        // The task's handle would keep the agent in the room.
        self.answering.abort();
    }
}

async fn answer(agent: Agent, mut events: Events, log: LogWriter<Value>) {
    while let Some(event) = events.next().await {
        // What cannot be told as JSON is missed by the test that waits for it.
        if let Ok(event) = serde_json::to_value(&event) {
            log.push(event);
        }
        if let Event::Message(message) = event
            && message.wants_reply
        {
            // Who asked may have gone; if not, it reports the missing reply.
            let _ = agent.reply(message.id, message.payload);
        }
    }
}

#[async_trait]
impl Member for Native {
    fn id(&self) -> PeerId {
        self.agent.id()
    }

    fn name(&self) -> &str {
        self.agent.name()
    }

    async fn table(&self, name: &str) -> Result<Value> {
        Ok(match name {
            "peers" => serde_json::to_value(self.agent.peers()?)?,
            "topology" => serde_json::to_value(self.agent.topology()?)?,
            "stats" => serde_json::to_value(self.agent.stats()?)?,
            _ => bail!("an agent has no table {name:?}"),
        })
    }

    async fn events(&self, kind: &str) -> Result<Vec<Value>> {
        Ok(self.events.all(|event| event["type"] == kind))
    }

    async fn request(&self, to: PeerId, payload: &str) -> Result<Value> {
        let reply = self
            .agent
            .request(to, payload, Some(REQUEST_DEADLINE))
            .await?;
        Ok(serde_json::to_value(reply)?)
    }

    async fn broadcast(&self, topic: &str, payload: &str) -> Result<String> {
        Ok(self.agent.broadcast(topic, payload).await?.to_string())
    }
}

/// `mesh agent --echo` as a child process.
#[derive(Debug)]
pub struct AgentProcess {
    process: Mutex<MeshProcess>,
    lines: Log<String>,
    id: PeerId,
    name: String,
    commands: AtomicU64,
}

/// The command line of an agent that answers requests.
fn arguments<'a>(url: &'a str, room: &'a str, name: &'a str) -> [&'a str; 8] {
    [
        "agent",
        "--signaling",
        url,
        "--room",
        room,
        "--name",
        name,
        "--echo",
    ]
}

impl AgentProcess {
    /// Starts one and waits until it has joined; `more` are further arguments.
    ///
    /// # Errors
    /// If it does not.
    pub async fn join(url: &str, room: &str, name: &str, more: &[&str]) -> Result<Self> {
        let process = MeshProcess::start(&[&arguments(url, room, name), more].concat())?;
        Self::meet(process, name).await
    }

    /// Starts one on a host of the test's own.
    ///
    /// # Errors
    /// As [`AgentProcess::join`].
    pub async fn join_on(
        host: &Host,
        url: &str,
        room: &str,
        name: &str,
        more: &[&str],
    ) -> Result<Self> {
        let arguments = [&arguments(url, room, name), more].concat();
        let process = MeshProcess::start_on(host, &arguments)?;
        Self::meet(process, name).await
    }

    async fn meet(process: MeshProcess, name: &str) -> Result<Self> {
        let ready = process
            .stdout
            .first("ready", SOON, |line| parsed(line)["type"] == "ready");
        let ready = match ready.await {
            Ok(line) => parsed(&line),
            Err(error) => bail!("{name} is not ready: {error}; {:?}", process.stderr.last()),
        };
        let id = ready["id"]
            .as_str()
            .context("the first line has no id")?
            .parse()?;
        Ok(Self {
            lines: process.stdout.clone(),
            process: Mutex::new(process),
            id,
            name: name.to_owned(),
            commands: AtomicU64::new(0),
        })
    }

    /// Gives a command and returns the line with its result or error.
    ///
    /// # Errors
    /// If none comes.
    pub async fn command(&self, mut command: Value) -> Result<Value> {
        let reference = self.commands.fetch_add(1, Ordering::Relaxed);
        command["ref"] = reference.into();
        self.write_line(&command.to_string()).await?;
        self.line("a result", |line| line["ref"] == reference).await
    }

    /// Writes to its stdin, whatever it is.
    ///
    /// # Errors
    /// If it has gone.
    pub async fn write_line(&self, line: &str) -> Result<()> {
        self.process.lock().await.write_line(line).await
    }

    /// Writes to its stdin, all at once.
    ///
    /// # Errors
    /// If it has gone.
    pub async fn write(&self, bytes: &[u8]) -> Result<()> {
        self.process.lock().await.write(bytes).await
    }

    /// Its process id.
    ///
    /// # Errors
    /// If it has ended.
    pub async fn process_id(&self) -> Result<u32> {
        self.process.lock().await.id()
    }

    /// All that it logged so far.
    pub async fn logged(&self) -> Vec<String> {
        self.process.lock().await.stderr.all(|_| true)
    }

    /// All that it printed so far.
    pub fn printed(&self) -> Vec<Value> {
        let lines = self.lines.all(|_| true);
        lines.iter().map(|line| parsed(line)).collect()
    }

    /// The first line that it printed, or prints soon, that is `wanted`.
    ///
    /// # Errors
    /// If none comes.
    pub async fn line(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let line = self
            .lines
            .first(what, SOON, |line| wanted(&parsed(line)))
            .await;
        Ok(parsed(&line.with_context(|| self.name.clone())?))
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// If it cannot be killed.
    pub async fn kill(&self) -> Result<()> {
        self.process.lock().await.kill().await
    }

    /// Sends it a signal by name, as `STOP` or `CONT`.
    ///
    /// # Errors
    /// If it cannot be sent.
    pub async fn signal(&self, name: &str) -> Result<()> {
        self.process.lock().await.signal(name).await
    }

    /// Waits until it ends by itself and all that it printed is read, and returns its exit code.
    ///
    /// # Errors
    /// If it does not end.
    pub async fn exit_code(&self) -> Result<Option<i32>> {
        let status = self.process.lock().await.wait(SOON).await?;
        self.lines.ended(SOON).await?;
        Ok(status.code())
    }

    async fn result(&self, command: Value) -> Result<Value> {
        let line = self.command(command).await?;
        if line["type"] != "result" {
            bail!("{} says {line}", self.name);
        }
        Ok(line)
    }
}

/// A line of stdout; null if it is no JSON.
fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_default()
}

#[async_trait]
impl Member for AgentProcess {
    fn id(&self) -> PeerId {
        self.id
    }

    fn name(&self) -> &str {
        &self.name
    }

    async fn table(&self, name: &str) -> Result<Value> {
        let mut result = self.result(json!({ "type": name })).await?;
        Ok(result[name].take())
    }

    async fn events(&self, kind: &str) -> Result<Vec<Value>> {
        let lines = self.lines.all(|line| parsed(line)["type"] == kind);
        Ok(lines.iter().map(|line| parsed(line)).collect())
    }

    async fn request(&self, to: PeerId, payload: &str) -> Result<Value> {
        let deadline = REQUEST_DEADLINE.as_millis();
        let mut result = self
            .result(json!({
                "type": "request", "to": to, "payload": payload, "deadlineMs": deadline,
            }))
            .await?;
        Ok(result["payload"].take())
    }

    async fn broadcast(&self, topic: &str, payload: &str) -> Result<String> {
        let command = json!({ "type": "broadcast", "topic": topic, "payload": payload });
        let result = self.result(command).await?;
        Ok(result["id"]
            .as_str()
            .context("the result has no id")?
            .to_owned())
    }
}
