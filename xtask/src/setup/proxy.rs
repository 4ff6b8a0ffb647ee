//! nginx and HAProxy, behind which the end-to-end tests put hubs, as operators do.

use anyhow::Result;

use super::debian;
use crate::workspace::Workspace;

/// The programs, and the packages of Debian that have them.
const PROXIES: [(&str, &str); 2] = [("nginx", "nginx-light"), ("haproxy", "haproxy")];

/// Installs those that are missing, where that is possible.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    for (program, package) in PROXIES {
        // Debian keeps them where only root's path leads.
        let at_root = format!("/usr/sbin/{program}");
        let found = || workspace.which(&[program, &at_root]).is_some();
        debian::ensure(workspace, &[package], found, || {
            format!("the tests behind a proxy need {program}: install it (Debian: {package})")
        })?;
    }
    Ok(())
}
