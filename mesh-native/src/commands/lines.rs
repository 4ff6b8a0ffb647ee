//! The conversation of `mesh agent`: a command a line in, an event or a result a line out.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;
use mesh_native::core::{Delivery, Event, MessageId, Payload, PeerId};
use mesh_native::{Agent, Events, MeshError, SendOptions};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;

/// Lines that may wait to be printed.
const LINES: usize = 1_024;

/// One line of stdin.
#[derive(Debug, Deserialize)]
struct Line {
    #[serde(rename = "ref", default)]
    reference: Value,
    #[serde(flatten)]
    command: Command,
}

#[derive(Debug, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
enum Command {
    Send {
        to: String,
        payload: Payload,
        #[serde(default)]
        delivery: Delivery,
        deadline_ms: Option<u64>,
    },
    Request {
        to: String,
        payload: Payload,
        deadline_ms: Option<u64>,
    },
    Reply {
        id: MessageId,
        payload: Payload,
    },
    Broadcast {
        #[serde(default)]
        topic: String,
        payload: Payload,
    },
    Subscribe {
        topics: Option<BTreeSet<String>>,
    },
    Avoid {
        members: Vec<String>,
    },
    Peers,
    Routes,
    Topology,
    Stats,
    Close,
}

/// Why a command failed: a code for programs, the cause for people.
type Failure = (&'static str, String);

/// Talks until stdin says `close` or the agent is closed. The end of stdin only ends commands:
/// events go on.
pub(crate) async fn speak(agent: &Agent, events: Events, echo: bool) -> anyhow::Result<()> {
    let (out, queue) = mpsc::channel(LINES);
    let greeting = json!({
        "type": "ready", "id": agent.id(), "name": agent.name(), "room": agent.room(),
    });
    out.send(greeting).await.context("stdout is closed")?;
    tokio::select! {
        outcome = print(queue) => outcome,
        outcome = report(agent, events, echo, out.clone()) => outcome,
        outcome = obey(agent, out) => outcome,
    }
}

async fn print(mut queue: mpsc::Receiver<Value>) -> anyhow::Result<()> {
    let mut stdout = tokio::io::stdout();
    while let Some(value) = queue.recv().await {
        let mut text = value.to_string();
        while let Ok(value) = queue.try_recv() {
            text.push('\n');
            text.push_str(&value.to_string());
        }
        text.push('\n');
        stdout
            .write_all(text.as_bytes())
            .await
            .context("stdout is closed")?;
        stdout.flush().await.context("stdout is closed")?;
    }
    Ok(())
}

async fn report(
    agent: &Agent,
    mut events: Events,
    echo: bool,
    out: mpsc::Sender<Value>,
) -> anyhow::Result<()> {
    while let Some(event) = events.next().await {
        if let Event::Message(message) = &event
            && message.wants_reply
            && echo
            && let Err(error) = agent.reply(message.id, message.payload.clone())
        {
            tracing::debug!(%error, "not answered");
        }
        let line = serde_json::to_value(&event).context("events always encode")?;
        out.send(line).await.context("stdout is closed")?;
    }
    Ok(())
}

async fn obey(agent: &Agent, out: mpsc::Sender<Value>) -> anyhow::Result<()> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await.context("stdin cannot be read")? {
        if line.trim().is_empty() {
            continue;
        }
        let parsed: Line = match serde_json::from_str(&line) {
            Ok(parsed) => parsed,
            Err(error) => {
                out.send(failed(
                    &Value::Null,
                    "bad-command",
                    &format!("no command: {error}"),
                ))
                .await?;
                continue;
            }
        };
        if matches!(parsed.command, Command::Close) {
            return Ok(());
        }
        // A request may wait for long, and what comes after it should not.
        let (agent, out) = (agent.clone(), out.clone());
        let answer = async move {
            let line = match execute(&agent, parsed.command).await {
                Ok(mut result) => {
                    result["type"] = "result".into();
                    with_reference(result, &parsed.reference)
                }
                Err((code, message)) => failed(&parsed.reference, code, &message),
            };
            let _ = out.send(line).await; // Printing ends with the agent.
        };
        tokio::spawn(answer);
    }
    std::future::pending().await
}

fn failed(reference: &Value, code: &str, message: &str) -> Value {
    let line = json!({ "type": "error", "code": code, "message": message });
    with_reference(line, reference)
}

fn with_reference(mut line: Value, reference: &Value) -> Value {
    if !reference.is_null() {
        line["ref"] = reference.clone();
    }
    line
}

async fn execute(agent: &Agent, command: Command) -> Result<Value, Failure> {
    let failure = |error: MeshError| (error.code(), error.to_string());
    let millis = |ms: Option<u64>| ms.map(Duration::from_millis);
    match command {
        Command::Send {
            to,
            payload,
            delivery,
            deadline_ms,
        } => {
            let to = find(agent, &to)?;
            let options = SendOptions {
                delivery,
                deadline: millis(deadline_ms),
            };
            let id = agent.send(to, payload, options).await.map_err(failure)?;
            Ok(json!({ "id": id }))
        }
        Command::Request {
            to,
            payload,
            deadline_ms,
        } => {
            let to = find(agent, &to)?;
            let reply = agent
                .request(to, payload, millis(deadline_ms))
                .await
                .map_err(failure)?;
            Ok(json!({ "payload": reply }))
        }
        Command::Reply { id, payload } => {
            agent.reply(id, payload).map_err(failure)?;
            Ok(json!({}))
        }
        Command::Broadcast { topic, payload } => {
            let id = agent.broadcast(&topic, payload).await.map_err(failure)?;
            Ok(json!({ "id": id }))
        }
        Command::Subscribe { topics } => {
            agent.subscribe(topics).map_err(failure)?;
            Ok(json!({}))
        }
        Command::Avoid { members } => {
            let mut avoided = BTreeSet::new();
            for member in &members {
                avoided.insert(find(agent, member)?);
            }
            agent.avoid(avoided).map_err(failure)?;
            Ok(json!({}))
        }
        Command::Peers => Ok(json!({ "peers": agent.peers().map_err(failure)? })),
        Command::Routes => Ok(json!({ "routes": agent.routes().map_err(failure)? })),
        Command::Topology => Ok(json!({ "topology": agent.topology().map_err(failure)? })),
        Command::Stats => Ok(json!({ "stats": agent.stats().map_err(failure)? })),
        Command::Close => Ok(json!({})),
    }
}

/// A member by id, or by name if only one has it.
fn find(agent: &Agent, who: &str) -> Result<PeerId, Failure> {
    if let Ok(peer) = who.parse() {
        return Ok(peer);
    }
    let peers = agent
        .peers()
        .map_err(|error| (error.code(), error.to_string()))?;
    let mut named = peers.iter().filter(|peer| peer.name == who);
    match (named.next(), named.next()) {
        (Some(peer), None) => Ok(peer.id),
        (None, _) => Err((
            "unknown-peer",
            format!("nobody in the room is called {who:?}"),
        )),
        _ => Err((
            "ambiguous-peer",
            format!("several members are called {who:?}: use the id"),
        )),
    }
}
