//! Opens links between our stack and another, whose end is a process: for `cargo xtask foreign`.
//!
//! `foreign ours|theirs ROUNDS DELAY COMMAND…` runs the command (a script of `tests/foreign`) and
//! opens `ROUNDS` links, one after the other; ours or theirs offers. Orders and signals go to the
//! process as JSON lines, its signals and events come back the same way. Signals take `DELAY`
//! milliseconds to the other end, as through a hub. Prints one JSON line a round.
#![expect(
    clippy::print_stdout,
    reason = "what it prints is read by `cargo xtask foreign`"
)]

use std::collections::VecDeque;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use mesh_core::{Channel, LinkSignal};
use mesh_native::pairs::{Single, Told};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

/// What a link may take to open: more than the ten seconds that a link itself waits for DTLS.
const ROUND_MAX: Duration = Duration::from_secs(15);

/// What the other end may take to end.
const END_MAX: Duration = Duration::from_secs(5);

/// The channels whose first message must arrive, in both directions: those that are reliable.
const RELIABLE: [Channel; 2] = [Channel::Control, Channel::Data];

/// A line from or to the other end.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Line {
    /// Be ready for an offer.
    AnswerNext,
    /// Offer.
    OfferNext,
    Offer {
        sdp: String,
    },
    Answer {
        sdp: String,
    },
    Candidate {
        candidate: String,
    },
    /// The other end's channels are open.
    Open,
    /// A message of ours has arrived.
    Message {
        channel: String,
    },
    Error {
        message: String,
    },
}

/// How a round went, in milliseconds since the offer was there.
struct Times {
    opened: f64,
    messages: f64,
}

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let mut args = std::env::args().skip(1);
    let we_offer = match args.next().as_deref() {
        Some("ours") => true,
        Some("theirs") => false,
        _ => bail!("usage: foreign ours|theirs ROUNDS DELAY COMMAND…"),
    };
    let rounds: usize = args.next().context("how many rounds?")?.parse()?;
    let delay = args.next().context("how long do signals take?")?;
    let delay = Duration::from_millis(delay.parse()?);
    let program = args.next().context("which command?")?;
    let mut other = Other::start(&program, args)?;
    for _ in 0..rounds {
        let line = match round(&mut other, we_offer, delay).await {
            Ok(Times { opened, messages }) => json!({ "opened": opened, "messages": messages }),
            Err(error) => json!({ "error": format!("{error:#}") }),
        };
        println!("{line}");
    }
    other.end().await
}

/// The process at the other end; killed when dropped.
struct Other {
    child: Child,
    orders: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Other {
    fn start(program: &str, args: impl Iterator<Item = String>) -> Result<Self> {
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        let orders = child.stdin.take().context("no stdin")?;
        let output = child.stdout.take().context("no stdout")?;
        Ok(Self {
            child,
            orders,
            lines: BufReader::new(output).lines(),
        })
    }

    async fn order(&mut self, line: &Line) -> Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.orders.write_all(text.as_bytes()).await?;
        Ok(self.orders.flush().await?)
    }

    async fn signal(&mut self, signal: LinkSignal) -> Result<()> {
        let line = match signal {
            LinkSignal::Offer { sdp } => Line::Offer { sdp },
            LinkSignal::Answer { sdp } => Line::Answer { sdp },
            LinkSignal::Candidate { candidate, .. } => Line::Candidate { candidate },
        };
        self.order(&line).await
    }

    /// Has the process end by itself, so that it can end what it has started.
    async fn end(self) -> Result<()> {
        let Self {
            mut child, orders, ..
        } = self;
        drop(orders);
        timeout(END_MAX, child.wait())
            .await
            .context("the other end does not end")??;
        Ok(())
    }

    async fn next(&mut self) -> Result<Line> {
        let text = self.lines.next_line().await?;
        let text = text.context("the other end has ended")?;
        serde_json::from_str(&text).with_context(|| format!("not understood: {text}"))
    }
}

/// Opens one link and sees the first messages through.
async fn round(other: &mut Other, we_offer: bool, delay: Duration) -> Result<Times> {
    let order = if we_offer {
        Line::AnswerNext
    } else {
        Line::OfferNext
    };
    other.order(&order).await?;
    let mut round = Round {
        delay,
        ours: None,
        signals: VecDeque::new(),
        offered: None,
        progress: Progress::default(),
    };
    if we_offer {
        round.ours = Some(begin(None)?);
    }
    let deadline = Instant::now() + ROUND_MAX;
    loop {
        match timeout_at(deadline, round.step(other)).await {
            Ok(step) => step.with_context(|| format!("{:?}", round.progress))?,
            Err(_) => bail!("not within {ROUND_MAX:?}: {:?}", round.progress),
        }
        if let Some(times) = round.times() {
            return Ok(times);
        }
    }
}

fn begin(offer: Option<String>) -> Result<Single> {
    Single::begin(offer).map_err(anyhow::Error::msg)
}

/// One link being opened.
struct Round {
    delay: Duration,
    /// Our end, once there is an offer.
    ours: Option<Single>,
    /// Signals on their way, and when they arrive.
    signals: VecDeque<(Instant, Way, LinkSignal)>,
    /// When the offer was there.
    offered: Option<Instant>,
    progress: Progress,
}

/// Where a signal goes.
#[derive(Clone, Copy)]
enum Way {
    ToOurs,
    ToTheirs,
}

/// How far a round is.
#[derive(Debug, Default)]
struct Progress {
    ours_open: bool,
    theirs_open: bool,
    /// How long both ends took to open.
    opened: Option<Duration>,
    /// First messages that have arrived, at either end.
    messages: usize,
}

impl Round {
    /// Waits for one thing to happen, and sees to it.
    async fn step(&mut self, other: &mut Other) -> Result<()> {
        let due = self.signals.front().map(|(due, ..)| *due);
        let arrival = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        let ours = async {
            match &mut self.ours {
                Some(link) => link.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = arrival => {
                if let Some((_, way, signal)) = self.signals.pop_front() {
                    self.deliver(other, way, signal).await?;
                }
            }
            told = ours => self.hear_ours(told.context("our end has ended")?)?,
            line = other.next() => self.hear_theirs(line?)?,
        }
        if self.progress.ours_open && self.progress.theirs_open {
            let took = self.offered.map(|offered| offered.elapsed());
            self.progress.opened = self.progress.opened.or(took);
        }
        Ok(())
    }

    fn send(&mut self, way: Way, signal: LinkSignal) {
        if matches!(signal, LinkSignal::Offer { .. }) {
            self.offered = Some(Instant::now());
        }
        self.signals
            .push_back((Instant::now() + self.delay, way, signal));
    }

    async fn deliver(&mut self, other: &mut Other, way: Way, signal: LinkSignal) -> Result<()> {
        match (way, signal, &self.ours) {
            (Way::ToTheirs, signal, _) => other.signal(signal).await?,
            (Way::ToOurs, LinkSignal::Offer { sdp }, None) => self.ours = Some(begin(Some(sdp))?),
            (Way::ToOurs, signal, Some(link)) => link.apply(signal),
            // A candidate of the round before.
            (Way::ToOurs, _, None) => {}
        }
        Ok(())
    }

    fn hear_ours(&mut self, told: Told) -> Result<()> {
        match told {
            Told::Signal(signal) => self.send(Way::ToTheirs, signal),
            Told::Opened => {
                self.progress.ours_open = true;
                for channel in Channel::ALL {
                    let frame = Bytes::from_static(channel.label().as_bytes());
                    if let Some(link) = &self.ours {
                        link.send(channel, frame);
                    }
                }
            }
            Told::Received(channel, frame) => {
                ensure!(frame == channel.label(), "{frame:?} on {channel:?}");
                self.count(channel.label());
            }
            Told::Closed(reason) => bail!("our end closed: {reason}"),
        }
        Ok(())
    }

    fn hear_theirs(&mut self, line: Line) -> Result<()> {
        match line {
            Line::Offer { sdp } => self.send(Way::ToOurs, LinkSignal::Offer { sdp }),
            Line::Answer { sdp } => self.send(Way::ToOurs, LinkSignal::Answer { sdp }),
            Line::Candidate { candidate } => {
                let (mid, line) = (Some("0".to_owned()), Some(0));
                let candidate = LinkSignal::Candidate {
                    candidate,
                    mid,
                    line,
                };
                self.send(Way::ToOurs, candidate);
            }
            Line::Open => self.progress.theirs_open = true,
            Line::Message { channel } => self.count(&channel),
            Line::Error { message } => bail!("the other end: {message}"),
            line => bail!("unexpected: {line:?}"),
        }
        Ok(())
    }

    fn count(&mut self, channel: &str) {
        let reliable = RELIABLE.iter().any(|each| each.label() == channel);
        self.progress.messages += usize::from(reliable);
    }

    /// How the round went, once all has arrived.
    fn times(&self) -> Option<Times> {
        let (opened, offered) = (self.progress.opened?, self.offered?);
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        (self.progress.messages == 2 * RELIABLE.len()).then(|| Times {
            opened: ms(opened),
            messages: ms(offered.elapsed()),
        })
    }
}
