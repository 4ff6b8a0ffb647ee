//! The hosts of a pair, with the NATs and firewalls before them, made of nftables.

use anyhow::Result;

use super::internet::Internet;
use super::place::{NUMBERS, Nat, Pair, Place};
use crate::hosts::{Host, Network};

/// A host in a place, with what is before it.
#[derive(Debug)]
pub struct Side {
    /// The agent's host.
    pub host: Host,
    _before: Vec<Router>,
}

impl Side {
    /// Both hosts of a pair.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn pair(internet: &Internet, pair: Pair) -> Result<[Self; 2]> {
        match pair {
            Pair::Apart([one, other]) => Ok([
                Self::new(internet, one, "one", NUMBERS[0]).await?,
                Self::new(internet, other, "other", NUMBERS[1]).await?,
            ]),
            Pair::Hairpin => {
                let nat = at_home(internet, "one", NUMBERS[0]).await?;
                nat.host.nft(&hairpin(&public(NUMBERS[0]))).await?;
                let hosts = nat.both(internet).await?;
                nat.inside.isolate(["one", "other"], true).await?;
                Ok(Self::behind(nat, hosts))
            }
            Pair::Together => {
                let nat = at_home(internet, "one", NUMBERS[0]).await?;
                let rules = rules(Nat::PortRestricted, &nat.address(FIRST));
                nat.host.nft(&rules).await?;
                let hosts = nat.both(internet).await?;
                Ok(Self::behind(nat, hosts))
            }
        }
    }

    fn behind(nat: Router, [one, other]: [Host; 2]) -> [Self; 2] {
        let side = |host, before| Self {
            host,
            _before: before,
        };
        [side(one, vec![nat]), side(other, Vec::new())]
    }

    async fn new(internet: &Internet, place: Place, name: &str, number: u8) -> Result<Self> {
        let network = &internet.network;
        let v4 = format!("{}/24", public(number));
        let v6 = format!("2001:db8::{number}/64");
        let mut before = Vec::new();
        let mut host = match place {
            Place::Open | Place::NoUdp | Place::Only443 | Place::BrokenV6 => {
                let host = network.host(name, "eth0", &[&v4, &v6]).await?;
                host.add_void(&["-4", "-6"]).await?;
                host
            }
            Place::V6Only => {
                let host = network.host(name, "eth0", &[&v6]).await?;
                // With a route for IPv4 it would seem to have an address.
                host.add_void(&["-6"]).await?;
                host
            }
            Place::DeadInterface => {
                let host = network.host(name, "eth0", &[&v4]).await?;
                let dead = format!("198.51.100.{number}/24");
                host.add_dead_end("aaa0", &[dead]).await?;
                let via = "198.51.100.1";
                host.ip(&["route", "add", "default", "via", via]).await?;
                host
            }
            Place::Cgnat => {
                let outer = Uplink::public(internet, number);
                let (carrier, home) = (format!("{name}c"), format!("{name}n"));
                let carrier = Router::new(&carrier, outer, format!("100.64.{number}")).await?;
                let home = Router::new(&home, carrier.uplink(), private(number)).await?;
                for router in [&carrier, &home] {
                    let rules = rules(Nat::PortRestricted, &router.address(FIRST));
                    router.host.nft(&rules).await?;
                }
                let host = home.behind(name, FIRST).await?;
                before.extend([carrier, home]);
                host
            }
            Place::Behind(nat) => {
                let router = at_home(internet, name, number).await?;
                let rules = rules(nat, &router.address(FIRST));
                router.host.nft(&rules).await?;
                let host = router.behind(name, FIRST).await?;
                before.push(router);
                host
            }
        };
        block(internet, place, name).await?;
        internet.introduce(&mut host)?;
        Ok(Self {
            host,
            _before: before,
        })
    }
}

/// The public IPv4 address of a side.
fn public(number: u8) -> String {
    format!("203.0.113.{number}")
}

/// The network of a home.
fn private(number: u8) -> String {
    format!("192.168.{number}")
}

/// The last numbers of the addresses of what is behind a router, which has the 1.
const FIRST: u8 = 2;
const SECOND: u8 = 3;

/// What a router is attached to with its outer interface.
struct Uplink<'a> {
    network: &'a Network,
    /// The router's address there.
    address: String,
    /// The router there that leads further.
    gateway: Option<String>,
}

impl<'a> Uplink<'a> {
    fn public(internet: &'a Internet, number: u8) -> Self {
        Self {
            network: &internet.network,
            address: public(number),
            gateway: None,
        }
    }
}

/// A router, and the network behind it.
#[derive(Debug)]
struct Router {
    host: Host,
    inside: Network,
    /// The first three numbers of the addresses inside.
    prefix: String,
}

/// The router of a home, with a public address.
async fn at_home(internet: &Internet, name: &str, number: u8) -> Result<Router> {
    let outer = Uplink::public(internet, number);
    Router::new(&format!("{name}n"), outer, private(number)).await
}

impl Router {
    async fn new(name: &str, outer: Uplink<'_>, prefix: String) -> Result<Self> {
        let address = format!("{}/24", outer.address);
        let host = outer.network.host(name, "eth0", &[&address]).await?;
        if let Some(gateway) = &outer.gateway {
            host.ip(&["route", "add", "default", "via", gateway])
                .await?;
        }
        let inside = Network::new().await?;
        let address = format!("{prefix}.1/24");
        inside.attach(&host, "router", "eth1", &[&address]).await?;
        host.forward().await?;
        Ok(Self {
            host,
            inside,
            prefix,
        })
    }

    fn address(&self, last: u8) -> String {
        format!("{}.{last}", self.prefix)
    }

    /// For another router behind this one.
    fn uplink(&self) -> Uplink<'_> {
        Uplink {
            network: &self.inside,
            address: self.address(FIRST),
            gateway: Some(self.address(1)),
        }
    }

    /// A host behind it.
    async fn behind(&self, name: &str, last: u8) -> Result<Host> {
        let address = format!("{}/24", self.address(last));
        let host = self.inside.host(name, "eth0", &[&address]).await?;
        let gateway = self.address(1);
        host.ip(&["route", "add", "default", "via", &gateway])
            .await?;
        Ok(host)
    }

    /// Both hosts of a pair behind it.
    async fn both(&self, internet: &Internet) -> Result<[Host; 2]> {
        let mut one = self.behind("one", FIRST).await?;
        let mut other = self.behind("other", SECOND).await?;
        internet.introduce(&mut one)?;
        internet.introduce(&mut other)?;
        Ok([one, other])
    }
}

/// A NAT for one host inside. What nobody asked for leaves no trace: else the kernel would give a
/// later answer to it another port.
fn rules(nat: Nat, inside: &str) -> String {
    let out = match nat {
        Nat::Symmetric => "oifname eth0 masquerade fully-random",
        _ => "oifname eth0 masquerade",
    };
    let open = match nat {
        Nat::FullCone => {
            format!("iifname eth0 meta l4proto udp udp dport 1024-65535 dnat to {inside}")
        }
        Nat::AddressRestricted => format!(
            "iifname eth0 ip saddr @seen meta l4proto udp udp dport 1024-65535 dnat to {inside}"
        ),
        Nat::PortRestricted | Nat::Symmetric => String::new(),
    };
    format!(
        "table ip nat {{\n\
         set seen {{\n type ipv4_addr\n flags dynamic,timeout\n timeout 1m\n }}\n\
         chain post {{\n type nat hook postrouting priority 100\n {out}\n }}\n\
         chain pre {{\n type nat hook prerouting priority -100\n {open}\n }}\n\
         chain forward {{\n type filter hook forward priority 0\n\
         iifname eth1 meta l4proto udp update @seen {{ ip daddr }}\n }}\n\
         chain input {{\n type filter hook input priority 0\n\
         iifname eth0 ct state new drop\n }}\n}}\n"
    )
}

/// A full cone NAT for several hosts inside, which also takes what they send to its outer address.
fn hairpin(outer: &str) -> String {
    format!(
        "table ip nat {{\n\
         map inside {{\n type inet_service : ipv4_addr\n flags dynamic,timeout\n timeout 5m\n }}\n\
         chain out {{\n type filter hook forward priority 0\n\
         iifname eth1 meta l4proto udp update @inside {{ udp sport : ip saddr }}\n }}\n\
         chain post {{\n type nat hook postrouting priority 100\n\
         oifname eth0 masquerade\n\
         oifname eth1 ip saddr 192.168.0.0/16 meta l4proto udp snat to {outer}\n }}\n\
         chain pre {{\n type nat hook prerouting priority -100\n\
         ip daddr {outer} meta l4proto udp dnat to udp dport map @inside\n }}\n}}\n"
    )
}

/// What a firewall before the host drops without a word.
async fn block(internet: &Internet, place: Place, name: &str) -> Result<()> {
    let dropped: &[&str] = match place {
        Place::NoUdp => &["ip protocol udp", "ip6 nexthdr udp"],
        Place::Only443 => &[
            "ip protocol udp",
            "ip protocol tcp tcp dport != 443",
            "ip6 nexthdr udp",
            "ip6 nexthdr tcp tcp dport != 443",
        ],
        Place::BrokenV6 => &["ether type ip6"],
        _ => return Ok(()),
    };
    let lines = dropped.iter();
    let lines: String = lines
        .map(|rule| format!("iifname to-{name} {rule} drop\n"))
        .collect();
    let table = format!(
        "table bridge {name} {{\n chain pass {{\n type filter hook forward priority 0\n\
         {lines}}}\n}}\n"
    );
    internet.network.switch().nft(&table).await
}
