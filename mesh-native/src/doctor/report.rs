//! What was found: for people as text, for programs as JSON.

use std::fmt;
use std::time::Duration;

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

/// One of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What was looked at.
    pub check: Check,
    /// Which of them: an address, a URL.
    pub about: String,
    /// Whether it is as it should be.
    pub outcome: Outcome,
    /// What was found.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// How long it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<f64>,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// The addresses that links are made from.
    Interfaces,
    /// A signaling server's address as it is written.
    HubAddress,
    /// The HTTP proxy before it.
    Proxy,
    /// Its name.
    HubDns,
    /// The connection to it.
    HubTcp,
    /// Its certificate.
    HubTls,
    /// Whether it is a hub.
    HubWebsocket,
    /// Whether it admits an agent.
    HubAdmission,
    /// The clock of this machine beside the hub's.
    Clock,
    /// Which STUN and TURN servers there are.
    Servers,
    /// A STUN server.
    Stun,
    /// The NAT.
    Nat,
    /// A TURN server over UDP.
    TurnUdp,
    /// A TURN server over TCP.
    TurnTcp,
    /// A TURN server over TLS.
    TurnTls,
}

impl Check {
    fn as_str(self) -> &'static str {
        match self {
            Self::Interfaces => "interfaces",
            Self::HubAddress => "hub-address",
            Self::Proxy => "proxy",
            Self::HubDns => "hub-dns",
            Self::HubTcp => "hub-tcp",
            Self::HubTls => "hub-tls",
            Self::HubWebsocket => "hub-websocket",
            Self::HubAdmission => "hub-admission",
            Self::Clock => "clock",
            Self::Servers => "servers",
            Self::Stun => "stun",
            Self::Nat => "nat",
            Self::TurnUdp => "turn-udp",
            Self::TurnTcp => "turn-tcp",
            Self::TurnTls => "turn-tls",
        }
    }
}

/// Whether something is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It is.
    Ok,
    /// It works, but it is worth knowing.
    Note,
    /// It is not.
    Wrong,
}

impl Report {
    /// Whether something is wrong.
    pub fn is_wrong(&self) -> bool {
        let mut findings = self.findings.iter();
        findings.any(|finding| finding.outcome == Outcome::Wrong)
    }

    pub(super) fn ok(&mut self, check: Check, about: &str, found: &str, took: Option<Duration>) {
        let took_ms = took.map(|took| (took.as_secs_f64() * 1e4).round() / 10.0);
        self.findings.push(Finding {
            check,
            about: about.to_owned(),
            outcome: Outcome::Ok,
            found: found.to_owned(),
            remedy: None,
            took_ms,
        });
    }

    pub(super) fn note(&mut self, check: Check, about: &str, found: &str, remedy: Option<&str>) {
        self.findings.push(Finding {
            check,
            about: about.to_owned(),
            outcome: Outcome::Note,
            found: found.to_owned(),
            remedy: remedy.map(str::to_owned),
            took_ms: None,
        });
    }

    pub(super) fn wrong(&mut self, check: Check, about: &str, found: &str, remedy: &str) {
        self.findings.push(Finding {
            check,
            about: about.to_owned(),
            outcome: Outcome::Wrong,
            found: found.to_owned(),
            remedy: Some(remedy.to_owned()),
            took_ms: None,
        });
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

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match self.outcome {
            Outcome::Ok => "ok",
            Outcome::Note => "note",
            Outcome::Wrong => "WRONG",
        };
        write!(f, "{outcome:5}  {:13}  ", self.check.as_str())?;
        if !self.about.is_empty() {
            write!(f, "{}: ", self.about)?;
        }
        write!(f, "{}", self.found)?;
        if let Some(took) = self.took_ms {
            write!(f, " ({took} ms)")?;
        }
        match &self.remedy {
            Some(remedy) => write!(f, "\n{:22}-> {remedy}", ""),
            None => Ok(()),
        }
    }
}
