//! Every chore of this project as a cargo subcommand: `cargo xtask <command>`.
//!
//! Each command first sets up what it needs, so that a fresh clone and one command are enough.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool: printing what it does is its job"
)]

mod bench;
mod demo;
mod deploy;
mod foreign;
mod hub_load;
mod lint;
mod measured;
mod nat;
mod package;
mod paths;
mod process;
mod setup;
mod soak;
mod steps;
mod table;
mod tables;
mod test;
mod tidy;
mod wasm;
mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::setup::Purpose;
use crate::workspace::Workspace;

/// The chores of the WebRTC agent mesh.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", arg_required_else_help = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what the other commands need (they call this themselves); quick when complete.
    Setup {
        /// Only what this purpose needs; everything when left out.
        #[arg(long = "for", value_enum)]
        purpose: Option<Purpose>,
    },
    /// Build mesh-wasm for the page, into web/pkg.
    Wasm,
    /// Build everything and run `mesh up`: signaling hub, page and native agents in one process.
    ///
    /// Example: cargo xtask demo -- --agents 8
    Demo {
        /// Arguments for `mesh up`.
        #[arg(last = true)]
        args: Vec<OsString>,
    },
    /// Run every check and test, stopping at the first failure.
    ///
    /// Example: cargo xtask test unit e2e
    Test(test::TestArgs),
    /// Measure the core's parts, signatures in browsers, a real mesh and a hub under load, for
    /// about forty minutes; writes docs/measured.md and the hub's tables of docs/sizing.md.
    Bench {
        /// Rounds of the load test whose medians are told.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Measure the hub alone, for about six minutes.
        #[arg(long)]
        hub: bool,
    },
    /// Measure ours beside matchbox_socket and bare webrtc; writes docs/versus.md.
    Versus {
        /// Rounds: of each figure the median is told.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// Do faults to a mesh of real processes: `soak faults` times how it heals, `soak chaos`
    /// accounts for each message, `soak` alone is a long run. Writes the tables of docs/healing.md.
    /// Needs root and Linux.
    Soak(soak::SoakArgs),
    /// Put pairs of native agents and tabs behind NATs and firewalls of every kind, for about
    /// twenty minutes; writes docs/nat.md. Needs root and Linux.
    Nat,
    /// Measure the mesh, bare webrtc and two tabs over paths with delay, jitter and loss, for about
    /// fifteen minutes; writes docs/paths.md. Needs root and Linux.
    ///
    /// Example: cargo xtask paths -- --delay 50,150 --loss 0,1
    Paths {
        /// Arguments for the run: which paths, and for how long.
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Open links between ours and other WebRTC stacks (aiortc, libdatachannel, werift); writes the
    /// table of docs/foreign.md. Installs them into target/foreign.
    Foreign {
        /// Links opened with each stack in each direction.
        #[arg(long, default_value_t = 10)]
        rounds: usize,
    },
    /// Build the `mesh` command as packages carry it, tell its size and how long it takes to start,
    /// and make the Debian package.
    Package,
    /// Install, kill, upgrade and purge the Debian package on a bare Debian with a real systemd, in
    /// a container; as root.
    PackageTest,
    /// Rehearse publishing to crates.io and npm: everything but the upload.
    Publish,
    /// Run the commands of the guides in docs/ that take minutes; `test` runs the others.
    Guides,
    /// Run the cheap checks: format, clippy, documentation, tidy.
    Lint,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(args.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    let workspace = Workspace::find()?;
    match command {
        Command::Setup { purpose } => setup::run(&workspace, purpose),
        Command::Wasm => wasm::build(&workspace, &setup::for_wasm(&workspace)?),
        Command::Demo { args } => demo::run(&workspace, &args),
        Command::Test(args) => test::run(&workspace, &args),
        Command::Bench { hub: true, .. } => hub_load::run(&workspace),
        Command::Bench { rounds, .. } => bench::run(&workspace, rounds),
        Command::Versus { rounds } => bench::versus(&workspace, rounds),
        Command::Soak(args) => soak::run(&workspace, &args),
        Command::Nat => nat::run(&workspace),
        Command::Paths { args } => paths::run(&workspace, &args),
        Command::Foreign { rounds } => foreign::run(&workspace, rounds),
        Command::Package => package::run(&workspace),
        Command::PackageTest => package::test::run(&workspace),
        Command::Publish => package::publish::run(&workspace),
        Command::Guides => test::guides(&workspace),
        Command::Lint => lint::run(&workspace),
    }
}
