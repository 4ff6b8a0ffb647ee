//! Why an agent wants to be woken: what [`Mesh::poll_timeout`](crate::Mesh::poll_timeout) names
//! beside the moment.

use serde::{Deserialize, Serialize};

/// What is due next; also its name in statistics and in the log. Of one moment the earlier of these
/// is done first: they stand by machine, in the order of the root, and none is of two machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TimeoutReason {
    /// A signaling server is dialled, pinged, or given up.
    Signaling,
    /// A link that has not opened in time is given up.
    Negotiation,
    /// A link that has found no direct path tries relays.
    Fallback,
    /// A busy signaling server is given the signals of a link again.
    Relay,
    /// A neighbour is pinged, or has left pings unanswered.
    Keepalive,
    /// A link that drains is closed.
    Drain,
    /// A link gets fresh keys.
    Rotate,
    /// A relayed link looks for a direct path.
    Direct,
    /// A neighbour is told of tracks of audio and video.
    Tracks,
    /// Received messages are acknowledged.
    Acknowledge,
    /// Links go on with what was too much for one moment.
    Bursts,
    /// Neighbours that owe acknowledgements are asked whether they live.
    Suspect,
    /// Silent connections are asked for a sign of life, restarted, or closed.
    Silent,
    /// Link-state records that have come are verified.
    Verify,
    /// This agent's links are announced.
    Announce,
    /// Link-state records are passed on.
    Gossip,
    /// Link-state databases are compared with a neighbour that is waited for.
    Compare,
    /// The same with a random neighbour, in case anything was lost.
    Repair,
    /// Paths are computed again.
    Routes,
    /// Links follow the members of the room.
    Settle,
    /// The number of links is adapted to the state of the mesh.
    Adapt,
    /// Members that have not come back to the signaling server have left.
    Return,
    /// Neighbours are told which broadcasts are here.
    Tell,
    /// Broadcasts that were asked for and have not come are asked of others.
    Ask,
    /// Messages that have waited for each other are signed together.
    Gather,
    /// Unanswered messages are sent again or given up.
    Retry,
    /// Messages that have found no way are given up.
    Waiting,
    /// Lost messages of this agent to one member leave again, and news of them is asked for.
    Streams,
    /// Parts of large messages are repeated or asked for, and messages given up.
    Large,
    /// Messages of others that are missing in their order are asked for, or given up.
    Gaps,
    /// Members that were asked of their links are asked again, or given up.
    Explain,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Config;
    use crate::id::Target;
    use crate::mesh::Mesh;
    use crate::payload::Delivery;
    use crate::sim::World;
    use crate::time::{Instant, UnixTime};
    use crate::trust::Identity;
    use crate::view::TimeoutView;

    #[test]
    fn an_agent_that_joins_says_when_it_acts_next() {
        let config = Config::new("room", "name").expect("valid");
        let in_ms = config.ping_interval.as_secs_f64() * 1e3;
        let (identity, now) = (Identity::from_secret([1; 32]), Instant::default());
        let mut mesh = Mesh::new(config, identity, [2; 32], now, UnixTime::from_micros(1));
        assert_eq!(mesh.next_timeout(now), None, "it has not joined");
        mesh.join(now);
        let reason = TimeoutReason::Adapt;
        let late = now + Duration::from_secs(60);
        for (now, in_ms) in [(now, in_ms), (late, 0.0)] {
            assert_eq!(mesh.next_timeout(now), Some(TimeoutView { in_ms, reason }));
        }
    }

    #[test]
    fn an_agent_says_which_message_or_neighbour_it_waits_for() {
        let mut world = World::formed(3, None, 2);
        world.run_for(Duration::from_secs(5));
        let reason = |world: &World| {
            let next = world.agents()[0].mesh().poll_timeout();
            next.map(|(_, reason)| reason)
        };
        assert_eq!(reason(&world), Some(TimeoutReason::Keepalive), "at rest");
        world.freeze(1);
        let to = Target::Peer(world.agents()[1].id());
        let sent = world.send(0, to, "unheard".into(), Delivery::Acknowledged);
        sent.expect("sent");
        assert_eq!(reason(&world), Some(TimeoutReason::Retry));
        world.leave(0);
        assert_eq!(reason(&world), None, "it has left, whatever it waited for");
    }

    #[test]
    fn the_reason_is_told_by_its_code() {
        let (in_ms, reason) = (1.5, TimeoutReason::Acknowledge);
        let json = serde_json::to_value(TimeoutView { in_ms, reason }).expect("JSON");
        let expected = serde_json::json!({ "inMs": 1.5, "reason": "acknowledge" });
        assert_eq!(json, expected);
    }
}
