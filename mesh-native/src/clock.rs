//! The time, as the core wants it.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mesh_core::{Instant, UnixTime};

/// Counts from the moment that it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: tokio::time::Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            start: tokio::time::Instant::now(),
        }
    }

    pub(crate) fn now(self) -> Instant {
        let elapsed = self.start.elapsed().as_micros();
        Instant::from_micros(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    /// When tokio's clock shows an instant of ours.
    pub(crate) fn at(self, instant: Instant) -> tokio::time::Instant {
        self.start + instant.since(Instant::default())
    }

    pub(crate) fn unix_now() -> UnixTime {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        UnixTime::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }
}

/// Goes forward from when it was first read: to take the time with.
pub(crate) fn stopwatch() -> Duration {
    static FIRST: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
    FIRST.elapsed()
}
