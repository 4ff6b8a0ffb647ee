//! Resolves the `<uuid>.local` names behind which browsers hide their addresses.
//!
//! A tab gives its host candidates as mDNS names unless its user has granted it a camera. One
//! [`MdnsResolver`] serves every link of the process: the WebRTC stack's own would open a
//! multicast socket per connection. The daemon behind it starts with the first name asked for,
//! and a name asked for by many links at once is queried once.
//!
//! Nothing depends on an answer: the tab sees our addresses, so its checks reach us and make a
//! peer-reflexive candidate. Resolving lets checks start from both ends.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use mdns_sd::{HostnameResolutionEvent, ServiceDaemon};
use tokio::sync::OnceCell;

/// Browsers answer within milliseconds; a second query follows after a second.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an answer is used: the TTL that browsers give, after which a tab may have gone.
const FOUND_TTL: Duration = Duration::from_secs(120);

/// How long a name is not asked for again after silence.
const MISSING_TTL: Duration = Duration::from_secs(10);

/// Names remembered. A name costs about 200 bytes; peers choose them, so there is a limit.
const NAMES_MAX: usize = 256;

/// Where mDNS is spoken.
const MDNS_PORT: u16 = 5353;

/// Resolves and remembers mDNS names, for all links of a process.
pub(super) struct MdnsResolver {
    port: u16,
    /// `None` when the daemon could not start, which is not tried again.
    daemon: OnceLock<Option<ServiceDaemon>>,
    names: Mutex<BTreeMap<String, Name>>,
}

/// A name in the cache: everyone who asks for it awaits the same answer.
struct Name {
    asked_at: Instant,
    address: Arc<OnceCell<Option<IpAddr>>>,
}

impl Name {
    fn is_fresh(&self, now: Instant) -> bool {
        let ttl = match self.address.get() {
            Some(None) => MISSING_TTL,
            Some(Some(_)) | None => FOUND_TTL,
        };
        now.saturating_duration_since(self.asked_at) < ttl
    }
}

impl MdnsResolver {
    pub(super) fn new() -> Self {
        Self::with_port(MDNS_PORT)
    }

    /// A resolver on another port, so that tests meet no neighbour.
    pub(super) fn with_port(port: u16) -> Self {
        Self {
            port,
            daemon: OnceLock::new(),
            names: Mutex::new(BTreeMap::new()),
        }
    }

    /// The address behind `name`, or `None` when nobody answers for it in time.
    pub(super) async fn resolve(&self, name: &str) -> Option<IpAddr> {
        let address = self.entry(name);
        *address.get_or_init(|| self.query(name)).await
    }

    fn entry(&self, name: &str) -> Arc<OnceCell<Option<IpAddr>>> {
        let now = Instant::now();
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = names.get(name).filter(|known| known.is_fresh(now)) {
            return Arc::clone(&known.address);
        }
        names.retain(|_, known| known.is_fresh(now));
        if names.len() >= NAMES_MAX {
            let oldest = names.iter().min_by_key(|(_, known)| known.asked_at);
            let oldest = oldest
                .map(|(name, _)| name.clone())
                .expect("the cache is full");
            names.remove(&oldest);
        }
        let address = Arc::new(OnceCell::new());
        let known = Name {
            asked_at: now,
            address: Arc::clone(&address),
        };
        names.insert(name.to_owned(), known);
        address
    }

    async fn query(&self, name: &str) -> Option<IpAddr> {
        let daemon = self.daemon()?;
        let host = format!("{name}.");
        let timeout = RESOLVE_TIMEOUT.as_millis() as u64;
        let answers = match daemon.resolve_hostname(&host, Some(timeout)) {
            Ok(answers) => answers,
            Err(error) => {
                tracing::debug!(%error, "mDNS query refused");
                return None;
            }
        };
        let found = tokio::time::timeout(RESOLVE_TIMEOUT, async {
            while let Ok(event) = answers.recv_async().await {
                if let HostnameResolutionEvent::AddressesFound(_, addresses) = event {
                    // A tab has one address a name; should there be more, take IPv4, which
                    // needs no scope, and always the same one.
                    return addresses.iter().map(mdns_sd::ScopedIp::to_ip_addr).min();
                }
            }
            None
        });
        let found = found.await.unwrap_or(None);
        if let Err(error) = daemon.stop_resolve_hostname(&host) {
            tracing::debug!(%error, "mDNS query not stopped");
        }
        found
    }

    fn daemon(&self) -> Option<&ServiceDaemon> {
        let start = || match ServiceDaemon::new_with_port(self.port) {
            Ok(daemon) => Some(daemon),
            Err(error) => {
                tracing::debug!(%error, "no mDNS: candidates of tabs stay unresolved");
                None
            }
        };
        self.daemon.get_or_init(start).as_ref()
    }
}

impl Drop for MdnsResolver {
    fn drop(&mut self) {
        if let Some(Some(daemon)) = self.daemon.get()
            && let Err(error) = daemon.shutdown()
        {
            tracing::debug!(%error, "mDNS daemon not stopped");
        }
    }
}

impl std::fmt::Debug for MdnsResolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MdnsResolver")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use mdns_sd::ServiceInfo;

    use super::*;

    const NAME: &str = "0b9cdd7a-5a35-4d0c-8a5e-2f4a8a3f1c11.local";

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_name_resolves_once_and_a_missing_one_not_at_all() {
        const PORT: u16 = 54_353;
        let address: IpAddr = "192.0.2.77".parse().expect("an address");
        let responder = ServiceDaemon::new_with_port(PORT).expect("a responder");
        let properties: [(&str, &str); 0] = [];
        let host = format!("{NAME}.");
        let service = ServiceInfo::new(
            "_mesh-test._udp.local.",
            "tab",
            &host,
            address,
            9,
            &properties[..],
        )
        .expect("a service");
        responder.register(service).expect("registered");

        let resolver = MdnsResolver::with_port(PORT);
        let (first, second) = tokio::join!(resolver.resolve(NAME), resolver.resolve(NAME));
        assert_eq!(first, Some(address));
        assert_eq!(second, Some(address));

        let asked = Instant::now();
        assert_eq!(
            resolver
                .resolve("00000000-0000-4000-8000-000000000000.local")
                .await,
            None
        );
        assert!(asked.elapsed() < RESOLVE_TIMEOUT + Duration::from_secs(1));
        responder.shutdown().expect("responder stopped");
    }

    #[test]
    fn the_cache_is_bounded() {
        let resolver = MdnsResolver::with_port(1);
        for number in 0..2 * NAMES_MAX {
            resolver.entry(&format!("{number}.local"));
        }
        let names = resolver.names.lock().expect("not poisoned");
        assert_eq!(names.len(), NAMES_MAX);
        assert!(names.contains_key(&format!("{}.local", 2 * NAMES_MAX - 1)));
    }
}
