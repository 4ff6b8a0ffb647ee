//! Every call of the driver brings the time; a leap of it means that the process did not run.

use super::Mesh;
use crate::io::{Event, WarningCode};
use crate::log::decided;
use crate::signaling::HubTime;
use crate::time::{Instant, UnixTime};

impl Mesh {
    /// Begins a call of the driver: the agent's time, after a look at whether its process ran.
    pub(super) fn enter(&mut self, now: Instant) {
        let slept = self.cx.driver.was_away(now)
            && self
                .poll_timeout() // By the driver's time.
                .is_some_and(|(due, _)| self.cx.driver.sleep_since(due, now));
        self.cx.now = self.cx.driver.enter(now);
        if slept {
            self.woke_up();
        }
    }

    /// How late the driver is: on a busy machine it comes around seldom. What costs others work is
    /// done more seldom then too, and what others have to do gets more time.
    pub(super) fn note_lag(&mut self) {
        let due = self.deadline().map(|(at, _)| at);
        self.cx.driver.note_lag(due, self.cx.now);
    }

    /// This agent could not be heard for a while, or its addresses have changed: its links and the
    /// hub are asked whether they are still there.
    pub(super) fn woke_up(&mut self) {
        if !self.cx.joined {
            return;
        }
        decided!(
            self.cx,
            "ask every neighbour and the hub: this agent may have been out of reach"
        );
        self.links.probe_all(&self.cx);
        let order = self.signaling.suspect(&self.cx.config, self.cx.now);
        self.cx.outbox.extend(order);
    }

    /// Reads the civil clock again. Drivers call this once a turn: a machine that slept, or whose
    /// clock was set, would otherwise date its messages wrongly.
    pub fn set_unix_time(&mut self, now: Instant, unix_now: UnixTime) {
        self.enter(now);
        if self.cx.clock.read(self.cx.now, unix_now) {
            self.woke_up();
        }
    }

    pub(super) fn hub_told_time(&mut self, told: HubTime) {
        let Some((off, ahead)) = self.cx.clock.sync(told, self.cx.now) else {
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
