//! nginx, behind which the end-to-end tests put a hub, as operators do.

use anyhow::{Result, bail};

use super::debian;
use crate::workspace::Workspace;

const REMEDY: &str = "the tests behind a TLS proxy need nginx: install it (Debian: nginx-light)";

/// Installs nginx where it is missing and that is possible.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    // Debian keeps it where only root's path leads.
    let found = || workspace.which(&["nginx", "/usr/sbin/nginx"]).is_some();
    if !found() && debian::can_install() {
        debian::install(workspace, &["nginx-light"])?;
    }
    if !found() {
        bail!(REMEDY);
    }
    Ok(())
}
