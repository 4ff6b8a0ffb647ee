//! How agents keep the mesh: options that `mesh up` and `mesh agent` share.

use clap::Args;
use mesh_core::{Adaptive, Config, IceTransportPolicy, Metric};
use mesh_native::JoinOptions;

use super::config::limits::{self, AdaptiveLimits, Fault, MeshLimits};

/// Which links an agent keeps, and its limits.
#[derive(Debug, Args)]
pub(crate) struct MeshArgs {
    /// Links to keep [default: by the size of the room].
    #[arg(long)]
    pub(crate) k: Option<usize>,
    /// Keep about twice the logarithm of the room's size: fewer links, longer paths.
    #[arg(long, conflicts_with = "k")]
    sparse: bool,
    /// What makes one path better than another, the same for all of a room: hops, latency or
    /// bandwidth.
    #[arg(long, default_value_t = Metric::Hops)]
    metric: Metric,
    /// Let the number of links follow the state of the mesh.
    #[arg(long)]
    adaptive: bool,
    /// Which candidates links may use: all, or relay, so that no peer learns an address of this
    /// machine; the server must then name a TURN server.
    #[arg(long, value_name = "POLICY", default_value_t = IceTransportPolicy::All)]
    ice_transport_policy: IceTransportPolicy,
    #[command(flatten)]
    limits: MeshLimits,
    #[command(flatten)]
    rules: AdaptiveLimits,
}

impl MeshArgs {
    /// The options of an agent that joins a room.
    pub(crate) fn join(&self, signaling: Vec<String>, room: &str, name: &str) -> JoinOptions {
        JoinOptions {
            k: self.k,
            sparse: self.sparse,
            metric: self.metric,
            adaptive: self.adaptive,
            config: Some(self.config()),
            ..JoinOptions::with_hubs(signaling, room, name)
        }
    }

    /// What is wrong with these options, alone or together.
    pub(crate) fn faults(&self) -> Vec<Fault> {
        limits::faults(self.config().problems())
    }

    fn config(&self) -> Config {
        let mut rules = Adaptive::default();
        self.rules.apply(&mut rules);
        let mut config = limits::defaults();
        self.limits.apply(&mut config);
        config.k = self.k;
        config.ice_transport_policy = self.ice_transport_policy;
        config.adaptive = Some(rules);
        config
    }
}
