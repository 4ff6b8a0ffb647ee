//! `cargo xtask nat`: agents behind NATs and firewalls of every kind; the tables of docs/nat.md.

use anyhow::Result;

use crate::tables::Run;
use crate::workspace::Workspace;
use crate::{measured, setup, tables, wasm};

const DOCUMENT: &str = "docs/nat.md";

/// What the line before the tables says.
const COMMAND: &str = "cargo xtask nat";

/// Builds the page and the command, runs, and writes the tables, even if a pair does not link that
/// should: then it fails.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    setup::for_soak(workspace)?;
    setup::for_guides(workspace)?;
    let browsers = setup::for_browsers(workspace)?;
    // First the page: the command carries it inside.
    wasm::build(workspace, &setup::for_wasm(workspace)?)?;
    tables::build(workspace)?;
    let run = Run {
        program: "nat",
        arguments: &[],
        file: "nat.md",
        document: DOCUMENT,
        command: COMMAND,
        head: &format!("On a machine of {}.", measured::machine()),
        browsers: Some(&browsers),
    };
    run.write(workspace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table;

    #[test]
    fn the_document_has_a_place_for_the_tables() {
        assert!(table::has_place(DOCUMENT, COMMAND));
    }
}
