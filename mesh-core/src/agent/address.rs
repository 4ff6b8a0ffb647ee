//! The address of a signaling server: refused at once if it cannot work, with one that can.

use std::net::IpAddr;

use thiserror::Error;

/// Bytes of an address at most: proxies refuse longer ones.
const URL_BYTES_MAX: usize = 2_048;

/// The form of an address, for errors.
const FORM: &str = "ws://host:9600/signal";

/// Where a signaling server is, in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubAddress {
    /// As it was given.
    pub url: String,
    /// A name or an address, without brackets.
    pub host: String,
    /// The port, which may be that of the scheme.
    pub port: u16,
    /// Whether it is `wss:`.
    pub tls: bool,
}

/// An address that cannot be one of a signaling server.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{url} is no signaling URL: {reason}")]
pub struct AddressError {
    /// What was given, in quotes, or its beginning.
    url: String,
    /// What is wrong, and what is right.
    reason: String,
}

impl AddressError {
    /// An address that cannot work for this reason, which names the remedy.
    pub fn new(url: &str, reason: String) -> Self {
        let mut shown: String = url.chars().take(super::QUOTED_CHARS).collect();
        if shown.len() < url.len() {
            shown.push('…');
        }
        let url = format!("{shown:?}");
        Self { url, reason }
    }

    /// A stable code for programs, the same in every binding.
    pub const fn code(&self) -> &'static str {
        "url"
    }
}

impl HubAddress {
    /// Takes an address apart.
    ///
    /// # Errors
    /// If it cannot be one of a signaling server, with one that can.
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        let refuse = |reason: String| Err(AddressError::new(url, reason));
        if url.len() > URL_BYTES_MAX {
            return refuse("no address of a hub is that long".to_owned());
        }
        if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return refuse(format!("it reads {FORM}"));
        }
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return refuse("it cannot hold a user or a password".to_owned());
        }
        let Some((host, port)) = host_and_port(authority) else {
            return refuse(format!("it reads {FORM}"));
        };
        let tls = scheme == "wss";
        let port = match port.map(str::parse) {
            None if tls => 443,
            None => 80,
            Some(Ok(port @ 1..)) => port,
            Some(_) if scheme.is_empty() => return refuse(format!("it reads {FORM}")),
            Some(_) => return refuse("its port is none from 1 to 65535".to_owned()),
        };
        let with_path = match path.strip_prefix('/') {
            None | Some("") => format!("{authority}/signal{}", path.trim_start_matches('/')),
            Some(_) => format!("{authority}{path}"),
        };
        match scheme {
            "ws" | "wss" => {}
            "" => return refuse(format!("it reads {FORM}: write ws://{with_path}")),
            "http" | "https" => {
                let right = scheme.replace("http", "ws");
                return refuse(format!(
                    "this is the address of a page: write {right}://{with_path} (a hub's reads \
                     {FORM})"
                ));
            }
            _ => return refuse(format!("it must begin with ws:// or wss://, as {FORM}")),
        }
        if path.contains('#') {
            return refuse("what follows # is not for servers: leave it out".to_owned());
        }
        if !path.starts_with('/') {
            return refuse(format!("the path is missing: write {scheme}://{with_path}"));
        }
        Ok(Self {
            url: url.to_owned(),
            host: host.to_owned(),
            port,
            tls,
        })
    }

    /// Whether it names the machine that it is read on.
    pub fn is_loopback(&self) -> bool {
        let host = self.host.to_ascii_lowercase();
        host == "localhost"
            || host.ends_with(".localhost")
            || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }
}

/// The host without its brackets, and the port if there is one.
fn host_and_port(authority: &str) -> Option<(&str, Option<&str>)> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match rest {
        "" => None,
        rest => Some(rest.strip_prefix(':')?),
    };
    (!host.is_empty()).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        for (url, host, port, tls, loopback) in [
            ("ws://localhost:9600/signal", "localhost", 9600, false, true),
            ("ws://a.LOCALHOST/signal", "a.LOCALHOST", 80, false, true),
            ("ws://127.0.0.1/signal", "127.0.0.1", 80, false, true),
            ("ws://[::1]:9600/signal", "::1", 9600, false, true),
            (
                "wss://[2001:db8::1]/signal",
                "2001:db8::1",
                443,
                true,
                false,
            ),
            ("wss://mesh.example/a/b?c", "mesh.example", 443, true, false),
            ("wss://mesh.example/", "mesh.example", 443, true, false),
        ] {
            let address = HubAddress::parse(url).expect(url);
            let expected = HubAddress {
                url: url.to_owned(),
                host: host.to_owned(),
                port,
                tls,
            };
            assert_eq!(address, expected);
            assert_eq!(address.is_loopback(), loopback, "{url}");
        }
    }

    #[test]
    fn an_address_that_cannot_work_is_refused_with_one_that_can() {
        let long = format!("ws://host/{}", "x".repeat(URL_BYTES_MAX));
        for (url, words) in [
            (
                "http://localhost:9600",
                "write ws://localhost:9600/signal (",
            ),
            (
                "http://hub.example:9600/",
                "write ws://hub.example:9600/signal (",
            ),
            ("https://a.example/b?c=d", "write wss://a.example/b?c=d ("),
            ("ws://host:9600", "write ws://host:9600/signal"),
            ("wss://host?key=1", "write wss://host/signal?key=1"),
            ("localhost:9600/signal", "write ws://localhost:9600/signal"),
            ("localhost", "write ws://localhost/signal"),
            ("ftp://host/signal", "must begin with ws:// or wss://"),
            ("ws://user:secret@host/signal", "password"),
            ("ws://host/signal#room", "what follows #"),
            ("ws://host:99999/signal", "65535"),
            ("ws://host:0/signal", "65535"),
            ("ws://[::1]:/signal", "65535"),
            ("ws://[::1/signal", FORM),
            ("http://host:0", "65535"),
            ("ws://:9600/signal", FORM),
            ("ws://:1", FORM),
            ("ws:host:9600/signal", FORM),
            ("ws:///signal", FORM),
            ("ws://a b/signal", FORM),
            ("/signal", FORM),
            ("ws://", FORM),
            ("", FORM),
            (&long, "that long"),
        ] {
            let error = HubAddress::parse(url).expect_err(url);
            let told = error.to_string();
            assert!(told.contains(words), "{url}: {told}");
            assert!(told.contains("is no signaling URL: "), "{told}");
            assert!(told.len() < 250, "{told}");
            assert_eq!(error.code(), "url");
        }
    }
}
