//! The same work by ours, by `matchbox_socket` and by bare `webrtc`, on one machine in one run:
//! `cargo xtask versus` makes docs/versus.md of it.
//!
//! Every contestant runs in a process of its own, in turns, and of all rounds the medians count.

mod bare;
mod matchbox;
mod ours;
mod report;
mod trial;
mod usage;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};
use clap::{Parser, ValueEnum};

use report::Rows;
use trial::Figures;

/// How often a contestant is tried in a round: not all of them always link everybody.
const ATTEMPTS_MAX: usize = 5;

/// Who does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Contestant {
    /// `mesh-native`, signed messages over a mesh in which everybody is linked with everybody.
    Ours,
    /// `matchbox_socket` with its own signaling server.
    Matchbox,
    /// Our links without a mesh: `webrtc` with our settings and runtime.
    Links,
    /// `webrtc` as it comes.
    Webrtc,
    /// Our mesh of 100 agents and 1,000 links, formed only.
    OursForming,
    /// The same 1,000 links without a mesh.
    LinksForming,
    /// 1,000 pairs of bare `webrtc`, told the same settings as our links.
    WebrtcForming,
}

#[derive(Debug, Parser)]
struct Args {
    /// One contestant alone, its figures as JSON on stdout.
    #[arg(long)]
    one: Option<Contestant>,
    /// Rounds: of each figure the median is told.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The folder for versus.md and versus.svg.
    #[arg(long, default_value = "docs")]
    out: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    match args.one {
        Some(contestant) => {
            let runtime = tokio::runtime::Runtime::new()?;
            let figures = runtime.block_on(run(contestant))?;
            println!("{}", serde_json::to_string(&figures)?);
            // What is still open closes with the process.
            std::process::exit(0);
        }
        None => compete(args.rounds.max(1), &args.out),
    }
}

async fn run(contestant: Contestant) -> anyhow::Result<Figures> {
    match contestant {
        Contestant::Ours => Ok(Figures {
            signatures_us: Some(ours::signatures_us()?),
            ..trial::run::<ours::Ours>().await?
        }),
        Contestant::Matchbox => trial::run::<matchbox::Matchbox>().await,
        Contestant::Links => trial::run::<bare::Links>().await,
        Contestant::Webrtc => trial::run::<bare::Webrtc>().await,
        Contestant::OursForming => ours::form(100, 20).await,
        Contestant::LinksForming => bare::form_links(1_000).await,
        Contestant::WebrtcForming => bare::form_webrtc(1_000).await,
    }
}

/// The figures of a contestant, if it gets through.
fn try_once(name: &str) -> anyhow::Result<Option<Figures>> {
    let output = Command::new(std::env::current_exe()?)
        .args(["--one", name])
        .stderr(std::process::Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Ok(None);
    }
    let figures = serde_json::from_slice(&output.stdout);
    figures.context("a contestant prints its figures").map(Some)
}

fn compete(rounds: usize, out: &std::path::Path) -> anyhow::Result<()> {
    let mut rows = Rows::default();
    for round in 1..=rounds {
        for &contestant in Contestant::value_variants() {
            let name = contestant.to_possible_value();
            let name = name.context("every contestant has a name")?;
            eprintln!("round {round} of {rounds}: {}", name.get_name());
            let mut attempts = 0;
            let figures = loop {
                attempts += 1;
                if let Some(figures) = try_once(name.get_name())? {
                    break figures;
                }
                rows.add_failure(contestant);
                ensure!(attempts < ATTEMPTS_MAX, "{} keeps failing", name.get_name());
            };
            rows.add(contestant, figures);
        }
    }
    let text = rows.markdown();
    print!("{text}");
    std::fs::create_dir_all(out)?;
    std::fs::write(out.join("versus.md"), text)?;
    std::fs::write(out.join("versus.svg"), rows.plot()?)?;
    eprintln!("written: {}", out.join("versus.md").display());
    Ok(())
}
