//! Where a Redis is, as its URL says.

use std::fmt;
use std::str::FromStr;

use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, parse_redis_url,
};
use thiserror::Error;

use super::connection::Ended;
use super::sentinel::{Credentials, Watched, WatchedUrl};

/// What all keys of this project begin with, unless the URL says otherwise.
const PREFIX: &str = "mesh";

/// Bytes of a prefix at most: it is part of every key.
const PREFIX_BYTES_MAX: usize = 64;

/// The Redis that hubs share.
#[derive(Clone)]
pub struct RedisUrl {
    server: Server,
    prefix: String,
}

/// Which server it is.
#[derive(Clone)]
enum Server {
    /// The one at an address.
    At(Box<ConnectionInfo>),
    /// The one that is the master now.
    Watched(Box<Watched>),
}

/// A text that is no URL of a Redis.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{cause}; it is to be as redis://host:6379, redis://user:password@host:6379/0 (a database), \
     rediss://host for TLS, or redis+sentinel://host:26379,host:26379/mymaster/0 where Sentinels \
     name the master, and may end with ?prefix=NAME where several meshes share one Redis"
)]
pub struct ParseRedisUrlError {
    cause: String,
}

impl FromStr for RedisUrl {
    type Err = ParseRedisUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |cause: &str| ParseRedisUrlError {
            cause: cause.to_owned(),
        };
        let watched = WatchedUrl::split(text);
        let server = watched.as_ref().map_or(text, |watched| &watched.server);
        let mut url = parse_redis_url(server).ok_or_else(|| wrong("this is no URL of a Redis"))?;
        let mut prefix = PREFIX.to_owned();
        let mut credentials = Credentials::default();
        let pairs: Vec<_> = url.query_pairs().into_owned().collect();
        url.set_query(None);
        for (name, value) in pairs {
            match name.as_str() {
                "prefix" => prefix = value,
                "sentinel_username" if watched.is_some() => credentials.username = Some(value),
                "sentinel_password" if watched.is_some() => credentials.password = Some(value),
                _ => _ = url.query_pairs_mut().append_pair(&name, &value),
            }
        }
        if prefix.is_empty() || prefix.len() > PREFIX_BYTES_MAX {
            let cause = format!("a prefix has 1 to {PREFIX_BYTES_MAX} bytes");
            return Err(wrong(&cause));
        }
        let info = url.into_connection_info();
        let info = info.map_err(|error| wrong(&error.to_string()))?;
        // Signals for this hub come as pushes on the connection that carries its own.
        let settings = info.redis_settings().clone();
        let settings = settings.set_protocol(ProtocolVersion::RESP3);
        let info = info.set_redis_settings(settings);
        let server = match watched {
            None => Server::At(Box::new(info)),
            Some(watched) => {
                let watched = watched.read(&info, &credentials);
                Server::Watched(Box::new(watched.map_err(|cause| wrong(&cause))?))
            }
        };
        Ok(Self { server, prefix })
    }
}

impl RedisUrl {
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }

    /// The server to connect to now.
    pub(super) async fn client(&self) -> Result<Client, Ended> {
        match &self.server {
            Server::At(info) => Ok(Client::open((**info).clone())?),
            Server::Watched(watched) => watched.master().await,
        }
    }

    /// Returns once it is known that another server than that at this address is to be used.
    pub(super) async fn moves_from(&self, address: &ConnectionAddr) {
        match &self.server {
            Server::At(_) => std::future::pending().await,
            Server::Watched(watched) => watched.moves_from(address).await,
        }
    }
}

/// The address alone: what else is in the URL is nobody's business.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.server {
            Server::At(info) => info.addr().fmt(f),
            Server::Watched(watched) => watched.fmt(f),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.to_string();
        let mut url = f.debug_struct("RedisUrl");
        url.field("address", &address).field("prefix", &self.prefix);
        url.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_an_address_and_a_prefix_and_keeps_its_password_to_itself() {
        for (text, address, prefix) in [
            ("redis://localhost", "localhost:6379", "mesh"),
            ("redis://me:secret@host:7/2?prefix=a", "host:7", "a"),
            ("rediss://host", "host:6379", "mesh"),
            (
                "redis+sentinel://one:1,two,[::1]:3/mymaster",
                "mymaster of the Sentinels one:1, two:26379, ::1:3",
                "mesh",
            ),
            (
                "rediss+sentinel://me:sec@ret@one/m/2?prefix=a&sentinel_password=secret",
                "m of the Sentinels one:26379",
                "a",
            ),
        ] {
            let url: RedisUrl = text.parse().expect(text);
            assert_eq!(
                (url.to_string(), url.prefix.as_str()),
                (address.into(), prefix)
            );
            assert!(!format!("{url:?}").contains("secret"), "{url:?}");
        }
    }

    #[test]
    fn what_is_no_url_of_a_redis_is_refused_with_the_cause() {
        for (text, cause) in [
            ("localhost:6379", "no URL of a Redis"),
            ("http://localhost", "no URL of a Redis"),
            ("redis://host/x", "database"),
            ("redis://host?prefix=", "a prefix has"),
            ("redis://one:1,two:2/mymaster", "no URL of a Redis"),
            ("sentinel://one/mymaster", "no URL of a Redis"),
            ("redis+sentinel://one", "\"\" is no name of a master"),
            ("redis+sentinel://one/my%20master", "no name of a master"),
            (
                "redis+sentinel://one,/m",
                "\"\" is no address of a Sentinel",
            ),
            ("redis+sentinel://one:port/m", "\"one:port\" is no address"),
            ("redis+sentinel:///m", "\"\" is no address of a Sentinel"),
            ("redis+sentinel://0.0.0.0/m", "no address of a Sentinel"),
            ("redis+sentinel://one/m/x", "database"),
            ("redis+sentinel://one/m/0/1", "database"),
        ] {
            let error = text.parse::<RedisUrl>().expect_err(text).to_string();
            assert!(error.contains(cause), "{text}: {error}");
            assert!(error.contains("redis://host:6379"), "{error}");
            assert!(error.contains("redis+sentinel://host:26379"), "{error}");
        }
    }
}
