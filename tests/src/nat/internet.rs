//! The Internet of these tests: a switch with public addresses, and a machine with hub and TURN
//! server that all may reach.

use anyhow::Result;

use crate::hosts::{Host, Network};
use crate::process::MeshProcess;
use crate::turn::{PORT, TLS_PORT, TurnServer};

/// Addresses of the servers: two, so that a NAT's behaviour can be told, and those of IPv6.
pub(super) const TURN: &str = "203.0.113.1";
const BESIDE: &str = "203.0.113.9";
const TURN_V6: &str = "2001:db8::1";
const BESIDE_V6: &str = "2001:db8::9";

/// The hub as all agents dial it: at the port that firewalls let through.
pub const HUB_URL: &str = "ws://hub.example:443/signal";

/// The same for agents beside the hub, on the machine of the servers.
pub const SERVERS_HUB_URL: &str = "ws://203.0.113.9:9600/signal";

/// A page of the hub that does nothing by itself.
pub(super) const HUB_PAGE: &str = "http://hub.example:443/drive.html";

/// Where the hub listens.
const HUB_PORT: u16 = 9600;

/// The Internet with its servers.
#[derive(Debug)]
pub struct Internet {
    pub(super) network: Network,
    servers: Host,
    turn: TurnServer,
}

impl Internet {
    /// With a TURN server.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn new() -> Result<Self> {
        let network = Network::new().await?;
        // It carries no multicast, by which tabs are found on their own network.
        network
            .switch()
            .nft(
                "table bridge internet {\n chain pass {\n type filter hook forward priority 0\n\
                 udp dport 5353 drop\n}\n}\n",
            )
            .await?;
        let v4 = [TURN, BESIDE].map(|ip| format!("{ip}/24"));
        let v6 = [TURN_V6, BESIDE_V6].map(|ip| format!("{ip}/64"));
        let addresses: Vec<&str> = v4.iter().chain(&v6).map(String::as_str).collect();
        let servers = network.host("servers", "eth0", &addresses).await?;
        // What has no other way is lost, as on the Internet, and coturn does not mind.
        servers.add_void(&["-4", "-6"]).await?;
        let more = [BESIDE, TURN_V6].map(|ip| format!("listening-ip={ip}"));
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let turn = TurnServer::start_named(&servers, TURN, "turn.example", &more).await?;
        // TLS of the TURN server has port 443 too, at its own address.
        servers
            .nft(&format!(
                "table inet servers {{\n chain pre {{\n type nat hook prerouting priority -100;\n\
                 ip daddr {BESIDE} tcp dport 443 redirect to :{HUB_PORT}\n\
                 ip6 daddr {BESIDE_V6} tcp dport 443 redirect to :{HUB_PORT}\n}}\n}}\n"
            ))
            .await?;
        Ok(Self {
            network,
            servers,
            turn,
        })
    }

    /// A hub that hands out these servers, with their users.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn hub(&self, servers: &[String]) -> Result<MeshProcess> {
        let listen = format!("[::]:{HUB_PORT}");
        let mut arguments = vec!["signal", "--listen", &listen];
        for server in servers {
            arguments.extend(["--ice-server", server]);
        }
        let hub = MeshProcess::start_on(&self.servers, &arguments)?;
        self.servers.until_listening("tcp", HUB_PORT).await?;
        Ok(hub)
    }

    /// The machine of the servers, which all can reach.
    pub fn servers(&self) -> &Host {
        &self.servers
    }

    /// Has a host know the servers by name, and trust them.
    pub(super) fn introduce(&self, host: &mut Host) -> Result<()> {
        host.set_variable("SSL_CERT_FILE", &self.turn.ca_file());
        host.set_names(&[
            (TURN, "turn.example"),
            (TURN_V6, "turn.example"),
            (BESIDE, "hub.example"),
            (BESIDE_V6, "hub.example"),
        ])
    }

    /// The URL of the TURN server over UDP, TCP or TLS.
    pub(super) fn turn_url(transport: &str) -> String {
        match transport {
            "tls" => format!("turns:turn.example:{TLS_PORT}?transport=tcp"),
            _ => format!("turn:turn.example:{PORT}?transport={transport}"),
        }
    }
}
