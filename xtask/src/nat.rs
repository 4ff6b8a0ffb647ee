//! `cargo xtask nat`: agents behind NATs and firewalls of every kind; the tables of docs/nat.md.

use std::fs;

use anyhow::{Context as _, Result};

use crate::demo::{build_release, mesh_binary};
use crate::workspace::{Workspace, read};
use crate::{measured, setup, table};

const DOCUMENT: &str = "docs/nat.md";

/// What the line before the tables says.
const COMMAND: &str = "cargo xtask nat";

/// Builds the command, runs, and writes the tables, even if a pair does not link that should: then
/// it fails.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    setup::for_soak(workspace)?;
    setup::for_guides(workspace)?;
    build_release(
        workspace,
        &["mesh-cli", "mesh-native", "mesh-tests"],
        &["--bins"],
    )?;
    let file = workspace.target.join("nat.md");
    // Else that of an earlier run would be taken for this one's.
    fs::write(&file, "").with_context(|| format!("cannot write {}", file.display()))?;
    let ended = workspace
        .cmd(workspace.target.join("release/nat"))
        .env("MESH_BIN", mesh_binary(workspace))
        .arg("--out")
        .arg(&file)
        .run();
    let tables = read(&file)?;
    if tables.is_empty() {
        return ended.context("the run has told nothing");
    }
    let text = format!("On a machine of {}.\n\n{tables}", measured::machine());
    table::write(workspace, DOCUMENT, COMMAND, &text)?;
    ended
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_document_has_a_place_for_the_tables() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let document = read(&root.join(DOCUMENT)).expect("it is checked in");
        table::parts(&document, COMMAND).expect("it is marked");
    }
}
