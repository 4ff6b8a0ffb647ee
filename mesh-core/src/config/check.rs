//! Which limits and intervals cannot work, alone or together. Each rule names the field at fault.

use std::fmt;
use std::time::Duration;

use super::{Adaptive, Config, HubConfig, K};
use crate::error::ConfigError;
use crate::signaling::{TurnMint, TurnSecret};

/// The shortest and the longest interval: timers have no finer step that would be of use, and more
/// than a day is a slip of the unit.
const DURATIONS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(24 * 3_600));

/// The largest count of anything: more would not fit into memory.
const COUNT_MAX: usize = 10_000_000;

/// The largest rate, of messages or texts, in a second or at once: more than a core signs.
const RATE_MAX: u32 = 1_000_000;

/// The most bytes of a queue or message: 1 GiB, and a larger one is a slip of the unit.
const BYTES_MAX: usize = 1 << 30;

/// Collects what is wrong.
#[derive(Debug, Default)]
struct Rules(Vec<ConfigError>);

impl Rules {
    fn refuse(&mut self, field: &'static str, reason: String) {
        self.0.push(ConfigError::Limit { field, reason });
    }

    fn within<T: PartialOrd + fmt::Debug>(&mut self, field: &'static str, value: T, range: (T, T)) {
        let (min, max) = range;
        if !(value >= min && value <= max) {
            self.refuse(field, format!("{value:?} is not {min:?} to {max:?}"));
        }
    }

    fn durations(&mut self, all: &[(&'static str, Duration)]) {
        for &(field, value) in all {
            self.within(field, value, DURATIONS);
        }
    }

    fn counts(&mut self, all: &[(&'static str, usize)]) {
        for &(field, value) in all {
            self.within(field, value, (1, COUNT_MAX));
        }
    }

    /// The first of two may be as large as the second.
    fn ordered<T: PartialOrd + fmt::Debug>(
        &mut self,
        (low, less): (&'static str, T),
        (high, more): (&'static str, T),
    ) {
        if less > more {
            self.refuse(low, format!("{less:?} is more than {high}, {more:?}"));
        }
    }

    /// The first of two must be less than the second.
    fn below<T: PartialOrd + fmt::Debug>(
        &mut self,
        (low, less): (&'static str, T),
        (high, more): (&'static str, T),
    ) {
        if less >= more {
            self.refuse(low, format!("{less:?} must be less than {high}, {more:?}"));
        }
    }
}

/// A field's name and value.
macro_rules! named {
    ($of:expr, $($field:ident),+) => { [$((stringify!($field), $of.$field)),+] };
    (pair $of:expr, $field:ident) => { (stringify!($field), $of.$field) };
}

impl Config {
    /// What cannot work, each with the field at fault; empty for the defaults. Those fields are
    /// looked at that an operator may set.
    pub fn problems(&self) -> Vec<ConfigError> {
        let mut rules = Rules::default();
        if let Some(k) = self.k.filter(|k| !K.contains(k)) {
            rules.0.push(ConfigError::K(k));
        }
        rules.durations(&named!(
            self,
            open_timeout,
            answer_timeout,
            redial_min,
            redial_max,
            unreachable_for,
            mesh_patience,
            ping_interval,
            ping_interval_max,
            pong_timeout_min,
            pong_timeout_max,
            ack_timeout,
            clock_skew_max,
            deadline,
            deadline_max,
            retry_min,
            retry_max,
            signaling_retry_min,
            signaling_retry_max,
            signaling_timeout,
            signaling_return_min,
            signaling_return_max,
            signaling_ping
        ));
        rules.counts(&named!(
            self,
            star_links_max,
            members_max,
            negotiating_max,
            link_queue_max,
            pending_max
        ));
        rules.within("links_slack", self.links_slack, (0, 64));
        rules.within("redials_max", self.redials_max, (1, 1_000));
        rules.within("pings_max", self.pings_max, (1, 100));
        rules.within(
            "messages_per_second",
            self.messages_per_second,
            (0, RATE_MAX),
        );
        rules.within("messages_burst", self.messages_burst, (1, RATE_MAX));
        rules.within("ttl", self.ttl, (1, crate::messages::TTL_MAX));
        // One message of the largest size must fit.
        let largest = crate::wire::FRAME_BYTES_MAX;
        rules.within(
            "link_queue_bytes_max",
            self.link_queue_bytes_max,
            (largest, BYTES_MAX),
        );
        rules.within(
            "large_bytes_max",
            self.large_bytes_max,
            (largest, BYTES_MAX),
        );
        self.check_order(&mut rules);
        if let Some(adaptive) = &self.adaptive {
            adaptive.check(&mut rules);
        }
        rules.0
    }

    fn check_order(&self, rules: &mut Rules) {
        for (low, high) in [
            (named!(pair self, redial_min), named!(pair self, redial_max)),
            (
                named!(pair self, ping_interval),
                named!(pair self, ping_interval_max),
            ),
            (
                named!(pair self, pong_timeout_min),
                named!(pair self, pong_timeout_max),
            ),
            (named!(pair self, retry_min), named!(pair self, retry_max)),
            (
                named!(pair self, signaling_return_min),
                named!(pair self, signaling_return_max),
            ),
            (
                named!(pair self, signaling_retry_min),
                named!(pair self, signaling_retry_max),
            ),
            (named!(pair self, deadline), named!(pair self, deadline_max)),
            (
                named!(pair self, deadline_max),
                named!(pair self, clock_skew_max),
            ),
        ] {
            rules.ordered(low, high);
        }
        // A relayed path takes its time too.
        rules.below(
            named!(pair self, turn_fallback_timeout),
            named!(pair self, open_timeout),
        );
        // A hub that is back must see its members before they count as gone.
        rules.below(
            named!(pair self, signaling_retry_max),
            named!(pair self, return_patience),
        );
    }
}

impl Adaptive {
    fn check(&self, rules: &mut Rules) {
        rules.durations(&named!(self, latency_high, latency_low, pause));
        rules.below(
            named!(pair self, latency_low),
            named!(pair self, latency_high),
        );
        rules.within("failure_rate", self.failure_rate, (0.0, 1.0));
        rules.within("patience", self.patience, (1, 1_000));
        for (field, k) in named!(self, k_min, k_quick, k_max) {
            rules.within(field, k, (*K.start(), *K.end()));
        }
        for (field, step) in named!(self, k_more, k_fewer) {
            rules.within(field, step, (1, *K.end()));
        }
        rules.ordered(named!(pair self, k_min), named!(pair self, k_max));
        rules.ordered(named!(pair self, k_quick), named!(pair self, k_max));
    }
}

impl TurnMint {
    fn check(&self, rules: &mut Rules) {
        // Shorter-lived credentials could end before the next ping brings others, and the clocks of
        // hub and server would have to agree to the second. Longer-lived ones could be given away.
        let ttls = (Duration::from_secs(10), DURATIONS.1);
        rules.within("turn_ttl", self.ttl, ttls);
        if self.urls.is_empty() {
            let reason = "there is a secret, but no server that it is for";
            rules.refuse("turn_url", reason.to_owned());
        }
        if self.secret.is_short() {
            let reason = format!(
                "the secret has less than {} bytes, which members could guess: `openssl rand -hex \
                 32` makes one",
                TurnSecret::BYTES_MIN
            );
            rules.refuse("turn_secret_file", reason);
        }
    }
}

impl HubConfig {
    /// What cannot work, each with the field at fault; empty for the defaults.
    pub fn problems(&self) -> Vec<ConfigError> {
        let mut rules = Rules::default();
        rules.durations(&named!(
            self,
            admission_timeout,
            silence_max,
            ping_after,
            members_delay
        ));
        rules.counts(&named!(self, clients_max, room_members_max));
        // Smaller shards have more links between them than within.
        rules.within("shard_members", self.shard_members, (16, COUNT_MAX));
        // An offer with its candidates must fit.
        rules.within("text_bytes_max", self.text_bytes_max, (4 * 1024, 1 << 20));
        rules.within("rate", self.rate, (1, RATE_MAX));
        rules.within("burst", self.burst, (1, RATE_MAX));
        // Without a ping before it every quiet client would be taken for dead.
        rules.below(
            named!(pair self, ping_after),
            named!(pair self, silence_max),
        );
        if let Some(turn) = &self.turn {
            turn.check(&mut rules);
        }
        rules.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(problems: &[ConfigError]) -> Vec<&str> {
        problems
            .iter()
            .map(|problem| match problem {
                ConfigError::Limit { field, .. } => field,
                _ => "k",
            })
            .collect()
    }

    #[test]
    fn the_defaults_have_no_problems() {
        let mut config = Config::new("r", "n").expect("valid");
        config.adaptive = Some(Adaptive::default());
        assert_eq!(config.problems(), []);
        assert_eq!(HubConfig::default().problems(), []);
    }

    #[test]
    fn each_field_at_fault_is_named_with_what_it_disagrees_with() {
        let mut config = Config::new("r", "n").expect("valid");
        config.k = Some(65);
        config.redial_min = Duration::from_secs(60);
        config.deadline_max = Duration::from_secs(300);
        config.open_timeout = Duration::ZERO;
        config.ttl = 0;
        config.signaling_retry_max = Duration::from_secs(15);
        config.adaptive = Some(Adaptive {
            failure_rate: f64::NAN,
            latency_low: Duration::from_millis(200),
            ..Adaptive::default()
        });
        let problems = config.problems();
        assert_eq!(
            fields(&problems),
            [
                "k",
                "open_timeout",
                "ttl",
                "redial_min",
                "deadline_max",
                "turn_fallback_timeout",
                "signaling_retry_max",
                "latency_low",
                "failure_rate"
            ]
        );
        assert_eq!(
            problems[3].to_string(),
            "redial_min: 60s is more than redial_max, 15s"
        );
    }

    #[test]
    fn a_hub_that_would_drop_every_quiet_client_is_refused() {
        let config = HubConfig {
            ping_after: Duration::from_secs(45),
            rate: 0,
            ..HubConfig::default()
        };
        assert_eq!(fields(&config.problems()), ["rate", "ping_after"]);
    }
}
