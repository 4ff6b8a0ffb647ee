//! `cargo xtask nat`, the part that runs: it prints the tables on stdout, progress on stderr.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use futures::{StreamExt, TryStreamExt, stream};
use mesh_tests::doctor::Diagnosis;
use mesh_tests::hosts;
use mesh_tests::nat::{
    Cell, HUB_URL, Internet, PAIRS, Place, Servers, Side, is_expected, measure, row, tables,
};
use mesh_tests::output::{print, progress};

/// Puts pairs of agents behind NATs and firewalls, and tells which link, how, and after how long.
#[derive(Debug, Parser)]
struct Args {
    /// Pairs at the same time; each keeps a core busy for some seconds.
    #[arg(long, default_value_t = 2)]
    at_once: usize,
    /// Where the tables go besides.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Places that the doctor is asked in, each with one that is not looked at.
const PLACES: [Place; 12] = [
    Place::Open,
    Place::FullCone,
    Place::AddressRestricted,
    Place::PortRestricted,
    Place::Symmetric,
    Place::Cgnat,
    Place::Hairpin,
    Place::NoUdp,
    Place::Only443,
    Place::V6Only,
    Place::BrokenV6,
    Place::DeadInterface,
];

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
    let diagnoses = stream::iter(PLACES).map(diagnose).buffered(args.at_once);
    let diagnoses: Vec<(Place, String, bool)> = diagnoses.try_collect().await?;
    let pairs = PAIRS.into_iter();
    let cells = pairs.flat_map(|places| Servers::ALL.map(|servers| (places, servers)));
    let cells = stream::iter(cells).map(|(places, servers)| async move {
        let cell = measure(places, servers).await;
        let [one, other] = places.map(Place::name);
        let what = format!("{one}, {other}, {}", servers.name());
        let cell = cell.with_context(|| what.clone())?;
        progress(&format!("{what}: {cell}"));
        anyhow::Ok((places, servers, cell))
    });
    let cells = cells.buffered(args.at_once);
    let cells: Vec<([Place; 2], Servers, Cell)> = cells.try_collect().await?;
    let mut good = diagnoses.iter().all(|(_, _, right)| *right);
    let mut rows = Vec::new();
    for of_pair in cells.chunks(Servers::ALL.len()) {
        for &(places, servers, cell) in of_pair {
            if !is_expected(places, servers, cell) {
                progress(&format!("UNEXPECTED: {places:?}, {servers:?}: {cell}"));
                good = false;
            }
        }
        let texts: Vec<String> = of_pair
            .iter()
            .map(|(_, _, cell)| cell.to_string())
            .collect();
        rows.push(row(of_pair[0].0, &texts));
    }
    let diagnoses: Vec<(Place, String)> = diagnoses
        .into_iter()
        .map(|(place, said, _)| (place, said))
        .collect();
    print(&tables(&rows, &diagnoses), args.out.as_deref())?;
    Ok(good)
}

/// What the doctor says of the NAT in a place, and whether it is right.
async fn diagnose(place: Place) -> Result<(Place, String, bool)> {
    let internet = Internet::new().await?;
    let other = match place {
        Place::Hairpin => place,
        _ => Place::Open,
    };
    let sides = Side::pair(&internet, [place, other]).await?;
    let _hub = internet.hub(&Servers::TurnUdp.urls()).await?;
    let found = Diagnosis::of(Some(&sides[0].host), &["--signaling", HUB_URL]).await?;
    let said = |check: &str| {
        let mut all = found.all(check);
        let said = all.find_map(|finding| Some(finding["found"].as_str()?.to_owned()));
        said.with_context(|| format!("{place:?}: no word of {check}: {:#}", found.report))
    };
    let (said, right) = match place.diagnosis() {
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
    progress(&format!("{}: the doctor says: {said}", place.name()));
    Ok((place, said, right))
}
