//! `mesh doctor` on a host of the test's own, and what it finds.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::hosts::Host;
use crate::process::mesh_binary;

/// Only a failure takes so long: a server that is silent is asked for ten seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// What `mesh doctor` has told.
#[derive(Debug)]
pub struct Diagnosis {
    /// Its exit code.
    pub code: Option<i32>,
    /// Its report.
    pub report: Value,
}

impl Diagnosis {
    /// Runs it on a host, or on this machine.
    ///
    /// # Errors
    /// If it does not end, or tells no report.
    pub async fn of(host: Option<&Host>, arguments: &[&str]) -> Result<Self> {
        let binary = mesh_binary()?;
        let mut command = match host {
            Some(host) => {
                let mut command = host.command();
                command.arg(binary);
                command
            }
            None => Command::new(binary),
        };
        let output = command
            .args(["doctor", "--json"])
            .args(arguments)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = timeout(PATIENCE, output)
            .await
            .context("it does not end")??;
        let said = String::from_utf8_lossy(&output.stderr);
        let report = serde_json::from_slice(&output.stdout).with_context(|| said.into_owned())?;
        Ok(Self {
            code: output.status.code(),
            report,
        })
    }

    /// The findings of a check.
    pub fn all<'a>(&'a self, check: &'a str) -> impl Iterator<Item = &'a Value> {
        let findings = self.report["findings"].as_array();
        let findings = findings.map_or(&[][..], Vec::as_slice).iter();
        findings.filter(move |finding| finding["check"] == check)
    }

    /// That a check went well.
    ///
    /// # Errors
    /// If not.
    pub fn require_ok(&self, check: &str) -> Result<()> {
        let is_ok = self.all(check).any(|finding| finding["outcome"] == "ok");
        ensure!(is_ok, "{check}: {:#}", self.report);
        Ok(())
    }

    /// That a check has found something wrong, in words that have these, with a remedy that has
    /// those, and that the command's code tells it.
    ///
    /// # Errors
    /// If not.
    pub fn require_wrong(&self, check: &str, words: &str, remedy: &str) -> Result<()> {
        let mut wrong = self
            .all(check)
            .filter(|finding| finding["outcome"] == "wrong");
        let has = |finding: &Value, field: &str, words: &str| {
            finding[field]
                .as_str()
                .is_some_and(|text| text.contains(words))
        };
        if !wrong.any(|finding| has(finding, "found", words) && has(finding, "remedy", remedy)) {
            bail!("{check} with {words:?} and {remedy:?}: {:#}", self.report);
        }
        ensure!(self.code == Some(1), "it ends with {:?}", self.code);
        Ok(())
    }
}
