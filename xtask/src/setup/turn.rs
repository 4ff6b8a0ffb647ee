//! coturn, the HTTP proxy before it, and what else the guides' commands use.

use anyhow::Result;

use super::debian;
use crate::workspace::Workspace;

const PROGRAMS: [&str; 5] = ["turnserver", "turnutils_uclient", "tinyproxy", "curl", "ss"];

const PACKAGES: [&str; 4] = ["coturn", "tinyproxy", "curl", "iproute2"];

const REMEDY: &str = "the guides and tests of TURN need coturn, tinyproxy, curl and ss: install \
                      them (Debian: coturn, tinyproxy, curl, iproute2)";

/// Installs them where they are missing and that is possible.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    let is_there = || {
        PROGRAMS
            .iter()
            .all(|program| workspace.which(&[*program]).is_some())
    };
    debian::ensure(workspace, &PACKAGES, is_there, || REMEDY.to_owned())
}
