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
//! successor of that, which rotates its keys or has a direct path, tries large ones again, once
//! ([RFC 8899] probes again after 10 minutes). If it lasts until it is succeeded in turn, large
//! packets pass.
//!
//! [RFC 8899]: https://www.rfc-editor.org/rfc/rfc8899

use std::collections::BTreeMap;

use super::link::Role;
use crate::id::PeerId;
use crate::time::Instant;

/// Peers that are remembered at most, those whose links were lost last. An agent has some 30 links
/// in the largest rooms, and few of them lead through such a tunnel.
const KNOWN_MAX: usize = 64;

/// What is known of the path to a peer whose link was lost, what is worth most last. Of others
/// nothing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    /// When the link was lost, and what is known since.
    paths: BTreeMap<PeerId, (Instant, Path)>,
}

impl PacketSizes {
    /// An open link was lost.
    pub(crate) fn lost(&mut self, peer: PeerId, now: Instant) {
        let path = match self.paths.get(&peer) {
            None | Some((_, Path::Suspect)) => Path::Suspect,
            Some((_, Path::Probed | Path::Narrow)) => Path::Narrow,
        };
        self.paths.insert(peer, (now, path));
        if self.paths.len() > KNOWN_MAX {
            let value = |(_, (at, path)): &(&PeerId, &(Instant, Path))| (*path, *at);
            let least = self.paths.iter().min_by_key(value).map(|(peer, _)| *peer);
            least.and_then(|peer| self.paths.remove(&peer));
        }
    }

    /// Whether the packets of a new connection to a peer are to be small.
    pub(crate) fn are_small(&self, peer: PeerId, role: Role) -> bool {
        match self.paths.get(&peer) {
            None | Some((_, Path::Probed)) => false,
            Some((_, Path::Suspect)) => role != Role::Successor,
            Some((_, Path::Narrow)) => true,
        }
    }

    /// A successor of a link is open, and takes its place.
    pub(crate) fn succeeded(&mut self, peer: PeerId) {
        match self.paths.get_mut(&peer) {
            None | Some((_, Path::Narrow)) => {}
            Some((_, path @ Path::Suspect)) => *path = Path::Probed,
            // Large packets have passed since the last.
            Some((_, Path::Probed)) => {
                self.paths.remove(&peer);
            }
        }
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
        sizes.lost(peer(1), Instant::default());
        sizes.lost(peer(1), Instant::default());
        assert!(sizes.are_small(peer(1), Role::Only));
        assert!(!sizes.are_small(peer(2), Role::Only), "the path to another");
        assert!(!sizes.are_small(peer(1), Role::Successor), "tried again");
        assert!(sizes.are_small(peer(1), Role::Only), "it did not open");
        sizes.succeeded(peer(1));
        assert!(!sizes.are_small(peer(1), Role::Only));
        sizes.lost(peer(1), Instant::default());
        assert!(sizes.are_small(peer(1), Role::Only));
        assert!(sizes.are_small(peer(1), Role::Successor), "once only");
        sizes.succeeded(peer(1));
        assert!(sizes.are_small(peer(1), Role::Only));
        sizes.forget();
        assert!(!sizes.are_small(peer(1), Role::Only));
    }

    #[test]
    fn a_path_on_which_large_packets_lasted_is_as_any_other() {
        let mut sizes = PacketSizes::default();
        sizes.lost(peer(1), Instant::default());
        sizes.succeeded(peer(1));
        sizes.succeeded(peer(1));
        sizes.lost(peer(1), Instant::default());
        assert!(!sizes.are_small(peer(1), Role::Successor), "tried again");
    }

    #[test]
    fn so_many_peers_are_remembered() {
        let mut sizes = PacketSizes::default();
        let known = KNOWN_MAX as u8;
        sizes.lost(peer(0), Instant::default());
        sizes.succeeded(peer(0));
        sizes.lost(peer(0), Instant::default());
        for n in 1..=known {
            sizes.lost(peer(n), Instant::from_micros(1_000 + u64::from(n)));
        }
        assert_eq!(sizes.paths.len(), KNOWN_MAX);
        assert!(sizes.are_small(peer(0), Role::Only), "it is narrow");
        assert!(!sizes.are_small(peer(1), Role::Only), "the oldest");
        assert!(sizes.are_small(peer(known), Role::Only));
    }
}
