//! Every call of the driver brings the time; a leap of it means that the process did not run.

use super::Mesh;
use crate::io::{Event, WarningCode};
use crate::signaling::HubTime;
use crate::time::{Instant, UnixTime};

impl Mesh {
    /// Begins a call of the driver: the agent's time, after a look at whether its process ran.
    pub(super) fn enter(&mut self, now: Instant) -> Instant {
        if self.cx.driver.was_away(now)
            && let Some(due) = self.poll_timeout() // By the driver's time.
            && self.cx.driver.sleep_since(due, now)
        {
            self.cx.now = self.cx.driver.enter(now);
            self.woke_up(self.cx.now);
            return self.cx.now;
        }
        self.cx.now = self.cx.driver.enter(now);
        self.cx.now
    }

    /// How late the driver is: on a busy machine it comes around seldom. What costs others work is
    /// done more seldom then too, and what others have to do gets more time.
    pub(super) fn note_lag(&mut self, now: Instant) {
        self.cx.driver.note_lag(self.deadline(), now);
    }

    /// This agent could not be heard for a while, or its addresses have changed: its links and the
    /// hub are asked whether they are still there.
    pub(super) fn woke_up(&mut self, now: Instant) {
        if !self.cx.joined {
            return;
        }
        for link in self.links.iter_mut().filter(|link| link.is_usable()) {
            link.keepalive.probe(now);
        }
        self.suspect_hub(now);
    }

    /// The hub may be out of reach: asks it.
    pub(super) fn suspect_hub(&mut self, now: Instant) {
        let order = self.client.suspect(&self.cx.config, now);
        self.cx.outbox.extend(order);
    }

    /// Reads the civil clock again. Drivers call this once a turn: a machine that slept, or whose
    /// clock was set, would otherwise date its messages wrongly.
    pub fn set_unix_time(&mut self, now: Instant, unix_now: UnixTime) {
        let now = self.enter(now);
        if self.cx.clock.read(now, unix_now) {
            self.woke_up(now);
        }
    }

    pub(super) fn hub_told_time(&mut self, told: HubTime, now: Instant) {
        let Some((off, ahead)) = self.cx.clock.sync(told, now) else {
            return;
        };
        let seconds = off.as_secs();
        let direction = if ahead { "ahead of" } else { "behind" };
        self.cx.emit(Event::Warning {
            code: WarningCode::ClockOff,
            message: format!(
                "the clock of this machine is {seconds} s {direction} the signaling server's. \
                 Messages are dated by the server's; set the machine's clock (NTP does it)"
            ),
        });
    }
}
