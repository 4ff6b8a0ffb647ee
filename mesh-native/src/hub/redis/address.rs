//! Where a Redis is, as its URL says.

use std::fmt;
use std::str::FromStr;

use redis::{ConnectionInfo, IntoConnectionInfo, ProtocolVersion, parse_redis_url};
use thiserror::Error;

/// What all keys of this project begin with, unless the URL says otherwise.
const PREFIX: &str = "mesh";

/// Bytes of a prefix at most: it is part of every key.
const PREFIX_BYTES_MAX: usize = 64;

/// The Redis that hubs share.
#[derive(Clone)]
pub struct RedisUrl {
    pub(super) connection: ConnectionInfo,
    pub(super) prefix: String,
}

/// A text that is no URL of a Redis.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{cause}; it is to be as redis://host:6379, redis://user:password@host:6379/0 (a database), \
     or rediss://host for TLS, and may end with ?prefix=NAME where several meshes share one Redis"
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
        let mut url = parse_redis_url(text).ok_or_else(|| wrong("this is no URL of a Redis"))?;
        let mut prefix = PREFIX.to_owned();
        let pairs: Vec<_> = url.query_pairs().into_owned().collect();
        url.set_query(None);
        for (name, value) in pairs {
            if name == "prefix" {
                prefix = value;
            } else {
                url.query_pairs_mut().append_pair(&name, &value);
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
        Ok(Self {
            connection: info.set_redis_settings(settings),
            prefix,
        })
    }
}

impl RedisUrl {
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }
}

/// The address alone: what else is in the URL is nobody's business.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.connection.addr().fmt(f)
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
        ] {
            let error = text.parse::<RedisUrl>().expect_err(text).to_string();
            assert!(error.contains(cause), "{text}: {error}");
            assert!(error.contains("redis://host:6379"), "{error}");
        }
    }
}
