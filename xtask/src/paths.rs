//! `cargo xtask paths`: throughput and round trips over long and lossy paths; docs/paths.md.

use anyhow::Result;

use crate::tables::Run;
use crate::workspace::Workspace;
use crate::{measured, setup, tables};

const DOCUMENT: &str = "docs/paths.md";

/// What the line before the tables says.
const COMMAND: &str = "cargo xtask paths";

/// Builds the command, runs, and writes the tables, even if a connection fails: then it fails.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    setup::for_soak(workspace)?;
    let browsers = setup::for_browsers(workspace)?;
    tables::build(workspace)?;
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let said = match arguments.is_empty() {
        true => String::new(),
        false => format!(" -- {}", arguments.join(" ")),
    };
    let run = Run {
        program: "paths",
        arguments: &arguments,
        file: "paths.md",
        document: DOCUMENT,
        command: COMMAND,
        head: &format!("`{COMMAND}{said}` on a machine of {}.", measured::machine()),
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
