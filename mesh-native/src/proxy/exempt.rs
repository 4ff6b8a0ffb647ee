//! What `NO_PROXY` names: hosts that are reached without the proxy.

use std::net::IpAddr;

use ipnet::IpNet;

/// One entry of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Exempt {
    /// `*`
    All,
    /// `10.0.0.0/8`, or one address.
    Network(IpNet),
    /// `example.org`, with all hosts below it; at any port, or at one.
    Domain(String, Option<u16>),
}

impl Exempt {
    /// An entry; nothing for an empty one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text == "*" {
            return Some(Self::All);
        }
        let plain = text.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = plain.parse::<IpAddr>() {
            return Some(Self::Network(ip.into()));
        }
        if let Ok(network) = text.parse() {
            return Some(Self::Network(network));
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse().ok()?)),
            None => (text, None),
        };
        let name = name.trim_start_matches('*').trim_matches('.');
        (!name.is_empty()).then(|| Self::Domain(name.to_ascii_lowercase(), port))
    }

    /// Whether it names this host.
    pub(super) fn has(&self, host: &str, port: u16) -> bool {
        match self {
            Self::All => true,
            Self::Network(network) => host.parse().is_ok_and(|ip: IpAddr| network.contains(&ip)),
            Self::Domain(name, at) => {
                let host = host.trim_end_matches('.').to_ascii_lowercase();
                let below = host.strip_suffix(name.as_str());
                let is_in = below.is_some_and(|below| below.is_empty() || below.ends_with('.'));
                is_in && at.is_none_or(|at| at == port)
            }
        }
    }
}
