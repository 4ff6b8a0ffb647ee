//! `cargo xtask bench` and `cargo xtask versus`: what things cost, measured.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::demo::{build_mesh, mesh_binary};
use crate::hub_load;
use crate::measured::{self, DOCUMENT, LIMITS, LOAD, Measured};
use crate::setup::{self, Browser, BrowserSetup, WasmSetup};
use crate::wasm;
use crate::workspace::{Workspace, read};

/// The plot of what a topology costs to build, as criterion leaves it under `target`, and where
/// docs/measured.md shows it.
const PLOT: &str = "criterion/build a topology, by links/report/lines.svg";
const SHOWN: &str = "docs/topology-cost.svg";

/// Where criterion leaves its estimates, and the load tests their reports, under `target`.
const CRITERION: &str = "criterion";
const REPORTS: &str = "bench";

/// Measures the core's parts, signatures in browsers, the module for pages, a real mesh and a hub
/// under load; writes docs/measured.md, the plot that it shows, and the tables of docs/sizing.md.
pub(crate) fn run(workspace: &Workspace, rounds: usize) -> Result<()> {
    ensure!(rounds > 0, "at least one round is needed: --rounds 1");
    workspace
        .cmd("cargo")
        .args(["bench", "--package", "mesh-core", "--features", "sim"])
        .run()?;
    let (plot, shown) = (workspace.target.join(PLOT), workspace.root.join(SHOWN));
    fs::copy(&plot, &shown).with_context(|| format!("criterion left no {}", plot.display()))?;
    let (tools, browsers) = (setup::for_wasm(workspace)?, setup::for_browsers(workspace)?);
    wasm::build(workspace, &tools)?;
    build_mesh(workspace)?;
    let measured = Measured {
        machine: measured::machine(),
        parts: measured::estimates(&workspace.target.join(CRITERION))?,
        browsers: [Browser::Chrome, Browser::Firefox]
            .into_iter()
            .map(|browser| signatures_in(workspace, &tools, &browsers, browser))
            .collect::<Result<_>>()?,
        module: wasm::module_size(workspace)?,
        load: (1..=rounds)
            .map(|round| load_test(workspace, LOAD, &format!("round-{round}")))
            .collect::<Result<_>>()?,
        limits: LIMITS
            .iter()
            .enumerate()
            .map(|(index, arguments)| load_test(workspace, arguments, &format!("limit-{index}")))
            .collect::<Result<_>>()?,
    };
    fs::write(workspace.root.join(DOCUMENT), measured.markdown())
        .with_context(|| format!("cannot write {DOCUMENT}"))?;
    println!("written: {DOCUMENT}, {SHOWN}");
    hub_load::run(workspace)
}

/// A browser, and the µs that it takes to sign and to verify.
fn signatures_in(
    workspace: &Workspace,
    tools: &WasmSetup,
    browsers: &BrowserSetup,
    browser: Browser,
) -> Result<(String, f64, f64)> {
    let cmd = tools.cmd(workspace, "wasm-pack");
    let said = wasm::test(browsers.for_wasm_pack(cmd), browsers, browser)
        .args(["--test", "speed", "--profile", wasm::PROFILE])
        .args(["--", "--nocapture"])
        .run_and_read()?;
    let (sign, verify) = measured::signatures(&said)?;
    Ok((format!("{browser:?}"), sign, verify))
}

/// Runs a load test and reads its report, which is there even if it missed a target.
fn load_test(workspace: &Workspace, arguments: &str, name: &str) -> Result<Value> {
    let folder = workspace.target.join(REPORTS).join(name);
    let file = folder.join("report.json");
    forget(&file)?; // Else that of an earlier run would be taken for this one's.
    let ended = workspace
        .cmd(mesh_binary(workspace))
        .arg("load-test")
        .args(arguments.split(' '))
        .arg("--out")
        .arg(&folder)
        .run();
    match (ended, file.exists()) {
        (Err(error), false) => Err(error),
        (ended, _) => {
            if let Err(error) = ended {
                println!("note: {error:#}");
            }
            serde_json::from_str(&read(&file)?)
                .with_context(|| format!("{} is not valid JSON", file.display()))
        }
    }
}

/// Removes a file if it is there.
fn forget(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", file.display()))
        }
        _ => Ok(()),
    }
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
