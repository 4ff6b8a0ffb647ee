//! `mesh man`: the manual pages, for packages.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Command};

/// Writes the manual pages of `mesh` and its commands into a folder.
#[derive(Debug, Args)]
pub(crate) struct Man {
    folder: PathBuf,
}

impl Man {
    pub(crate) fn run(self, command: Command) -> anyhow::Result<()> {
        let folder = self.folder;
        clap_mangen::generate_to(super::config::with_config(command), &folder)
            .with_context(|| format!("cannot write manual pages into {}", folder.display()))
    }
}
