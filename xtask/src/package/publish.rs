//! `cargo xtask publish`: rehearses publishing to crates.io and npm. Nothing leaves this machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::setup;
use crate::wasm;
use crate::workspace::Workspace;

/// The crates, each after those that it depends on.
const CRATES: [&str; 3] = ["mesh-core", "mesh-native", "mesh-cli"];

/// Files that crates compile in from beside them, and where a package has them.
const CARRIED: [(&str, &str); 2] = [
    ("web", "mesh-native/web"),
    ("mesh-wasm/webdriver.json", "mesh-cli/webdriver.json"),
];

/// Files of the page that nobody is served.
const NOT_SERVED: [&str; 3] = [".test.js", "web/package.json", ".md"];

/// Builds the page, stages the crates with all that they carry, and has cargo and npm pack them.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let tools = setup::for_wasm(workspace)?;
    wasm::build(workspace, &tools)?;
    let stage = stage(workspace)?;
    let packages = CRATES.iter().flat_map(|name| ["--package", name]);
    workspace
        .cmd("cargo")
        // The crates' own dependencies are built already.
        .env("CARGO_TARGET_DIR", &workspace.target)
        .args(["publish", "--dry-run", "--locked", "--allow-dirty"])
        .args(packages)
        .dir(&stage)
        .run()?;
    workspace
        .cmd("npm")
        .args(["pack", "--dry-run"])
        .dir(&workspace.root.join("web/pkg"))
        .run()
}

/// A copy of what the repository has, with what the crates carry inside them.
fn stage(workspace: &Workspace) -> Result<PathBuf> {
    let stage = workspace.target.join("publish");
    if stage.exists() {
        fs::remove_dir_all(&stage)?;
    }
    let listed = workspace.cmd("git").args(["ls-files"]).output()?;
    for file in listed.lines() {
        copy(&workspace.root.join(file), &stage.join(file))?;
    }
    for (from, to) in CARRIED {
        carry(&workspace.root.join(from), &stage.join(to))?;
    }
    Ok(stage)
}

fn carry(from: &Path, to: &Path) -> Result<()> {
    let name = from.to_string_lossy();
    if NOT_SERVED.iter().any(|end| name.ends_with(end)) || name.ends_with("node_modules") {
        return Ok(());
    }
    if !from.is_dir() {
        return copy(from, to);
    }
    let entries = fs::read_dir(from).with_context(|| format!("cannot read {name}"))?;
    for entry in entries {
        let entry = entry?;
        carry(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().unwrap_or(to))?;
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}
