//! Where an agent may be: behind a NAT of each kind, a firewall, or on a network that half works;
//! and what two agents in such places can link by.

use super::Servers;

/// A kind of NAT: what it maps, and what may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// One mapping for all, and all may send to it.
    FullCone,
    /// One mapping for all; addresses that were sent to may send to it.
    AddressRestricted,
    /// One mapping for all; only what was sent to may send to it.
    PortRestricted,
    /// Another mapping for each target; only the target may send to it.
    Symmetric,
}

/// A kind of place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A public address of each family.
    Open,
    /// Behind a NAT.
    Behind(Nat),
    /// Behind the NAT of a home, and that of a carrier.
    Cgnat,
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

/// Where two agents are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pair {
    /// Each in a place of its own.
    Apart([Place; 2]),
    /// Behind one full cone NAT, on a network that keeps them apart: they reach each other only
    /// through the NAT's outer address.
    Hairpin,
    /// Behind one port-restricted NAT, on one network.
    Together,
}

/// A number for each side, which is in its addresses.
pub(super) const NUMBERS: [u8; 2] = [10, 20];

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Open => "open host",
            Self::Behind(Nat::FullCone) => "full cone NAT",
            Self::Behind(Nat::AddressRestricted) => "address-restricted NAT",
            Self::Behind(Nat::PortRestricted) => "port-restricted NAT",
            Self::Behind(Nat::Symmetric) => "symmetric NAT",
            Self::Cgnat => "two NATs (CGNAT)",
            Self::NoUdp => "UDP blocked",
            Self::Only443 => "all but TCP 443 blocked",
            Self::V6Only => "IPv6 alone",
            Self::BrokenV6 => "IPv6 broken beside IPv4",
            Self::DeadInterface => "one of two interfaces dead",
        }
    }

    /// The NAT that decides what reaches it, if there is one.
    fn nat(self) -> Option<Nat> {
        match self {
            Self::Behind(nat) => Some(nat),
            Self::Cgnat => Some(Nat::PortRestricted),
            _ => None,
        }
    }

    /// Whether a firewall before it drops what goes to these servers.
    fn blocks(self, servers: Servers) -> bool {
        match self {
            Self::NoUdp => matches!(servers, Servers::Stun | Servers::TurnUdp),
            Self::Only443 => !matches!(servers, Servers::None | Servers::TurnTls),
            _ => false,
        }
    }

    fn has_v4(self) -> bool {
        self != Self::V6Only
    }

    fn has_v6(self) -> bool {
        matches!(
            self,
            Self::Open | Self::NoUdp | Self::Only443 | Self::V6Only
        )
    }

    /// What `mesh doctor` calls the NAT there, where a server answers over UDP.
    pub fn diagnosis(self) -> Option<&'static str> {
        match self {
            Self::NoUdp | Self::Only443 => None,
            Self::Cgnat => Some(Self::Behind(Nat::PortRestricted).name()),
            Self::Behind(_) => Some(self.name()),
            Self::Open | Self::V6Only | Self::BrokenV6 | Self::DeadInterface => Some("no NAT"),
        }
    }
}

impl Pair {
    /// As the tables have its two sides.
    pub fn names(self) -> [&'static str; 2] {
        match self {
            Self::Apart(places) => places.map(Place::name),
            Self::Hairpin => ["same NAT, apart (hairpin)"; 2],
            Self::Together => ["same NAT, one network"; 2],
        }
    }

    /// The same pair, with its sides exchanged.
    pub(super) const fn reversed(self) -> Self {
        match self {
            Self::Apart([one, other]) => Self::Apart([other, one]),
            same => same,
        }
    }

    /// What `mesh doctor` calls the NAT of the first side, where a server answers over UDP.
    pub fn diagnosis(self) -> Option<&'static str> {
        match self {
            Self::Apart([place, _]) => place.diagnosis(),
            Self::Hairpin => Place::Behind(Nat::FullCone).diagnosis(),
            Self::Together => Place::Behind(Nat::PortRestricted).diagnosis(),
        }
    }

    /// The public addresses of its NATs.
    pub(super) fn outer_addresses(self) -> Vec<String> {
        let address = |number: u8| format!("203.0.113.{number}");
        match self {
            Self::Apart(places) => {
                let behind = places.into_iter().zip(NUMBERS);
                let behind = behind.filter(|(place, _)| place.nat().is_some());
                behind.map(|(_, number)| address(number)).collect()
            }
            Self::Hairpin | Self::Together => vec![address(NUMBERS[0])],
        }
    }

    /// Whether a firewall keeps a side from these servers.
    pub(super) fn blocks(self, servers: Servers) -> bool {
        match self {
            Self::Apart(places) => places.iter().any(|place| place.blocks(servers)),
            Self::Hairpin | Self::Together => false,
        }
    }

    /// Whether there is a direct path for agents that know their outer addresses.
    pub(super) fn links_by_stun(self) -> bool {
        let Self::Apart([one, other]) = self else {
            return true;
        };
        if self.blocks(Servers::Stun) {
            return false;
        }
        if !(one.has_v4() && other.has_v4() || one.has_v6() && other.has_v6()) {
            return false;
        }
        // What a symmetric NAT sends from is none of the ports that a strict one lets in.
        let strict = |nat| matches!(nat, Some(Nat::PortRestricted | Nat::Symmetric));
        let symmetric = |nat| nat == Some(Nat::Symmetric);
        let (one, other) = (one.nat(), other.nat());
        !(symmetric(one) && strict(other) || strict(one) && symmetric(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symmetric_nat_has_a_direct_path_to_those_alone_that_let_any_port_in() {
        let symmetric = Place::Behind(Nat::Symmetric);
        for (other, direct) in [
            (Place::Open, true),
            (Place::Behind(Nat::AddressRestricted), true),
            (Place::Behind(Nat::PortRestricted), false),
            (Place::Cgnat, false),
            (symmetric, false),
            (Place::V6Only, false),
            (Place::NoUdp, false),
        ] {
            let pair = Pair::Apart([symmetric, other]);
            assert_eq!(pair.links_by_stun(), direct, "{other:?}");
            assert_eq!(pair.reversed().links_by_stun(), direct, "{other:?}");
        }
    }
}
