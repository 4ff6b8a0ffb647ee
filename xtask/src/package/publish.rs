//! `cargo xtask publish`: rehearses publishing to crates.io and npm. Nothing leaves this machine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};

use super::names::{self, CRATES};
use super::{of_workspace, version};
use crate::setup;
use crate::wasm;
use crate::workspace::{Workspace, read};

/// Files that crates compile in from beside them, and where a package has them.
const CARRIED: [(&str, &str); 2] = [
    ("web", "mesh-native/web"),
    ("mesh-wasm/webdriver.json", "mesh-cli/webdriver.json"),
];

/// What each package has of the repository's root.
const LICENSES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

/// Where manifests in the workspace say that their README is, which is no package's own.
const SHARED_README: &str = "readme = \"../README.md\"";

/// Files of the page that nobody is served.
const NOT_SERVED: [&str; 3] = [".test.js", "web/package.json", ".md"];

/// Builds the page, stages the crates with all that they carry, and has cargo and npm pack them.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let tools = setup::for_wasm(workspace)?;
    names::check(workspace)?;
    wasm::build(workspace, &tools)?;
    forget(workspace)?;
    rehearse(workspace, &folder(workspace)?)?;
    // Kept where it failed, to be looked at.
    forget(workspace)?;
    workspace
        .cmd("npm")
        .args(["pack", "--dry-run"])
        .dir(&workspace.root.join("web/pkg"))
        .run()
}

/// Has cargo pack the crates and build each as its users would, of those packed before it.
fn rehearse(workspace: &Workspace, folder: &Path) -> Result<()> {
    let stage = folder.join("stage");
    fill(workspace, &stage)?;
    // The lock file has the new names in the order of the old ones: the versions stay as they are.
    workspace
        .cmd("cargo")
        .args(["update", "--workspace"])
        .dir(&stage)
        .run()?;
    let packages = CRATES
        .iter()
        .flat_map(|package| ["--package", package.published]);
    workspace
        .cmd("cargo")
        .env("CARGO_TARGET_DIR", folder.join("target"))
        // Gigabytes that nobody reads.
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .args(["publish", "--dry-run", "--locked", "--allow-dirty"])
        .args(packages)
        .dir(&stage)
        .run()
}

/// Where all of this run lies. Cargo holds that a version in a registry never changes: it takes
/// what it unpacked or built of it before. It knows the registry that it makes of packed crates by
/// the path alone, so each run has another.
fn folder(workspace: &Workspace) -> Result<PathBuf> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(of_all_runs(workspace).join(now.as_millis().to_string()))
}

fn of_all_runs(workspace: &Workspace) -> PathBuf {
    workspace.target.join("publish")
}

/// Removes what earlier runs left: their folders, and the crates that cargo unpacked of them.
fn forget(workspace: &Workspace) -> Result<()> {
    remove(&of_all_runs(workspace))?;
    let version = version(workspace)?;
    let Some(home) = cargo_home() else {
        return Ok(());
    };
    let Ok(registries) = fs::read_dir(home.join("registry/src")) else {
        return Ok(()); // Nothing was ever unpacked.
    };
    for registry in registries {
        let registry = registry?;
        // One that is a folder has no host in its name: "-a186f71a4d8dc121".
        if !registry.file_name().to_string_lossy().starts_with('-') {
            continue;
        }
        for package in &CRATES {
            let unpacked = format!("{}-{version}", package.published);
            remove(&registry.path().join(unpacked))?;
        }
        // It is removed if nothing else is in it.
        let _ = fs::remove_dir(registry.path());
    }
    Ok(())
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

/// Where cargo keeps what it has downloaded and unpacked.
fn cargo_home() -> Option<PathBuf> {
    let told = env::var_os("CARGO_HOME").map(PathBuf::from);
    told.or_else(|| Some(env::home_dir()?.join(".cargo")))
}

/// Fills a folder with a copy of what the repository has, with what the crates carry inside them,
/// under the names that they are published by.
fn fill(workspace: &Workspace, stage: &Path) -> Result<()> {
    let listed = workspace.cmd("git").args(["ls-files"]).output()?;
    for file in listed.lines() {
        copy(&workspace.root.join(file), &stage.join(file))?;
    }
    for (from, to) in CARRIED {
        carry(&workspace.root.join(from), &stage.join(to))?;
    }
    for file in ["Cargo.toml", "Cargo.lock"] {
        let file = stage.join(file);
        write(&file, &names::renamed(&read(&file)?))?;
    }
    let readme = read(&workspace.root.join("README.md"))?;
    let repository = of_workspace(workspace, "repository")?;
    for package in &CRATES {
        let folder = stage.join(package.name);
        for license in LICENSES {
            copy(&workspace.root.join(license), &folder.join(license))?;
        }
        let readme = names::readme(package, &readme, &repository)?;
        write(&folder.join("README.md"), &readme)?;
        let manifest = folder.join("Cargo.toml");
        let text = names::renamed(&read(&manifest)?);
        if !text.contains(SHARED_README) {
            bail!("{}/Cargo.toml does not say {SHARED_README}", package.name);
        }
        let text = text.replace(SHARED_README, "readme = \"README.md\"");
        write(&manifest, &text)?;
    }
    Ok(())
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

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
