//! What is taken from npm: for tests axe, Vite, TypeScript and Grafana's schema, in
//! tests/npm/node_modules; for `cargo xtask foreign` other WebRTC stacks.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::debian;
use crate::workspace::Workspace;

const REMEDY: &str = "the tests of the page, the package and the dashboard, and `cargo xtask \
    foreign`, need Node.js and npm: install them, or run other steps alone: `cargo xtask test \
    --list`";

/// Installs what tests need.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    let folder = workspace.root.join("tests/npm");
    install(
        workspace,
        &folder,
        "axe, Vite, TypeScript and Grafana's schema",
    )
}

/// Installs Node.js where that is possible, and a folder's locked packages when they have changed.
pub(crate) fn install(workspace: &Workspace, folder: &Path, what: &str) -> Result<()> {
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
    let changed = |name: &str| fs::metadata(folder.join(name)).and_then(|file| file.modified());
    // npm writes this file last.
    let installed = changed("node_modules/.package-lock.json").ok();
    if installed.is_some_and(|at| changed("package-lock.json").is_ok_and(|lock| lock <= at)) {
        return Ok(());
    }
    let into = folder.join("node_modules");
    println!("installing {what} into {}", into.display());
    workspace
        .cmd("npm")
        .args(["ci", "--no-audit", "--no-fund"])
        .dir(folder)
        .run()
        .with_context(|| format!("cannot install {what}; is npm's registry reachable?"))
}
