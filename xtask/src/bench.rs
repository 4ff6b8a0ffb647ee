//! `cargo xtask bench` and `cargo xtask versus`: what things cost, measured.

use std::fs;

use anyhow::{Context as _, Result};

use crate::demo::{build_mesh, mesh_binary};
use crate::setup::{self, Browser};
use crate::wasm;
use crate::workspace::Workspace;

/// The plot of what a topology costs to build, as criterion leaves it under `target`, and where
/// the README shows it.
const PLOT: &str = "criterion/build a topology, by links/report/lines.svg";
const SHOWN: &str = "docs/topology-cost.svg";

/// Where the short load test leaves its report, under `target`.
const REPORT: &str = "bench-load-test";

/// Runs the core's benchmarks and takes over their plot, measures signatures in browsers, then runs
/// a short load test of a real mesh.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    workspace
        .cmd("cargo")
        .args(["bench", "--package", "mesh-core", "--features", "sim"])
        .run()?;
    let (plot, shown) = (workspace.target.join(PLOT), workspace.root.join(SHOWN));
    fs::copy(&plot, &shown).with_context(|| format!("criterion left no {}", plot.display()))?;
    let (tools, browsers) = (setup::for_wasm(workspace)?, setup::for_browsers(workspace)?);
    for browser in [Browser::Chrome, Browser::Firefox] {
        println!("signatures in {browser:?}:");
        let cmd = tools.cmd(workspace, "wasm-pack");
        wasm::test(browsers.for_wasm_pack(cmd), &browsers, browser)
            .args([
                "--test",
                "speed",
                "--profile",
                wasm::PROFILE,
                "--",
                "--nocapture",
            ])
            .run()?;
    }
    build_mesh(workspace)?;
    workspace
        .cmd(mesh_binary(workspace))
        .args(["load-test", "--agents", "50", "--k", "8"])
        .args(["--duration", "15s", "--rate", "20", "--out"])
        .arg(workspace.target.join(REPORT))
        .run()
}

/// Runs ours beside others; writes docs/versus.md and docs/versus.svg.
pub(crate) fn versus(workspace: &Workspace, rounds: usize) -> Result<()> {
    workspace
        .cmd("cargo")
        .args(["run", "--release", "--manifest-path", "versus/Cargo.toml"])
        .arg("--target-dir")
        .arg(workspace.target.join("versus"))
        .args(["--", "--rounds"])
        .arg(rounds.to_string())
        .run()
}
