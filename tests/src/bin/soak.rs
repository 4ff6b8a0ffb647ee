//! `cargo xtask soak`, the part that runs: it prints tables on stdout, progress on stderr.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use mesh_tests::browser::Browser;
use mesh_tests::output::{print, progress};
use mesh_tests::soak::accounts::Accounts;
use mesh_tests::soak::closed::closed;
use mesh_tests::soak::faults::{Fault, measured};
use mesh_tests::soak::steady::{self, Samples};
use mesh_tests::soak::tables::Readings;
use mesh_tests::soak::world::World;
use mesh_tests::soak::{Dice, chaos, traffic};
use mesh_tests::{away, hosts};

/// The browsers whose tabs are measured.
const BROWSERS: [Browser; 2] = [Browser::Chrome, Browser::Firefox];

/// Does faults to a mesh of real processes.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    what: What,
    /// Links that each agent keeps.
    #[arg(long, global = true, default_value_t = 6)]
    k: usize,
    /// Messages a second of all agents together.
    #[arg(long, global = true, default_value_t = 200)]
    rate: u32,
    /// Repeats the choices of another run.
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
    /// Where the tables go besides.
    #[arg(long, global = true)]
    out: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Each fault in turn, and how soon the mesh heals.
    Faults {
        #[arg(long, default_value_t = 20)]
        agents: usize,
        /// How many of each.
        #[arg(long, default_value_t = 30)]
        each: usize,
        /// Only this fault; repeated for several.
        #[arg(long)]
        only: Vec<String>,
    },
    /// Random faults and loss, and the accounts.
    Chaos {
        #[arg(long, default_value_t = 20)]
        agents: usize,
        #[arg(long = "for", default_value = "5m", value_parser = humantime::parse_duration)]
        lasts: Duration,
        /// Packets that are lost, of a thousand.
        #[arg(long, default_value_t = 20)]
        permille: u32,
    },
    /// A long run with faults, and the slopes of what agents take.
    Steady {
        #[arg(long, default_value_t = 30)]
        agents: usize,
        #[arg(long = "for", default_value = "1h", value_parser = humantime::parse_duration)]
        lasts: Duration,
    },
    /// Tabs and a process that are away for a while, and how soon they are back.
    Away {
        #[arg(long = "for", default_value = "3m", value_parser = humantime::parse_duration)]
        lasts: Duration,
    },
    /// Links opened and closed in a row at one process, and at a tab of each browser.
    Closed {
        #[arg(long, default_value_t = 600)]
        links: usize,
    },
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let run = async {
        match &args.what {
            What::Closed { links } => {
                let (text, flat) = closed(*links, &BROWSERS).await?;
                print(&text, args.out.as_deref())?;
                Ok(flat)
            }
            What::Away { lasts } => {
                let (text, met) = away::measured(&BROWSERS, *lasts).await?;
                print(&text, args.out.as_deref())?;
                Ok(met)
            }
            What::Faults { agents, each, only } => {
                let chosen = chosen(only)?;
                let world = form(&args, *agents).await?;
                heal(&world, &args, &chosen, *each).await
            }
            What::Chaos {
                agents,
                lasts,
                permille,
            } => {
                let world = form(&args, *agents).await?;
                storm(&world, &args, *lasts, *permille).await
            }
            What::Steady { agents, lasts } => {
                let world = form(&args, *agents).await?;
                last(&world, &args, *lasts).await
            }
        }
    };
    tokio::select! {
        met = run => Ok(if met? { ExitCode::SUCCESS } else { ExitCode::from(2) }),
        // The hosts go when the world is dropped.
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::from(130)),
    }
}

fn chosen(names: &[String]) -> Result<Vec<Fault>> {
    let known = Fault::ALL.map(Fault::name);
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        anyhow::bail!("there is no fault {unknown:?}, only {}", known.join(", "));
    }
    let wanted = |fault: &Fault| names.is_empty() || names.contains(&fault.name());
    Ok(Fault::ALL.into_iter().filter(wanted).collect())
}

async fn form(args: &Args, agents: usize) -> Result<World> {
    ensure!(
        hosts::can_be_made("soak").await,
        "soak makes hosts of its own: it needs root, and Linux's ip and nft"
    );
    ensure!(args.k < agents, "--k is to be less than the agents");
    let world = World::form(agents, args.k).await?;
    progress(&format!("{agents} agents are a mesh, k = {}", args.k));
    Ok(world)
}

/// Runs something beside traffic.
async fn beside_traffic<T>(
    world: &World,
    args: &Args,
    doing: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::select! {
        done = doing => done,
        () = traffic::talk(world, args.rate) => anyhow::bail!("the traffic has ended"),
    }
}

async fn heal(world: &World, args: &Args, chosen: &[Fault], each: usize) -> Result<bool> {
    let mut dice = Dice(args.seed);
    let mut readings = Readings::default();
    let mut troubles = Vec::new();
    let accounts = beside_traffic(world, args, async {
        for round in 1..=each {
            for fault in chosen {
                match measured(world, &mut dice, *fault).await {
                    Ok(seen) => {
                        for (measure, healing) in seen {
                            progress(&format!("{round}: {}: {healing:?}", measure.name));
                            readings.enter(measure, healing);
                        }
                    }
                    Err(error) => {
                        progress(&format!("{round}: {error:#}"));
                        troubles.push(format!("{error:#}"));
                    }
                }
            }
        }
        chaos::settle(world).await
    })
    .await?;
    let (text, met) = readings.table();
    print(
        &format!("{text}\n{}", accounts.table()),
        args.out.as_deref(),
    )?;
    let balanced = told(&accounts);
    Ok(met && troubles.is_empty() && balanced)
}

async fn storm(world: &World, args: &Args, lasts: Duration, permille: u32) -> Result<bool> {
    let mut dice = Dice(args.seed);
    let (struck, accounts) = beside_traffic(world, args, async {
        world
            .drop_packets(|drops| drops.permille = permille)
            .await?;
        let struck = chaos::storm(world, &mut dice, lasts, world.size()).await?;
        Ok((struck, chaos::settle(world).await?))
    })
    .await?;
    let struck: Vec<_> = struck
        .iter()
        .map(|(fault, count)| format!("{count} {}", fault.name()))
        .collect();
    let text = format!("Faults: {}.\n\n{}", struck.join(", "), accounts.table());
    print(&text, args.out.as_deref())?;
    Ok(told(&accounts))
}

async fn last(world: &World, args: &Args, lasts: Duration) -> Result<bool> {
    let mut dice = Dice(args.seed);
    let samples = Mutex::new(Samples::default());
    // A third of the agents is killed and replaced, so that the others live through.
    let mortal = world.size() / 3;
    let accounts = beside_traffic(world, args, async {
        let storm = chaos::storm(world, &mut dice, lasts, mortal);
        tokio::select! {
            struck = storm => { struck?; }
            () = steady::sample(world, &samples) => {}
        }
        chaos::settle(world).await
    })
    .await?;
    let samples = samples.into_inner().ok().context("sampling has failed")?;
    let (text, flat) = samples.table();
    print(
        &format!("{text}\n{}", accounts.table()),
        args.out.as_deref(),
    )?;
    let balanced = told(&accounts);
    Ok(balanced && flat)
}

/// Whether the accounts balance; says so if not.
fn told(accounts: &Accounts) -> bool {
    match accounts.balance() {
        Ok(()) => true,
        Err(error) => {
            progress(&format!("THE ACCOUNTS DO NOT BALANCE: {error:#}"));
            false
        }
    }
}
