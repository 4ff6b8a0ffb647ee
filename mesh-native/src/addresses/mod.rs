//! The addresses of this machine that links are made from, the most useful first.

mod watch;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

pub(crate) use self::watch::Watch;
use crate::error::JoinError;

/// Addresses used at most. Each costs a socket a link, and pairs with every remote one.
const ADDRESSES_MAX: usize = 6;

/// Addresses of this machine that an error names: some hosts have hundreds, and a few show what is
/// meant.
const NAMED_MAX: usize = 16;

/// Interfaces that lead to containers and virtual machines of this host alone. Other hosts reach
/// those over the host's own addresses.
const HOST_ONLY: [&str; 17] = [
    "br-",
    "bridge",
    "cali",
    "cilium",
    "cni",
    "docker",
    "flannel",
    "incusbr",
    "lxc",
    "lxd",
    "nodelocal",
    "podman",
    "vboxnet",
    "veth",
    "virbr",
    "vmnet",
    "vnet",
];

/// Interfaces of tunnels: some peers are reached over them, most better without.
const TUNNELS: [&str; 9] = [
    "ipsec",
    "nordlynx",
    "ppp",
    "tailscale",
    "tap",
    "tun",
    "utun",
    "wg",
    "zt",
];

/// Addresses that a default route leads to: root name servers. Nothing is sent there.
const FAR: [(IpAddr, IpAddr); 2] = [
    (
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V4(Ipv4Addr::new(198, 41, 0, 4)),
    ),
    (
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::new(0x2001, 0x503, 0xba3e, 0, 0, 0, 2, 0x30)),
    ),
];

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    interface: String,
    address: IpAddr,
    prefix: u8,
}

/// How useful an interface is, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Ordinary,
    Tunnel,
    HostOnly,
}

/// What links are made from now; loopback too for agents and tabs of one machine.
pub(crate) fn usable(loopback: bool) -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::debug!(%error, "interfaces cannot be read");
        Vec::new()
    });
    let running = interfaces
        .into_iter()
        .filter(if_addrs::Interface::is_oper_up);
    let found = running.map(|interface| Found {
        address: interface.ip(),
        prefix: match &interface.addr {
            if_addrs::IfAddr::V4(address) => address.prefixlen,
            if_addrs::IfAddr::V6(address) => address.prefixlen,
        },
        interface: interface.name,
    });
    rank(found.collect(), &default_sources(), loopback)
}

/// All addresses that this machine has, whether or not they are of use.
pub(crate) fn present() -> std::io::Result<BTreeSet<IpAddr>> {
    let interfaces = if_addrs::get_if_addrs()?.into_iter();
    Ok(interfaces.map(|interface| interface.ip()).collect())
}

/// Checks addresses that links are to be made from: nothing can be sent from another machine's.
///
/// # Errors
/// [`JoinError::Address`] for the first that this machine does not have.
pub(crate) fn check(wanted: &[IpAddr]) -> Result<(), JoinError> {
    if wanted.is_empty() {
        return Ok(());
    }
    match present() {
        Ok(present) => check_among(wanted, &present),
        Err(error) => {
            tracing::debug!(%error, "interfaces cannot be read");
            Ok(())
        }
    }
}

fn check_among(wanted: &[IpAddr], present: &BTreeSet<IpAddr>) -> Result<(), JoinError> {
    let is_here = |address: &IpAddr| present.contains(address) || is_whole_loopback(*address);
    let absent = wanted
        .iter()
        .find(|address| !address.is_unspecified() && !is_here(address));
    absent.map_or(Ok(()), |&address| {
        let present = present.iter().take(NAMED_MAX).map(IpAddr::to_string);
        let present = present.collect::<Vec<_>>().join(", ");
        Err(JoinError::Address { address, present })
    })
}

/// Linux has all of 127.0.0.0/8 where it has 127.0.0.1; other systems only those that are set up.
fn is_whole_loopback(address: IpAddr) -> bool {
    cfg!(target_os = "linux") && address.is_ipv4() && address.is_loopback()
}

/// The addresses that the default routes leave from. Connecting a UDP socket sends nothing.
fn default_sources() -> Vec<IpAddr> {
    let source = |(any, far): (IpAddr, IpAddr)| {
        let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
        socket.connect(SocketAddr::new(far, 9)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    FAR.into_iter().filter_map(source).collect()
}

/// Puts addresses in the order of their use, and leaves out what is of none: loopback unless it is
/// wanted, those whose zone a peer does not know, a second of one network, interfaces of this host
/// alone where there are others.
fn rank(found: Vec<Found>, default_sources: &[IpAddr], loopback: bool) -> Vec<IpAddr> {
    let (local, mut rest): (Vec<_>, Vec<_>) = found
        .into_iter()
        .filter(|found| is_known_elsewhere(found.address))
        .partition(|found| found.address.is_loopback());
    let local = local.iter().map(|found| found.address);
    let local = local
        .filter(|address| loopback && address.is_ipv4())
        .take(1);
    let is_default = |found: &Found| default_sources.contains(&found.address);
    // The kernel's order within an interface is kept: its first address is the primary one.
    rest.sort_by_key(|found| {
        (
            kind(&found.interface),
            !is_default(found),
            found.address.is_ipv6(),
        )
    });
    let mut networks = BTreeSet::new();
    rest.retain(|found| networks.insert((found.interface.clone(), network(found))));
    if rest
        .iter()
        .any(|found| kind(&found.interface) < Kind::HostOnly || is_default(found))
    {
        rest.retain(|found| kind(&found.interface) < Kind::HostOnly || is_default(found));
    }
    // Interfaces take turns, so that one with many addresses does not crowd out another.
    let mut turns: Vec<(bool, Kind, usize, IpAddr)> = Vec::new();
    for (index, found) in rest.iter().enumerate() {
        let same = |other: &&Found| {
            other.interface == found.interface && other.address.is_ipv6() == found.address.is_ipv6()
        };
        let turn = rest[..index].iter().filter(same).count();
        let kind = kind(&found.interface);
        turns.push((!is_default(found), kind, turn, found.address));
    }
    turns.sort_by_key(|&(other, kind, turn, address)| (other, kind, turn, address.is_ipv6()));
    let rest = turns.into_iter().map(|(.., address)| address);
    local.chain(rest).take(ADDRESSES_MAX).collect()
}

fn kind(interface: &str) -> Kind {
    let is_of = |prefixes: &[&str]| prefixes.iter().any(|prefix| interface.starts_with(prefix));
    if is_of(&HOST_ONLY) {
        Kind::HostOnly
    } else if is_of(&TUNNELS) {
        Kind::Tunnel
    } else {
        Kind::Ordinary
    }
}

/// The zone of a link-local address is unknown to peers.
fn is_known_elsewhere(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_link_local() && !address.is_unspecified(),
        IpAddr::V6(address) => !address.is_unicast_link_local() && !address.is_unspecified(),
    }
}

/// An address without its host part.
fn network(found: &Found) -> (bool, u128) {
    let prefix = u32::from(found.prefix);
    match found.address {
        IpAddr::V4(address) => {
            let rest = 32_u32.saturating_sub(prefix);
            let bits = u32::from(address).checked_shr(rest).unwrap_or_default();
            (false, u128::from(bits))
        }
        IpAddr::V6(address) => {
            let rest = 128_u32.saturating_sub(prefix);
            (
                true,
                u128::from(address).checked_shr(rest).unwrap_or_default(),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(all: &[(&str, &str)]) -> Vec<Found> {
        let each = all.iter().map(|(interface, text)| {
            let (address, prefix) = text.split_once('/').expect("a prefix");
            Found {
                interface: (*interface).to_owned(),
                address: address.parse().expect("an address"),
                prefix: prefix.parse().expect("a number"),
            }
        });
        each.collect()
    }

    fn ranked(all: &[(&str, &str)], default: &[&str]) -> Vec<String> {
        let default: Vec<IpAddr> = default
            .iter()
            .map(|address| address.parse().expect("an address"))
            .collect();
        let ranked = rank(found(all), &default, false);
        ranked.iter().map(ToString::to_string).collect()
    }

    /// Seven networks of an interface.
    fn many(interface: &str) -> Vec<(&str, String)> {
        (1..=7)
            .map(|n| (interface, format!("10.1.{n}.1/24")))
            .collect()
    }

    #[test]
    fn the_address_of_the_default_route_comes_first() {
        for interface in ["cni0", "lab0", "tun0"] {
            let mut all = many(interface);
            all.push(("eth0", "192.168.7.5/24".to_owned()));
            let all: Vec<(&str, &str)> = all.iter().map(|(n, a)| (*n, &**a)).collect();
            let first = &ranked(&all, &["192.168.7.5"])[0];
            assert_eq!(first, "192.168.7.5", "{interface}");
            // Even one that looks as if it led nowhere.
            let ranked = ranked(&all, &["10.1.7.1"]);
            assert_eq!(ranked[0], "10.1.7.1", "{interface}");
            assert!(ranked.contains(&"192.168.7.5".to_owned()));
        }
    }

    #[test]
    fn interfaces_take_turns_where_there_is_no_default_route() {
        let mut all = many("lab0");
        all.push(("lab1", "192.168.7.5/24".to_owned()));
        let all: Vec<(&str, &str)> = all.iter().map(|(n, a)| (*n, &**a)).collect();
        let ranked = ranked(&all, &[]);
        assert_eq!(ranked.len(), ADDRESSES_MAX);
        assert_eq!(ranked[..3], ["10.1.1.1", "192.168.7.5", "10.1.2.1"]);
    }

    #[test]
    fn one_address_of_a_network_is_enough() {
        let all = [
            ("eth0", "fe80::1/64"),
            ("eth0", "2001:db8::aaaa/64"),
            ("eth0", "2001:db8::bbbb/64"),
            ("eth0", "192.168.7.5/24"),
            ("eth0", "192.168.7.6/24"),
            ("eth0", "192.168.8.6/24"),
            ("wlan0", "192.168.7.7/24"),
        ];
        let expected = [
            "192.168.7.5",
            "2001:db8::bbbb",
            "192.168.7.7",
            "192.168.8.6",
        ];
        assert_eq!(ranked(&all, &["192.168.7.5", "2001:db8::bbbb"]), expected);
    }

    #[test]
    fn a_host_with_nothing_better_uses_what_it_has() {
        let bridge = [("docker0", "172.17.0.1/16"), ("eth0", "169.254.3.4/16")];
        assert_eq!(ranked(&bridge, &[]), ["172.17.0.1"]);
        let both = [("docker0", "172.17.0.1/16"), ("wg0", "10.8.0.2/24")];
        assert_eq!(ranked(&both, &[]), ["10.8.0.2"]);
        assert!(ranked(&[], &[]).is_empty());
    }

    #[test]
    fn loopback_is_first_where_it_is_wanted() {
        let all = found(&[
            ("eth0", "192.168.7.5/24"),
            ("lo", "127.0.0.1/8"),
            ("lo", "::1/128"),
        ]);
        let ranked = rank(all, &[], true);
        let expected: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), [192, 168, 7, 5].into()];
        assert_eq!(ranked, expected);
    }

    #[test]
    fn an_address_of_another_machine_is_refused_with_those_that_there_are() {
        let here: Vec<IpAddr> = ["127.0.0.1", "192.0.2.7", "2001:db8::7"]
            .map(|text| text.parse().expect("an address"))
            .to_vec();
        let present = here.iter().copied().collect();
        assert_eq!(check_among(&here, &present), Ok(()));
        let any = IpAddr::from(Ipv4Addr::UNSPECIFIED);
        assert_eq!(check_among(&[any], &present), Ok(()));
        let far = "203.0.113.8".parse().expect("an address");
        let error = check_among(&[here[1], far], &present).expect_err("of another machine");
        assert_eq!(error.code(), "address");
        let words = error.to_string();
        for address in here.iter().chain([&far]) {
            assert!(words.contains(&address.to_string()), "{words}");
        }
    }
}
