//! A Redis that Sentinels watch: they say which server is the master, and make another the master
//! when it fails.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use redis::sentinel::{Sentinel, SentinelNodeConnectionInfo};
use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, RedisError,
    TlsMode, parse_redis_url,
};
use tokio::time::{sleep, timeout};

use super::connection::{ANSWER_TIMEOUT, Ended};

/// What follows the scheme of a Redis in the URL of its Sentinels.
const SENTINELS: &str = "+sentinel://";

/// The port of a Sentinel, unless the URL says otherwise.
const PORT: u16 = 26_379;

/// Sentinels at most: all are asked at once. Operators run three or five.
const SENTINELS_MAX: usize = 16;

/// Time between two questions whether the master is another by now. A master that is cut off from
/// its Sentinels does not know that it is none any more, and goes on answering the hubs that reach
/// it: for so long they may be apart from those that have come to the new one.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// Sentinels, and the master that they are asked for.
#[derive(Clone)]
pub(super) struct Watched {
    sentinels: Vec<ConnectionInfo>,
    master: String,
    /// How to talk to the master.
    node: SentinelNodeConnectionInfo,
}

/// The URL of Sentinels, taken apart.
pub(super) struct WatchedUrl<'a> {
    scheme: &'a str,
    hosts: &'a str,
    master: &'a str,
    /// The URL of a server that is talked to as to the master.
    pub(super) server: String,
}

/// A server, and how many Sentinels call it the master.
struct Named {
    client: Client,
    votes: usize,
}

/// How to prove to Sentinels who asks.
#[derive(Default)]
pub(super) struct Credentials {
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
}

impl<'a> WatchedUrl<'a> {
    /// Takes `redis+sentinel://user:password@host:26379,host:26379/mymaster/0?prefix=NAME` apart.
    /// Returns `None` if that is another kind of URL.
    pub(super) fn split(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once(SENTINELS)?;
        if !["redis", "rediss"].contains(&scheme) {
            return None;
        }
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (path, more) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
        let path = path.strip_prefix('/').unwrap_or(path);
        let (master, database) = path.split_once('/').unwrap_or((path, ""));
        // A password may have an @.
        let user = authority.rfind('@').map_or(0, |at| at + 1);
        let (user, hosts) = authority.split_at(user);
        Some(Self {
            scheme,
            hosts,
            master,
            server: format!("{scheme}://{user}master/{database}{more}"),
        })
    }

    /// What can be asked; `server` is what the URL of that name was read as.
    pub(super) fn read(
        &self,
        server: &ConnectionInfo,
        credentials: &Credentials,
    ) -> Result<Watched, String> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if self.master.is_empty() || !self.master.bytes().all(is_plain) {
            return Err(format!(
                "{:?} is no name of a master, which has letters, digits and .-_",
                self.master
            ));
        }
        let tls = match server.addr() {
            ConnectionAddr::TcpTls { insecure: true, .. } => Some(TlsMode::Insecure),
            ConnectionAddr::TcpTls { .. } => Some(TlsMode::Secure),
            _ => None,
        };
        let settings = server.redis_settings().clone();
        let mut node = SentinelNodeConnectionInfo::default().set_redis_connection_info(settings);
        if let Some(tls) = tls {
            node = node.set_tls_mode(tls);
        }
        let hosts: Vec<_> = self.hosts.split(',').collect();
        if hosts.len() > SENTINELS_MAX {
            return Err(format!(
                "{} Sentinels, of {SENTINELS_MAX} at most",
                hosts.len()
            ));
        }
        let sentinels = hosts
            .into_iter()
            .map(|host| self.sentinel(host, tls, credentials));
        Ok(Watched {
            sentinels: sentinels.collect::<Result<_, _>>()?,
            master: self.master.to_owned(),
            node,
        })
    }

    fn sentinel(
        &self,
        host: &str,
        tls: Option<TlsMode>,
        credentials: &Credentials,
    ) -> Result<ConnectionInfo, String> {
        let wrong = |cause: &str| format!("{host:?} is no address of a Sentinel: {cause}");
        let insecure = match tls {
            Some(TlsMode::Insecure) => "#insecure",
            _ => "",
        };
        let url = parse_redis_url(&format!("{}://{host}{insecure}", self.scheme));
        let mut url = url.ok_or_else(|| wrong("it is to be host or host:port"))?;
        if url.port().is_none() {
            // It has a host, or it would have no place for a port.
            url.set_port(Some(PORT)).map_err(|()| wrong("no host"))?;
        }
        let info = url.into_connection_info();
        let info = info.map_err(|error| wrong(&error.to_string()))?;
        let mut settings = RedisConnectionInfo::default();
        if let Some(username) = &credentials.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = &credentials.password {
            settings = settings.set_password(password);
        }
        Ok(info.set_redis_settings(settings))
    }
}

impl Watched {
    /// The master, as most of the Sentinels that answer name it.
    pub(super) async fn master(&self) -> Result<Client, Ended> {
        self.named().await.map(|named| named.client)
    }

    /// Returns once more than half of the Sentinels name another master than this.
    pub(super) async fn moves_from(&self, address: &ConnectionAddr) {
        loop {
            sleep(ASK_EVERY).await;
            // A single Sentinel that is apart from the others must not lead hubs to and fro.
            if let Ok(Named { client, votes }) = self.named().await
                && self.is_majority(votes)
                && client.get_connection_info().addr().to_string() != address.to_string()
            {
                return;
            }
        }
    }

    fn is_majority(&self, votes: usize) -> bool {
        votes * 2 > self.sentinels.len()
    }

    /// Asks all at once, for some may be dead, until enough have named the same server.
    async fn named(&self) -> Result<Named, Ended> {
        let mut asked: FuturesUnordered<_> = self.sentinels.iter().map(|it| self.ask(it)).collect();
        let mut named: BTreeMap<String, Named> = BTreeMap::new();
        let mut failures = Vec::new();
        while let Some(answer) = asked.next().await {
            let client = match answer {
                Ok(client) => client,
                Err(failure) => {
                    failures.push(failure);
                    continue;
                }
            };
            let address = client.get_connection_info().addr().to_string();
            let server = named.entry(address.clone());
            let votes = &mut server.or_insert(Named { client, votes: 0 }).votes;
            *votes += 1;
            if self.is_majority(*votes)
                && let Some(server) = named.remove(&address)
            {
                return Ok(server);
            }
        }
        let most = named.into_values().max_by_key(|named| named.votes);
        most.ok_or_else(|| Ended::NoMaster(failures.join("; ")))
    }

    async fn ask(&self, sentinel: &ConnectionInfo) -> Result<Client, String> {
        let asking = async {
            let mut asked = Sentinel::build(vec![sentinel.clone()])?;
            asked.async_master_for(&self.master, Some(&self.node)).await
        };
        let answer: Result<Result<_, RedisError>, _> = timeout(ANSWER_TIMEOUT, asking).await;
        let failed = |cause: &dyn fmt::Display| format!("{} says: {cause}", sentinel.addr());
        match answer {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(error)) => Err(failed(&error)),
            Err(_) => Err(failed(&"nothing in time")),
        }
    }
}

/// The name of the master and the addresses alone, without what else is in the URL.
impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = self.sentinels.iter().map(|it| it.addr().to_string());
        let addresses = addresses.collect::<Vec<_>>().join(", ");
        write!(f, "{} of the Sentinels {addresses}", self.master)
    }
}
