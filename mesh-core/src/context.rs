//! What a step of any part of the agent may use.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::{CivilClock, DriverClock};
use crate::config::Config;
use crate::id::PeerId;
use crate::io::{Event, Output};
use crate::samples::Samples;
use crate::stats::Stats;
use crate::time::{Instant, UnixTime};

/// The agent's surroundings: its configuration, clocks, counters, and the orders that its driver is
/// to carry out.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) this: PeerId,
    /// The application has joined, and not left since.
    pub(crate) joined: bool,
    /// The agent's time: the moment of the present step.
    pub(crate) now: Instant,
    pub(crate) driver: DriverClock,
    pub(crate) clock: CivilClock,
    pub(crate) outbox: VecDeque<Output>,
    pub(crate) stats: Stats,
    pub(crate) samples: Samples,
}

impl Context {
    pub(crate) fn new(config: Config, this: PeerId, now: Instant, unix_now: UnixTime) -> Self {
        Self {
            config,
            this,
            joined: false,
            now,
            driver: DriverClock::new(now),
            clock: CivilClock::new(now, unix_now),
            outbox: VecDeque::new(),
            stats: Stats::default(),
            samples: Samples::default(),
        }
    }

    /// The civil time of the present step, as the mesh dates.
    pub(crate) fn unix(&self) -> UnixTime {
        self.clock.unix(self.now)
    }

    /// Extra delay of deferrable work at the current driver lag.
    pub(crate) fn grace(&self) -> Duration {
        self.driver.grace()
    }

    /// How late the driver has been of late.
    pub(crate) fn lag(&self) -> Duration {
        self.driver.lag()
    }

    pub(crate) fn emit(&mut self, event: Event) {
        self.order(Output::Emit(event));
    }

    pub(crate) fn order(&mut self, output: Output) {
        self.outbox.push_back(output);
    }

    /// The next order. Gives memory back once there is none, but for some orders: a join burst's
    /// events are soon over, and take as much as a mesh.
    pub(crate) fn next_order(&mut self) -> Option<Output> {
        let order = self.outbox.pop_front();
        if order.is_none() {
            self.outbox.shrink_to(64);
        }
        order
    }
}

#[cfg(test)]
impl Context {
    /// The context of an agent that has joined, for the tests of a part of it.
    pub(crate) fn in_test(this: PeerId) -> Self {
        let config = Config::new("room", "name").expect("valid");
        let unix_now = UnixTime::from_micros(1_800_000_000_000_000);
        let mut cx = Self::new(config, this, Instant::default(), unix_now);
        cx.joined = true;
        cx
    }
}
