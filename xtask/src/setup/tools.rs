//! Command line tools from crates.io: wasm-pack, wasm-bindgen, geckodriver, cargo-deb.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::workspace::Workspace;

/// wasm-pack, and wasm-bindgen at exactly the version our code is compiled against.
pub(super) fn ensure_for_wasm(workspace: &Workspace) -> Result<()> {
    if workspace.which(&["wasm-pack"]).is_none() {
        cargo_install(workspace, "wasm-pack")?;
    }
    let wanted = workspace.locked_version("wasm-bindgen")?;
    if bindgen_version(workspace).as_deref() != Some(wanted.as_str()) {
        cargo_install(workspace, &format!("wasm-bindgen-cli@{wanted}"))?;
        if bindgen_version(workspace).as_deref() != Some(wanted.as_str()) {
            bail!("wasm-bindgen {wanted} was installed, yet is not the one found");
        }
    }
    remove_build_folder(workspace);
    Ok(())
}

/// Debian has no geckodriver.
pub(super) fn ensure_geckodriver(workspace: &Workspace) -> Result<()> {
    if workspace.which(&["geckodriver"]).is_none() {
        cargo_install(workspace, "geckodriver")?;
        remove_build_folder(workspace);
    }
    Ok(())
}

/// Makes Debian packages.
pub(super) fn ensure_cargo_deb(workspace: &Workspace) -> Result<()> {
    if workspace.which(&["cargo-deb"]).is_none() {
        cargo_install(workspace, "cargo-deb")?;
        remove_build_folder(workspace);
    }
    Ok(())
}

/// The version of the wasm-bindgen on `PATH`, if its test runner is there too.
fn bindgen_version(workspace: &Workspace) -> Option<String> {
    let tool = workspace.which(&["wasm-bindgen"])?;
    // wasm-pack takes the test runner from the same folder.
    let runner = tool.with_file_name("wasm-bindgen-test-runner");
    let runner = runner.with_extension(std::env::consts::EXE_EXTENSION);
    let said = workspace.cmd(&tool).arg("--version").output().ok()?;
    let version = said.split_whitespace().nth(1)?.to_owned();
    runner.is_file().then_some(version)
}

/// Installs into our own folder. The debug profile builds in half the time and is fast enough.
fn cargo_install(workspace: &Workspace, package: &str) -> Result<()> {
    println!(
        "installing {package} into {} (minutes)",
        workspace.tools().display()
    );
    let install = |locked: &[&str]| {
        workspace
            .cmd("cargo")
            .env("CARGO_TARGET_DIR", build_folder(workspace))
            .args(["install", "--debug", "--root"])
            .arg(workspace.tools())
            .args(locked)
            .arg(package)
            .run()
    };
    install(&["--locked"])
        .or_else(|error| {
            // A mirror of crates.io may lack the newest version that the tool's lock file names.
            println!("note: {error:#}\nnote: trying again with other dependency versions");
            install(&[])
        })
        .with_context(|| format!("cannot install {package}; is crates.io reachable?"))?;
    Ok(())
}

/// Half a gigabyte that nobody needs again; a failure to remove it hurts nobody.
fn remove_build_folder(workspace: &Workspace) {
    let _ = fs::remove_dir_all(build_folder(workspace));
}

/// One build folder for all tools: they share dependencies.
fn build_folder(workspace: &Workspace) -> PathBuf {
    workspace.tools().join("build")
}
