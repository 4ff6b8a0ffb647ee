//! Connections to servers over TCP: directly, or through the HTTP proxy that the environment names,
//! where a network lets nothing else out.
//!
//! `HTTPS_PROXY`, else `ALL_PROXY`, names the proxy, and `NO_PROXY` the hosts that are reached
//! without it; each also in lower case, which comes first, as with curl. The proxy is asked to
//! connect (`CONNECT`, RFC 9110, section 9.3.6), whatever is then spoken: TLS or not.

mod connect;
mod exempt;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::sync::LazyLock;

use data_encoding::BASE64;
use percent_encoding::percent_decode_str;
use url::{Host, Url};

pub(crate) use self::connect::{ConnectError, connect, families};
use self::exempt::Exempt;

/// The variables that may name a proxy, the first that is set counts.
const VARIABLES: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];

/// The variables that may name hosts without one.
const EXEMPT_VARIABLES: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// The port of a proxy whose URL has none: that of `http:`.
const PORT: u16 = 80;

static OF_ENVIRONMENT: LazyLock<Proxies> =
    LazyLock::new(|| Proxies::read(|name| std::env::var(name).ok()));

/// Which hosts are reached through which proxy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies {
    /// The proxy, or what is wrong with the variable that names it.
    proxy: Option<Result<Proxy, ConnectError>>,
    exempt: Vec<Exempt>,
}

/// An HTTP proxy. Shown, it has no password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    variable: &'static str,
    host: String,
    port: u16,
    /// The value of `Proxy-Authorization`.
    authorization: Option<String>,
}

impl Proxies {
    /// What this process was told when it began.
    pub(crate) fn of_environment() -> &'static Self {
        &OF_ENVIRONMENT
    }

    /// Reads the variables. What is wrong with one is told when a connection needs it.
    fn read(value: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &&str| value(name).filter(|value| !value.trim().is_empty());
        let named = VARIABLES.iter().find_map(|name| Some((*name, set(name)?)));
        let exempt = EXEMPT_VARIABLES.iter().find_map(set).unwrap_or_default();
        Self {
            proxy: named.map(|(variable, url)| Proxy::parse(variable, &url)),
            exempt: exempt.split(',').filter_map(Exempt::parse).collect(),
        }
    }

    /// The proxy that leads to a host, if one does. This machine is reached without.
    ///
    /// # Errors
    /// [`ConnectError::Setting`] if there is one that cannot be used.
    pub(crate) fn to(&self, host: &str, port: u16) -> Result<Option<&Proxy>, ConnectError> {
        let Some(proxy) = &self.proxy else {
            return Ok(None);
        };
        let ip = host.parse::<IpAddr>();
        let is_here = host.eq_ignore_ascii_case("localhost")
            || ip.is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified());
        let is_exempt = |exempt: &Exempt| exempt.has(host, port);
        if is_here || self.exempt.iter().any(is_exempt) {
            return Ok(None);
        }
        proxy.as_ref().map(Some).map_err(Clone::clone)
    }
}

impl Proxy {
    fn parse(variable: &'static str, text: &str) -> Result<Self, ConnectError> {
        let wrong = |reason: &str| ConnectError::Setting {
            variable,
            reason: reason.to_owned(),
        };
        let text = text.trim();
        let url = match text.contains("://") {
            true => Url::parse(text),
            false => Url::parse(&format!("http://{text}")),
        };
        let url = url.map_err(|error| wrong(&format!("it is no URL ({error})")))?;
        if url.scheme() != "http" {
            // Not the URL itself, which may have a password.
            let scheme = url.scheme();
            return Err(wrong(&format!(
                "it is one of {scheme}:, and only http: works"
            )));
        }
        let host = match url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(ip)) => ip.to_string(),
            Some(Host::Ipv6(ip)) => ip.to_string(),
            None => return Err(wrong("it has no host")),
        };
        Ok(Self {
            variable,
            host,
            port: url.port().unwrap_or(PORT),
            authorization: authorization(&url),
        })
    }
}

/// Basic authentication (RFC 7617), if the URL has a user.
fn authorization(url: &Url) -> Option<String> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut user: Vec<u8> = percent_decode_str(url.username()).collect();
    user.push(b':');
    user.extend(percent_decode_str(url.password().unwrap_or_default()));
    Some(format!("Basic {}", BASE64.encode(&user)))
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = address(&self.host, self.port);
        write!(f, "{address} ({})", self.variable)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// `host:port`, with an IPv6 address in brackets.
pub(crate) fn address(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
