//! STUN and TURN servers, what is wrong with one that cannot be used, and what a link makes of
//! them.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A STUN or TURN server, as WebRTC's `RTCIceServer`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceServer {
    /// `stun:`, `turn:` or `turns:` URLs.
    pub urls: Vec<String>,
    /// The TURN user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The TURN password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

impl fmt::Debug for IceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A password belongs into no log.
        f.debug_struct("IceServer")
            .field("urls", &self.urls)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Which candidates a link may use, as WebRTC's `iceTransportPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum IceTransportPolicy {
    /// All: direct ones first.
    #[default]
    All,
    /// Relayed ones alone: the peer never learns an address of this machine.
    Relay,
}

impl IceTransportPolicy {
    /// Both, by the word for each.
    pub const WORDS: [(&'static str, Self); 2] = [("all", Self::All), ("relay", Self::Relay)];
}

impl fmt::Display for IceTransportPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::WORDS.iter().find(|(_, policy)| policy == self);
        f.write_str(word.map_or("", |(word, _)| word))
    }
}

impl FromStr for IceTransportPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::WORDS.iter().find(|(word, _)| *word == text);
        let policy = known.map(|(_, policy)| *policy);
        policy.ok_or_else(|| "all or relay".to_owned())
    }
}

/// Where an address of a link's end is known from, as WebRTC's `RTCIceCandidateType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CandidateType {
    /// The machine has it.
    Host,
    /// A STUN server has seen it.
    Srflx,
    /// The other end has seen it.
    Prflx,
    /// A TURN server has it.
    Relay,
}

impl CandidateType {
    /// As a candidate names it (RFC 8839, 5.1).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Srflx => "srflx",
            Self::Prflx => "prflx",
            Self::Relay => "relay",
        }
    }

    /// The type that a candidate names so.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "host" => Self::Host,
            "srflx" => Self::Srflx,
            "prflx" => Self::Prflx,
            "relay" => Self::Relay,
            _ => return None,
        })
    }
}

/// The way that a link takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkPath {
    /// The address at this end.
    pub local: CandidateType,
    /// The address at the other end.
    pub remote: CandidateType,
    /// Whether it leads over a TURN server. An end that has the relay always knows.
    pub relayed: bool,
}

impl LinkPath {
    /// The way from one address to another.
    pub fn new(local: CandidateType, remote: CandidateType) -> Self {
        let relayed = [local, remote].contains(&CandidateType::Relay);
        Self {
            local,
            remote,
            relayed,
        }
    }

    /// Whether it is, or could be without this end's knowledge.
    pub(crate) fn may_be_relayed(self) -> bool {
        self.relayed || self.remote == CandidateType::Prflx
    }
}

/// What a link's connection gathers candidates with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IceConfig {
    /// The servers to ask.
    pub servers: Vec<IceServer>,
    /// Which candidates it may use.
    pub policy: IceTransportPolicy,
}

impl IceConfig {
    /// Direct candidates alone: no relay is allocated. A TURN server is asked as a STUN server.
    pub fn direct(servers: &[IceServer]) -> Self {
        let servers = servers.iter().flat_map(IceServer::stun_urls);
        Self {
            servers: servers.map(IceServer::of_url).collect(),
            policy: IceTransportPolicy::All,
        }
    }

    /// All candidates that the policy allows. A TURN server is asked as a STUN server too.
    pub fn relayed(servers: &[IceServer], policy: IceTransportPolicy) -> Self {
        let direct = match policy {
            IceTransportPolicy::All => Self::direct(servers).servers,
            IceTransportPolicy::Relay => Vec::new(),
        };
        let relays = servers.iter().filter_map(IceServer::only_turn);
        Self {
            servers: direct.into_iter().chain(relays).collect(),
            policy,
        }
    }
}

impl IceServer {
    /// A STUN server.
    fn of_url(url: String) -> Self {
        Self {
            urls: vec![url],
            ..Self::default()
        }
    }

    /// Whether it relays.
    pub fn is_turn(&self) -> bool {
        self.urls.iter().any(|url| is_turn(url))
    }

    /// The URLs of its STUN service. A TURN server over UDP has one at the same port ([RFC 8656],
    /// section 3); what it offers over TCP and TLS tells an address that is of no use for UDP.
    ///
    /// [RFC 8656]: https://www.rfc-editor.org/rfc/rfc8656
    fn stun_urls(&self) -> impl Iterator<Item = String> {
        let mut urls: Vec<String> = Vec::new();
        for url in &self.urls {
            let url = match url.strip_prefix("turn:") {
                Some(rest) if !rest.ends_with("?transport=tcp") => {
                    format!("stun:{}", rest.split('?').next().unwrap_or(rest))
                }
                Some(_) => continue,
                None if url.starts_with("turns:") => continue,
                None => url.clone(),
            };
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        urls.into_iter()
    }

    /// The same with its URLs of TURN alone, if it has any.
    fn only_turn(&self) -> Option<Self> {
        let urls = self.urls.iter().filter(|url| is_turn(url));
        let urls: Vec<String> = urls.cloned().collect();
        (!urls.is_empty()).then(|| Self {
            urls,
            ..self.clone()
        })
    }

    /// Whether every browser takes this server. Browsers refuse a whole configuration for one URL
    /// that is not of the form of [RFC 7064] and [RFC 7065].
    ///
    /// # Errors
    /// The cause and the remedy, in words.
    ///
    /// [RFC 7064]: https://www.rfc-editor.org/rfc/rfc7064
    /// [RFC 7065]: https://www.rfc-editor.org/rfc/rfc7065
    pub fn check(&self) -> Result<(), String> {
        if self.urls.is_empty() {
            return Err("an ICE server needs at least one URL".to_owned());
        }
        self.urls.iter().try_for_each(|url| {
            self.check_url(url)
                .map_err(|cause| format!("{url:?} is no ICE server: {cause}"))
        })
    }

    fn check_url(&self, url: &str) -> Result<(), &'static str> {
        let (scheme, rest) = url
            .split_once(':')
            .ok_or("it reads stun:host:port or turn:host:port")?;
        let (address, query) = match rest.split_once('?') {
            Some((address, query)) => (address, Some(query)),
            None => (rest, None),
        };
        match (scheme, query) {
            ("stun" | "stuns", None) | ("turn" | "turns", None) => {}
            ("turn" | "turns", Some("transport=udp" | "transport=tcp")) => {}
            ("stun" | "stuns", Some(_)) => return Err("a stun: URL ends after the port"),
            ("turn" | "turns", Some(_)) => {
                return Err("after the ? only transport=udp or transport=tcp may stand");
            }
            _ => return Err("it starts with stun:, stuns:, turn: or turns:"),
        }
        if is_turn(url) && (self.username.is_none() || self.credential.is_none()) {
            return Err("a TURN server needs a username and a credential");
        }
        check_address(address)
    }
}

fn is_turn(url: &str) -> bool {
    url.starts_with("turn:") || url.starts_with("turns:")
}

fn check_address(address: &str) -> Result<(), &'static str> {
    /// The error of a URL with another port.
    const PORT: &str = "the port is a number from 1 to 65535";
    let (host_is_valid, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest
                .split_once(']')
                .ok_or("an IPv6 address stands in brackets")?;
            let port = match after.strip_prefix(':') {
                Some(port) => Some(port),
                None if after.is_empty() => None,
                None => return Err(PORT),
            };
            (host.parse::<Ipv6Addr>().is_ok(), port)
        }
        None => {
            let (host, port) = match address.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (address, None),
            };
            let letters = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            (!host.is_empty() && host.chars().all(letters), port)
        }
    };
    if !host_is_valid {
        return Err("the host is a name, an IPv4 address, or an IPv6 address in brackets");
    }
    let valid = |port: &str| port.parse::<u16>().is_ok_and(|port| port != 0);
    if port.is_some_and(|port| !valid(port)) {
        return Err(PORT);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> IceServer {
        IceServer {
            urls: vec![url.to_owned()],
            username: Some("user".to_owned()),
            credential: Some("secret".to_owned()),
        }
    }

    fn urls(config: &IceConfig) -> Vec<&str> {
        let urls = config.servers.iter().flat_map(|server| &server.urls);
        urls.map(String::as_str).collect()
    }

    #[test]
    fn a_turn_server_is_a_stun_server_too_and_alone_until_relays_are_wanted() {
        let mixed = IceServer {
            urls: [
                "stun:s:1",
                "turn:t:2?transport=udp",
                "turn:t:2",
                "turn:t:3?transport=tcp",
            ]
            .map(str::to_owned)
            .into(),
            ..server("")
        };
        let other = IceServer {
            username: Some("other".to_owned()),
            ..server("turns:u:443?transport=tcp")
        };
        let servers = [mixed, other];
        let direct = IceConfig::direct(&servers);
        assert_eq!(urls(&direct), ["stun:s:1", "stun:t:2"]);
        let secrets = direct
            .servers
            .iter()
            .any(|server| server.credential.is_some());
        assert!(!secrets, "a STUN server gets no password");
        let all = IceConfig::relayed(&servers, IceTransportPolicy::All);
        let turn = [
            "turn:t:2?transport=udp",
            "turn:t:2",
            "turn:t:3?transport=tcp",
            "turns:u:443?transport=tcp",
        ];
        assert_eq!(urls(&all), [&["stun:s:1", "stun:t:2"], &turn[..]].concat());
        let relay = IceConfig::relayed(&servers, IceTransportPolicy::Relay);
        assert_eq!(urls(&relay), turn);
        let users = relay
            .servers
            .iter()
            .map(|server| server.username.as_deref());
        let users: Vec<_> = users.collect();
        assert_eq!(users, [Some("user"), Some("other")], "each has its own");
        assert!(relay.servers.iter().all(|server| server.check().is_ok()));
    }

    #[test]
    fn a_policy_is_one_of_two_words() {
        for (word, policy) in IceTransportPolicy::WORDS {
            assert_eq!(word.parse(), Ok(policy));
            assert_eq!(policy.to_string(), word);
        }
        assert!("none".parse::<IceTransportPolicy>().is_err());
    }

    #[test]
    fn a_password_does_not_show() {
        let shown = format!("{:?}", server("turn:t"));
        assert!(
            shown.contains("turn:t") && !shown.contains("secret"),
            "{shown}"
        );
    }

    #[test]
    fn servers_that_every_browser_takes_are_fine() {
        for url in [
            "stun:stun.example.org",
            "stun:192.0.2.1:3478",
            "stun:[2001:db8::1]:3478",
            "stuns:stun.example.org:5349",
            "turn:turn.example.org:3478",
            "turn:turn.example.org:3478?transport=udp",
            "turns:turn.example.org:443?transport=tcp",
        ] {
            assert_eq!(server(url).check(), Ok(()), "{url}");
        }
    }

    #[test]
    fn a_server_that_some_browser_refuses_is_named_with_the_cause() {
        for (url, cause) in [
            (
                "stun:stun.example.org:3478?transport=udp",
                "ends after the port",
            ),
            ("turn:turn.example.org?transport=sctp", "transport=udp"),
            ("http://stun.example.org", "starts with stun:"),
            ("stun.example.org", "reads stun:host:port"),
            ("stun:", "the host"),
            ("stun://stun.example.org", "the host"),
            ("stun:stun.example.org:0", "the port"),
            ("stun:stun.example.org:99999", "the port"),
            ("stun:2001:db8::1", "the port"),
            ("stun:[2001:db8::1", "brackets"),
            ("stun:a b", "the host"),
        ] {
            let told = server(url).check().expect_err(url);
            assert!(told.contains(cause) && told.contains(url), "{url}: {told}");
        }
        let anonymous = IceServer {
            credential: None,
            ..server("turn:turn.example.org")
        };
        let told = anonymous.check().expect_err("no password");
        assert!(told.contains("username and a credential"), "{told}");
        assert!(IceServer::default().check().is_err(), "no URL");
    }
}
