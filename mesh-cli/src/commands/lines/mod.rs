//! The conversation of `mesh agent`: a command a line in, an event or a result a line out.
//!
//! Commands are obeyed one after the other, so what they send to one member leaves in their order.
//! A message or a request that has to wait, for its target is slow or out of reach, waits beside
//! the commands after it: it is no concern of other targets. A large message, a broadcast and
//! more than `BESIDE_MAX` that wait hold up stdin: nothing piles up here.

mod command;
mod input;
mod tracks;

use std::collections::BTreeSet;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context, anyhow};
use mesh_core::{Event, Payload, PeerId, PeerView};
use mesh_native::{Agent, Events, MeshError, SendOptions};
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};

use self::command::Command;
use self::input::{Line, Lines};
use self::tracks::Tracks;
use super::{Interrupt, interruption};

/// Lines that may wait to be printed.
const LINES: usize = 1_024;

/// Messages and requests that wait beside other commands at most. A message has 16 KiB at most, and
/// results have as much room as other lines.
const BESIDE_MAX: usize = LINES;

/// How long `close` waits for what was sent before it: as long as a message may take that names no
/// deadline of its own. Told in the help of `mesh agent`.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// How long an agent that is told to end may take to leave and to print its last lines. Links close
/// within a second; the rest is for a reader that is slow, not for one that has stopped.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// Why a command failed.
struct Failure {
    /// For programs.
    code: &'static str,
    /// The cause, for people.
    message: String,
    /// After how long the same may succeed, where that is known.
    retry_after: Option<Duration>,
}

impl Failure {
    const fn new(code: &'static str, message: String) -> Self {
        Self {
            code,
            message,
            retry_after: None,
        }
    }
}

/// Where a command came from: the number of its line, and how it calls itself.
#[derive(Debug)]
struct Origin {
    number: u64,
    reference: Value,
}

impl Origin {
    fn line(self, outcome: Result<Value, Failure>) -> Value {
        let mut line = match outcome {
            Ok(mut result) => {
                result["type"] = "result".into();
                result
            }
            Err(failure) => {
                let mut line =
                    json!({ "type": "error", "code": failure.code, "message": failure.message });
                if let Some(wait) = failure.retry_after {
                    line["retryAfterMs"] = json!(wait.as_secs_f64() * 1e3);
                }
                line
            }
        };
        line["line"] = self.number.into();
        if !self.reference.is_null() {
            line["ref"] = self.reference;
        }
        line
    }
}

/// What ended a conversation.
enum Ended {
    /// A line said `close`.
    Closed,
    /// The process is told to end.
    Stopped,
    /// The agent left by itself, for this reason.
    Left(String),
    /// Stdin cannot be read, or stdout not written.
    Failed(anyhow::Error),
}

/// Talks until stdin says `close`, the process is told to end, or the agent has left by itself. The
/// end of stdin only ends commands: events go on. When this returns the agent has left, and the
/// last line has said so. Returns the signal that ended it, if one did.
pub(crate) async fn speak(
    agent: &Agent,
    events: Events,
    echo: bool,
) -> anyhow::Result<Option<Interrupt>> {
    let (stop, _) = watch::channel(false);
    let mut talking = pin!(talk(agent, events, echo, &stop));
    tokio::select! {
        outcome = &mut talking => outcome.map(|()| None),
        interrupt = interruption() => {
            stop.send_replace(true);
            // The reader of the last lines may have stopped.
            if tokio::time::timeout(STOP_PATIENCE, talking).await.is_err() {
                tracing::warn!("not all lines could be printed in {STOP_PATIENCE:?}");
            }
            Ok(Some(interrupt))
        }
    }
}

async fn talk(
    agent: &Agent,
    events: Events,
    echo: bool,
    stop: &watch::Sender<bool>,
) -> anyhow::Result<()> {
    let (out, queue) = mpsc::channel(LINES);
    let greeting = json!({
        "type": "ready", "id": agent.id(), "name": agent.name(), "room": agent.room(),
    });
    tell(&out, greeting).await;
    let mut printing = tokio::spawn(print(queue));
    let mut beside = JoinSet::new();
    let ended = {
        let mut stopped = stop.subscribe();
        let mut reporting = pin!(report(agent, events, echo, out.clone()));
        let mut obeying = pin!(obey(agent, &mut beside, stop, out.clone()));
        let ended = tokio::select! {
            outcome = &mut obeying => outcome.map_or_else(Ended::Failed, |()| Ended::Closed),
            reason = &mut reporting => Ended::Left(reason),
            _ = stopped.wait_for(|&stopped| stopped) => Ended::Stopped,
            printed = &mut printing => return fail(agent, unprinted(printed)).await,
        };
        match &ended {
            Ended::Closed | Ended::Failed(_) => {
                tokio::join!(agent.close(), reporting);
            }
            Ended::Stopped => {
                let _ = tokio::join!(agent.close(), reporting, obeying);
            }
            Ended::Left(_) => {
                stop.send_replace(true);
                let _ = obeying.await; // What it waited for fails with the agent.
            }
        }
        ended
    };
    while beside.join_next().await.is_some() {}
    tell(&out, json!(Event::Left)).await;
    drop(out);
    let printed = printing.await;
    match ended {
        Ended::Left(reason) => Err(anyhow!(reason)),
        Ended::Failed(error) => Err(error),
        Ended::Closed | Ended::Stopped if matches!(printed, Ok(Ok(()))) => Ok(()),
        Ended::Closed | Ended::Stopped => Err(unprinted(printed)),
    }
}

async fn fail(agent: &Agent, error: anyhow::Error) -> anyhow::Result<()> {
    agent.close().await;
    Err(error)
}

fn unprinted(printed: Result<anyhow::Result<()>, JoinError>) -> anyhow::Error {
    match printed {
        Ok(Err(error)) => error,
        Ok(Ok(())) => anyhow!("printing has ended"),
        Err(error) => error.into(),
    }
}

/// Hands a line to be printed. Where that fails so does printing, which is told there.
async fn tell(out: &mpsc::Sender<Value>, line: Value) {
    let _ = out.send(line).await;
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

/// Tells every event but the last. Returns when the agent has left, and why it did so by itself.
async fn report(agent: &Agent, mut events: Events, echo: bool, out: mpsc::Sender<Value>) -> String {
    let mut reason = "the agent has ended by itself".to_owned();
    while let Some(event) = events.next().await {
        match &event {
            Event::Message(message) if message.wants_reply && echo => {
                if let Err(error) = agent.reply(message.id, message.payload.clone()) {
                    tracing::debug!(%error, "not answered");
                }
            }
            Event::Refused { code, message } => {
                reason = format!("the signaling server refuses this agent ({code}): {message}");
            }
            Event::Left => break,
            _ => {}
        }
        tell(&out, json!(event)).await;
    }
    reason
}

/// Obeys line by line until one says `close`, or `stop` is set.
async fn obey(
    agent: &Agent,
    beside: &mut JoinSet<()>,
    stop: &watch::Sender<bool>,
    out: mpsc::Sender<Value>,
) -> anyhow::Result<()> {
    let mut stopped = stop.subscribe();
    let mut lines = Lines::new(BufReader::new(tokio::io::stdin()));
    let mut tracks = Tracks::default();
    loop {
        while beside.try_join_next().is_some() {}
        // Work begins outside of the runtime's budget, so this loop keeps to it.
        tokio::task::coop::consume_budget().await;
        let line = tokio::select! {
            biased;
            _ = stopped.wait_for(|&stopped| stopped) => return Ok(()),
            line = lines.next() => line.context("stdin cannot be read")?,
        };
        let Some((number, line)) = line else {
            let _ = stopped.wait_for(|&stopped| stopped).await;
            return Ok(());
        };
        let (reference, command) = match line {
            Line::Text(text) if text.trim().is_empty() => continue,
            Line::Text(text) => command::parse(&text),
            Line::Bad(why) => (Value::Null, Err(why)),
        };
        let origin = Origin { number, reference };
        let outcome = match command {
            Err(why) => Err(Failure::new("bad-command", why)),
            Ok(Command::Close) => {
                tokio::select! {
                    () = finish(agent, beside) => {}
                    _ = stopped.wait_for(|&stopped| stopped) => {}
                }
                tell(&out, origin.line(Ok(json!({})))).await;
                return Ok(());
            }
            Ok(Command::Request {
                to,
                payload,
                deadline,
            }) => {
                let work = request(agent.clone(), to, payload, deadline);
                begin(work, origin, beside, &out).await;
                continue;
            }
            Ok(Command::Send {
                to,
                payload,
                options,
            }) if !payload.is_large() => {
                let work = send(agent.clone(), to, payload, options);
                begin(work, origin, beside, &out).await;
                continue;
            }
            Ok(Command::Play { to, file }) => tracks.play(agent, &to, file, out.clone()),
            Ok(Command::Record { from, id, file }) => {
                tracks.record(agent, &from, &id, file, out.clone())
            }
            Ok(Command::EndTrack { id }) => tracks.end(&id),
            Ok(command) => execute(agent, command).await,
        };
        tell(&out, origin.line(outcome)).await;
    }
}

/// Waits for the outcome of all that was sent, for as long as [`CLOSE_PATIENCE`].
async fn finish(agent: &Agent, beside: &mut JoinSet<()>) {
    let finished = async {
        while beside.join_next().await.is_some() {}
        let _ = agent.finish().await; // It may have left meanwhile.
    };
    let _ = tokio::time::timeout(CLOSE_PATIENCE, finished).await;
}

/// Does the work of a command; beside the commands after it, if it has to wait. When this returns
/// the message has its place in the order of those to its target.
async fn begin(
    work: impl Future<Output = Result<Value, Failure>> + Send + 'static,
    origin: Origin,
    beside: &mut JoinSet<()>,
    out: &mpsc::Sender<Value>,
) {
    let mut work = Box::pin(tokio::task::unconstrained(work));
    if let Poll::Ready(outcome) = futures::poll!(&mut work) {
        return tell(out, origin.line(outcome)).await;
    }
    while beside.len() >= BESIDE_MAX {
        beside.join_next().await;
    }
    let out = out.clone();
    beside.spawn(async move { tell(&out, origin.line(work.await)).await });
}

async fn request(
    agent: Agent,
    to: String,
    payload: Payload,
    deadline: Option<Duration>,
) -> Result<Value, Failure> {
    let to = find(&agent, &to)?;
    let asked = agent.start_request(to, payload, deadline).await;
    let reply = asked.map_err(failure)?.wait().await.map_err(failure)?;
    Ok(json!({ "payload": reply }))
}

async fn send(
    agent: Agent,
    to: String,
    payload: Payload,
    options: SendOptions,
) -> Result<Value, Failure> {
    let to = find(&agent, &to)?;
    // A large message goes on by itself: events tell what becomes of it.
    let sent = agent.start_send(to, payload, options).await;
    Ok(json!({ "id": sent.map_err(failure)?.detach() }))
}

async fn execute(agent: &Agent, command: Command) -> Result<Value, Failure> {
    match command {
        Command::Send {
            to,
            payload,
            options,
        } => send(agent.clone(), to, payload, options).await,
        Command::Cancel { id } => match agent.cancel(id).map_err(failure)? {
            true => Ok(json!({})),
            false => {
                let why = "no large message with this id is being sent: it may have ended";
                Err(Failure::new("unknown-message", why.to_owned()))
            }
        },
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
        Command::RotateKeys => {
            agent.rotate_keys().map_err(failure)?;
            Ok(json!({}))
        }
        Command::Peers => Ok(json!({ "peers": agent.peers().map_err(failure)? })),
        Command::Routes => Ok(json!({ "routes": agent.routes().map_err(failure)? })),
        Command::Topology => Ok(json!({ "topology": agent.topology().map_err(failure)? })),
        Command::Stats => {
            let mut stats = json!(agent.stats().map_err(failure)?);
            stats["nextTimeout"] = json!(agent.next_timeout().map_err(failure)?);
            Ok(json!({ "stats": stats }))
        }
        // Not obeyed here.
        Command::Request { .. }
        | Command::Play { .. }
        | Command::Record { .. }
        | Command::EndTrack { .. }
        | Command::Close => Ok(json!({})),
    }
}

fn failure(error: MeshError) -> Failure {
    Failure {
        code: error.code(),
        message: error.to_string(),
        retry_after: error.retry_after(),
    }
}

/// A member by id, or by name if only one has it.
fn find(agent: &Agent, wanted: &str) -> Result<PeerId, Failure> {
    if let Ok(peer) = wanted.parse() {
        return Ok(peer);
    }
    let peers = agent.peers().map_err(failure)?;
    let named: Vec<&PeerView> = peers.iter().filter(|peer| peer.name == wanted).collect();
    match named[..] {
        [peer] => Ok(peer.id),
        [] => Err(Failure::new(
            "unknown-peer",
            format!("no member of the room is called {wanted:?}"),
        )),
        // The short ids tell them apart and no more: a key with the same start is soon found.
        _ => {
            let ids: Vec<String> = named.iter().map(|peer| peer.id.short()).collect();
            let message = format!(
                "{} members are called {wanted:?}: {}; give the whole id, which `peers` lists",
                ids.len(),
                ids.join(", ")
            );
            Err(Failure::new("ambiguous-peer", message))
        }
    }
}
