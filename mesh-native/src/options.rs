//! How an agent joins, and how it sends.

use std::net::IpAddr;
use std::time::Duration;

use mesh_core::agent::{AgentOptions, JOIN_TIMEOUT};
use mesh_core::{Config, ConfigError, Identity, Metric};

use crate::metrics::Metrics;
use crate::process::Process;

/// How an agent joins.
#[derive(Clone, Debug)]
pub struct JoinOptions {
    /// Where the signaling server is: `ws://host:9600/signal`, `wss://host/signal`. Several are
    /// tried in their order, and the agent goes to the next when one is lost; it returns to the
    /// first. They are to share their rooms, or to stand in for each other.
    pub signaling: Vec<String>,
    /// Certificates in PEM that a `wss:` server may be certified by, beside those that the machine
    /// trusts.
    pub ca: Option<Vec<u8>>,
    /// The room.
    pub room: String,
    /// The agent's label.
    pub name: String,
    /// Links to keep; `None` for the default of the room's size.
    pub k: Option<usize>,
    /// Whether that default is about twice the logarithm of the size, rather than the table's.
    pub sparse: bool,
    /// What makes one path better than another; all agents of a room must agree on it.
    pub metric: Metric,
    /// Whether k follows the state of the mesh: more links where messages are slow, fewer where
    /// they are quick or links do not open.
    pub adaptive: bool,
    /// Limits and intervals other than the defaults. What has a field of its own here, the room and
    /// the name for two, counts as it stands here; of `adaptive` the rules are taken.
    pub config: Option<Config>,
    /// Addresses of this machine to link from; all of them if empty. One that the machine does not
    /// have is refused; an unspecified one (`0.0.0.0`) is any.
    pub addresses: Vec<IpAddr>,
    /// The agent's key pair; a new one if `None`.
    pub identity: Option<Identity>,
    /// What the agent shares with others of its process: clones of one make many agents cheaper.
    pub process: Process,
    /// Where the agent is to be counted; nowhere if `None`.
    pub metrics: Option<Metrics>,
    /// How long to try before giving up; each address is tried once, however long that takes.
    pub timeout: Duration,
}

impl JoinOptions {
    /// Defaults, with one signaling server and a new identity.
    pub fn new(signaling: &str, room: &str, name: &str) -> Self {
        Self::with_hubs(vec![signaling.to_owned()], room, name)
    }

    /// Defaults, with several signaling servers, the first liked best, and a new identity.
    pub fn with_hubs(signaling: Vec<String>, room: &str, name: &str) -> Self {
        Self {
            signaling,
            ca: None,
            room: room.to_owned(),
            name: name.to_owned(),
            k: None,
            sparse: false,
            metric: Metric::default(),
            adaptive: false,
            config: None,
            addresses: Vec::new(),
            identity: None,
            process: Process::new(),
            metrics: None,
            timeout: JOIN_TIMEOUT,
        }
    }

    /// How the agent is to behave, all taken together.
    pub(crate) fn config(&self) -> Result<Config, ConfigError> {
        let options = AgentOptions {
            room: &self.room,
            name: &self.name,
            hubs: &self.signaling,
            k: self.k,
            sparse: self.sparse,
            metric: self.metric,
            adaptive: self.adaptive,
            // Natively `config` says these.
            rotate_interval: None,
            ice_transport_policy: None,
            turn_fallback_timeout: None,
            base: self.config.as_ref(),
        };
        options.config()
    }
}
