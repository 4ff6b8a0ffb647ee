//! Where a signaling server is, checked before it is dialled.

use std::net::IpAddr;

use tokio_tungstenite::tungstenite::http::Uri;

use crate::error::JoinError;

/// The form of a signaling URL, for errors.
const FORM: &str = "ws://host:9600/signal";

/// A signaling URL in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) url: String,
    /// A name or an address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Whether it is `wss:`.
    pub(super) tls: bool,
}

impl Address {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// [`JoinError::Url`] if it cannot be one of a signaling server, with the form that can.
    pub(super) fn parse(url: &str) -> Result<Self, JoinError> {
        let invalid = |reason: String| JoinError::Url {
            url: url.to_owned(),
            reason,
        };
        let form = || invalid(format!("it reads {FORM}"));
        let parsed: Uri = url.parse().map_err(|_| form())?;
        let host = parsed.host().filter(|host| !host.is_empty());
        let (Some(host), Some(authority)) = (host, parsed.authority()) else {
            return Err(form());
        };
        let tls = match parsed.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            Some(web @ ("http" | "https")) => {
                let socket = web.replace("http", "ws");
                let right = format!("{socket}://{authority}{}", path_of(&parsed));
                return Err(invalid(format!("write {right} ({FORM})")));
            }
            _ => return Err(form()),
        };
        if authority.as_str().contains('@') {
            return Err(invalid("it cannot hold a user or a password".to_owned()));
        }
        let scheme = if tls { "wss" } else { "ws" };
        if parsed.path() != path_of(&parsed) {
            let right = format!("{scheme}://{authority}{}", path_of(&parsed));
            return Err(invalid(format!("the path is missing: write {right}")));
        }
        let after_host = authority.as_str().rsplit(']').next().unwrap_or_default();
        let port = match (authority.port_u16(), after_host.contains(':')) {
            (Some(port), _) if port > 0 => port,
            (None, false) if tls => 443,
            (None, false) => 80,
            _ => return Err(invalid("its port is none from 1 to 65535".to_owned())),
        };
        Ok(Self {
            url: url.to_owned(),
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            tls,
        })
    }

    /// Whether it names this machine: agents of one machine can then use its loopback.
    pub(super) fn is_loopback(&self) -> bool {
        let address = self.host.parse::<IpAddr>();
        self.host == "localhost" || address.is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
    }
}

/// The path, or the usual one if there is none.
fn path_of(url: &Uri) -> &str {
    match url.path() {
        "" | "/" => "/signal",
        path => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (url, host, port, tls, loopback) in [
            ("ws://localhost:9600/signal", "localhost", 9600, false, true),
            ("ws://127.0.0.1/signal", "127.0.0.1", 80, false, true),
            ("ws://[::1]:9600/signal", "::1", 9600, false, true),
            (
                "wss://[2001:db8::1]/signal",
                "2001:db8::1",
                443,
                true,
                false,
            ),
            (
                "wss://mesh.example.org/a/b?c",
                "mesh.example.org",
                443,
                true,
                false,
            ),
        ] {
            let address = Address::parse(url).expect(url);
            let parts = (
                &*address.host,
                address.port,
                address.tls,
                address.is_loopback(),
            );
            assert_eq!(parts, (host, port, tls, loopback), "{url}");
        }
    }

    #[test]
    fn a_url_that_cannot_work_is_refused_with_one_that_can() {
        for (url, words) in [
            ("http://localhost:9600", "write ws://localhost:9600/signal"),
            ("https://a.example/signal", "write wss://a.example/signal"),
            ("ws://host:9600", "write ws://host:9600/signal"),
            ("wss://host/", "write wss://host/signal"),
            ("ws://user:secret@host/signal", "password"),
            ("ws://host:99999/signal", "65535"),
            ("ws://host:0/signal", "65535"),
            ("ws://[::1]:/signal", "65535"),
            ("ws:///signal", FORM),
            ("ws://a b/signal", FORM),
            ("ftp://host/signal", FORM),
            ("localhost", FORM),
            ("localhost:9600", FORM),
            ("", FORM),
        ] {
            let error = Address::parse(url).expect_err(url).to_string();
            assert!(error.contains(words), "{url}: {error}");
        }
    }
}
