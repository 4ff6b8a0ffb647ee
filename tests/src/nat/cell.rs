//! One cell of a table: the servers that two agents have, and what became of the two.

use std::fmt;
use std::time::Duration;

use super::{Internet, Pair};
use crate::turn::with_user;

/// What agents have to link with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Servers {
    /// Nothing.
    None,
    /// STUN.
    Stun,
    /// TURN over UDP.
    TurnUdp,
    /// TURN over TCP.
    TurnTcp,
    /// TURN over TLS, at port 443.
    TurnTls,
}

impl Servers {
    /// All, in the order of the table.
    pub const ALL: [Self; 5] = [
        Self::None,
        Self::Stun,
        Self::TurnUdp,
        Self::TurnTcp,
        Self::TurnTls,
    ];

    /// As the table has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "no server",
            Self::Stun => "STUN",
            Self::TurnUdp => "TURN, UDP",
            Self::TurnTcp => "TURN, TCP",
            Self::TurnTls => "TURN, TLS",
        }
    }

    /// As `--ice-server` has them.
    pub fn urls(self) -> Vec<String> {
        let turn = |transport| with_user(&Internet::turn_url(transport));
        match self {
            Self::None => Vec::new(),
            Self::Stun => vec!["stun:turn.example:3478".to_owned()],
            Self::TurnUdp => vec![turn("udp")],
            Self::TurnTcp => vec![turn("tcp")],
            Self::TurnTls => vec![turn("tls")],
        }
    }
}

/// How a link goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// From host to host.
    Host,
    /// Through the mapping of a NAT.
    Nat,
    /// Through the TURN server.
    Relay,
}

/// What became of two agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// They linked, so long after both had joined.
    Linked(Path, Duration),
    /// They did not.
    Apart,
}

impl Cell {
    /// How they linked, if they did.
    pub fn path(self) -> Option<Path> {
        match self {
            Self::Linked(path, _) => Some(path),
            Self::Apart => None,
        }
    }

    /// Whether it is as it should be: agents that reach their TURN server link, and those that can
    /// link directly with what STUN tells them do.
    pub fn is_expected(self, pair: Pair, servers: Servers) -> bool {
        let direct = pair.links_by_stun();
        match (servers, self.path()) {
            (Servers::None, _) => true,
            (Servers::Stun | Servers::TurnUdp, Some(path)) if direct => path != Path::Relay,
            (Servers::Stun, None) => !direct,
            (_, None) => pair.blocks(servers),
            (_, Some(_)) => true,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linked(path, after) => {
                let path = match path {
                    Path::Host => "host",
                    Path::Nat => "through NAT",
                    Path::Relay => "relay",
                };
                write!(f, "{path}, {:.1} s", after.as_secs_f64())
            }
            Self::Apart => write!(f, "–"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::place::{Nat, Place};
    use super::*;

    #[test]
    fn a_cell_is_unexpected_if_a_server_that_is_reached_is_of_no_use() {
        let after = Duration::from_secs(1);
        let (nat, relay) = (
            Cell::Linked(Path::Nat, after),
            Cell::Linked(Path::Relay, after),
        );
        let strict = Pair::Apart([Place::Behind(Nat::PortRestricted); 2]);
        let symmetric = Pair::Apart([Place::Behind(Nat::Symmetric); 2]);
        let no_udp = Pair::Apart([Place::NoUdp, Place::Open]);
        for (pair, servers, cell, expected) in [
            (strict, Servers::Stun, nat, true),
            (strict, Servers::Stun, Cell::Apart, false),
            (strict, Servers::TurnUdp, relay, false),
            (strict, Servers::TurnTcp, relay, true),
            (symmetric, Servers::Stun, Cell::Apart, true),
            (symmetric, Servers::TurnUdp, relay, true),
            (symmetric, Servers::TurnUdp, Cell::Apart, false),
            (no_udp, Servers::TurnUdp, Cell::Apart, true),
            (no_udp, Servers::TurnTcp, Cell::Apart, false),
        ] {
            assert_eq!(
                cell.is_expected(pair, servers),
                expected,
                "{pair:?}, {servers:?}: {cell}"
            );
        }
    }
}
