//! The signaling server's options, which `mesh signal` and `mesh up` share.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use clap::Args;
use mesh_core::{HubConfig, IceServer, TurnMint};
use mesh_native::Metrics;
use mesh_native::hub::{
    AllowedOrigin, BindError, HubOptions, HubServer, IpNet, RedisUrl, has_package,
};

use super::config::limits::{self, Fault, HubLimits};
use super::ice::IceArgs;
use super::metrics::MetricsArgs;
use super::turn::TurnArgs;
use super::{raise_file_limit, reachable};

/// The port of the seed, and of every example.
const PORT: u16 = 9600;

/// Where the server listens unless told otherwise: IPv6 and IPv4, or IPv4 where there is no IPv6.
const DEFAULT_LISTEN: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), PORT),
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT),
];

/// Open files that this process needs beside connections and links: its own, and those that answer
/// connections beyond the limit.
const FILES_BESIDE: u64 = 256;

/// Where the server listens, and what it allows.
#[derive(Debug, Args)]
pub(crate) struct HubArgs {
    /// An address to listen on; may be repeated. `[::]` takes IPv4 too. Unless given: `[::]:9600`,
    /// and `0.0.0.0:9600` where there is no IPv6.
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<SocketAddr>,
    /// Connections that one address may have, of IPv6 one /64; connections of this machine are not
    /// limited, so that a proxy on it can serve all the world. One address never gets more than
    /// half of all connections.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    #[arg(default_value_t = HubOptions::default().connections_per_address)]
    connections_per_address: usize,
    /// An address, or a network as 10.0.0.0/8, of proxies on other machines: their connections are
    /// not limited either, so limit there what one client may have. May be repeated.
    #[arg(long, value_name = "NETWORK", value_parser = network)]
    trusted_proxy: Vec<IpNet>,
    /// Another origin than the server's own whose web pages may use it: https://host or
    /// http://host:port, or * for any. May be repeated. Programs may always.
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<AllowedOrigin>,
    /// Serve drive.html too, an agent that obeys a program on its visitor's machine: for
    /// `mesh load-test --browsers`, and for no public server.
    #[arg(long)]
    drive_page: bool,
    /// A Redis by which several servers share their rooms: redis://host:6379, rediss:// for TLS,
    /// redis+sentinel://host:26379,host:26379/mymaster where Sentinels name the master,
    /// ?prefix=NAME where others use it too. Without, this server is the only one.
    #[arg(long, value_name = "URL")]
    redis: Option<RedisUrl>,
    #[command(flatten)]
    ice: IceArgs,
    #[command(flatten)]
    turn: TurnArgs,
    #[command(flatten)]
    limits: HubLimits,
    #[command(flatten)]
    metrics: MetricsArgs,
}

/// None would turn away all but this machine.
fn at_least_one(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|&number| number > 0);
    number.ok_or_else(|| "a whole number, at least 1".to_owned())
}

/// A network, or one address.
fn network(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    let network = text.parse::<IpNet>().or(address);
    network.map_err(|_| "an address, as 10.0.0.7, or a network, as 10.0.0.0/8".to_owned())
}

impl HubArgs {
    /// What is wrong with these options, alone or together.
    pub(crate) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let turn = self.turn.mint().unwrap_or_else(|error| {
            faults.push(Fault {
                option: "turn_secret_file",
                reason: format!("{error:#}"),
            });
            None
        });
        faults.extend(limits::faults(self.config(Vec::new(), turn).problems()));
        if let Err(error) = self.ice.servers() {
            faults.push(Fault {
                option: "ice_servers",
                reason: format!("{error:#}"),
            });
        }
        faults
    }

    fn config(&self, ice_servers: Vec<IceServer>, turn: Option<TurnMint>) -> HubConfig {
        let mut config = HubConfig {
            ice_servers,
            turn,
            ..HubConfig::default()
        };
        self.limits.apply(&mut config);
        config
    }

    /// Serves metrics, where that is wanted.
    pub(crate) fn metrics(&self) -> anyhow::Result<Option<Metrics>> {
        self.metrics.start()
    }

    /// Takes the ports. `links` is how many links this process has beside the server.
    pub(crate) fn bind(&self, links: usize) -> anyhow::Result<HubServer> {
        let config = self.config(self.ice.servers()?, self.turn.mint()?);
        limits::refuse(&limits::faults(config.problems()))?;
        let mut options = HubOptions::from(config);
        options.connections_per_address = self.connections_per_address;
        options.trusted_proxies.clone_from(&self.trusted_proxy);
        options.allow_origins.clone_from(&self.allow_origin);
        options.drive_page = self.drive_page;
        options.redis.clone_from(&self.redis);
        let files = raise_file_limit(links, 3);
        let left = files.limit.saturating_sub(files.wanted + FILES_BESIDE);
        let left = left.max(files.limit / 4); // Too few for all is no cause to serve nobody.
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        if left < options.connections_max {
            options.connections_max = left;
            tracing::info!(
                "this process may open {} files: the server takes {} connections at most (more: \
                 ulimit -n)",
                files.limit,
                options.connections_max
            );
        }
        Ok(self.listen(options)?)
    }

    fn listen(&self, options: HubOptions) -> Result<HubServer, BindError> {
        if !self.listen.is_empty() {
            return HubServer::bind_all(&self.listen, options);
        }
        let [both, only_v4] = DEFAULT_LISTEN;
        match HubServer::bind(both, options.clone()) {
            Err(error) if error.lacks_address() => HubServer::bind(only_v4, options),
            result => result,
        }
    }
}

/// The URL of signaling at a server's address, as this machine reaches it.
pub(crate) fn signaling_url(server: SocketAddr) -> String {
    format!("ws://{}/signal", reachable(server))
}

/// Tells where the page is, or what it lacks.
pub(crate) fn announce_page(server: SocketAddr) {
    let page = format!("http://{}", reachable(server));
    if has_package() {
        tracing::info!("the page is at {page}");
    } else {
        tracing::warn!(
            "the page at {page} lacks its wasm package: run `cargo xtask wasm`, then build again"
        );
    }
}
