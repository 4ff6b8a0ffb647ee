//! How large the packets of a connection may be.
//!
//! Some paths drop packets over a size and tell no end: a tunnel whose router may not send ICMP
//! errors. A connection whose packets are larger opens, for those of its handshake are small, and
//! stands still as soon as it carries much: SCTP sends a lost packet again and again, and all else
//! waits behind it. Its other end falls silent, or both do, and another connection takes its place,
//! which would stand still too.
//!
//! What packets get lost cannot be seen from here, and most links are lost for other causes. But
//! small packets harm little. So a connection that follows a lost link has small ones. The next
//! rotation of its keys tries large ones again, once ([RFC 8899] probes again after 10 minutes).
//!
//! [RFC 8899]: https://www.rfc-editor.org/rfc/rfc8899

use std::collections::BTreeMap;

use super::link::Role;
use crate::id::PeerId;

/// Peers that are remembered at most; beyond that, those with the highest ids are not. An agent has
/// some 30 links in the largest rooms, and few of them lead through such a tunnel.
const KNOWN_MAX: usize = 64;

/// What is known of the path to a peer whose link was lost. Of others nothing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    /// The link was lost, perhaps for its large packets.
    Suspect,
    /// Large packets are tried again.
    Probed,
    /// They were tried again, and the link was lost again.
    Narrow,
}

/// The paths that may be narrow.
#[derive(Debug, Default)]
pub(crate) struct PacketSizes {
    paths: BTreeMap<PeerId, Path>,
}

impl PacketSizes {
    /// An open link was lost.
    pub(crate) fn lost(&mut self, peer: PeerId) {
        let now = match self.paths.get(&peer) {
            None | Some(Path::Suspect) => Path::Suspect,
            Some(Path::Probed | Path::Narrow) => Path::Narrow,
        };
        self.paths.insert(peer, now);
        if self.paths.len() > KNOWN_MAX {
            self.paths.pop_last();
        }
    }

    /// Whether the packets of a new connection to a peer are to be small.
    pub(crate) fn are_small(&mut self, peer: PeerId, role: Role) -> bool {
        let Some(path) = self.paths.get_mut(&peer) else {
            return false;
        };
        if *path == Path::Suspect && role == Role::Successor {
            *path = Path::Probed;
        }
        *path != Path::Probed
    }

    /// Paths lead elsewhere from now on: nothing is known of them.
    pub(crate) fn forget(&mut self) {
        self.paths.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> PeerId {
        PeerId::from_bytes([n; 32])
    }

    #[test]
    fn packets_are_small_after_a_loss_and_large_ones_are_tried_once_more() {
        let mut sizes = PacketSizes::default();
        assert!(!sizes.are_small(peer(1), Role::Only));
        sizes.lost(peer(1));
        sizes.lost(peer(1));
        assert!(sizes.are_small(peer(1), Role::Only));
        assert!(!sizes.are_small(peer(2), Role::Only), "the path to another");
        assert!(!sizes.are_small(peer(1), Role::Successor), "tried again");
        assert!(!sizes.are_small(peer(1), Role::Successor), "as it works");
        sizes.lost(peer(1));
        assert!(sizes.are_small(peer(1), Role::Only));
        assert!(sizes.are_small(peer(1), Role::Successor), "once only");
        sizes.forget();
        assert!(!sizes.are_small(peer(1), Role::Only));
    }

    #[test]
    fn so_many_peers_are_remembered() {
        let mut sizes = PacketSizes::default();
        for n in 0..=KNOWN_MAX as u8 {
            sizes.lost(peer(n));
        }
        assert_eq!(sizes.paths.len(), KNOWN_MAX);
        assert!(sizes.are_small(peer(0), Role::Only));
    }
}
