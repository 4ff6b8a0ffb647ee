//! The package for web pages as npm sees it, and tools from npm that tests use.
//!
//! `cargo xtask test` puts the tools below `tests/npm`; by hand it is `npm ci` in that folder.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// An empty folder for one test.
///
/// # Errors
/// If it cannot be made.
pub fn scratch(name: &str) -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| root().join("target"));
    let folder = target.join("tmp").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    Ok(folder.canonicalize()?)
}

/// Copies the files of a folder and of those in it.
///
/// # Errors
/// If one cannot be copied.
pub fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// What is in the archive that `npm pack` makes of the package, and where that is.
///
/// # Errors
/// If it makes none.
pub async fn pack(to: &Path) -> Result<(PathBuf, Vec<String>)> {
    let package = root().join("web/pkg");
    let built = package.join("package.json").is_file();
    ensure!(built, "web/pkg is no package: run `cargo xtask wasm`");
    let mut npm = Command::new("npm");
    npm.args(["pack", "--json", "--pack-destination"]).arg(to);
    let said = run(npm.current_dir(&package)).await?;
    let said: Value = serde_json::from_str(&said).context("npm pack says no JSON")?;
    // Newer versions of npm name the package where older ones have a list.
    let packed = said.get(0).or_else(|| said.get("mesh-wasm"));
    let packed = packed.with_context(|| format!("npm pack says {said}"))?;
    let archive = packed["filename"].as_str().context("no file name")?;
    let files = packed["files"].as_array().context("no files")?;
    let files = files.iter().filter_map(|file| file["path"].as_str());
    Ok((to.join(archive), files.map(str::to_owned).collect()))
}

/// A project of the name that has the package installed, as its users install it.
///
/// # Errors
/// If it cannot be packed or installed.
pub async fn consumer(name: &str) -> Result<PathBuf> {
    let project = scratch(name)?;
    copy_folder(&root().join("tests/npm/consumer"), &project)?;
    let (archive, _) = pack(&project).await?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund"])
        .arg(archive);
    run(npm.current_dir(&project)).await?;
    Ok(project)
}

/// Runs a tool of those in `tests/npm`, by the path of its script.
///
/// # Errors
/// If it is not installed, or fails, with what it says.
pub async fn tool(script: &str, arguments: &[&str], folder: &Path) -> Result<String> {
    let script = root().join("tests/npm/node_modules").join(script);
    ensure!(
        script.is_file(),
        "{} does not exist: run `cargo xtask test e2e`, or `npm ci` in tests/npm",
        script.display()
    );
    let mut node = Command::new("node");
    node.arg(script.canonicalize()?).args(arguments);
    run(node.current_dir(folder)).await
}

async fn run(command: &mut Command) -> Result<String> {
    let program = command.as_std().get_program().to_owned();
    let name = || OsStr::to_string_lossy(&program).into_owned();
    let output = command.kill_on_drop(true).output().await;
    let output = output.with_context(|| format!("{} cannot be started: install it", name()))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}{complaint}", name());
    Ok(said)
}
