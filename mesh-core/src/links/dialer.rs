//! When to dial a peer again: exponential backoff with jitter, and giving up for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use super::LINGER;
use super::restart::RESTART_PATIENCE;
use crate::config::Config;
use crate::id::PeerId;
use crate::link_report::{LinkStep, bounded};
use crate::rng::spread;
use crate::time::Instant;

/// Wait of the higher end of a link for the lower end's offer until it asks for one, and of the
/// lower end for a sign that its offer was seen. In a mass join the other end may be busy for
/// seconds. The wait for an offer doubles with each failure, as that for a redial does.
pub(super) const OFFER_PATIENCE: Duration = Duration::from_secs(4);

/// Time from the loss of an open link until the agent links with another peer as well: one second
/// for an ICE restart, and two for a second connection, in which most open where there is a path.
/// If it opens yet, the agent has one link too many for a while.
const RELINK_PATIENCE: Duration = RESTART_PATIENCE.saturating_mul(3);

/// How much longer that is on a busy machine, at most: a lag of a moment must not keep an agent
/// without its links for longer than they take to be replaced.
const RELINK_GRACE_MAX: Duration = RELINK_PATIENCE;

/// The cause of an attempt's end where the peer declines it.
pub(super) const NO_ROOM: &str = "the peer has as many links as it allows";

/// The failures of peers that could not be linked. A peer that can is not in it.
#[derive(Debug, Default)]
pub(crate) struct Dialer {
    failed: BTreeMap<PeerId, Failed>,
}

#[derive(Clone, Debug, Default)]
struct Failed {
    failures: u32,
    /// Those of them that were only offers which did not come.
    awaited: u32,
    retry_at: Instant,
    /// Until then something else is tried.
    held_until: Instant,
    /// Until then the topology does without the peer, whether or not attempts have failed.
    left_out_until: Instant,
    /// From then on the peer counts as missing: an open link was lost.
    missing_from: Option<Instant>,
    /// ICE ended without a path before relays were tried.
    lacks_path: bool,
    /// What the last failure was.
    last: Option<LastFailure>,
}

/// The last failure of a peer: kept to be told, nothing follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LastFailure {
    pub(super) step: LinkStep,
    /// Relayed candidates were tried.
    pub(super) relays: bool,
    pub(super) reason: Box<str>,
    pub(super) at: Instant,
}

impl LastFailure {
    pub(super) fn new(step: LinkStep, relays: bool, reason: &str, at: Instant) -> Self {
        Self {
            step,
            relays,
            reason: bounded(reason).into(),
            at,
        }
    }
}

impl Dialer {
    /// Failures in a row so far.
    pub(crate) fn failures(&self, peer: PeerId) -> u32 {
        self.failed.get(&peer).map_or(0, |failed| failed.failures)
    }

    /// Whether the peer may be dialled now.
    pub(crate) fn ready(&self, peer: PeerId, now: Instant) -> bool {
        self.failed
            .get(&peer)
            .is_none_or(|failed| failed.retry_at <= now)
    }

    /// Whether the topology should do without the peer for now.
    pub(crate) fn unreachable(&self, peer: PeerId, config: &Config, now: Instant) -> bool {
        self.failed.get(&peer).is_some_and(|failed| {
            let too_often = failed.failures >= config.redials_max && failed.retry_at > now;
            too_often || failed.left_out_until > now
        })
    }

    /// Whether the link to the peer was lost some time ago, and none has opened since. After a
    /// while without an attempt the peer is as good as any other again.
    pub(crate) fn is_missing(&self, peer: PeerId, config: &Config, now: Instant) -> bool {
        self.failed.get(&peer).is_some_and(|failed| {
            let until = failed.retry_at + config.unreachable_for;
            failed.missing_from.is_some_and(|at| at <= now) && now < until
        })
    }

    /// An attempt to link failed. `jitter` is between 0 and 1.
    pub(crate) fn failed(&mut self, peer: PeerId, config: &Config, jitter: f64, now: Instant) {
        self.wait(peer, config.redial_min, config, jitter, now);
    }

    /// The attempt that failed had an answer, and ended before relays were tried: a WebRTC stack
    /// may give up sooner than the mesh. The next has them from the start.
    pub(crate) fn lacked_path(&mut self, peer: PeerId) {
        self.failed.entry(peer).or_default().lacks_path = true;
    }

    /// Whether relays are to be tried from the start.
    pub(crate) fn lacks_path(&self, peer: PeerId) -> bool {
        self.failed.get(&peer).is_some_and(|it| it.lacks_path)
    }

    /// The peer has the next move, as the offerer; looked at again later, as if it had failed.
    /// On a busy machine, `grace` later.
    pub(crate) fn awaiting(
        &mut self,
        peer: PeerId,
        grace: Duration,
        config: &Config,
        jitter: f64,
        now: Instant,
    ) {
        self.wait(peer, OFFER_PATIENCE + grace, config, jitter, now);
        let failed = self.failed.entry(peer).or_default();
        failed.awaited += 1;
        // Of an attempt that failed there is more to say than of the wait for the next.
        failed.last.get_or_insert_with(|| {
            LastFailure::new(LinkStep::Offer, false, "the peer has not offered yet", now)
        });
    }

    /// Notes what an attempt has failed at.
    pub(super) fn note(&mut self, peer: PeerId, failure: LastFailure) {
        self.failed.entry(peer).or_default().last = Some(failure);
    }

    /// Notes that the peer has declined.
    pub(super) fn note_no_room(&mut self, peer: PeerId, now: Instant) {
        self.note(peer, LastFailure::new(LinkStep::Room, false, NO_ROOM, now));
    }

    /// What the last failure was, if there is one.
    pub(super) fn last_failure(&self, peer: PeerId) -> Option<&LastFailure> {
        self.failed.get(&peer)?.last.as_ref()
    }

    /// When the peer may be dialled again.
    pub(super) fn retry_at(&self, peer: PeerId) -> Instant {
        let failed = self.failed.get(&peer);
        failed.map_or(Instant::default(), |failed| failed.retry_at)
    }

    /// The peer was not asked for its offer, and is to be asked again at `retry_at`. That says
    /// nothing about whether it can be reached.
    pub(crate) fn undelivered(&mut self, peer: PeerId, retry_at: Instant) {
        if let Some(failed) = self.failed.get_mut(&peer).filter(|it| it.awaited > 1) {
            failed.awaited -= 1;
            failed.failures -= 1;
        }
        if let Some(failed) = self.failed.get_mut(&peer) {
            failed.retry_at = retry_at;
        }
    }

    /// The hub of the peer could not be reached by an offer (`dialled`), or by what asks for one.
    /// Others are linked with instead until then. That says nothing about whether the peer itself
    /// can be reached.
    pub(crate) fn hub_out_of_reach(&mut self, peer: PeerId, dialled: bool, until: Instant) {
        self.undelivered(peer, until);
        let failed = self.failed.entry(peer).or_default();
        failed.failures = failed.failures.saturating_sub(u32::from(dialled));
        failed.retry_at = until;
        failed.left_out_until = until;
    }

    /// Something else is tried until then: the peer is not dialled earlier.
    pub(crate) fn hold(&mut self, peer: PeerId, until: Instant) {
        let failed = self.failed.entry(peer).or_default();
        failed.held_until = until;
        failed.retry_at = failed.retry_at.max(until);
    }

    /// An open link was lost: a failure like others, and if the peer is not linked again soon, it
    /// is missing. On a busy machine, `grace` later, within bounds.
    pub(crate) fn lost(
        &mut self,
        peer: PeerId,
        grace: Duration,
        config: &Config,
        jitter: f64,
        now: Instant,
    ) {
        self.failed(peer, config, jitter, now);
        let failed = self.failed.entry(peer).or_default();
        failed.missing_from = Some(now + RELINK_PATIENCE + grace.min(RELINK_GRACE_MAX));
    }

    /// The peer has gone or come: what failed before was perhaps another process.
    pub(crate) fn forget_failures(&mut self, peer: PeerId) {
        if let Some(failed) = self.failed.get_mut(&peer) {
            *failed = Failed {
                retry_at: failed.held_until,
                held_until: failed.held_until,
                ..Failed::default()
            };
        }
    }

    /// A link opened: the offers that it was waited for have not failed.
    pub(crate) fn opened(&mut self, peer: PeerId) {
        let Some(failed) = self.failed.get_mut(&peer) else {
            return;
        };
        failed.missing_from = None;
        failed.failures = failed
            .failures
            .saturating_sub(std::mem::take(&mut failed.awaited));
        if failed.failures == 0 {
            self.forget(peer);
        }
    }

    /// A link was closed because one end did not want it: should the other still want it, it is
    /// dialled again after a while. That says nothing about whether the peer can be reached.
    pub(crate) fn postpone(&mut self, peer: PeerId, jitter: f64, now: Instant) {
        self.retry_after(peer, self.failures(peer), LINGER, jitter, now);
    }

    fn wait(&mut self, peer: PeerId, base: Duration, config: &Config, jitter: f64, now: Instant) {
        let failures = self.failures(peer).saturating_add(1);
        let wait = if failures >= config.redials_max {
            config.unreachable_for
        } else {
            let doubled = base * 2u32.saturating_pow(failures - 1);
            doubled.min(config.redial_max)
        };
        self.retry_after(peer, failures, wait, jitter, now);
    }

    fn retry_after(
        &mut self,
        peer: PeerId,
        failures: u32,
        wait: Duration,
        jitter: f64,
        now: Instant,
    ) {
        let retry_at = now + spread(wait, jitter);
        let failed = self.failed.entry(peer).or_default();
        failed.failures = failures;
        failed.retry_at = retry_at;
    }

    /// The peer is linked.
    pub(crate) fn forget(&mut self, peer: PeerId) {
        self.failed.remove(&peer);
    }

    /// The next time that a peer may be dialled again, or is missing.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        let waiting = self.failed.values();
        let moments = waiting.flat_map(|failed| [Some(failed.retry_at), failed.missing_from]);
        moments.flatten().filter(|&at| at > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_then_the_peer_is_left_out() {
        let config = Config::new("room", "name").expect("valid");
        let (peer, mut dialer) = (PeerId::from_bytes([1; 32]), Dialer::default());
        let mut now = Instant::default();
        assert!(dialer.ready(peer, now));
        for expected in [250, 500] {
            dialer.failed(peer, &config, 0.5, now);
            let retry_at = dialer.deadline(now).expect("waits");
            assert_eq!(retry_at.since(now), Duration::from_millis(expected));
            assert!(!dialer.ready(peer, now) && !dialer.unreachable(peer, &config, now));
            now = retry_at;
            assert!(dialer.ready(peer, now));
        }
        dialer.failed(peer, &config, 0.5, now);
        assert!(dialer.unreachable(peer, &config, now));
        now = dialer.deadline(now).expect("waits");
        assert!(dialer.ready(peer, now) && !dialer.unreachable(peer, &config, now));
        dialer.forget(peer);
        assert_eq!(dialer.failures(peer), 0);
    }

    #[test]
    fn a_peer_whose_link_was_lost_is_missing_until_one_opens_or_nobody_tries() {
        let config = Config::new("room", "name").expect("valid");
        let (peer, mut dialer) = (PeerId::from_bytes([1; 32]), Dialer::default());
        let is_missing =
            |dialer: &Dialer, ms| dialer.is_missing(peer, &config, Instant::default() + ms);
        let [soon, later, long_after] = [2_999, 3_000, 30_500].map(Duration::from_millis);
        dialer.lost(peer, Duration::ZERO, &config, 0.5, Instant::default());
        assert!(!is_missing(&dialer, soon) && is_missing(&dialer, later));
        assert!(!is_missing(&dialer, long_after), "it is like any other");
        dialer.failed(peer, &config, 0.5, Instant::default() + later);
        assert!(is_missing(&dialer, long_after), "it was dialled in vain");
        dialer.opened(peer);
        assert!(!is_missing(&dialer, later));
    }

    #[test]
    fn a_lag_of_a_moment_does_not_keep_a_lost_peer_from_being_replaced() {
        let config = Config::new("room", "name").expect("valid");
        let (peer, mut dialer) = (PeerId::from_bytes([1; 32]), Dialer::default());
        let lag = Duration::from_secs(20);
        dialer.lost(peer, lag, &config, 0.5, Instant::default());
        let at = Instant::default() + RELINK_PATIENCE * 2;
        assert!(dialer.is_missing(peer, &config, at));
    }

    #[test]
    fn a_peer_that_could_not_be_asked_is_asked_again_and_never_left_out() {
        let config = Config::new("room", "name").expect("valid");
        let (peer, mut dialer) = (PeerId::from_bytes([1; 32]), Dialer::default());
        let mut now = Instant::default();
        for _ in 0..20 {
            dialer.awaiting(peer, Duration::ZERO, &config, 0.5, now);
            let retry_at = now + Duration::from_secs(1);
            dialer.undelivered(peer, retry_at);
            assert_eq!(dialer.deadline(now), Some(retry_at));
            assert!(!dialer.unreachable(peer, &config, now));
            now = retry_at;
            assert!(
                dialer.ready(peer, now) && dialer.failures(peer) > 0,
                "it is asked"
            );
        }
        dialer.opened(peer);
        assert_eq!(dialer.failures(peer), 0);
    }

    #[test]
    fn an_offer_that_came_was_no_failure() {
        let config = Config::new("room", "name").expect("valid");
        let (peer, mut dialer) = (PeerId::from_bytes([1; 32]), Dialer::default());
        let now = Instant::default();
        dialer.failed(peer, &config, 0.5, now);
        dialer.awaiting(peer, Duration::ZERO, &config, 0.5, now);
        assert_eq!(dialer.failures(peer), 2);
        for left in [1, 1] {
            dialer.opened(peer);
            assert_eq!(dialer.failures(peer), left);
        }
        dialer.forget(peer);
        dialer.awaiting(peer, Duration::ZERO, &config, 0.5, now);
        dialer.opened(peer);
        assert_eq!((dialer.failures(peer), dialer.deadline(now)), (0, None));
    }
}
