//! An agent of a soak: `mesh agent` as a child process, whose every line goes into the ledger.
//!
//! A run has millions of lines: each is read once and kept nowhere.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use mesh_native::core::PeerId;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::ledger::{Ledger, Life, Outcome};
use crate::child::OwnChild;
use crate::member::Peer;
use crate::process::{lines_of, mesh_binary, piped};
use crate::wait::{Log, SOON};

/// Commands that wait for the process to read them. An agent that is stopped for long reads none;
/// what comes then is not sent, and told as held up.
const COMMANDS_MAX: usize = 512;

/// How long a process may take to answer a question: one that is stopped does not.
const ANSWER: Duration = Duration::from_secs(3);

/// Questions by number, and who waits for the answer.
type Questions = Arc<Mutex<BTreeMap<u64, oneshot::Sender<Value>>>>;

/// A running agent, killed when dropped.
#[derive(Debug)]
pub struct SoakAgent {
    /// The process's place in the ledger.
    pub life: Life,
    /// Its identity.
    pub id: PeerId,
    /// Its process.
    pub process: u32,
    child: tokio::sync::Mutex<OwnChild>,
    commands: mpsc::Sender<String>,
    questions: Questions,
    asked: AtomicU64,
}

impl SoakAgent {
    /// Starts `mesh agent` by this command, which leads to its host, and waits until it has joined.
    ///
    /// # Errors
    /// If it does not join.
    pub async fn join(mut host: Command, arguments: &[&str], ledger: &Ledger) -> Result<Self> {
        let mut child = piped(host.arg(mesh_binary()?).arg("agent").args(arguments))?;
        let log = lines_of(child.stderr.take().context("its stderr is piped")?);
        let input = child.stdin.take().context("its stdin is piped")?;
        let output = child.stdout.take().context("its stdout is piped")?;
        let (commands, queue) = mpsc::channel(COMMANDS_MAX);
        tokio::spawn(write(queue, input));
        let (ready, greeting) = oneshot::channel();
        let questions = Questions::default();
        let life = ledger.open().born();
        tokio::spawn(
            Reader {
                life,
                ledger: ledger.clone(),
                questions: Arc::clone(&questions),
                ready: Some(ready),
            }
            .read(output),
        );
        let process = child.id().context("it has ended")?;
        Ok(Self {
            life,
            id: greeted(greeting, &log).await?,
            process,
            child: child.into(),
            commands,
            questions,
            asked: AtomicU64::new(0),
        })
    }

    /// Hands the process a command, unless too many wait.
    pub fn tell(&self, command: &Value) -> bool {
        self.commands.try_send(format!("{command}\n")).is_ok()
    }

    /// Asks the process for one of its tables.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn table(&self, name: &str) -> Result<Value> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        lock(&self.questions).insert(number, answer);
        let asked = self.tell(&json!({"type": name, "ref": [number]}));
        let answer = timeout(ANSWER, answered).await;
        lock(&self.questions).remove(&number);
        match answer {
            Ok(Ok(mut line)) if asked => Ok(line[name].take()),
            _ => bail!("agent {} does not answer", self.life),
        }
    }

    /// Its `peers()`.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn peers(&self) -> Result<Vec<Peer>> {
        let table = self.table("peers").await?;
        serde_json::from_value(table).context("peers reads otherwise than documented")
    }

    /// SIGKILL. Returns when it is gone.
    ///
    /// # Errors
    /// If it cannot be killed.
    pub async fn kill(&self) -> Result<()> {
        let mut child = self.child.lock().await;
        child.kill().await.context("an agent cannot be killed")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for the first line of an agent, and returns its identity.
async fn greeted(greeting: oneshot::Receiver<Value>, log: &Log<String>) -> Result<PeerId> {
    let Ok(Ok(line)) = timeout(SOON, greeting).await else {
        bail!("an agent does not join; it says {:?}", log.last());
    };
    let id = line["id"].as_str().context("the first line has no id")?;
    Ok(id.parse()?)
}

async fn write(mut queue: mpsc::Receiver<String>, mut input: ChildStdin) {
    while let Some(line) = queue.recv().await {
        if input.write_all(line.as_bytes()).await.is_err() {
            return; // It was killed.
        }
    }
}

/// Reads what an agent prints.
struct Reader {
    life: Life,
    ledger: Ledger,
    questions: Questions,
    ready: Option<oneshot::Sender<Value>>,
}

impl Reader {
    async fn read(mut self, output: ChildStdout) {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            // A process that is killed may leave half a line.
            if let Ok(line) = serde_json::from_str(&line) {
                self.line(line);
            }
        }
    }

    fn line(&mut self, line: Value) {
        let text = |name: &str| line[name].as_str().unwrap_or_default();
        match text("type") {
            "message" => {
                let number = text("payload").split(' ').next();
                let number = number.and_then(|number| number.parse().ok());
                self.ledger.open().arrived(number, self.life);
            }
            "delivered" => self.ledger.open().told(text("id"), Outcome::Delivered),
            "deliveryFailed" => {
                let reason = text("reason").to_owned();
                self.ledger.open().told(text("id"), Outcome::Failed(reason));
            }
            "lagged" => {
                let missed = line["missed"].as_u64().unwrap_or(1);
                self.ledger.open().unread(missed);
            }
            "ready" => {
                if let Some(ready) = self.ready.take() {
                    let _ = ready.send(line);
                }
            }
            "result" | "error" => self.answer(line),
            _ => {}
        }
    }

    /// A message is called by its number, a question by an array of its number.
    fn answer(&self, line: Value) {
        if let Some(number) = line["ref"].as_u64() {
            let number = usize::try_from(number).unwrap_or(usize::MAX);
            let mut ledger = self.ledger.open();
            match (line["id"].as_str(), line["code"].as_str()) {
                (Some(id), _) => ledger.accepted(number, id),
                (_, code) => ledger.refused(number, code.unwrap_or_default()),
            }
            return;
        }
        let question = line["ref"][0].as_u64();
        if let Some(asked) = question.and_then(|number| lock(&self.questions).remove(&number)) {
            let _ = asked.send(line);
        }
    }
}
