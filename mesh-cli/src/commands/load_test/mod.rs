//! `mesh load-test`: a real mesh under load, measured, and a report of it.

mod browsers;
mod compare;
mod fleet;
mod html;
mod keys;
mod markdown;
mod network;
mod plots;
mod process;
mod recorder;
mod remote;
mod report;
mod sections;
mod signatures;
mod targets;
mod tested;
mod text;
mod traffic;
mod ways;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use mesh_core::{Delivery, Metric, default_k};

use super::usage::{self, Usage};
use super::{Interrupt, interruption, print, raise_file_limit};
use fleet::Fleet;
use recorder::Recorder;
use report::{MemoryByPhase, Phases, Report};
use traffic::Load;

/// Ends when the test is to end early.
type Stop = tokio::task::JoinHandle<Interrupt>;

/// What a test has come to.
enum Outcome {
    Measured(Box<Report>),
    /// It was ended before any message was sent that counts.
    Interrupted(Interrupt),
}

/// Agents in processes of their own at most.
const PROCESSES_MAX: u16 = 200;

/// How long what forming stirred up has to settle: surplus links are drained, round trips
/// announced.
const SETTLE: Duration = Duration::from_secs(10);

/// How long the mesh is watched at rest.
const REST: Duration = Duration::from_secs(5);

/// How long messages are sent before any of them counts.
const WARM_UP: Duration = Duration::from_secs(2);

/// How long the last messages may be on their way.
const DRAIN: Duration = Duration::from_secs(5);

/// Starts agents that form a mesh over real WebRTC, has them send messages to random others, and
/// reports what came of it: Markdown, JSON and a page with plots in the folder --out, a summary on
/// stdout. Ends with code 1 if a target is missed; Ctrl-C ends it early with what was measured, and
/// with code 130 where that is nothing.
///
/// Example: mesh load-test --agents 100 --k 20 --duration 60s --rate 16.56
#[derive(Clone, Debug, Args)]
pub(crate) struct LoadTest {
    /// Agents, all in this process if nothing else is asked for.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(2..=1_000))]
    agents: u16,
    /// Run every agent in a process of its own, but for those in browsers: 200 at most.
    #[arg(long)]
    isolate: bool,
    /// How many of the agents are tabs, of Chrome and Firefox in turn.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=16))]
    browsers: u16,
    /// Links that each keeps [default: by the number of agents].
    #[arg(long, value_parser = clap::value_parser!(u16).range(2..=64))]
    k: Option<u16>,
    /// How long messages are sent and counted: 90s, 5m.
    #[arg(long, default_value = "60s", value_parser = duration)]
    duration: Duration,
    /// Messages a second that each agent sends.
    #[arg(long, default_value_t = 100.0, value_parser = rate)]
    rate: f64,
    /// Bytes of a message.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(16..=15_000))]
    payload: u16,
    /// How hard the mesh tries to deliver: datagram, reliable or acknowledged.
    #[arg(long, default_value = "reliable", value_parser = delivery)]
    delivery: Delivery,
    /// What makes one path better than another: hops, latency or bandwidth.
    #[arg(long, default_value_t = Metric::Hops)]
    metric: Metric,
    /// A signaling server elsewhere; repeated for several, the first liked best. Without it one
    /// runs in this process. Tabs use the one that the page is loaded from, the first.
    #[arg(long, value_name = "URL")]
    signaling: Vec<String>,
    /// Certificates (PEM) that a wss: server may be certified by, beside those that this machine
    /// trusts.
    #[arg(long, value_name = "FILE", requires = "signaling")]
    ca: Option<PathBuf>,
    /// Where destinations are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The folder that report.md, report.json and report.html are written to.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print the report as one JSON object instead of the summary.
    #[arg(long)]
    json: bool,
    /// Measure nothing: compare two report.json, the earlier first.
    #[arg(long, num_args = 2, value_names = ["BEFORE", "AFTER"], exclusive = true)]
    compare: Option<Vec<PathBuf>>,
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) =
        text.split_at(text.find(|c: char| c.is_alphabetic()).unwrap_or(text.len()));
    let seconds = match (number.parse::<f64>(), unit) {
        (Ok(number), "s" | "") => number,
        (Ok(number), "m") => 60.0 * number,
        _ => -1.0,
    };
    if (1.0..=86_400.0).contains(&seconds) {
        return Ok(Duration::from_secs_f64(seconds));
    }
    Err("a duration reads 60s or 5m, from 1s to a day".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok();
    let rate = rate.filter(|rate| (0.01..=10_000.0).contains(rate));
    rate.ok_or_else(|| "a rate reads as a number of messages a second, 0.01 to 10000".to_owned())
}

fn delivery(text: &str) -> Result<Delivery, String> {
    match text {
        "datagram" => Ok(Delivery::Datagram),
        "reliable" => Ok(Delivery::Reliable),
        "acknowledged" => Ok(Delivery::Acknowledged),
        _ => Err("there are datagram, reliable and acknowledged".to_owned()),
    }
}

impl LoadTest {
    fn links_each(&self) -> usize {
        let by_size = || default_k(usize::from(self.agents));
        let k = self.k.map_or_else(by_size, usize::from);
        k.min(usize::from(self.agents) - 1)
    }

    /// What no single flag shows to be wrong.
    fn check(&self) -> anyhow::Result<()> {
        if self.browsers > self.agents {
            bail!(
                "{} of {} agents cannot be browsers",
                self.browsers,
                self.agents
            );
        }
        if self.isolate && self.agents - self.browsers > PROCESSES_MAX {
            bail!(
                "--isolate takes up to {PROCESSES_MAX} agents, each a process: not {}",
                self.agents
            );
        }
        if let Some(folder) = &self.out {
            is_writable(folder).with_context(|| {
                let folder = folder.display();
                format!("the report could not be written to {folder}: choose another --out")
            })?;
        }
        Ok(())
    }

    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        if let Some([before, after]) = self.compare.as_deref() {
            print(&compare::compare(before, after)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        if !cfg!(target_os = "linux") {
            tracing::warn!("memory and CPU are read from /proc, which only Linux has");
        }
        self.check()?;
        let addresses = if self.signaling.is_empty() { 1 } else { 3 };
        raise_file_limit(usize::from(self.agents) * self.links_each() / 2, addresses);
        let report = match self.measure().await? {
            Outcome::Measured(report) => report,
            Outcome::Interrupted(by) => {
                tracing::warn!("interrupted before any message was sent: nothing was measured");
                return Ok(by.exit_code().into());
            }
        };
        if let Some(folder) = &self.out {
            write(&report, folder).context("the report cannot be written")?;
            tracing::info!("the report is in {}", folder.display());
        }
        print(&if self.json {
            format!("{}\n", serde_json::to_string(&report)?)
        } else {
            markdown::summary(&report)
        })?;
        let missed: Vec<_> = report
            .targets
            .iter()
            .filter(|target| !target.pass)
            .collect();
        if missed.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        let names: Vec<_> = missed.iter().map(|target| target.name).collect();
        bail!("missed: {}", names.join(", "))
    }

    async fn measure(&self) -> anyhow::Result<Outcome> {
        let recorder = Arc::new(Recorder::new());
        let bar = progress();
        let mut stop: Stop = tokio::spawn(interruption());
        // Processes that start with the test begin with nothing.
        let before = if self.isolate {
            Usage::of(&[])
        } else {
            Usage::now()
        };
        bar.set_message("joining");
        let fleet = tokio::select! {
            fleet = Fleet::start(self, &recorder) => fleet?,
            by = &mut stop => {
                bar.finish_and_clear();
                return Ok(Outcome::Interrupted(by?));
            }
        };
        let Some(formed) = fleet.settle(&stop, &bar).await? else {
            return given_up(fleet, stop, &bar).await;
        };
        let now = fleet.usage();
        let (forming, formed_memory) = (now.since(&before), now.memory);
        bar.set_message("at rest");
        wait(SETTLE, &stop, &bar).await;
        let (usage, traffic) = (fleet.usage(), fleet.bytes().await);
        wait(REST, &stop, &bar).await;
        let idle = fleet
            .usage()
            .since(&usage)
            .carrying(fleet.bytes().await - traffic);
        if stop.is_finished() {
            return given_up(fleet, stop, &bar).await;
        }
        let loaded = self.load(&fleet, &recorder, &stop, &bar).await;
        if stop.is_finished() && recorder.is_untouched() {
            return given_up(fleet, stop, &bar).await;
        }
        let end_memory = fleet.usage().memory;
        recorder.stop_counting();
        bar.set_message("rotating keys");
        let rotations = match stop.is_finished() {
            true => None,
            false => Some(keys::rotate(&fleet, &recorder).await),
        };
        bar.finish_and_clear();
        let report = Report::new(
            self,
            &fleet,
            &recorder,
            formed,
            Phases {
                memory: MemoryByPhase {
                    before: before.memory,
                    formed: formed_memory,
                    end: end_memory,
                },
                forming,
                idle,
                loaded,
                rotations,
                interrupted: stop.is_finished(),
            },
        )
        .await;
        stop.abort();
        fleet.close().await;
        Ok(Outcome::Measured(Box::new(report)))
    }

    /// Has every agent send at its rate: first to warm up, then counted.
    async fn load(
        &self,
        fleet: &Fleet,
        recorder: &Arc<Recorder>,
        stop: &Stop,
        bar: &ProgressBar,
    ) -> usage::Spent {
        let load = Load {
            rate: self.rate,
            payload: usize::from(self.payload),
            delivery: self.delivery,
            seed: self.seed,
            counted_from: recorder.since_start(Instant::now()) + WARM_UP,
            until: recorder.since_start(Instant::now()) + WARM_UP + self.duration,
        };
        recorder.count_from(load.counted_from);
        bar.set_message("warming up");
        let senders = traffic::start(fleet, recorder, &load);
        wait(WARM_UP, stop, bar).await;
        bar.set_message("sending");
        bar.set_length(self.duration.as_secs());
        bar.set_position(0);
        let (usage, bytes) = (fleet.usage(), fleet.bytes().await);
        wait(self.duration, stop, bar).await;
        let spent = fleet
            .usage()
            .since(&usage)
            .carrying(fleet.bytes().await - bytes);
        if stop.is_finished() {
            let now = recorder.since_start(Instant::now());
            recorder.plan(load.messages(fleet.agents.len(), now));
            senders.iter().for_each(tokio::task::JoinHandle::abort);
        }
        bar.set_message("waiting for the last");
        let deadline = Instant::now() + DRAIN;
        while recorder.in_flight() > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        senders.iter().for_each(tokio::task::JoinHandle::abort);
        spent
    }
}

/// Ends a test that was interrupted before it measured anything.
async fn given_up(fleet: Fleet, stop: Stop, bar: &ProgressBar) -> anyhow::Result<Outcome> {
    bar.finish_and_clear();
    fleet.close().await;
    Ok(Outcome::Interrupted(stop.await?))
}

/// Writes all forms of a report into a folder.
fn write(report: &Report, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    let json = serde_json::to_vec_pretty(report)?;
    std::fs::write(folder.join("report.json"), json)?;
    std::fs::write(folder.join("report.md"), markdown::report(report))?;
    std::fs::write(folder.join("report.html"), html::page(report)?)?;
    Ok(())
}

/// Whether files can be made in a folder, which is made too if it does not exist.
fn is_writable(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let trial = folder.join(format!(".mesh-load-test-{}", std::process::id()));
    std::fs::write(&trial, "")?;
    std::fs::remove_file(trial)
}

pub(super) fn progress() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let style =
        ProgressStyle::with_template("{spinner} {msg:<22} {wide_bar} {pos}/{len} {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Waits, second by second for the bar to move, unless somebody stops the test.
async fn wait(time: Duration, stop: &Stop, bar: &ProgressBar) {
    let until = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < until && !stop.is_finished() {
        let second = tokio::time::Instant::now() + Duration::from_secs(1);
        tokio::time::sleep_until(second.min(until)).await;
        bar.inc(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_rates_are_parsed_or_explained() {
        assert_eq!(duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(rate("16.56"), Ok(16.56));
        for bad in ["", "s", "0s", "5h", "-1s"] {
            assert!(duration(bad).is_err(), "{bad}");
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
