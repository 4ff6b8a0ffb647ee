//! `cargo xtask soak`: faults to a mesh of real processes; the tables of docs/healing.md.

use std::fs;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};

use crate::tables::Run;
use crate::workspace::Workspace;
use crate::{measured, setup, tables};

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
}

/// Builds the command, runs, and writes tables of docs/healing.md, even if they miss their goals:
/// then it fails.
pub(crate) fn run(workspace: &Workspace, args: &SoakArgs) -> Result<()> {
    setup::for_soak(workspace)?;
    tables::build(workspace)?;
    match &args.what {
        Some(What::Faults { each }) => soak(
            workspace,
            "faults",
            &["faults", "--each", &each.to_string()],
        ),
        Some(What::Chaos { lasts }) => soak(workspace, "chaos", &["chaos", "--for", lasts]),
        None => {
            let steady = soak(workspace, "steady", &["steady", "--for", &args.lasts]);
            let closed = soak(workspace, "closed", &["closed"]);
            steady.and(closed)
        }
    }
}

/// Runs one part and writes its table.
fn soak(workspace: &Workspace, part: &str, arguments: &[&str]) -> Result<()> {
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
        browsers: None,
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
        for part in ["faults", "chaos", "steady", "closed"] {
            assert!(table::has_place(DOCUMENT, &command(part)), "{part}");
        }
    }
}
