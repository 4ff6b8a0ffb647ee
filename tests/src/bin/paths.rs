//! `cargo xtask paths`, the part that runs: it prints the tables on stdout, progress on stderr.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use mesh_tests::hosts;
use mesh_tests::output::{print, progress};
use mesh_tests::paths::{Ends, Figures, Path, Row, System, measure, run_end, tables};

/// Measures what the mesh, bare `webrtc` and two tabs make of paths with delay, jitter and loss.
#[derive(Debug, Parser)]
struct Args {
    /// Milliseconds to the other end.
    #[arg(long, value_delimiter = ',', default_value = "10,50,150,300")]
    delay: Vec<u64>,
    /// Milliseconds that a packet may take longer.
    #[arg(long, default_value_t = 20)]
    jitter: u64,
    /// Percent of the packets that are lost.
    #[arg(long, value_delimiter = ',', default_value = "0,1,5")]
    loss: Vec<f64>,
    /// Mbit/s of the narrowest place.
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
    /// Seconds in which as much is sent as is taken.
    #[arg(long, default_value_t = 10)]
    flood: u64,
    /// The number of one system alone: 0 the mesh, 1 `webrtc`, 2 tabs, 3 the mesh over 3 links.
    #[arg(long, value_delimiter = ',')]
    only: Vec<usize>,
    /// Where the tables go besides.
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(subcommand)]
    end: Option<End>,
}

#[derive(Debug, Subcommand)]
enum End {
    /// One end of a path, started by the run itself.
    #[command(hide = true)]
    End { arguments: Vec<String> },
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if let Some(End::End { arguments }) = &args.end {
        run_end(arguments).await?;
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(
        hosts::can_be_made("paths").await,
        "paths makes hosts of its own: it needs root, and Linux's ip and TAP interfaces"
    );
    tokio::select! {
        good = run(&args) => Ok(if good? { ExitCode::SUCCESS } else { ExitCode::from(2) }),
        // The hosts go when they are dropped.
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::from(130)),
    }
}

async fn run(args: &Args) -> Result<bool> {
    let (ends, mut rows) = (Ends::this()?, Vec::<Row>::new());
    for delay in &args.delay {
        for loss in &args.loss {
            let path = Path {
                delay: Duration::from_millis(*delay),
                jitter: Duration::from_millis(args.jitter),
                loss: loss / 100.0,
                rate: args.rate * 1e6,
            };
            rows.push((path, row(args, path, &ends).await));
        }
    }
    print(&tables(&rows), args.out.as_deref())?;
    Ok(rows
        .iter()
        .all(|(_, row)| row.iter().all(|(_, it)| it.is_ok())))
}

async fn row(args: &Args, path: Path, ends: &Ends) -> Vec<(System, Result<Figures, String>)> {
    let mut row = Vec::new();
    for (number, system) in System::ALL.into_iter().enumerate() {
        if !args.only.is_empty() && !args.only.contains(&number) {
            continue;
        }
        let measured = measure(system, path, Duration::from_secs(args.flood), ends).await;
        let told = match &measured {
            Ok(figures) => format!("{:.2} MB/s", figures.throughput),
            Err(error) => format!("{error:#}"),
        };
        progress(&format!("{path:?}, {}: {told}", system.name()));
        row.push((system, measured.map_err(|error| format!("{error:#}"))));
    }
    row
}
