//! What a soak does faults with: network namespaces, and a switch that drops packets.

use anyhow::Result;

use super::debian;
use crate::workspace::Workspace;

const PROGRAMS: [&str; 2] = ["ip", "nft"];

const PACKAGES: [&str; 2] = ["iproute2", "nftables"];

const REMEDY: &str = "a soak needs ip and nft: install them (Debian: iproute2, nftables)";

/// Installs them where they are missing and that is possible.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    let is_there = || {
        let mut programs = PROGRAMS.iter();
        programs.all(|program| workspace.which(&[*program]).is_some())
    };
    debian::ensure(workspace, &PACKAGES, is_there, || REMEDY.to_owned())
}
