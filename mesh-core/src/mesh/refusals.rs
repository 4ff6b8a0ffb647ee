//! Signals that the hub has not passed on: to a member that it does not know, or at another hub
//! that it cannot reach, or while it, or the member, had too much to take.

use std::time::Duration;

use super::Mesh;
use crate::id::PeerId;
use crate::log::decided;
use crate::signaling::ErrorCode;

/// Mean time that a busy hub is left alone before it is given a signal again: a newcomer is to be
/// in the room within three seconds once the hub is well.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// Mean time for which other members are linked with instead of one whose hub is out of reach: a
/// newcomer to which no other is left is to be in the room within three seconds once hubs reach
/// each other again.
const OUT_OF_REACH_PAUSE: Duration = Duration::from_secs(2);

impl Mesh {
    /// The hub has not passed on what it was given for a member.
    pub(super) fn not_passed_on(&mut self, to: PeerId, code: ErrorCode) {
        decided!(self.cx, peer = ?to, code = code.as_str(), "the hub did not pass a signal on");
        match code {
            ErrorCode::Busy => self.hub_was_busy(to),
            ErrorCode::OutOfReach => {
                let pause = self.links.spread(OUT_OF_REACH_PAUSE);
                if !self.links.hub_reaches_not(to, pause, &mut self.cx) {
                    self.hub_was_busy(to);
                } else if self.overlay.wanted().contains(&to) {
                    self.overlay.settle_at(self.cx.now);
                }
            }
            _ => self.links.hub_knows_none(to, &mut self.cx),
        }
    }

    fn hub_was_busy(&mut self, to: PeerId) {
        let pause = self.links.spread(BUSY_PAUSE);
        if !self.links.hub_was_busy(to, pause, &self.cx) && self.overlay.wanted().contains(&to) {
            self.overlay.settle_at(self.cx.now + pause);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::id::SocketId;
    use crate::io::{Event, Input};
    use crate::sim::World;

    const MEMBERS: usize = 4;

    /// A room whose hub is busy, and a newcomer, the last, that knows the others and has no link.
    fn newcomer_at_a_busy_hub() -> World {
        let mut world = World::formed(3, None, MEMBERS);
        world.set_hub_busy(true);
        world.start_agents(1);
        // Longer than an attempt may take.
        world.run_for(Duration::from_secs(15));
        assert_eq!(
            world.agents()[MEMBERS].mesh().links.len(),
            negotiating(&world).len()
        );
        assert!(!negotiating(&world).is_empty());
        world
    }

    /// The peers that the newcomer is about to link with.
    fn negotiating(world: &World) -> Vec<PeerId> {
        let links = world.agents()[MEMBERS].mesh().links.iter();
        let links = links.filter(|link| link.is_negotiating());
        links.map(|link| link.peer).collect()
    }

    fn failures(world: &World) -> usize {
        let events = world.agents().iter().flat_map(|agent| agent.events());
        events
            .filter(|event| matches!(event, Event::LinkFailed { .. }))
            .count()
    }

    #[test]
    fn a_newcomer_is_linked_as_soon_as_the_hub_is_no_longer_busy() {
        let mut world = newcomer_at_a_busy_hub();
        assert_eq!(failures(&world), 0, "no attempt has failed");
        world.set_hub_busy(false);
        let linked = world.run_until(Duration::from_secs(3), World::is_converged);
        assert!(linked, "{:?}", negotiating(&world));
        assert_eq!(failures(&world), 0);
    }

    #[test]
    fn a_hub_that_stays_busy_is_not_asked_for_ever() {
        let mut world = newcomer_at_a_busy_hub();
        world.run_for(Duration::from_secs(60));
        assert!(failures(&world) > 0, "the attempts have failed in the end");
    }

    /// What the hub says of a signal for a peer, if it says for which.
    fn refused(code: &str, peer: Option<PeerId>) -> Input {
        let peer = peer.map(|peer| format!(",\"peer\":\"{peer}\""));
        let peer = peer.unwrap_or_default();
        let text =
            format!("{{\"type\":\"error\",\"code\":\"{code}\",\"message\":\"a test\"{peer}}}");
        let socket = SocketId(1);
        Input::SignalingReceived { socket, text }
    }

    /// Peers that an agent is about to link with, or waits for an offer of, or has a link with.
    fn chosen(world: &World, agent: usize) -> BTreeSet<PeerId> {
        world.agents()[agent].mesh().overlay.wanted().clone()
    }

    #[test]
    fn others_are_linked_with_while_the_hub_of_a_peer_is_out_of_reach() {
        let mut world = World::formed(3, Some(2), 12);
        world.set_hub_busy(true); // The signals of the newcomer are refused below, one by one.
        world.start_agents(1);
        let newcomer = world.agents().len() - 1;
        let started = world.run_until(Duration::from_secs(2), |world| {
            !chosen(world, newcomer).is_empty()
        });
        assert!(started);
        let first = chosen(&world, newcomer);
        for peer in &first {
            world.inject(newcomer, refused("out-of-reach", Some(*peer)));
        }
        world.run_for(Duration::from_millis(500));
        let others = chosen(&world, newcomer);
        assert!(
            !others.is_empty() && others.is_disjoint(&first),
            "{first:?}, {others:?}"
        );
        world.run_for(Duration::from_secs(3));
        world.set_hub_busy(false);
        assert!(world.run_until(Duration::from_secs(10), World::is_converged));
    }

    #[test]
    fn an_attempt_ends_at_once_if_the_hub_does_not_know_the_peer() {
        let mut world = newcomer_at_a_busy_hub();
        let before = negotiating(&world);
        let (peer, others) = before.split_first().expect("some");
        // A hub that does not say which member it means.
        world.inject(MEMBERS, refused("unknown-peer", None));
        assert_eq!(negotiating(&world), before);
        world.inject(MEMBERS, refused("unknown-peer", Some(*peer)));
        assert_eq!(negotiating(&world), others);
        let reason = "the hub does not know the peer".to_owned();
        let failed = Event::LinkFailed {
            peer: *peer,
            reason,
        };
        assert!(world.agents()[MEMBERS].events().contains(&failed));
    }
}
