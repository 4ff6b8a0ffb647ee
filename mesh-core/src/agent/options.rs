//! What an application may choose of an agent in every binding, as a configuration.

use std::time::Duration;

use crate::config::Config;
use crate::error::ConfigError;
use crate::ice::IceTransportPolicy;
use crate::metric::Metric;
use crate::signaling::ELSEWHERE_PATIENCE;

/// Time that joining may take until the last failure is reported, unless the application sets
/// another: a person gives up on a page or program that says nothing for longer.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(5);

const _: () = assert!(
    ELSEWHERE_PATIENCE.as_millis() * 2 < JOIN_TIMEOUT.as_millis(),
    "an agent joins though the first two hubs are dead machines"
);

/// The choices of an application, whatever form they had.
#[derive(Clone, Copy, Debug)]
pub struct AgentOptions<'a> {
    /// The room.
    pub room: &'a str,
    /// The agent's label.
    pub name: &'a str,
    /// Addresses of signaling servers, in the order in which they are liked.
    pub hubs: &'a [String],
    /// Links to keep; `None` for the default of the room's size.
    pub k: Option<usize>,
    /// Whether that default is the smaller one.
    pub sparse: bool,
    /// What makes one path better than another.
    pub metric: Metric,
    /// Whether k follows the state of the mesh.
    pub adaptive: bool,
    /// How long links keep their keys, on average; zero for as long as they are open. `None` for
    /// what `base` says.
    pub rotate_interval: Option<Duration>,
    /// Which candidates links may use. `None` for what `base` says.
    pub ice_transport_policy: Option<IceTransportPolicy>,
    /// How long a direct path is looked for until relays are asked for; zero for from the start.
    /// `None` for what `base` says.
    pub turn_fallback_timeout: Option<Duration>,
    /// Limits and intervals other than the defaults. What has a field of its own here counts as it
    /// stands here; of [`Config::adaptive`] the rules are taken.
    pub base: Option<&'a Config>,
}

impl AgentOptions<'_> {
    /// How the agent is to behave, all taken together.
    ///
    /// # Errors
    /// What cannot work.
    pub fn config(self) -> Result<Config, ConfigError> {
        let defaults = Config::new(self.room, self.name)?;
        let rules = self.base.and_then(|base| base.adaptive.clone());
        let config = Config {
            room: defaults.room.clone(),
            name: defaults.name.clone(),
            k: self.k,
            sparse: self.sparse,
            metric: self.metric,
            adaptive: self.adaptive.then(|| rules.unwrap_or_default()),
            ..self.base.cloned().unwrap_or(defaults)
        };
        let (policy, fallback) = (self.ice_transport_policy, self.turn_fallback_timeout);
        let config = Config {
            rotate_interval: self.rotate_interval.unwrap_or(config.rotate_interval),
            turn_fallback_timeout: fallback.unwrap_or(config.turn_fallback_timeout),
            ice_transport_policy: policy.unwrap_or(config.ice_transport_policy),
            ..config
        };
        let config = config.with_hubs(self.hubs)?;
        match config.problems().into_iter().next() {
            Some(problem) => Err(problem),
            None => Ok(config),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Adaptive;

    fn options(hubs: &[String]) -> AgentOptions<'_> {
        AgentOptions {
            room: "room",
            name: "agent",
            hubs,
            k: None,
            sparse: false,
            metric: Metric::Hops,
            adaptive: false,
            rotate_interval: None,
            ice_transport_policy: None,
            turn_fallback_timeout: None,
            base: None,
        }
    }

    fn hubs() -> Vec<String> {
        vec!["ws://a/signal".to_owned(), "ws://b/signal".to_owned()]
    }

    #[test]
    fn without_choices_an_agent_has_the_defaults() {
        let hubs = hubs();
        let expected = Config::new("room", "agent").and_then(|config| config.with_hubs(&hubs));
        assert_eq!(options(&hubs).config(), expected);
        assert_eq!(expected.expect("valid").hubs, 2);
    }

    #[test]
    fn a_choice_counts_before_the_configuration_that_it_is_based_on() {
        let hubs = hubs();
        let mut base = Config::new("elsewhere", "another").expect("valid");
        base.k = Some(9);
        base.pending_max = 17;
        base.adaptive = Some(Adaptive {
            k_max: 33,
            ..Adaptive::default()
        });
        let chosen = AgentOptions {
            metric: Metric::Latency,
            sparse: true,
            base: Some(&base),
            ..options(&hubs)
        };
        let config = chosen.config().expect("valid");
        assert_eq!((&*config.room, &*config.name), ("room", "agent"));
        assert_eq!((config.k, config.sparse), (None, true));
        assert_eq!((config.metric, config.hubs), (Metric::Latency, 2));
        assert_eq!(config.pending_max, 17, "what is not chosen is the base's");
        assert_eq!(config.adaptive, None, "it is not asked for");
        let adaptive = AgentOptions {
            adaptive: true,
            ..chosen
        };
        let rules = adaptive.config().expect("valid").adaptive.expect("asked");
        assert_eq!(rules.k_max, 33, "the rules are the base's");
    }

    #[test]
    fn choices_that_cannot_work_are_refused_by_their_name() {
        let good = hubs();
        let twice = vec![good[0].clone(), good[0].clone()];
        let mut base = Config::new("room", "agent").expect("valid");
        base.pending_max = 0;
        for (options, words) in [
            (
                AgentOptions {
                    room: "",
                    ..options(&good)
                },
                "the room \"\"",
            ),
            (options(&[]), "0 signaling addresses"),
            (options(&twice), "is there twice"),
            (
                AgentOptions {
                    k: Some(1),
                    ..options(&good)
                },
                "k is 1",
            ),
            (
                AgentOptions {
                    base: Some(&base),
                    ..options(&good)
                },
                "pending_max",
            ),
        ] {
            let error = options.config().expect_err(words).to_string();
            assert!(error.contains(words), "{error}, not {words}");
        }
    }
}
