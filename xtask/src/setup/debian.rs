//! Debian packages, where we may install them.

use std::path::Path;
use std::sync::Once;

use anyhow::{Context as _, Result, bail};

use crate::workspace::Workspace;

/// `apt-get update` once a run is enough.
static UPDATED: Once = Once::new();

/// Whether packages can be installed without asking anyone: Debian or a relative, as root.
pub(crate) fn can_install() -> bool {
    Path::new("/usr/bin/apt-get").exists() && is_root()
}

/// Installs those of `packages` that are missing.
pub(crate) fn install(workspace: &Workspace, packages: &[&str]) -> Result<()> {
    let missing: Vec<&str> = packages
        .iter()
        .copied()
        .filter(|package| !is_installed(workspace, package))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing Debian packages: {}", missing.join(" "));
    UPDATED.call_once(|| {
        // One unreachable source fails the update though the rest may do: let install decide.
        if let Err(error) = apt_get(workspace, &["update", "-qq"]) {
            println!("note: {error:#}");
        }
    });
    let mut args = vec!["install", "-y", "-qq", "--no-install-recommends"];
    args.extend(&missing);
    apt_get(workspace, &args).context("cannot install Debian packages; is the network up?")
}

/// Installs `packages` unless what is wanted is there, where that is possible.
///
/// # Errors
/// The remedy, if it is not there in the end.
pub(crate) fn ensure(
    workspace: &Workspace,
    packages: &[&str],
    is_there: impl Fn() -> bool,
    remedy: impl FnOnce() -> String,
) -> Result<()> {
    if !is_there() && can_install() {
        install(workspace, packages)?;
    }
    if !is_there() {
        bail!(remedy());
    }
    Ok(())
}

fn apt_get(workspace: &Workspace, args: &[&str]) -> Result<()> {
    workspace
        .cmd("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Another apt may be running: wait for it rather than fail.
        .args(["-o", "DPkg::Lock::Timeout=600", "-o", "Dpkg::Use-Pty=0"])
        .args(args)
        .run()
}

fn is_installed(workspace: &Workspace, package: &str) -> bool {
    workspace
        .cmd("dpkg-query")
        .args(["-W", "-f=${db:Status-Status}", package])
        .output()
        .is_ok_and(|status| status == "installed")
}

#[cfg(target_os = "linux")]
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    // The owner of a process's own entry is its effective user: no unsafe `geteuid` needed.
    std::fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn is_root() -> bool {
    false
}
