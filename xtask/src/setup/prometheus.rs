//! Prometheus and Alertmanager, which read what we tell and judge by our rules, and their tools.

use anyhow::Result;

use super::debian;
use crate::workspace::Workspace;

const PROGRAMS: [&str; 3] = ["prometheus", "promtool", "amtool"];

const PACKAGES: [&str; 2] = ["prometheus", "prometheus-alertmanager"];

/// Installs them where they are missing and that is possible. Where systemd runs, Debian starts
/// both as services; the tests have ports and folders of their own.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    let missing = || {
        let mut programs = PROGRAMS.into_iter();
        programs.find(|program| workspace.which(&[program]).is_none())
    };
    debian::ensure(
        workspace,
        &PACKAGES,
        || missing().is_none(),
        || {
            format!(
                "the tests of monitoring need {}: install Prometheus and Alertmanager (Debian: {})",
                missing().unwrap_or_default(),
                PACKAGES.join(" ")
            )
        },
    )
}
