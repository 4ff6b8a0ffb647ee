//! What packages are made and tested with.

use anyhow::Result;

use super::{debian, tools};
use crate::workspace::Workspace;

const PACKAGES: [&str; 4] = ["debootstrap", "systemd-container", "lintian", "util-linux"];

const REMEDY: &str = "the test of the package needs debootstrap, systemd-container and lintian: \
    install them, or run it on Debian as root";

/// cargo-deb.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    tools::ensure_cargo_deb(workspace)
}

/// A bare Debian to install into, and Debian's own rules.
pub(crate) fn ensure_for_test(workspace: &Workspace) -> Result<()> {
    ensure(workspace)?;
    let wanted = ["debootstrap", "systemd-nspawn", "lintian", "nsenter"];
    // Debian keeps some where only root's path leads.
    let found = |name: &&str| {
        let administrative = format!("/usr/sbin/{name}");
        workspace.which(&[name, &administrative]).is_some()
    };
    debian::ensure(
        workspace,
        &PACKAGES,
        || wanted.iter().all(found),
        || REMEDY.to_owned(),
    )
}
