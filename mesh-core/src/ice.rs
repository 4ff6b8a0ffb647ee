//! STUN and TURN servers, and what is wrong with one that cannot be used.

use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};

/// A STUN or TURN server, as WebRTC's `RTCIceServer`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

impl IceServer {
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
        let is_turn = scheme.starts_with("turn");
        if is_turn && (self.username.is_none() || self.credential.is_none()) {
            return Err("a TURN server needs a username and a credential");
        }
        check_address(address)
    }
}

fn check_address(address: &str) -> Result<(), &'static str> {
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
