//! What the end-to-end tests take from npm: axe, Vite and TypeScript, in tests/npm/node_modules.

use std::fs;

use anyhow::{Context as _, Result, bail};

use super::debian;
use crate::workspace::Workspace;

const REMEDY: &str = "the tests of the page and the package need Node.js and npm: install them, or \
    leave those tests out with `cargo xtask test --no-browsers`";

/// Installs Node.js where that is possible, and the locked packages when they have changed.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    let found = || {
        ["node", "npm"]
            .iter()
            .all(|name| workspace.which(&[name]).is_some())
    };
    if !found() && debian::can_install() {
        debian::install(workspace, &["nodejs", "npm"])?;
    }
    if !found() {
        bail!(REMEDY);
    }
    let folder = workspace.root.join("tests/npm");
    let changed = |name: &str| fs::metadata(folder.join(name)).and_then(|file| file.modified());
    // npm writes this file last.
    let installed = changed("node_modules/.package-lock.json").ok();
    if installed.is_some_and(|at| changed("package-lock.json").is_ok_and(|lock| lock <= at)) {
        return Ok(());
    }
    println!("installing axe, Vite and TypeScript into tests/npm/node_modules");
    workspace
        .cmd("npm")
        .args(["ci", "--no-audit", "--no-fund"])
        .dir(&folder)
        .run()
        .context("cannot install what tests take from npm; is its registry reachable?")
}
