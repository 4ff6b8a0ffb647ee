//! The `mesh` command: parses, calls, prints, and nothing else.

mod commands;
mod log;

/// Threads of one process hand each other what links carry: the C library's allocator has them wait
/// for each other, which costs a tenth of the processor time and most of the longest latencies.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use log::{Log, LogLevel};

/// A WebRTC agent mesh: browsers and native agents as one.
#[derive(Debug, Parser)]
#[command(name = "mesh", version, arg_required_else_help = true)]
struct Arguments {
    /// The least that is worth a line on stderr, instead of what RUST_LOG says. Debug tells what
    /// agents decide and why, trace all that happens to them.
    #[arg(long, global = true, value_name = "LEVEL")]
    log: Option<LogLevel>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(Box<commands::up::Up>),
    Signal(Box<commands::signal::Signal>),
    Agent(Box<commands::agent::AgentCommand>),
    LoadTest(commands::load_test::LoadTest),
    HubTest(commands::hub_test::HubTest),
    Doctor(commands::doctor::Doctor),
    Simulate(commands::simulate::Simulate),
    Topology(commands::topology::TopologyCommand),
    Config(commands::config::ConfigCommand),
    #[command(hide = true)]
    Man(commands::man::Man),
}

fn main() -> ExitCode {
    let log = log::start();
    let outcome = arguments(&log).and_then(|arguments| {
        let runtime = tokio::runtime::Runtime::new().context("the runtime cannot be started")?;
        let outcome = runtime.block_on(run(arguments.command));
        // A thread that waits for stdin would keep the process until another line comes.
        runtime.shutdown_background();
        outcome
    });
    outcome.unwrap_or_else(|error| {
        #[expect(clippy::print_stderr, reason = "how a command fails")]
        {
            eprintln!("error: {error:#}");
        }
        ExitCode::FAILURE
    })
}

/// The command line, over the environment and the configuration file.
fn arguments(log: &Log) -> anyhow::Result<Arguments> {
    let mut matches = commands::config::parse(Arguments::command(), std::env::args_os().collect())?;
    let arguments = Arguments::from_arg_matches_mut(&mut matches).map_err(|error| error.exit())?;
    arguments.log.map_or(Ok(()), |level| log.set_level(level))?;
    Ok(arguments)
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Agent(agent) => return agent.run().await,
        Command::LoadTest(test) => return test.run().await,
        Command::HubTest(test) => return test.run().await,
        Command::Doctor(doctor) => return doctor.run().await,
        Command::Up(up) => up.run().await?,
        Command::Signal(signal) => signal.run().await?,
        Command::Simulate(simulate) => simulate.run()?,
        Command::Topology(topology) => topology.run()?,
        Command::Config(config) => config.run()?,
        Command::Man(man) => man.run(Arguments::command())?,
    }
    Ok(ExitCode::SUCCESS)
}
