//! `cargo xtask soak`: faults to a mesh of real processes; the tables of docs/healing.md.

use std::fs;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};

use crate::setup::BrowserSetup;
use crate::tables::Run;
use crate::workspace::Workspace;
use crate::{measured, setup, tables, wasm};

const DOCUMENT: &str = "docs/healing.md";

/// Where the runs leave their tables, under `target`.
const TABLES: &str = "soak";

/// Arguments of `cargo xtask soak`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct SoakArgs {
    #[command(subcommand)]
    what: Option<What>,
    /// How long the long run takes.
    #[arg(long = "for", default_value = "1h")]
    lasts: String,
}

#[derive(Debug, Subcommand)]
enum What {
    /// 20 agents under 200 messages a second, each fault in turn: how soon the mesh heals. About an
    /// hour and a half.
    Faults {
        /// How many of each fault.
        #[arg(long, default_value_t = 30)]
        each: usize,
    },
    /// 20 agents under random faults, with 2 % of the packets lost: what becomes of each message.
    Chaos {
        /// How long the faults go on.
        #[arg(long = "for", default_value = "5m")]
        lasts: String,
    },
    /// Tabs that are hidden, frozen, stopped, left and reloaded, and a process that is stopped: how
    /// soon each is back.
    Away {
        /// How long each is away.
        #[arg(long = "for", default_value = "3m")]
        lasts: String,
    },
    /// 600 links opened and closed in a row, at a process and at a tab of each browser: what they
    /// leave behind.
    Closed,
}

/// Builds the command, runs, and writes tables of docs/healing.md, even if they miss their goals:
/// then it fails.
pub(crate) fn run(workspace: &Workspace, args: &SoakArgs) -> Result<()> {
    setup::for_soak(workspace)?;
    let browsers = match args.what {
        Some(What::Away { .. } | What::Closed) => {
            // First the page: the command carries it inside.
            wasm::build(workspace, &setup::for_wasm(workspace)?)?;
            Some(setup::for_browsers(workspace)?)
        }
        _ => None,
    };
    tables::build(workspace)?;
    let soak = |part: &str, arguments: &[&str]| soak(workspace, part, arguments, browsers.as_ref());
    match &args.what {
        Some(What::Faults { each }) => soak("faults", &["faults", "--each", &each.to_string()]),
        Some(What::Chaos { lasts }) => soak("chaos", &["chaos", "--for", lasts]),
        Some(What::Away { lasts }) => soak("away", &["away", "--for", lasts]),
        Some(What::Closed) => soak("closed", &["closed"]),
        None => soak("steady", &["steady", "--for", &args.lasts]),
    }
}

/// Runs one part and writes its table.
fn soak(
    workspace: &Workspace,
    part: &str,
    arguments: &[&str],
    browsers: Option<&BrowserSetup>,
) -> Result<()> {
    let folder = workspace.target.join(TABLES);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let run = Run {
        program: "soak",
        arguments,
        file: &format!("{TABLES}/{part}.md"),
        document: DOCUMENT,
        command: &command(part),
        head: &format!(
            "`soak {}` on a machine of {}.",
            arguments.join(" "),
            measured::machine()
        ),
        browsers,
    };
    run.write(workspace)
}

/// What the line before a table says.
fn command(part: &str) -> String {
    format!("cargo xtask soak, {part}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table;

    #[test]
    fn the_document_has_a_place_for_each_table() {
        for part in ["faults", "chaos", "away", "steady", "closed"] {
            assert!(table::has_place(DOCUMENT, &command(part)), "{part}");
        }
    }
}
