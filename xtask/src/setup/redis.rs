//! Redis, by which the end-to-end tests have several hubs share their rooms.

use anyhow::Result;

use super::debian;
use crate::workspace::Workspace;

const PROGRAMS: [&str; 2] = ["redis-server", "redis-cli"];

const REMEDY: &str = "the tests of several hubs need Redis 7: install it (Debian: redis-server)";

/// Installs Redis where it is missing and that is possible.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    let is_there = || {
        PROGRAMS
            .iter()
            .all(|program| workspace.which(&[*program]).is_some())
    };
    debian::ensure(workspace, &["redis-server"], is_there, || REMEDY.to_owned())
}
