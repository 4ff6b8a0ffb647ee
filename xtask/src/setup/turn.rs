//! coturn and what else the guides' commands use.

use anyhow::Result;

use super::debian;
use crate::workspace::Workspace;

const PROGRAMS: [&str; 4] = ["turnserver", "turnutils_uclient", "curl", "ss"];

const PACKAGES: [&str; 3] = ["coturn", "curl", "iproute2"];

const REMEDY: &str = "the guides' commands need coturn, curl and ss: install them (Debian: coturn, \
                      curl, iproute2)";

/// Installs them where they are missing and that is possible.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    let is_there = || {
        PROGRAMS
            .iter()
            .all(|program| workspace.which(&[*program]).is_some())
    };
    debian::ensure(workspace, &PACKAGES, is_there, || REMEDY.to_owned())
}
