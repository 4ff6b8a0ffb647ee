//! The `mesh` command: parses, calls, prints, and nothing else.

mod commands;

/// Threads of one process hand each other what links carry: the C library's allocator has them wait
/// for each other, which costs a tenth of the processor time and most of the longest latencies.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// What is logged unless `RUST_LOG` says otherwise. The WebRTC stack warns in normal operation.
const LOG: &str = "warn,mesh=info,mesh_native=info,rtc=error,rtc_ice=error,rtc_dtls=error,\
                   rtc_sctp=error,webrtc=error";

/// A WebRTC agent mesh: browsers and native agents as one.
#[derive(Debug, Parser)]
#[command(name = "mesh", version, arg_required_else_help = true)]
struct Arguments {
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
    Simulate(commands::simulate::Simulate),
    Topology(commands::topology::TopologyCommand),
    Config(commands::config::ConfigCommand),
    #[command(hide = true)]
    Man(commands::man::Man),
}

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let outcome = arguments().and_then(|arguments| {
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
fn arguments() -> anyhow::Result<Arguments> {
    let mut matches = commands::config::parse(Arguments::command(), std::env::args_os().collect())?;
    Arguments::from_arg_matches_mut(&mut matches).map_err(|error| error.exit())
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Agent(agent) => return agent.run().await,
        Command::LoadTest(test) => return test.run().await,
        Command::HubTest(test) => return test.run().await,
        Command::Up(up) => up.run().await?,
        Command::Signal(signal) => signal.run().await?,
        Command::Simulate(simulate) => simulate.run()?,
        Command::Topology(topology) => topology.run()?,
        Command::Config(config) => config.run()?,
        Command::Man(man) => man.run(Arguments::command())?,
    }
    Ok(ExitCode::SUCCESS)
}
