//! `cargo xtask wasm`: mesh-wasm as an ES module for the page, in web/pkg.

use anyhow::Result;

use crate::setup::WasmSetup;
use crate::workspace::Workspace;

/// Builds `web/pkg/` (mesh_wasm.js, mesh_wasm_bg.wasm, mesh_wasm.d.ts, package.json).
pub(crate) fn build(workspace: &Workspace, setup: &WasmSetup) -> Result<()> {
    // `no-install`: setup has put the right tools on PATH, and wasm-pack must not go and
    // download others; without a wasm-opt on PATH it then leaves out that optimisation.
    setup
        .cmd(workspace, "wasm-pack")
        .args(["build", "mesh-wasm", "--target", "web", "--release"])
        .args(["--out-dir", "../web/pkg", "--out-name", "mesh_wasm"])
        .args(["--mode", "no-install"])
        .run()
}
