//! Which web pages may use the hub. A browser names the origin of the page that opens a WebSocket,
//! and opens it to any server that the visitor can reach: a page on the Internet would join the
//! mesh of the visitor's own network. So the hub serves the pages of its own origin, those that it
//! was told of, and programs, which name none.

use std::str::FromStr;

use axum::http::{HeaderMap, HeaderName, header};

/// Characters of an origin that are read, and told in a refusal: a host's name has 253 at most.
const NAMED_MAX: usize = 300;

/// An origin whose pages may use the hub although it is not the hub's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigin {
    /// Pages of all origins.
    Any,
    /// Pages of this one.
    Page(Origin),
}

/// Where a page comes from: scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl FromStr for AllowedOrigin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" {
            return Ok(Self::Any);
        }
        Origin::parse(text).map(Self::Page).ok_or_else(|| {
            "an origin reads https://host or http://host:port, without a path; * is any".to_owned()
        })
    }
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let scheme = scheme.to_ascii_lowercase();
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        if scheme.is_empty() || !scheme.chars().all(is_scheme) {
            return None;
        }
        let (host, port) = host_and_port(authority)?;
        let port = port.or(usual_port(&scheme));
        Some(Self { scheme, host, port })
    }

    /// Whether a server that was asked by this `Host` is the one that the page came from.
    fn is_of(&self, host: &str) -> bool {
        let web = usual_port(&self.scheme);
        // Behind TLS the hub does not know the scheme: the page's own stands for it.
        host_and_port(host).is_some_and(|(host, port)| {
            web.is_some() && host == self.host && port.or(web) == self.port
        })
    }
}

/// The port of an origin that names none.
fn usual_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// Splits `host:port`. All names of this machine are one.
fn host_and_port(authority: &str) -> Option<(String, Option<u16>)> {
    let end = authority.find(']').map_or(0, |end| end + 1);
    let (host, port) = match authority[end..].find(':') {
        None => (authority, None),
        Some(colon) => {
            let (host, port) = authority.split_at(end + colon);
            (host, Some(port[1..].parse().ok()?))
        }
    };
    let host = host.to_ascii_lowercase();
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._[]:%".contains(c);
    if host.is_empty() || !host.chars().all(is_host) {
        return None;
    }
    let host = match host.as_str() {
        "127.0.0.1" | "[::1]" => "localhost".to_owned(),
        _ => host,
    };
    Some((host, port))
}

/// The host by which the client asked, as a proxy in front of the server was asked if there is one:
/// no page can set that header on a WebSocket.
pub(super) fn host_of(headers: &HeaderMap) -> Option<&str> {
    const FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-host");
    let host = headers.get(FORWARDED).or(headers.get(header::HOST))?;
    host.to_str().ok()?.split(',').next().map(str::trim)
}

/// The scheme by which the client asked, with `s` where a proxy in front of the server says that it
/// adds TLS: the server itself speaks none.
pub(super) fn scheme_of(headers: &HeaderMap, plain: &str) -> String {
    const FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-proto");
    let named = headers.get(FORWARDED).and_then(|named| named.to_str().ok());
    let first = named
        .and_then(|named| named.split(',').next())
        .map(str::trim);
    let is_tls = first.is_some_and(|named| {
        named.eq_ignore_ascii_case("https") || named.eq_ignore_ascii_case("wss")
    });
    format!("{plain}{}", if is_tls { "s" } else { "" })
}

/// How the pages of an origin that was refused could use the hub.
pub(super) fn remedy(named: &str) -> String {
    if Origin::parse(named).is_some() {
        let origin = named.strip_suffix('/').unwrap_or(named);
        format!("start it with --allow-origin {origin}")
    } else {
        "serve them from an origin (https://host or http://host:port; files and sandboxed \
         frames have none), or start it with --allow-origin '*', which lets in all \
         pages"
            .to_owned()
    }
}

/// The origin that a request names, if it may not use the hub, for people.
pub(super) fn refused(headers: &HeaderMap, allowed: &[AllowedOrigin]) -> Option<String> {
    let named = headers.get(header::ORIGIN)?; // Programs name none.
    let named = String::from_utf8_lossy(named.as_bytes());
    let named: String = named.chars().take(NAMED_MAX).collect();
    if allowed.contains(&AllowedOrigin::Any) {
        return None;
    }
    let Some(origin) = Origin::parse(&named) else {
        return Some(named);
    };
    let own = host_of(headers).is_some_and(|host| origin.is_of(host));
    let fine = own || allowed.contains(&AllowedOrigin::Page(origin));
    (!fine).then_some(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(origin: Option<&str>, host: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().expect("valid"));
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().expect("valid"));
        }
        headers
    }

    fn allowed(rules: &[&str]) -> Vec<AllowedOrigin> {
        let parsed = rules.iter().map(|rule| rule.parse().expect("valid"));
        parsed.collect()
    }

    #[test]
    fn pages_of_the_hubs_own_origin_may_use_it_and_others_not() {
        for (origin, host, fine) in [
            (Some("http://mesh.local:9600"), "mesh.local:9600", true),
            (Some("http://MESH.local:9600"), "mesh.LOCAL:9600", true),
            (Some("https://mesh.example.org"), "mesh.example.org", true),
            (
                Some("https://mesh.example.org"),
                "mesh.example.org:443",
                true,
            ),
            (Some("http://localhost:9600"), "127.0.0.1:9600", true),
            (Some("http://[::1]:9600"), "localhost:9600", true),
            (
                Some("http://[2001:db8::1]:9600"),
                "[2001:db8::1]:9600",
                true,
            ),
            (None, "localhost:9600", true),
            (Some("https://evil.example"), "localhost:9600", false),
            (Some("http://localhost:5173"), "localhost:9600", false),
            (Some("http://localhost"), "localhost:9600", false),
            (
                Some("http://mesh.local:9600.evil.example"),
                "mesh.local:9600",
                false,
            ),
            (
                Some("http://[2001:db8::2]:9600"),
                "[2001:db8::1]:9600",
                false,
            ),
            (Some("chrome-extension://abc"), "abc", false),
            (Some("null"), "localhost:9600", false),
            (Some("http://"), "", false),
        ] {
            let refused = refused(&headers(origin, host), &[]);
            assert_eq!(refused.is_none(), fine, "{origin:?} at {host}");
        }
    }

    #[test]
    fn other_origins_may_be_allowed_one_by_one_or_all() {
        let rules = allowed(&["http://localhost:5173", "chrome-extension://abc"]);
        for (origin, fine) in [
            ("http://127.0.0.1:5173", true),
            ("chrome-extension://abc", true),
            ("https://localhost:5173", false),
            ("https://evil.example", false),
        ] {
            let refused = refused(&headers(Some(origin), "localhost:9600"), &rules);
            assert_eq!(refused.is_none(), fine, "{origin}");
        }
        for origin in ["null", "https://evil.example"] {
            let refused = refused(&headers(Some(origin), "localhost:9600"), &allowed(&["*"]));
            assert_eq!(refused, None, "{origin}");
        }
    }

    #[test]
    fn a_proxy_tells_the_host_that_it_was_asked_by() {
        let mut headers = headers(Some("https://mesh.example.org"), "127.0.0.1:9600");
        assert!(refused(&headers, &[]).is_some());
        let host = "mesh.example.org".parse().expect("valid");
        headers.insert("x-forwarded-host", host);
        assert_eq!(refused(&headers, &[]), None);
    }

    #[test]
    fn what_a_refused_page_is_told_to_do_lets_it_in() {
        for named in [
            "https://evil.example",
            "https://evil.example/",
            "null",
            "",
            "x/",
        ] {
            let headers = headers(Some(named), "localhost:9600");
            assert_eq!(refused(&headers, &[]).as_deref(), Some(named));
            let remedy = remedy(named);
            let (_, rest) = remedy.split_once("--allow-origin ").expect("the option");
            let value = rest.split([' ', ',']).next().expect("its value");
            let rules = allowed(&[value.trim_matches('\'')]);
            assert_eq!(refused(&headers, &rules), None, "{named:?}: {remedy}");
        }
    }

    #[test]
    fn what_is_no_origin_is_not_taken_for_one() {
        for text in [
            "",
            "example.org",
            "https://",
            "https://example.org/path",
            "null",
        ] {
            let error = text.parse::<AllowedOrigin>().expect_err(text);
            assert!(error.contains("https://host"), "{error}");
        }
    }
}
