//! Where an agent may be: behind a NAT of each kind, a firewall, or a network that half works.

use anyhow::Result;

use super::internet::Internet;
use crate::hosts::{Host, Network};

/// A kind of place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A public address of each family.
    Open,
    /// One mapping for all, and all may send to it.
    FullCone,
    /// One mapping for all; addresses that were sent to may send to it.
    AddressRestricted,
    /// One mapping for all; only what was sent to may send to it.
    PortRestricted,
    /// Another mapping for each target.
    Symmetric,
    /// Behind the NAT of a home, and that of a carrier.
    Cgnat,
    /// Behind one NAT with the other agent, which it reaches only through the NAT's outer address.
    Hairpin,
    /// A firewall drops UDP.
    NoUdp,
    /// A firewall drops all but TCP to port 443.
    Only443,
    /// IPv6 alone.
    V6Only,
    /// Both families, but what is sent by IPv6 is lost.
    BrokenV6,
    /// A second interface, with the better address and the default route, leads nowhere.
    DeadInterface,
}

impl Place {
    /// As the table has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open host",
            Self::FullCone => "full cone NAT",
            Self::AddressRestricted => "address-restricted NAT",
            Self::PortRestricted => "port-restricted NAT",
            Self::Symmetric => "symmetric NAT",
            Self::Cgnat => "two NATs (CGNAT)",
            Self::Hairpin => "same NAT, apart (hairpin)",
            Self::NoUdp => "UDP blocked",
            Self::Only443 => "all but TCP 443 blocked",
            Self::V6Only => "IPv6 alone",
            Self::BrokenV6 => "IPv6 broken beside IPv4",
            Self::DeadInterface => "one of two interfaces dead",
        }
    }

    fn is_behind_nat(self) -> bool {
        matches!(
            self,
            Self::FullCone
                | Self::AddressRestricted
                | Self::PortRestricted
                | Self::Symmetric
                | Self::Cgnat
                | Self::Hairpin
        )
    }

    /// What `mesh doctor` calls the NAT there, where a server answers over UDP.
    pub fn diagnosis(self) -> Option<&'static str> {
        match self {
            Self::NoUdp | Self::Only443 => None,
            Self::Open | Self::V6Only | Self::BrokenV6 | Self::DeadInterface => Some("no NAT"),
            Self::FullCone | Self::Hairpin => Some("full cone NAT"),
            Self::AddressRestricted => Some("address-restricted NAT"),
            Self::PortRestricted | Self::Cgnat => Some("port-restricted NAT"),
            Self::Symmetric => Some("symmetric NAT"),
        }
    }
}

/// A host in a place, with what is before it.
#[derive(Debug)]
pub struct Side {
    /// The agent's host.
    pub host: Host,
    _before: Vec<(Host, Network)>,
}

/// Which side of a pair: its number is in its addresses.
const NUMBERS: [u8; 2] = [10, 20];

/// The public addresses of the NATs of a pair.
pub(super) fn outer_addresses(places: [Place; 2]) -> Vec<String> {
    let behind = places.into_iter().zip(NUMBERS);
    let behind = behind.filter(|(place, _)| place.is_behind_nat());
    behind
        .map(|(_, number)| format!("203.0.113.{number}"))
        .collect()
}

impl Side {
    /// Both hosts of a pair of places.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn pair(internet: &Internet, places: [Place; 2]) -> Result<[Self; 2]> {
        if places[0] == Place::Hairpin {
            return hairpin(internet).await;
        }
        let one = Self::new(internet, places[0], "one", NUMBERS[0]).await?;
        let other = Self::new(internet, places[1], "other", NUMBERS[1]).await?;
        Ok([one, other])
    }

    async fn new(internet: &Internet, place: Place, name: &str, number: u8) -> Result<Self> {
        let network = &internet.network;
        let v4 = format!("203.0.113.{number}/24");
        let v6 = format!("2001:db8::{number}/64");
        let mut before = Vec::new();
        let mut host = match place {
            Place::Open | Place::NoUdp | Place::Only443 | Place::BrokenV6 => {
                let host = network.host(name, "eth0", &[&v4, &v6]).await?;
                host.add_void().await?;
                host
            }
            Place::V6Only => network.host(name, "eth0", &[&v6]).await?,
            Place::DeadInterface => {
                let host = network.host(name, "eth0", &[&v4]).await?;
                let dead = format!("198.51.100.{number}/24");
                host.add_dead_end("aaa0", &[dead]).await?;
                let via = "198.51.100.1";
                host.ip(&["route", "add", "default", "via", via]).await?;
                host
            }
            Place::Cgnat => {
                let carrier = router(network, name, "203.0.113", "100.64", number).await?;
                let home = format!("{name}h");
                let (outer, inner) = (&format!("100.64.{number}"), "192.168");
                let at_home = second_router(&carrier.1, &home, outer, inner, number).await?;
                for (router, inner) in [(&carrier.0, "100.64"), (&at_home.0, "192.168")] {
                    let inside = format!("{inner}.{number}.2");
                    router.nft(&rules(Place::PortRestricted, &inside)).await?;
                }
                let host = inside(&at_home.1, name, "192.168", number).await?;
                before.extend([carrier, at_home]);
                host
            }
            _ => {
                let nat = router(network, name, "203.0.113", "192.168", number).await?;
                let inner = format!("192.168.{number}.2");
                nat.0.nft(&rules(place, &inner)).await?;
                let host = inside(&nat.1, name, "192.168", number).await?;
                before.push(nat);
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

/// A router with a public address, and the network behind it.
async fn router(
    network: &Network,
    name: &str,
    outer: &str,
    inner: &str,
    number: u8,
) -> Result<(Host, Network)> {
    let address = format!("{outer}.{number}/24");
    let router = network
        .host(&format!("{name}n"), "eth0", &[&address])
        .await?;
    behind(router, inner, number).await
}

/// A router behind another.
async fn second_router(
    network: &Network,
    name: &str,
    outer: &str,
    inner: &str,
    number: u8,
) -> Result<(Host, Network)> {
    let address = format!("{outer}.2/24");
    let router = network
        .host(&format!("{name}n"), "eth0", &[&address])
        .await?;
    let gateway = format!("{outer}.1");
    router
        .ip(&["route", "add", "default", "via", &gateway])
        .await?;
    behind(router, inner, number).await
}

async fn behind(router: Host, inner: &str, number: u8) -> Result<(Host, Network)> {
    let network = Network::new().await?;
    let gateway = format!("{inner}.{number}.1/24");
    network
        .attach(&router, "router", "eth1", &[&gateway])
        .await?;
    router.forward().await?;
    Ok((router, network))
}

async fn inside(network: &Network, name: &str, inner: &str, number: u8) -> Result<Host> {
    let address = format!("{inner}.{number}.2/24");
    let host = network.host(name, "eth0", &[&address]).await?;
    let gateway = format!("{inner}.{number}.1");
    host.ip(&["route", "add", "default", "via", &gateway])
        .await?;
    Ok(host)
}

/// The NAT of a place, for one host inside. What nobody asked for leaves no trace: else the kernel
/// would give a later answer to it another port.
fn rules(place: Place, inside: &str) -> String {
    let out = match place {
        Place::Symmetric => "oifname eth0 masquerade fully-random",
        _ => "oifname eth0 masquerade",
    };
    let open = match place {
        Place::FullCone => {
            format!("iifname eth0 meta l4proto udp udp dport 1024-65535 dnat to {inside}")
        }
        Place::AddressRestricted => format!(
            "iifname eth0 ip saddr @seen meta l4proto udp udp dport 1024-65535 dnat to {inside}"
        ),
        _ => String::new(),
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

/// Two hosts behind one full cone NAT that reach each other over its outer address alone.
async fn hairpin(internet: &Internet) -> Result<[Side; 2]> {
    let number = NUMBERS[0];
    let (nat, network) = router(&internet.network, "one", "203.0.113", "192.168", number).await?;
    let outer = format!("203.0.113.{number}");
    nat.nft(&format!(
        "table ip nat {{\n\
         map inside {{\n type inet_service : ipv4_addr\n flags dynamic,timeout\n timeout 5m\n }}\n\
         chain out {{\n type filter hook forward priority 0\n\
         iifname eth1 meta l4proto udp update @inside {{ udp sport : ip saddr }}\n }}\n\
         chain post {{\n type nat hook postrouting priority 100\n\
         oifname eth0 masquerade\n\
         oifname eth1 ip saddr 192.168.0.0/16 meta l4proto udp snat to {outer}\n }}\n\
         chain pre {{\n type nat hook prerouting priority -100\n\
         ip daddr {outer} meta l4proto udp dnat to udp dport map @inside\n }}\n}}\n"
    ))
    .await?;
    let mut hosts = Vec::new();
    for (name, last) in [("one", 2), ("other", 3)] {
        let address = format!("192.168.{number}.{last}/24");
        let mut host = network.host(name, "eth0", &[&address]).await?;
        let gateway = format!("192.168.{number}.1");
        host.ip(&["route", "add", "default", "via", &gateway])
            .await?;
        internet.introduce(&mut host)?;
        hosts.push(host);
    }
    network.isolate(["one", "other"], true).await?;
    let other = hosts.pop().map(|host| Side {
        host,
        _before: Vec::new(),
    });
    let one = hosts.pop().map(|host| Side {
        host,
        _before: vec![(nat, network)],
    });
    match (one, other) {
        (Some(one), Some(other)) => Ok([one, other]),
        _ => anyhow::bail!("two hosts were made"),
    }
}
