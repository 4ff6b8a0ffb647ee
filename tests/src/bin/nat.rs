//! `cargo xtask nat`, the part that runs: it prints the tables on stdout, progress on stderr.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use futures::{StreamExt, TryStreamExt, stream};
use mesh_tests::doctor::Diagnosis;
use mesh_tests::hosts;
use mesh_tests::nat::{
    DIAGNOSED, HUB_URL, Internet, Lab, Matrix, Pair, Runtime, Servers, Side, diagnoses,
};
use mesh_tests::output::{print, progress};

/// Puts pairs of agents behind NATs and firewalls, and tells which link, how, and after how long.
#[derive(Debug, Parser)]
struct Args {
    /// Pairs at the same time; most wait for links that do not come.
    #[arg(long, default_value_t = 4)]
    at_once: usize,
    /// The number of one table alone: 0 natives, 1 native and Chromium, 2 Chromium, 3 Firefox and
    /// native, 4 Firefox and Chromium.
    #[arg(long, value_delimiter = ',')]
    only: Vec<usize>,
    /// Rows alone of which one side has this in its name.
    #[arg(long)]
    rows: Option<String>,
    /// Where the tables go besides.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let args = Args::parse();
    ensure!(
        hosts::can_be_made("nat").await,
        "nat makes hosts of its own: it needs root, and Linux's ip and nft"
    );
    tokio::select! {
        good = run(&args) => Ok(if good? { ExitCode::SUCCESS } else { ExitCode::from(2) }),
        // The hosts go when they are dropped.
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::from(130)),
    }
}

async fn run(args: &Args) -> Result<bool> {
    let (mut tables, mut good) = (Vec::new(), true);
    for (number, matrix) in Matrix::all().iter().enumerate() {
        if !args.only.is_empty() && !args.only.contains(&number) {
            continue;
        }
        let pairs = matrix.pairs.iter().copied();
        let pairs = pairs.filter(|pair| {
            let wanted = args.rows.as_deref().unwrap_or_default();
            pair.names().iter().any(|name| name.contains(wanted))
        });
        let rows = stream::iter(pairs).map(|pair| row(pair, matrix.runtimes));
        let rows: Vec<Row> = rows.buffered(args.at_once).collect().await;
        good &= rows.iter().all(|row| row.good);
        let rows: Vec<_> = rows.into_iter().map(|row| (row.pair, row.cells)).collect();
        tables.push(matrix.table(&rows));
    }
    if args.only.is_empty() && args.rows.is_none() {
        let said = stream::iter(DIAGNOSED).map(diagnose).buffered(args.at_once);
        let said: Vec<(Pair, String, bool)> = said.try_collect().await?;
        good &= said.iter().all(|(_, _, right)| *right);
        let said: Vec<_> = said
            .into_iter()
            .map(|(pair, said, _)| (pair, said))
            .collect();
        tables.push(diagnoses(&said));
    }
    print(&tables.join("\n"), args.out.as_deref())?;
    Ok(good)
}

/// What became of a pair with each of the servers.
struct Row {
    pair: Pair,
    cells: Vec<String>,
    /// Whether all is as it should be.
    good: bool,
}

async fn row(pair: Pair, runtimes: [Runtime; 2]) -> Row {
    let mut row = Row {
        pair,
        cells: Vec::new(),
        good: true,
    };
    let lab = Lab::new(pair, runtimes).await;
    for servers in Servers::ALL {
        let cell = match &lab {
            Ok(lab) => lab
                .measure(servers)
                .await
                .map_err(|error| format!("{error:#}")),
            Err(error) => Err(format!("{error:#}")),
        };
        let [one, other] = pair.names();
        let [first, second] = runtimes.map(Runtime::name);
        let what = format!("{first} {one}, {second} {other}, {}", servers.name());
        let (told, good) = match cell {
            Ok(cell) => (cell.to_string(), cell.is_expected(pair, servers)),
            Err(error) => {
                progress(&format!("{what}: {error}"));
                ("failed".to_owned(), false)
            }
        };
        let unexpected = if good { "" } else { "UNEXPECTED: " };
        progress(&format!("{unexpected}{what}: {told}"));
        row.cells.push(told);
        row.good &= good;
    }
    if let Ok(lab) = lab
        && let Err(error) = lab.close().await
    {
        progress(&format!("{pair:?}: {error:#}"));
    }
    row
}

/// What the doctor says of the NAT of a pair's first side, and whether it is right.
async fn diagnose(pair: Pair) -> Result<(Pair, String, bool)> {
    let internet = Internet::new().await?;
    let sides = Side::pair(&internet, pair).await?;
    let _hub = internet.hub(&Servers::TurnUdp.urls()).await?;
    let found = Diagnosis::of(Some(&sides[0].host), &["--signaling", HUB_URL]).await?;
    let said = |check: &str| {
        let mut all = found.all(check);
        let said = all.find_map(|finding| Some(finding["found"].as_str()?.to_owned()));
        said.with_context(|| format!("{pair:?}: no word of {check}: {:#}", found.report))
    };
    let (said, right) = match pair.diagnosis() {
        Some(name) => {
            let said = said("nat")?;
            let right = said.starts_with(name);
            (said, right)
        }
        None => {
            let said = said("stun")?;
            let right = said.starts_with("no answer");
            (said, right)
        }
    };
    progress(&format!("{}: the doctor says: {said}", pair.names()[0]));
    Ok((pair, said, right))
}
