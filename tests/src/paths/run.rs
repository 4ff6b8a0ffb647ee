//! One measurement: hosts on a switch, two ends, and what passes between them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::time::{sleep_until, timeout};

use super::{ASKED_BYTES, ASKED_EVERY, FLOOD_BYTES, Load, Path, Switch};
use crate::browser::{Addresses, Browser, Window};
use crate::child::OwnChild;
use crate::hosts::Host;
use crate::output::progress;
use crate::process::{mesh_binary, piped};

/// How long an end may take for an answer.
const PATIENCE: Duration = Duration::from_secs(90);

/// How often two ends of bare `webrtc` are started until they connect: where packets get lost, its
/// DTLS handshake may fail for good.
const BARE_TRIES: u32 = 3;

/// A connection between two ends, or a mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// Two agents of the mesh, over one link.
    Ours,
    /// `webrtc` as it comes.
    Bare,
    /// Two tabs of Chromium.
    Tabs,
    /// Four agents in a row: three links, each a path.
    OursThreeHops,
}

impl System {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ours, Self::Bare, Self::Tabs, Self::OursThreeHops];

    /// Its name in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "mesh, 1 link",
            Self::Bare => "`webrtc`, defaults",
            Self::Tabs => "two Chromium tabs",
            Self::OursThreeHops => "mesh, 3 links",
        }
    }
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Figures {
    /// From the start of the ends until messages can be sent, in milliseconds; not of tabs, whose
    /// browser takes longer than all else.
    pub opened_ms: Option<u64>,
    /// Round trips of 100 bytes, in milliseconds, sorted.
    pub round_trips: Vec<f64>,
    /// The same beside a message of 16 MiB; empty if the system has none so large.
    pub beside: Vec<f64>,
    /// Megabytes a second that came, of those sent as fast as they were taken.
    pub throughput: f64,
}

/// The program that is an end when it is told so: `paths`.
#[derive(Clone, Debug)]
pub struct Ends(PathBuf);

impl Ends {
    /// This program, which is `paths`.
    ///
    /// # Errors
    /// If the system does not say where it is.
    pub fn this() -> Result<Self> {
        Ok(Self(std::env::current_exe()?))
    }

    /// The one that was built beside the `mesh` command.
    ///
    /// # Errors
    /// If it was not built.
    pub fn built() -> Result<Self> {
        let program = mesh_binary()?.with_file_name("paths");
        ensure!(
            program.is_file(),
            "{} does not exist: run `cargo xtask test e2e`, which builds it",
            program.display()
        );
        Ok(Self(program))
    }
}

/// Measures one system over one path. The flood lasts so long, and longer where packets get lost.
///
/// # Errors
/// If the ends do not connect.
pub async fn measure(system: System, path: Path, flood: Duration, ends: &Ends) -> Result<Figures> {
    let load = Load::on(path, flood);
    match system {
        System::Ours => ours(2, path, load, ends).await,
        System::OursThreeHops => ours(4, path, load, ends).await,
        System::Bare => bare(path, load, ends).await,
        System::Tabs => tabs(path, load).await,
    }
}

/// A process that is one end, killed when dropped.
struct End {
    _child: OwnChild,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl End {
    fn start(program: &Ends, host: &Host, arguments: &[&str]) -> Result<Self> {
        let mut command = host.command();
        command.arg(&program.0).arg("end");
        let mut child = piped(command.args(arguments))?;
        let commands = child.stdin.take().context("its stdin is piped")?;
        let answers = child.stdout.take().context("its stdout is piped")?;
        let mut log = BufReader::new(child.stderr.take().context("its stderr is piped")?).lines();
        tokio::spawn(async move {
            while let Ok(Some(line)) = log.next_line().await {
                progress(&line);
            }
        });
        Ok(Self {
            _child: child,
            commands,
            answers: BufReader::new(answers).lines(),
        })
    }

    async fn tell(&mut self, command: Value) -> Result<()> {
        let line = format!("{command}\n");
        Ok(self.commands.write_all(line.as_bytes()).await?)
    }

    async fn answer(&mut self) -> Result<Value> {
        let line = timeout(PATIENCE, self.answers.next_line()).await;
        let line = line.context("an end does not answer")??;
        Ok(serde_json::from_str(&line.context("an end has failed")?)?)
    }

    async fn ask(&mut self, command: Value) -> Result<Value> {
        self.tell(command).await?;
        self.answer().await
    }
}

/// Agents on hosts in a row: each can reach its neighbours, and the hub, which is no path away.
async fn ours(agents: usize, path: Path, load: Load, program: &Ends) -> Result<Figures> {
    let switch = Switch::new(move |from, to| match (from, to) {
        (0, _) | (_, 0) => Some(Path::default()),
        _ => (from.abs_diff(to) == 1).then_some(path),
    });
    let hub_host = switch.host("hub").await?;
    let address = Switch::address(0);
    let mut hub = hub_host.command();
    hub.arg(mesh_binary()?).args(["signal", "--listen"]);
    let _hub = piped(hub.arg(format!("{address}:9600")))?;
    hub_host.until_listening("tcp", 9600).await?;
    let (url, mut hosts, mut ends) = (
        format!("ws://{address}:9600/signal"),
        Vec::new(),
        Vec::new(),
    );
    for number in 1..=agents {
        let host = switch.host(&format!("agent-{number}")).await?;
        let mut end = End::start(program, &host, &["ours", &url, &format!("agent-{number}")])?;
        let id = end.answer().await?;
        ends.push((end, id));
        hosts.push(host);
    }
    let (first, last) = (ends[0].1.clone(), ends[agents - 1].1.clone());
    let hops = agents - 1;
    ends[agents - 1].0.tell(json!([first, hops])).await?;
    let opened = ends[0].0.ask(json!([last, hops])).await?;
    ends[agents - 1].0.answer().await?;
    let (mut to, _) = ends.pop().context("the last")?;
    let (from, _) = &mut ends[0];
    let mut figures = between(from, &mut to, load).await?;
    figures.opened_ms = opened.as_u64();
    figures.beside = sorted(&from.ask(json!(["beside", load.asked])).await?, load)?;
    Ok(figures)
}

async fn bare(path: Path, load: Load, program: &Ends) -> Result<Figures> {
    let switch = Switch::new(move |_, _| Some(path));
    let hosts = [switch.host("a").await?, switch.host("b").await?];
    let mut tries = 1;
    let (mut from, mut to, opened) = loop {
        match connected(&hosts, program).await {
            Ok(ends) => break ends,
            Err(error) if tries < BARE_TRIES => progress(&format!("again, for {error:#}")),
            Err(error) => return Err(error),
        }
        tries += 1;
    };
    let mut figures = between(&mut from, &mut to, load).await?;
    figures.opened_ms = u64::try_from(opened.as_millis()).ok();
    Ok(figures)
}

/// Two ends of bare `webrtc` that are connected, and how long that took.
async fn connected(hosts: &[Host; 2], program: &Ends) -> Result<(End, End, Duration)> {
    let began = Instant::now();
    let mut from = End::start(program, &hosts[0], &["bare", &Switch::address(0)])?;
    let mut to = End::start(program, &hosts[1], &["bare", &Switch::address(1)])?;
    let offer = from.ask(json!(["offer"])).await?;
    let accept = to.ask(json!(["answer", offer])).await?;
    from.ask(json!(["accept", accept])).await?;
    to.answer().await?;
    Ok((from, to, began.elapsed()))
}

async fn between(from: &mut End, to: &mut End, load: Load) -> Result<Figures> {
    let round_trips = from.ask(json!(["rtt", load.asked])).await?;
    let until = tokio::time::Instant::now() + load.flood;
    from.tell(json!(["flood", load.flood.as_millis() as u64]))
        .await?;
    sleep_until(until).await;
    let total = to.ask(json!(["total"])).await?;
    from.answer().await?; // That it is over.
    figures(&round_trips, &total, load)
}

fn sorted(round_trips: &Value, load: Load) -> Result<Vec<f64>> {
    let mut round_trips: Vec<f64> = serde_json::from_value(round_trips.clone())?;
    ensure!(round_trips.len() == load.asked, "{round_trips:?}");
    round_trips.sort_by(f64::total_cmp);
    Ok(round_trips)
}

fn figures(round_trips: &Value, total: &Value, load: Load) -> Result<Figures> {
    let total = total.as_f64().context("a number of bytes")?;
    Ok(Figures {
        opened_ms: None,
        round_trips: sorted(round_trips, load)?,
        beside: Vec::new(),
        throughput: total / load.flood.as_secs_f64() / 1e6,
    })
}

async fn tabs(path: Path, load: Load) -> Result<Figures> {
    let switch = Switch::new(move |_, _| Some(path));
    let hosts = [switch.host("a").await?, switch.host("b").await?];
    let opening = hosts
        .each_ref()
        .map(|host| Window::open_on(host, Browser::Chrome, Addresses::Shown, "about:blank"));
    let [from, to] = opening;
    let (from, to) = tokio::try_join!(from, to)?;
    for tab in [&from, &to] {
        tab.evaluate(include_str!("tab.js"), &[]).await?;
    }
    let describe = "return window.end.describe(arguments[0])";
    let offer = from.evaluate(describe, &[Value::Null]).await?;
    let accept = to.evaluate(describe, &[offer]).await?;
    let accepting = "return window.end.accept(arguments[0])";
    from.evaluate(accepting, &[accept]).await?;
    for tab in [&from, &to] {
        tab.evaluate("return window.end.opened()", &[]).await?;
    }
    let asked = [
        json!(load.asked),
        json!(ASKED_EVERY.as_millis() as u64),
        json!(ASKED_BYTES),
    ];
    let rtt = "return window.end.rtt(...arguments)";
    let round_trips = from.evaluate(rtt, &asked).await?;
    let how = [json!(load.flood.as_millis() as u64), json!(FLOOD_BYTES)];
    let until = tokio::time::Instant::now() + load.flood;
    let flooding = "window.end.flood(...arguments)";
    from.evaluate(flooding, &how).await?;
    sleep_until(until).await;
    let total = to.evaluate("return window.end.total()", &[]).await?;
    let figures = figures(&round_trips, &total, load);
    from.close().await?;
    to.close().await?;
    figures
}
