//! One end of a path, as a process of its own on its host: it reads commands line by line, and
//! answers each with a line.
//!
//! `rtt COUNT`: asks the other end 100 bytes at a time and tells the round trips. `beside COUNT`:
//! the same beside large messages. `flood MS`: sends as fast as the connection takes it. `total`:
//! tells how many bytes the other end has sent here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::{ASKED_BYTES, ASKED_EVERY, FLOOD_BYTES, LARGE_BYTES};

/// The longest that a question may take: as long counts for one that is not answered.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a large message is under way before the first question beside it: a few round trips of
/// the longest path.
const BESIDE_AFTER: Duration = Duration::from_secs(3);

/// What can be measured: a connection with the other end.
#[async_trait]
pub(super) trait Connection: Send + Sync + 'static {
    /// Asks the other end something that it answers.
    async fn ask(&self, payload: Vec<u8>) -> Result<()>;

    /// Sends bytes, as soon as there is room.
    async fn send(&self, payload: Vec<u8>) -> Result<()>;

    /// Sends a message of so many bytes in parts that yield to others, and returns when it has
    /// arrived or will not.
    async fn send_large(&self, _bytes: usize) -> Result<()> {
        bail!("this connection has no large messages")
    }
}

/// The bytes that have come.
pub(super) type Total = Arc<AtomicU64>;

/// The commands that this process is given.
pub(super) struct Commands {
    lines: tokio::io::Lines<BufReader<tokio::io::Stdin>>,
}

impl Commands {
    pub(super) fn new() -> Self {
        let lines = BufReader::new(tokio::io::stdin()).lines();
        Self { lines }
    }

    /// The next command; none when there will be no more.
    pub(super) async fn next(&mut self) -> Result<Option<Value>> {
        let line = self.lines.next_line().await?;
        let parse = |line: String| serde_json::from_str(&line).with_context(|| line.clone());
        line.map(parse).transpose()
    }

    /// Carries out what both kinds of ends can do, until there are no more commands.
    pub(super) async fn serve(
        mut self,
        connection: Arc<impl Connection>,
        total: Total,
    ) -> Result<()> {
        while let Some(command) = self.next().await? {
            match command[0].as_str() {
                Some("rtt") => {
                    let took = round_trips(&connection, count(&command)?).await?;
                    answer(&json!(took));
                }
                Some("beside") => {
                    let took = beside_large(&connection, count(&command)?).await?;
                    answer(&json!(took));
                }
                Some("flood") => {
                    let millis = command[1].as_u64().context("how long")?;
                    flood(&connection, Duration::from_millis(millis)).await?;
                    answer(&Value::Null);
                }
                Some("total") => answer(&json!(total.load(Ordering::Relaxed))),
                _ => bail!("an unknown command: {command}"),
            }
        }
        Ok(())
    }
}

/// Answers a command.
pub(super) fn answer(value: &Value) {
    #[expect(clippy::print_stdout, reason = "the other process reads it")]
    {
        println!("{value}");
    }
}

/// How many questions a command orders.
fn count(command: &Value) -> Result<u64> {
    command[1].as_u64().context("how many")
}

/// Round trips in milliseconds.
async fn round_trips(connection: &Arc<impl Connection>, count: u64) -> Result<Vec<f64>> {
    let mut asking = Vec::new();
    for _ in 0..count {
        let connection = Arc::clone(connection);
        asking.push(tokio::spawn(async move {
            let began = Instant::now();
            let asked = connection.ask(vec![b'x'; ASKED_BYTES]);
            let took = match tokio::time::timeout(PATIENCE, asked).await {
                Ok(Ok(())) => began.elapsed(),
                Ok(Err(_)) | Err(_) => PATIENCE,
            };
            took.as_secs_f64() * 1e3
        }));
        tokio::time::sleep(ASKED_EVERY).await; // The pace of what is measured.
    }
    let mut took = Vec::new();
    for asked in asking {
        took.push(asked.await?);
    }
    Ok(took)
}

/// Round trips in milliseconds while one large message after the other is under way.
async fn beside_large(connection: &Arc<impl Connection>, count: u64) -> Result<Vec<f64>> {
    // What a flood has left goes first: it arrives or is given up before this is.
    let _ = connection.ask(vec![b'x'; ASKED_BYTES]).await;
    let large = async {
        loop {
            if let Err(error) = connection.send_large(LARGE_BYTES).await {
                return error;
            }
        }
    };
    let asking = async {
        tokio::time::sleep(BESIDE_AFTER).await; // Until the path is full.
        round_trips(connection, count).await
    };
    tokio::select! {
        error = large => Err(error),
        took = asking => took,
    }
}

async fn flood(connection: &Arc<impl Connection>, how_long: Duration) -> Result<()> {
    let until = tokio::time::Instant::now() + how_long;
    // What no longer has room then is not sent.
    while let Ok(sent) =
        tokio::time::timeout_at(until, connection.send(vec![b'x'; FLOOD_BYTES])).await
    {
        sent?;
    }
    Ok(())
}
