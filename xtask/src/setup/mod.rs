//! `cargo xtask setup`: installs what is missing, says so in one line each, else is quick.

mod browsers;
mod debian;
mod deploy;
mod npm;
mod packages;
mod prometheus;
mod proxy;
mod redis;
mod soak;
mod tools;
mod turn;
mod wasm_std;

pub(crate) use browsers::{Browser, BrowserSetup, find as for_browsers};
pub(crate) use debian::is_root;
pub(crate) use deploy::ensure as for_deploy;
pub(crate) use npm::{ensure as for_npm, install as npm_install};
pub(crate) use packages::{ensure as for_packages, ensure_for_test as for_package_test};
pub(crate) use prometheus::ensure as for_prometheus;
pub(crate) use proxy::ensure as for_proxy;
pub(crate) use redis::ensure as for_redis;
pub(crate) use soak::ensure as for_soak;
pub(crate) use turn::ensure as for_guides;

use std::ffi::OsStr;

use anyhow::Result;
use clap::ValueEnum;

use crate::process::Cmd;
use crate::workspace::Workspace;

/// What to set up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Purpose {
    /// Building mesh-wasm.
    Wasm,
    /// All tests, those in browsers too.
    Test,
    /// `cargo xtask demo`.
    Demo,
}

/// How to run commands that compile to wasm32.
#[derive(Debug)]
pub(crate) struct WasmSetup {
    /// The rustup toolchain to use instead of the active one.
    toolchain: Option<&'static str>,
}

impl WasmSetup {
    /// A command in the repository root, with the toolchain that knows wasm32.
    pub(crate) fn cmd(&self, workspace: &Workspace, program: impl AsRef<OsStr>) -> Cmd {
        let cmd = workspace.cmd(program);
        match self.toolchain {
            Some(name) => cmd.env("RUSTUP_TOOLCHAIN", name),
            None => cmd,
        }
    }
}

/// The command itself.
pub(crate) fn run(workspace: &Workspace, purpose: Option<Purpose>) -> Result<()> {
    for_wasm(workspace)?;
    if matches!(purpose, None | Some(Purpose::Test)) {
        let browsers = for_browsers(workspace)?;
        println!("browsers: {browsers}");
        for_npm(workspace)?;
        for_proxy(workspace)?;
        for_prometheus(workspace)?;
        for_redis(workspace)?;
        for_deploy(workspace)?;
        for_guides(workspace)?;
        for_soak(workspace)?;
    }
    println!("setup: complete");
    Ok(())
}

/// Everything that building mesh-wasm needs.
pub(crate) fn for_wasm(workspace: &Workspace) -> Result<WasmSetup> {
    let setup = wasm_std::ensure(workspace)?;
    tools::ensure_for_wasm(workspace)?;
    Ok(setup)
}
