//! All that was found: for people as text, for programs as JSON.

use std::fmt;
use std::time::Duration;

use mesh_core::doctor::{Check, Finding, Outcome};
use serde::Serialize;

use super::nat::NatType;

/// All findings, in the order in which they were made.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Each of them.
    pub findings: Vec<Finding>,
    /// How the NAT before this machine behaves, if that was found out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nat: Option<NatType>,
}

impl Report {
    /// Whether something is wrong.
    pub fn is_wrong(&self) -> bool {
        let mut findings = self.findings.iter();
        findings.any(|finding| finding.outcome == Outcome::Wrong)
    }

    pub(super) fn ok(&mut self, check: Check, about: &str, found: &str, took: Option<Duration>) {
        let finding = Finding::ok(check, about, found);
        self.findings.push(match took {
            Some(took) => finding.took(took),
            None => finding,
        });
    }

    pub(super) fn note(&mut self, check: Check, about: &str, found: &str, remedy: Option<&str>) {
        self.findings
            .push(Finding::note(check, about, found, remedy));
    }

    pub(super) fn wrong(&mut self, check: Check, about: &str, found: &str, remedy: &str) {
        self.findings
            .push(Finding::wrong(check, about, found, remedy));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        let wrong = self.findings.iter();
        match wrong
            .filter(|finding| finding.outcome == Outcome::Wrong)
            .count()
        {
            0 => write!(f, "nothing is wrong"),
            1 => write!(f, "1 thing is wrong"),
            many => write!(f, "{many} things are wrong"),
        }
    }
}
