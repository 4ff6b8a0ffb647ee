//! How many messages an application may send: so many a second on average, and some at once.
//!
//! This is the generic cell rate algorithm of ATM (ITU-T I.371, annex A): one moment is all that it
//! remembers. Only messages, requests and broadcasts of this agent count. Replies answer an agent
//! that has a limit of its own, and what is passed on for others has theirs.

use std::time::Duration;

use crate::config::Config;
use crate::error::SendError;
use crate::time::Instant;

/// What was sent of late, as the moment when all of it would have left at the average rate.
#[derive(Debug, Default)]
pub(super) struct Rate {
    even_at: Instant,
}

impl Rate {
    /// Checks whether one more message may be sent now.
    ///
    /// # Errors
    /// [`SendError::RateLimited`] with the time until one may.
    pub(super) fn check(&self, config: &Config, now: Instant) -> Result<(), SendError> {
        let Some(each) = each(config) else {
            return Ok(());
        };
        let ahead = self.even_at.max(now).since(now);
        let at_once = each * config.messages_burst.saturating_sub(1);
        match ahead.checked_sub(at_once).filter(|wait| !wait.is_zero()) {
            None => Ok(()),
            Some(wait) => Err(SendError::RateLimited(wait)),
        }
    }

    /// One message more is sent.
    pub(super) fn count(&mut self, config: &Config, now: Instant) {
        if let Some(each) = each(config) {
            self.even_at = self.even_at.max(now) + each;
        }
    }
}

/// The time between two messages at the average rate, if there is a limit.
fn each(config: &Config) -> Option<Duration> {
    let limited = config.messages_per_second > 0;
    limited.then(|| Duration::from_secs(1) / config.messages_per_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(messages_per_second: u32, messages_burst: u32) -> Config {
        Config {
            messages_per_second,
            messages_burst,
            ..Config::new("room", "name").expect("valid")
        }
    }

    /// How many of a thousand tries in so many seconds are let through.
    fn passed(rate: &mut Rate, config: &Config, from: Instant, seconds: u64) -> usize {
        let tries = (0..1_000).map(|n| from + Duration::from_secs(seconds) * n / 1_000);
        let passed = tries.filter(|&now| {
            let may = rate.check(config, now).is_ok();
            if may {
                rate.count(config, now);
            }
            may
        });
        passed.count()
    }

    #[test]
    fn a_burst_passes_and_then_so_many_a_second() {
        let (config, mut rate) = (config(100, 50), Rate::default());
        let begin = Instant::default() + Duration::from_secs(9);
        assert_eq!(passed(&mut rate, &config, begin, 0), 50);
        let wait = Duration::from_millis(10);
        let refused = rate.check(&config, begin);
        assert_eq!(refused, Err(SendError::RateLimited(wait)));
        assert_eq!(rate.check(&config, begin + wait), Ok(()));
        assert_eq!(passed(&mut rate, &config, begin, 2), 199);
        let later = begin + Duration::from_secs(60);
        assert_eq!(passed(&mut rate, &config, later, 0), 50, "rested");
    }

    #[test]
    fn without_a_limit_all_pass() {
        let (config, mut rate) = (config(0, 50), Rate::default());
        assert_eq!(passed(&mut rate, &config, Instant::default(), 0), 1_000);
    }
}
