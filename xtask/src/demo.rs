//! `cargo xtask demo`: build all and run `mesh up`.

use std::env;
use std::ffi::OsString;

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{setup, wasm};

/// Builds the page's module and the native agent, then becomes `mesh up <args>`.
pub(crate) fn run(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    let tools = setup::for_wasm(workspace)?;
    // First the page: the native binary carries it inside.
    wasm::build(workspace, &tools)?;
    build_mesh(workspace)?;
    workspace
        .cmd(mesh_binary(workspace))
        .arg("up")
        .args(args)
        .exec()
}

/// Builds the `mesh` command as users get it.
pub(crate) fn build_mesh(workspace: &Workspace) -> Result<()> {
    build_release(workspace, &["mesh-cli"], &["--bins"])
}

/// Builds targets of packages together, so that all agree on the features of what they share.
pub(crate) fn build_release(
    workspace: &Workspace,
    packages: &[&str],
    targets: &[&str],
) -> Result<()> {
    let packages = packages.iter().flat_map(|package| ["--package", package]);
    workspace
        .cmd("cargo")
        .args(["build", "--release"])
        .args(packages)
        .args(targets)
        .run()
}

/// Where `build_mesh` leaves the command.
pub(crate) fn mesh_binary(workspace: &Workspace) -> OsString {
    let name = format!("mesh{}", env::consts::EXE_SUFFIX);
    workspace.target.join("release").join(name).into_os_string()
}
