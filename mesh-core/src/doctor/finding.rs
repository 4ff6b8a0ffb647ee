//! One thing that was found: for people as text, for programs as JSON.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// One thing that was looked at, and how it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What was looked at.
    pub check: Check,
    /// Which of them: an address, a URL, an agent.
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
    /// The room that is looked into, from inside.
    Room,
    /// A member of it, by the name or id that was given.
    Member,
    /// Two members: whether they are linked, or reach each other through others.
    Pair,
    /// One of two members: what it says of its link to the other.
    PairEnd,
}

impl Check {
    /// The same as in JSON.
    pub fn as_str(self) -> &'static str {
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
            Self::Room => "room",
            Self::Member => "member",
            Self::Pair => "pair",
            Self::PairEnd => "pair-end",
        }
    }
}

/// Whether something is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It is.
    Ok,
    /// It works, but it is worth knowing.
    Note,
    /// It is not.
    Wrong,
}

impl Finding {
    /// Something is as it should be.
    pub fn ok(check: Check, about: &str, found: &str) -> Self {
        Self::new((check, about), Outcome::Ok, found, None)
    }

    /// Something works, but is worth knowing.
    pub fn note(check: Check, about: &str, found: &str, remedy: Option<&str>) -> Self {
        Self::new((check, about), Outcome::Note, found, remedy)
    }

    /// Something is not as it should be.
    pub fn wrong(check: Check, about: &str, found: &str, remedy: &str) -> Self {
        Self::new((check, about), Outcome::Wrong, found, Some(remedy))
    }

    /// With the time that it took.
    #[must_use]
    pub fn took(self, took: Duration) -> Self {
        let took_ms = Some((took.as_secs_f64() * 1e4).round() / 10.0);
        Self { took_ms, ..self }
    }

    fn new(
        (check, about): (Check, &str),
        outcome: Outcome,
        found: &str,
        remedy: Option<&str>,
    ) -> Self {
        Self {
            check,
            about: about.to_owned(),
            outcome,
            found: found.to_owned(),
            remedy: remedy.map(str::to_owned),
            took_ms: None,
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
