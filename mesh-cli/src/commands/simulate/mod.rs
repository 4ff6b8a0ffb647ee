//! `mesh simulate`: the real core in virtual time, one large world measured or many small ones
//! checked.

mod outcomes;

use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use anyhow::{anyhow, bail};
use clap::Args;
use mesh_core::Metric;
use mesh_core::sim::{Messages, Report, Scenario, Simulation, WorldConfig};

use super::print;

/// What says how one large world is.
const WORLD: [&str; 8] = [
    "agents",
    "k",
    "sparse",
    "metric",
    "messages",
    "broadcasts",
    "churn",
    "kill",
];

/// Runs agents and a signaling server in virtual time, over a network that only seems to be one.
///
/// Without --seeds, one world: all agents join at once, rest, exchange messages, and some die; the
/// report says what it took. With --seeds, two small worlds for each seed in which everything goes
/// wrong that can, each checked all the time; in the second one drivers are late and links slow as
/// well. The same seed gives the same worlds.
///
/// Examples: mesh simulate --agents 500; mesh simulate --seeds 1000; mesh simulate --seeds 1 --seed
/// 4711 (to repeat a failure)
#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// How many agents join.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(2..=20_000))]
    agents: u16,
    /// Links an agent [default: by the number of agents].
    #[arg(long, value_parser = clap::value_parser!(u16).range(2..=64))]
    k: Option<u16>,
    /// Keep about twice the logarithm of the room's size: fewer links, longer paths.
    #[arg(long, conflicts_with = "k")]
    sparse: bool,
    /// What makes one path better than another: hops, latency or bandwidth.
    #[arg(long, default_value_t = Metric::Hops)]
    metric: Metric,
    /// Messages between random agents.
    #[arg(long, default_value_t = 2_000)]
    messages: u32,
    /// Broadcasts of random agents.
    #[arg(long, default_value_t = 20)]
    broadcasts: u32,
    /// The share of agents that dies each second while they broadcast, each replaced by a newcomer.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    churn: f64,
    /// The share of agents that dies at once, from 0 to 0.9.
    #[arg(long, default_value_t = 0.3, value_parser = share)]
    kill: f64,
    /// Where all randomness comes from; the first seed of many.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Check the small worlds of so many seeds instead.
    #[arg(long, conflicts_with_all = WORLD)]
    seeds: Option<u64>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Parses a share of all agents.
fn share(text: &str) -> Result<f64, String> {
    let share = text
        .parse()
        .ok()
        .filter(|share| (0.0..=0.9).contains(share));
    share.ok_or_else(|| "a share reads as a number from 0 to 0.9".to_owned())
}

impl Simulate {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.seeds {
            Some(seeds) => check(self.seed, seeds, self.json),
            None => self.measure(),
        }
    }

    fn measure(&self) -> anyhow::Result<()> {
        let simulation = Simulation {
            config: WorldConfig {
                k: self.k.map(usize::from),
                sparse: self.sparse,
                metric: self.metric,
                ..WorldConfig::new(self.seed)
            },
            agents: usize::from(self.agents),
            messages: self.messages as usize,
            broadcasts: self.broadcasts as usize,
            churn: self.churn,
            killed: self.kill,
        };
        let started = Instant::now();
        let report = simulation.run(|step| {
            tracing::info!("{step} ({:.1} s)", started.elapsed().as_secs_f64());
        });
        let report = report.map_err(|error| anyhow!("seed {}: {error}", self.seed))?;
        print(&if self.json {
            format!("{}\n", serde_json::to_string(&report)?)
        } else {
            text(&report)
        })
    }
}

/// Runs the scenarios of many seeds, and names those that failed.
fn check(first: u64, seeds: u64, json: bool) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut worlds = outcomes::Worlds::default();
    let mut failed = Vec::new();
    for (done, seed) in (first..first.saturating_add(seeds)).enumerate() {
        // What a world checks, it asserts; the panic's message has been printed by then.
        let run = |scenario: Scenario| catch_unwind(AssertUnwindSafe(|| scenario.run()));
        let scenarios = [
            Scenario::draw(seed),
            Scenario::draw_rough(seed),
            Scenario::draw_relayed(seed),
        ];
        let outcomes = scenarios.map(run);
        if outcomes.iter().any(Result::is_err) {
            failed.push(seed);
            tracing::error!("to repeat: mesh simulate --seeds 1 --seed {seed}");
        }
        let [plain, rough, relayed] = outcomes;
        worlds.plain.extend(plain);
        worlds.rough.extend(rough);
        worlds.relayed.extend(relayed);
        if done % 100 == 99 && std::io::stderr().is_terminal() {
            tracing::info!("{} of {seeds} seeds, {} failed", done + 1, failed.len());
        }
    }
    let took = started.elapsed().as_secs_f64();
    print(&if json {
        worlds.json(seeds, &failed, took)
    } else {
        worlds.text(seeds, took)
    })?;
    if failed.is_empty() {
        return Ok(());
    }
    bail!(
        "{} seeds failed, the first of them {}",
        failed.len(),
        failed[0]
    )
}

fn text(report: &Report) -> String {
    let analysis = &report.analysis;
    let broadcasts = &report.broadcasts;
    let rows = [
        ("agents", report.agents.to_string()),
        (
            "all links open after",
            format!("{:.2} s", report.links_open_s),
        ),
        (
            "all tables complete",
            format!("{:.2} s after the last link", report.tables_complete_s),
        ),
        (
            "links",
            format!(
                "{}, degree {:.2}, diameter {}, average path {:.3}",
                analysis.edges,
                analysis.average_degree,
                analysis.diameter,
                analysis.average_path_length
            ),
        ),
        (
            "joining cost an agent",
            format!(
                "{:.0} KB in {:.0} frames",
                report.joining.bytes / 1e3,
                report.joining.frames
            ),
        ),
        (
            "at rest an agent sends",
            format!("{:.0} B/s", report.at_rest.bytes_per_second),
        ),
        ("messages", messages(&report.messages)),
        (
            "links touched",
            format!(
                "{} by a join, {} by a leave",
                report.touched_by_join, report.touched_by_leave
            ),
        ),
        (
            "broadcasts",
            format!(
                "{}, {} deliveries missed, {:.2} transmissions a delivery, at most {} hops",
                broadcasts.sent,
                broadcasts.missed,
                broadcasts.transmissions_per_delivery,
                broadcasts.hops_max
            ),
        ),
        ("died at once", format!("{} agents", report.killed)),
        ("healed after", format!("{:.2} s", report.healed_s)),
        ("messages then", messages(&report.after)),
    ];
    let lines = rows.map(|(what, value)| format!("{what:<24} {value}\n"));
    lines.concat()
}

fn messages(messages: &Messages) -> String {
    let percent = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
    let share = |(hops, count): (&u8, &usize)| {
        format!("{hops} hops {:.1} %", percent(*count, messages.delivered))
    };
    let hops: Vec<_> = messages.by_hops.iter().map(share).collect();
    format!(
        "{} of {} delivered, {:.2} % of them on a shortest path, {:.0} ms on average; {}",
        messages.delivered,
        messages.sent,
        percent(messages.on_shortest_path, messages.delivered),
        messages.latency_ms,
        hops.join(", ")
    )
}
