//! The limits and intervals of an agent and of the hub that users set, each default with its
//! why. Those that need no setting are constants beside what they bound.

mod check;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::error::ConfigError;
use crate::ice::IceTransportPolicy;
use crate::metric::Metric;
use crate::name::check_name;
use crate::signaling::TurnMint;
use crate::topology::SHARD_MEMBERS;
use crate::wire::FRAME_BYTES_MAX;

/// Bytes of the name of a room or an agent, at most: the agent's is in each of its link-state
/// records.
pub const NAME_BYTES_MAX: usize = 64;

/// Bytes of a topic, at most: every message under one signature carries its own.
pub const TOPIC_BYTES_MAX: usize = 128;

/// Bytes of the largest payload of one message: a frame less envelope, signature, header and topic.
pub const PAYLOAD_BYTES_MAX: usize = FRAME_BYTES_MAX - 512;

/// Addresses of signaling servers that an agent takes, at most: a join may try each for seconds.
pub(crate) const HUBS_MAX: usize = 16;

/// Time between an agent's pings to its hub. Proxies close a quiet WebSocket after a minute.
const SIGNALING_PING: Duration = Duration::from_secs(15);

/// Time that members that are gone have to come back, after a restart of the hub or where many died
/// at once. For as long an agent counts them as members, a new room heeds how returning agents say
/// that it was divided, for the first of them are no small room, and a room that has shrunk keeps
/// its shards. Longer than the longest wait before a hub is dialled again.
pub(crate) const RETURN_PATIENCE: Duration = Duration::from_secs(15);

/// The longest wait before a hub is dialled again: an agent learns of newcomers no later.
const SIGNALING_RETRY_MAX: Duration = Duration::from_secs(10);

const _: () = assert!(
    SIGNALING_RETRY_MAX.as_millis() < RETURN_PATIENCE.as_millis(),
    "a hub that is back sees its members before they count as gone"
);

/// Time that either end of signaling has for its next step until the other gives it up: several
/// round trips to the other side of the world, by a machine that is busy with a crowd.
const SIGNALING_TIMEOUT: Duration = Duration::from_secs(10);

/// Members of one room at most: each costs every other some memory, and a hub of two cores serves
/// as many.
const ROOM_MEMBERS_MAX: usize = 20_000;

/// The links that an agent may keep. With fewer than two the death of a member parts the room; more
/// than 64 cost each agent more than they shorten paths.
pub(crate) const K: RangeInclusive<usize> = 2..=64;

/// How an agent behaves. [`Config::new`] gives defaults that suit most.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The room: agents of one room form one mesh.
    pub room: String,
    /// The label that people see; the identity is the key.
    pub name: String,
    /// Links that the agent keeps; `None` takes [`default_k`] of the room's size, or [`sparse_k`].
    pub k: Option<usize>,
    /// Whether [`sparse_k`] is taken where no k is given: fewer links, longer paths.
    pub sparse: bool,
    /// What makes one path better than another; all agents of a room must agree on it.
    pub metric: Metric,
    /// How k follows the state of the mesh; `None` leaves it as it is.
    pub adaptive: Option<Adaptive>,
    /// How long none of the wanted links may open until the agent turns to the star: the one member
    /// that all can agree on. Longer than three attempts at each neighbour take.
    pub mesh_patience: Duration,
    /// Links that the middle of the star accepts: a room of the seed's size, and what one process
    /// carries.
    pub star_links_max: usize,
    /// Links beyond `k` that others may open to us while views of the room differ: about half of a
    /// usual k, so that a newcomer finds room everywhere.
    pub links_slack: usize,
    /// Members known at most, as many as a hub allows a room. Bounds every map that has one entry a
    /// member.
    pub members_max: usize,
    /// How long members of other shards have, after the hub was gone, to come back to it until they
    /// count as left: longer than [`Config::signaling_retry_max`]. So long have members too that
    /// have yet to move to the hub that this agent has moved to.
    pub return_patience: Duration,
    /// Links being negotiated at once: each holds sockets and timers before it is of use.
    pub negotiating_max: usize,
    /// How long a link may take to open before it is given up. ICE itself gives up after about
    /// 10 s, but on a working path a link opens in well under a second.
    pub open_timeout: Duration,
    /// How long an offer that travels over the mesh may go unanswered: it may have been lost with a
    /// forwarder, and is repeated through the hub. Answered, the link has the whole time again.
    pub answer_timeout: Duration,
    /// The wait before the first redial of a failed link: people hardly notice it, and a peer that
    /// restarts is often back. Doubles with each failure, with jitter.
    pub redial_min: Duration,
    /// The longest wait between redials: half of the time for which a peer is left out then.
    pub redial_max: Duration,
    /// Failures in a row after which a partner counts as unreachable, and the topology does
    /// without it until [`Config::unreachable_for`] has passed: by then both ways to signal, over
    /// the mesh and through the hub, have been tried.
    pub redials_max: u32,
    /// How long an unreachable partner is left out: a network between may have healed by then, and
    /// a try costs little.
    pub unreachable_for: Duration,
    /// Which candidates links may use: all, or relayed ones alone, so that no peer learns an
    /// address of this machine.
    pub ice_transport_policy: IceTransportPolicy,
    /// How long ICE looks for a direct path, from the answer on, until relayed candidates are
    /// gathered too; zero for at once. A direct path is found in two round trips or three, and a
    /// relay that was allocated in vain costs its server a port.
    pub turn_fallback_timeout: Duration,
    /// How long a link keeps its DTLS keys, on average; zero for as long as it is open. An hour
    /// bounds what a stolen key reads, and costs a handshake a link.
    pub rotate_interval: Duration,
    /// Time between pings on a quiet link. Each costs four datagrams, so a mesh at rest should not
    /// ping often; suspicion (a neighbour lost its link to the peer) probes at once instead.
    pub ping_interval: Duration,
    /// The same at most, for an agent with so many links that others notice its death soon anyway.
    pub ping_interval_max: Duration,
    /// How long a pong may take before the next try, at least; four times the link's round trip
    /// if that is more.
    pub pong_timeout_min: Duration,
    /// The same at most, and while the round trip is not known: a mass join can keep a machine busy
    /// for seconds, and taking the slow for dead makes more work.
    pub pong_timeout_max: Duration,
    /// Unanswered pings in a row that mean the peer is dead: two may be lost with a bad moment of a
    /// wireless network.
    pub pings_max: u32,
    /// How long a neighbour may acknowledge nothing of what it was sent, though it answers pings:
    /// its application or its network is stuck, and others wait behind it.
    pub ack_timeout: Duration,
    /// Hops that a message to one member may take at least; twice the present route if that is
    /// more. Five times the diameter of a usual room, and few enough to end a loop soon.
    pub ttl: u8,
    /// Envelopes queued and unacknowledged on a link before senders feel it: the seed's figure, ten
    /// seconds at its rate.
    pub link_queue_max: usize,
    /// The same in bytes: what one slow link may hold in memory. 250 of the largest.
    pub link_queue_bytes_max: usize,
    /// Bytes of the largest message that is taken: what an application must hold in memory.
    pub large_bytes_max: usize,
    /// Messages that this agent's application may send in a second, on average; zero for as many as
    /// the mesh takes, which makes a sender wait. A bound is for programs that others write: a
    /// swarm whose agents may each send 100 a second is not brought down by one that runs wild.
    pub messages_per_second: u32,
    /// Messages that may be sent at once under that limit, after a rest.
    pub messages_burst: u32,
    /// How far a message's date may be off our clock, against replays of old recordings: as long as
    /// a message may wait, and a minute by which two clocks may disagree.
    pub clock_skew_max: Duration,
    /// Acknowledged messages and requests that may await their receipt or reply: some seconds of a
    /// busy agent's, some megabytes.
    pub pending_max: usize,
    /// The deadline of acknowledged messages and requests that name none: a mesh that lost a link
    /// heals within it.
    pub deadline: Duration,
    /// The longest deadline; a message that is repeated keeps its date, so it must stay within
    /// [`Config::clock_skew_max`].
    pub deadline_max: Duration,
    /// The wait before an acknowledged message is repeated: longer than the round trip of nearly
    /// all paths. Doubles each time.
    pub retry_min: Duration,
    /// The longest such wait: a mesh that heals takes seconds, and then there should be time left.
    pub retry_max: Duration,
    /// Addresses of signaling servers that the driver has, in the order in which they are liked.
    pub hubs: usize,
    /// The wait before a signaling server is dialled again: one that restarts is often back.
    /// Doubles with jitter.
    pub signaling_retry_min: Duration,
    /// The longest such wait: news of newcomers is late by no more.
    pub signaling_retry_max: Duration,
    /// How long the signaling server may take to answer anything before it counts as gone.
    pub signaling_timeout: Duration,
    /// How long an agent that is not at its first address waits at least before it tries to return:
    /// a server that has just come back may go again.
    pub signaling_return_min: Duration,
    /// And at most: so a server that comes back is not dialled by all its agents at once, and takes
    /// in those of a full one at 200 a second.
    pub signaling_return_max: Duration,
    /// Time between pings to the signaling server, which drops a client that is silent for three:
    /// [`HubConfig::silence_max`].
    pub signaling_ping: Duration,
}

/// How k follows the state of the mesh. The defaults are the seed's rules, with a patience and a
/// pause, so that k never swings.
#[derive(Clone, Debug, PartialEq)]
pub struct Adaptive {
    /// Above this mean latency to the other members, k rises.
    pub latency_high: Duration,
    /// Below this one it falls.
    pub latency_low: Duration,
    /// Above this share of attempts that fail it falls, whatever the latency.
    pub failure_rate: f64,
    /// Links more where the mesh is slow, and fewer where links do not open.
    pub k_more: usize,
    /// Links fewer where the mesh is quick.
    pub k_fewer: usize,
    /// The least that failures lead to.
    pub k_min: usize,
    /// The least that a quick mesh leads to.
    pub k_quick: usize,
    /// The most.
    pub k_max: usize,
    /// Looks in a row that must agree.
    pub patience: u32,
    /// How long nothing changes after a change: its effect must show first.
    pub pause: Duration,
}

impl Default for Adaptive {
    fn default() -> Self {
        Self {
            latency_high: Duration::from_millis(200),
            latency_low: Duration::from_millis(100),
            failure_rate: 0.1,
            k_more: 5,
            k_fewer: 2,
            k_min: 5,
            k_quick: 10,
            k_max: 30,
            patience: 3,
            pause: Duration::from_secs(60),
        }
    }
}

impl Config {
    /// The defaults for an agent called `name` in `room`.
    ///
    /// # Errors
    /// If either is empty, longer than [`NAME_BYTES_MAX`], holds a character that does not show, or
    /// begins or ends with white space.
    pub fn new(room: &str, name: &str) -> Result<Self, ConfigError> {
        check_name("room", room)?;
        check_name("name", name)?;
        Ok(Self {
            room: room.to_owned(),
            name: name.to_owned(),
            k: None,
            sparse: false,
            metric: Metric::default(),
            adaptive: None,
            mesh_patience: Duration::from_secs(30),
            star_links_max: 100,
            links_slack: 8,
            members_max: ROOM_MEMBERS_MAX,
            return_patience: RETURN_PATIENCE,
            negotiating_max: 64,
            open_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(3),
            redial_min: Duration::from_millis(250),
            redial_max: Duration::from_secs(15),
            redials_max: 3,
            unreachable_for: Duration::from_secs(30),
            ice_transport_policy: IceTransportPolicy::default(),
            turn_fallback_timeout: Duration::from_secs(2),
            rotate_interval: Duration::from_secs(3_600),
            ping_interval: Duration::from_secs(5),
            ping_interval_max: Duration::from_secs(15),
            pong_timeout_min: Duration::from_millis(500),
            pong_timeout_max: Duration::from_secs(3),
            pings_max: 3,
            ack_timeout: Duration::from_secs(15),
            ttl: 16,
            link_queue_max: 1_000,
            link_queue_bytes_max: 4 << 20,
            large_bytes_max: 16 << 20,
            messages_per_second: 0,
            messages_burst: 50,
            clock_skew_max: Duration::from_secs(120),
            pending_max: 4_096,
            deadline: Duration::from_secs(5),
            deadline_max: Duration::from_secs(60),
            retry_min: Duration::from_millis(500),
            retry_max: Duration::from_secs(1),
            hubs: 1,
            signaling_retry_min: Duration::from_millis(250),
            signaling_retry_max: SIGNALING_RETRY_MAX,
            signaling_timeout: SIGNALING_TIMEOUT,
            signaling_return_min: Duration::from_secs(30),
            signaling_return_max: Duration::from_secs(130),
            signaling_ping: SIGNALING_PING,
        })
    }

    /// Sets the number of links.
    ///
    /// # Errors
    /// [`ConfigError::K`] unless `k` is 2 to 64.
    pub fn with_k(mut self, k: Option<usize>) -> Result<Self, ConfigError> {
        if let Some(k) = k.filter(|k| !K.contains(k)) {
            return Err(ConfigError::K(k));
        }
        self.k = k;
        Ok(self)
    }

    /// Sets how many addresses of signaling servers the driver has.
    ///
    /// # Errors
    /// [`ConfigError::HubCount`] unless there are 1 to 16, [`ConfigError::HubTwice`] if one is
    /// there twice.
    pub fn with_hubs<A: AsRef<str>>(mut self, addresses: &[A]) -> Result<Self, ConfigError> {
        let mut known = BTreeSet::new();
        let mut urls = addresses.iter().map(AsRef::as_ref);
        let again = urls.find(|url| !known.insert(*url));
        match (addresses.len(), again) {
            (1..=HUBS_MAX, None) => {
                self.hubs = addresses.len();
                Ok(self)
            }
            (1..=HUBS_MAX, Some(url)) => Err(ConfigError::HubTwice(url.to_owned())),
            (count, _) => Err(ConfigError::HubCount(count)),
        }
    }

    /// The links to keep in a room of `members`.
    pub fn k_for(&self, members: usize) -> usize {
        let by_size = if self.sparse { sparse_k } else { default_k };
        self.k.unwrap_or_else(|| by_size(members))
    }
}

/// How the hub behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubConfig {
    /// WebSocket connections at most.
    pub clients_max: usize,
    /// Members of one room at most.
    pub room_members_max: usize,
    /// The longest text a client may send: an offer with its candidates has 1 to 4 KiB.
    pub text_bytes_max: usize,
    /// How long a client may take to prove its identity.
    pub admission_timeout: Duration,
    /// Silence after which a client is taken for dead: three missed pings, of which one may be late
    /// and one lost with a retransmission.
    pub silence_max: Duration,
    /// Silence after which the hub pings a client, and then every half of it. An agent that pings
    /// every 15 s needs none.
    pub ping_after: Duration,
    /// Texts a second that a client may send on average.
    pub rate: u32,
    /// Texts that it may send at once: joining at k = 64 takes some hundreds.
    pub burst: u32,
    /// Members of a shard, about; rooms of more than twice as many are divided.
    pub shard_members: usize,
    /// How long membership changes gather before members are told.
    pub members_delay: Duration,
    /// STUN and TURN servers handed to members.
    pub ice_servers: Vec<crate::ice::IceServer>,
    /// TURN servers for which each member gets credentials of its own.
    pub turn: Option<TurnMint>,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            clients_max: ROOM_MEMBERS_MAX,
            room_members_max: ROOM_MEMBERS_MAX,
            text_bytes_max: 32 * 1024,
            admission_timeout: SIGNALING_TIMEOUT,
            silence_max: SIGNALING_PING * 3,
            ping_after: Duration::from_secs(18),
            rate: 200,
            burst: 1_000,
            shard_members: SHARD_MEMBERS,
            members_delay: Duration::from_millis(10),
            ice_servers: Vec::new(),
            turn: None,
        }
    }
}

/// The seed's table of the number of links by room size: all others to 20 members, then as many as
/// keep the diameter at 2 to 3.
pub const fn default_k(members: usize) -> usize {
    match members {
        0..=20 => 19,
        21..=50 => 15,
        51..=100 => 20,
        101..=500 => 25,
        _ => 30,
    }
}

/// As few links as keep a random mesh of so many in one piece, and as many again: about twice the
/// natural logarithm (Erdős and Rényi, *On the evolution of random graphs*, 1960: a random graph is
/// connected once its mean degree passes ln n).
pub fn sparse_k(members: usize) -> usize {
    let links = 2.0 * (members.max(1) as f64).ln();
    (links.round() as usize).clamp(*K.start(), *K.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k_follows_the_size_of_the_room() {
        let config = Config::new("r", "n").expect("valid");
        let sparse = Config {
            sparse: true,
            ..config.clone()
        };
        for (members, by_table, few) in [(1, 19, 2), (50, 15, 8), (100, 20, 9), (1_000, 30, 14)] {
            assert_eq!(config.k_for(members), by_table, "{members}");
            assert_eq!(sparse.k_for(members), few, "{members}");
        }
        assert_eq!(sparse.with_k(Some(7)).expect("valid").k_for(1_000), 7);
    }

    #[test]
    fn k_is_bounded() {
        let config = Config::new("r", "n").expect("valid");
        for (k, fine) in [(1, false), (2, true), (64, true), (65, false)] {
            assert_eq!(config.clone().with_k(Some(k)).is_ok(), fine, "{k}");
        }
    }
}
