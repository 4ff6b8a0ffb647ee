//! Signals that the hub has not passed on: to a member that it does not know, or while it, or the
//! member, had too much to take.

use std::time::Duration;

use super::Mesh;
use crate::id::PeerId;
use crate::log::decided;
use crate::signaling::ErrorCode;

/// Mean time that a busy hub is left alone before it is given a signal again: a newcomer is to be
/// in the room within three seconds once the hub is well.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

impl Mesh {
    /// The hub has not passed on what it was given for a member.
    pub(super) fn not_passed_on(&mut self, to: PeerId, code: ErrorCode) {
        decided!(self.cx, peer = ?to, code = code.as_str(), "the hub did not pass a signal on");
        if code != ErrorCode::Busy {
            self.links.hub_knows_none(to, &mut self.cx);
            return;
        }
        let pause = self.links.spread(BUSY_PAUSE);
        if !self.links.hub_was_busy(to, pause, &self.cx) && self.overlay.wanted().contains(&to) {
            self.overlay.settle_at(self.cx.now + pause);
        }
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn an_attempt_ends_at_once_if_the_hub_does_not_know_the_peer() {
        let mut world = newcomer_at_a_busy_hub();
        let before = negotiating(&world);
        let (peer, others) = before.split_first().expect("some");
        let said = |peer: &str| {
            let text = format!(
                "{{\"type\":\"error\",\"code\":\"unknown-peer\",\"message\":\"a test\"{peer}}}"
            );
            let socket = SocketId(1);
            Input::SignalingReceived { socket, text }
        };
        world.inject(MEMBERS, said("")); // A hub that does not say whom it means.
        assert_eq!(negotiating(&world), before);
        world.inject(MEMBERS, said(&format!(",\"peer\":\"{peer}\"")));
        assert_eq!(negotiating(&world), others);
        let reason = "the hub does not know the peer".to_owned();
        let failed = Event::LinkFailed {
            peer: *peer,
            reason,
        };
        assert!(world.agents()[MEMBERS].events().contains(&failed));
    }
}
