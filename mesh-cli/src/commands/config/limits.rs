//! The limits and intervals that an operator may set: each is written once, here, with its words
//! for people and the field that it sets. The core has the defaults.

use clap::Args;
use mesh_core::{Adaptive, Config, ConfigError, HubConfig};

use super::units::{Size, Span};

/// Any valid configuration of an agent: for its defaults.
pub(crate) fn defaults() -> Config {
    Config::new("room", "name").expect("both are valid names")
}

/// Declares options of a command line that set fields of a configuration, and have its defaults.
macro_rules! limits {
    ($(#[$of:meta])* $name:ident sets $target:ty, by default $defaults:expr,
     under $heading:literal {
        $($(#[$doc:meta])* $option:ident: $type:ty => $field:ident,)*
    }) => {
        $(#[$of])*
        #[derive(Debug, Args)]
        pub(crate) struct $name {
            $(
                $(#[$doc])*
                #[arg(long, hide_short_help = true, help_heading = $heading)]
                #[arg(default_value_t = <$type>::from($defaults.$field))]
                $option: $type,
            )*
        }

        impl $name {
            pub(crate) fn apply(&self, to: &mut $target) {
                $(to.$field = self.$option.into();)*
            }

            /// The option that sets a field.
            pub(crate) fn option(field: &str) -> Option<&'static str> {
                match field {
                    $(stringify!($field) => Some(stringify!($option)),)*
                    _ => None,
                }
            }
        }
    };
}

limits! {
    /// What a signaling server allows its clients.
    HubLimits sets HubConfig, by default HubConfig::default(), under "Limits of the server" {
        /// WebSocket connections at most.
        clients_max: usize => clients_max,
        /// Members of one room at most.
        room_members_max: usize => room_members_max,
        /// Members of a shard, about: rooms of more than twice as many are divided.
        shard_members: usize => shard_members,
        /// The longest text that a client may send. An offer with its candidates has 1 to 4 KiB.
        text_bytes_max: Size => text_bytes_max,
        /// Texts a second that a client may send on average.
        client_rate: u32 => rate,
        /// Texts that a client may send at once.
        client_burst: u32 => burst,
        /// How long a client may take to prove its identity.
        admission_timeout: Span => admission_timeout,
        /// Silence after which the server pings a client.
        ping_after: Span => ping_after,
        /// Silence after which a client is taken for dead.
        silence_max: Span => silence_max,
        /// How long changes of a room's membership gather before its members are told.
        members_delay: Span => members_delay,
    }
}

limits! {
    /// What an agent allows its peers, and how long it waits.
    MeshLimits sets Config, by default defaults(), under "Limits of the mesh" {
        /// Messages that may wait on one link until their senders have to wait.
        max_queue_size: usize => link_queue_max,
        /// The same in bytes.
        max_queue_bytes: Size => link_queue_bytes_max,
        /// Messages that an agent may send in a second, on average; 0 for no limit but the queues.
        max_messages_per_second: u32 => messages_per_second,
        /// Messages that may be sent at once under that limit, after a rest.
        max_burst_size: u32 => messages_burst,
        /// Bytes of the largest message that an agent takes; larger ones are refused.
        large_bytes_max: Size => large_bytes_max,
        /// Messages and requests that may await their receipt or reply.
        pending_max: usize => pending_max,
        /// Members that an agent knows at most.
        members_max: usize => members_max,
        /// Links beyond k that others may open to an agent while views of the room differ.
        links_slack: usize => links_slack,
        /// Links that the middle of a star accepts: the last resort of a mesh that cannot form.
        star_links_max: usize => star_links_max,
        /// How long none of the wanted links may open until an agent turns to that star.
        mesh_patience: Span => mesh_patience,
        /// Links that are being opened at once, at most.
        negotiating_max: usize => negotiating_max,
        /// How long a link may take to open.
        open_timeout: Span => open_timeout,
        /// How long an offer that travels over the mesh may go unanswered until it is repeated
        /// through the server.
        answer_timeout: Span => answer_timeout,
        /// The wait before a link that failed is dialled again; it doubles with each failure.
        redial_min: Span => redial_min,
        /// The longest wait between such tries.
        redial_max: Span => redial_max,
        /// Failures in a row after which a partner counts as unreachable.
        redials_max: u32 => redials_max,
        /// How long the topology then does without it.
        unreachable_for: Span => unreachable_for,
        /// How long a direct path is looked for until relays of TURN servers are asked for; 0s for
        /// from the start.
        turn_fallback_timeout: Span => turn_fallback_timeout,
        /// How long links keep their DTLS keys, on average; 0s for as long as they are open.
        rotate_interval: Span => rotate_interval,
        /// Time between keepalive pings on a quiet link.
        ping_interval: Span => ping_interval,
        /// The same at most, for an agent with many links.
        ping_interval_max: Span => ping_interval_max,
        /// How long a pong may take at least until the next ping.
        pong_timeout_min: Span => pong_timeout_min,
        /// The same at most, and while the round trip is not known.
        pong_timeout_max: Span => pong_timeout_max,
        /// Unanswered pings in a row that mean that the peer is dead.
        pings_max: u32 => pings_max,
        /// How long a neighbour may acknowledge nothing of what it was sent.
        ack_timeout: Span => ack_timeout,
        /// Hops that a message to one member may take at least.
        ttl: u8 => ttl,
        /// How far a message's date may be off an agent's clock.
        clock_skew_max: Span => clock_skew_max,
        /// The deadline of acknowledged messages and requests that name none.
        deadline: Span => deadline,
        /// The longest deadline.
        deadline_max: Span => deadline_max,
        /// The wait before an acknowledged message is repeated; it doubles each time.
        retry_min: Span => retry_min,
        /// The longest such wait.
        retry_max: Span => retry_max,
        /// The wait before the signaling server is dialled again; it doubles each time.
        signaling_retry_min: Span => signaling_retry_min,
        /// The longest such wait.
        signaling_retry_max: Span => signaling_retry_max,
        /// How long the signaling server may take to answer until it counts as gone.
        signaling_timeout: Span => signaling_timeout,
        /// How long members of other shards have to come back after the server was gone.
        return_patience: Span => return_patience,
        /// How long an agent that is not at its first server waits at least until it tries to
        /// return.
        signaling_return_min: Span => signaling_return_min,
        /// The same at most.
        signaling_return_max: Span => signaling_return_max,
        /// Time between pings to the signaling server.
        signaling_ping: Span => signaling_ping,
    }
}

limits! {
    /// How k follows the state of the mesh, with --adaptive.
    AdaptiveLimits sets Adaptive, by default Adaptive::default(), under "Rules of --adaptive" {
        /// Above this mean latency to the other members k rises.
        adaptive_latency_high: Span => latency_high,
        /// Below this one k falls.
        adaptive_latency_low: Span => latency_low,
        /// Above this share of links that do not open k falls, whatever the latency.
        adaptive_failure_rate: f64 => failure_rate,
        /// Links more where the mesh is slow, and fewer where links do not open.
        adaptive_k_more: usize => k_more,
        /// Links fewer where the mesh is quick.
        adaptive_k_fewer: usize => k_fewer,
        /// The fewest links that failures lead to.
        adaptive_k_min: usize => k_min,
        /// The fewest links that a quick mesh leads to.
        adaptive_k_quick: usize => k_quick,
        /// The most links that a slow mesh leads to.
        adaptive_k_max: usize => k_max,
        /// Looks in a row that must agree before k changes.
        adaptive_patience: u32 => patience,
        /// How long k then stays as it is.
        adaptive_pause: Span => pause,
    }
}

/// What is wrong, and the option at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) option: &'static str,
    pub(crate) reason: String,
}

/// What is wrong with a configuration, in the words of the command line.
pub(crate) fn faults(problems: Vec<ConfigError>) -> Vec<Fault> {
    let option = |field| {
        let options = [
            HubLimits::option,
            MeshLimits::option,
            AdaptiveLimits::option,
        ];
        options.iter().find_map(|of| of(field)).unwrap_or(field)
    };
    let fault = |problem| match problem {
        ConfigError::Limit { field, reason } => Fault {
            option: option(field),
            reason,
        },
        other => Fault {
            option: "k",
            reason: other.to_string(),
        },
    };
    problems.into_iter().map(fault).collect()
}

/// Refuses a configuration that has faults, as a command that is to use it does.
pub(crate) fn refuse(faults: &[Fault]) -> anyhow::Result<()> {
    match faults.first() {
        Some(Fault { option, reason }) => Err(anyhow::anyhow!(
            "--{} cannot be so: {reason}",
            option.replace('_', "-")
        )),
        None => Ok(()),
    }
}
