//! Programs of the tests that measure, and leave their tables in a file, for a document.

use std::fs;

use anyhow::{Context as _, Result};

use crate::demo::{build_release, mesh_binary};
use crate::setup::BrowserSetup;
use crate::table;
use crate::workspace::{Workspace, read};

/// Builds the programs that measure, and the command that they measure.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    build_release(
        workspace,
        &["mesh-cli", "mesh-native", "mesh-tests"],
        &["--bins"],
    )
}

/// A run of one of these programs.
pub(crate) struct Run<'a> {
    /// The program.
    pub(crate) program: &'a str,
    /// Its arguments.
    pub(crate) arguments: &'a [&'a str],
    /// The name of the file, under `target`, that its tables stand in until then.
    pub(crate) file: &'a str,
    /// The document.
    pub(crate) document: &'a str,
    /// What the line before its tables says.
    pub(crate) command: &'a str,
    /// The words above its tables.
    pub(crate) head: &'a str,
    /// The browsers that it may use.
    pub(crate) browsers: Option<&'a BrowserSetup>,
}

impl Run<'_> {
    /// Runs it and writes its tables, even if they miss their goals: then it fails.
    pub(crate) fn write(&self, workspace: &Workspace) -> Result<()> {
        let file = workspace.target.join(self.file);
        // Else that of an earlier run would be taken for this one's.
        fs::write(&file, "").with_context(|| format!("cannot write {}", file.display()))?;
        let program = workspace.target.join("release").join(self.program);
        let cmd = workspace
            .cmd(program)
            .env("MESH_BIN", mesh_binary(workspace));
        let cmd = match self.browsers {
            Some(browsers) => browsers.for_end_to_end(cmd),
            None => cmd,
        };
        let ended = cmd.args(self.arguments).arg("--out").arg(&file).run();
        let tables = read(&file)?;
        if tables.is_empty() {
            return ended.context("the run has told nothing");
        }
        let text = format!("{}\n\n{tables}", self.head);
        table::write(workspace, self.document, self.command, &text)?;
        ended
    }
}
