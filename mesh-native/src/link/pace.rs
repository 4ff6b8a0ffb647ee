//! How fast one connection's driver ticks, from what the connection is doing.
//!
//! While it connects it is hurried: its latency is bound by timers. A crowd of connections is not,
//! for there is no processor time left but what their ticks take.
//!
//! Once it is open most of its sleeps are for the ICE agent's tick, and are prolonged. The library
//! says only how long it wants to sleep, so a [`Pace`] follows when the ticks are due. A tick put
//! off may hide a timer that is due after it, of which SCTP has two: for an acknowledgement,
//! started by a datagram received, and for sending again, which a second more does not harm.
//!
//! While the path is silent the library's clock stands still ([`super::clock`]), and the driver
//! sleeps until a consent check is to be sent again.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::clock::{Clock, micros};
use super::early::{Gate, Stage};
use super::round_trip::RoundTrip;

/// The longest sleep of a connection's driver during [`HURRY`].
const CONNECTING_SLEEP: Duration = Duration::from_millis(5);

/// How many connections are connecting, of those that take turns. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connecting(Arc<AtomicU32>);

/// How far apart the ticks of all that are connecting are at least: each takes about a third of
/// that.
const TICKS_APART: Duration = Duration::from_micros(50);

/// How long a connection is hurried. What has not connected by then is unlikely to, and its
/// connectivity checks, sent every 20 ms for each candidate pair, must not go on like that.
const HURRY: Duration = Duration::from_secs(3);

/// The shortest sleep after [`HURRY`], which is then the interval of connectivity checks.
const TIRED_SLEEP: Duration = Duration::from_millis(50);

/// When a connection still not open has its sleeps raised to [`WEARY_SLEEP`].
const WEARY: Duration = Duration::from_secs(10);
const WEARY_SLEEP: Duration = Duration::from_millis(200);

/// How often the ICE agent has itself called, a constant of `rtc-ice`, though it checks its pair
/// every few seconds. Each call takes as long as a third of a message.
const ICE_TICK: Duration = Duration::from_millis(200);

/// What the ticks of an open connection are put off to, and of one long without data. Bounds how
/// late a lost last packet is sent again, for a tick may hide the timer of that.
const OPEN_TICK: Duration = Duration::from_secs(1);
pub(super) const QUIET_TICK: Duration = Duration::from_secs(2);
const QUIET: Duration = Duration::from_secs(5);

/// A sleep that ends this close to a tick is for the tick.
const TICK_ACCURACY: Duration = Duration::from_millis(2);

/// A tick so soon after a datagram may be of the same turn of the driver: the acknowledgement that
/// the datagram calls for and the next tick are then due together.
const SAME_TURN: Duration = Duration::from_millis(10);

/// How long SCTP waits with an acknowledgement (RFC 9260, section 6.2).
const ACK_DELAY: Duration = Duration::from_millis(200);

/// The pace of one connection.
#[derive(Debug)]
pub(crate) struct Pace {
    born: Instant,
    /// Those that are connecting, this one among them.
    others: Connecting,
    /// When both descriptions were known, in µs since `born`; 0 before.
    connecting_since: AtomicU64,
    /// When data was last sent or received, in µs since `born`; 0 until the channels are open.
    active_at: AtomicU64,
    /// When the ICE agent last ticked.
    ticked_at: AtomicU64,
    /// When the first and the last datagram were received since the tick, or in its turn; older
    /// ones if there was none.
    heard_first: AtomicU64,
    heard_last: AtomicU64,
    /// The clock that the library is told.
    clock: Mutex<Clock>,
    round_trip: RoundTrip,
    /// Since when ICE looks for another path on an open connection, in µs since `born`; 0 if it
    /// does not.
    restarting_since: AtomicU64,
    /// Why the connection is beyond help; set before `ended` is notified.
    failure: OnceLock<&'static str>,
    ended: Notify,
    gate: Gate,
}

impl Pace {
    pub(super) fn new(others: Connecting) -> Arc<Self> {
        Arc::new(Self {
            born: Instant::now(),
            others,
            connecting_since: AtomicU64::new(0),
            active_at: AtomicU64::new(0),
            ticked_at: AtomicU64::new(0),
            heard_first: AtomicU64::new(0),
            heard_last: AtomicU64::new(0),
            clock: Mutex::default(),
            round_trip: RoundTrip::default(),
            restarting_since: AtomicU64::new(0),
            failure: OnceLock::new(),
            ended: Notify::new(),
            gate: Gate::new(),
        })
    }

    /// Both descriptions are known: connectivity checks begin.
    pub(super) fn connecting(&self) {
        let now = self.micros(Instant::now());
        if self.connecting_since.swap(now, Ordering::Relaxed) == 0 {
            self.others.0.fetch_add(1, Ordering::Relaxed);
        }
        self.gate.advance(Stage::Described);
    }

    /// ICE has selected a pair. After a restart what was not acknowledged is sent again at once.
    pub(super) fn reached(&self) {
        self.gate.advance(Stage::Reached);
        if self.restarting_since.swap(0, Ordering::Relaxed) != 0 {
            let now = self.micros(Instant::now());
            self.clock().put_forward(now);
        }
    }

    /// ICE looks for another path, on a connection that is open, or has found none yet.
    pub(super) fn restarting(&self) {
        let now = self.micros(Instant::now());
        let since = if self.is_open() {
            &self.restarting_since
        } else {
            &self.connecting_since
        };
        since.store(now, Ordering::Relaxed);
        self.round_trip.forget();
        self.clock().go_until(now + micros(WEARY), now);
    }

    fn is_connecting(&self) -> bool {
        self.connecting_since.load(Ordering::Relaxed) != 0 && !self.is_open()
    }

    /// The data channels are open.
    pub(super) fn opened(&self) {
        if self.is_connecting() {
            self.others.0.fetch_sub(1, Ordering::Relaxed);
        }
        self.active_at
            .store(self.micros(Instant::now()), Ordering::Relaxed);
        self.gate.advance(Stage::Open);
    }

    /// The DTLS handshake is complete.
    pub(super) fn secured(&self) {
        self.gate.advance(Stage::Secured);
    }

    /// Why the link is not open though ICE has found a path long ago.
    pub(super) fn missing(&self) -> &'static str {
        if self.gate.is(Stage::Secured) {
            "DTLS is up, but no SCTP association: does the peer, as DTLS client, begin it?"
        } else {
            "the DTLS handshake took too long"
        }
    }

    /// What holds back datagrams that come too early.
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(crate) fn is_open(&self) -> bool {
        self.active_at.load(Ordering::Relaxed) != 0
    }

    /// Resolves, with the reason, when the connection has failed in a way that the library does
    /// not report: its driver ended, or it refused the peer's certificate.
    pub(super) async fn ended(&self) -> &'static str {
        self.ended.notified().await;
        self.failure
            .get()
            .copied()
            .unwrap_or("the connection ended")
    }

    pub(super) fn end(&self, reason: &'static str) {
        // The first reason is the true one.
        let _ = self.failure.set(reason);
        self.ended.notify_one();
    }

    /// The time, as told to the library: it ticks whenever it learns that a tick is due.
    pub(super) fn now(&self) -> Instant {
        let now = Instant::now();
        let at = self.micros(now);
        if at >= self.ticked_at.load(Ordering::Relaxed) + micros(ICE_TICK) {
            self.ticked_at.store(at, Ordering::Relaxed);
        }
        let (ahead, stood) = self.clock().read(at);
        now + ahead - stood
    }

    /// Whether the library's clock stands still, for the path is silent.
    pub(super) fn stands_still(&self) -> bool {
        let now = self.micros(Instant::now());
        self.clock().stands(now)
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn micros(&self, at: Instant) -> u64 {
        // Never 0, which means "not yet".
        micros(at.saturating_duration_since(self.born)) | 1
    }

    /// Notes a datagram, and returns whether it counts: STUN does not, for its checks go on however
    /// quiet a link is.
    fn observe(&self, datagram: &[u8], now: u64) -> bool {
        let is_stun = datagram.first().is_some_and(|first| *first < 4);
        let counts = !is_stun && self.is_open();
        if counts {
            self.active_at.store(now, Ordering::Relaxed);
        }
        counts
    }

    /// Notes a datagram received.
    pub(super) fn observe_received(&self, datagram: &[u8]) {
        let now = self.micros(Instant::now());
        self.round_trip.received(datagram, now);
        let counts = self.observe(datagram, now);
        self.clock().heard(now, counts);
        if !counts {
            return;
        }
        if self.heard_first.load(Ordering::Relaxed) < self.turn_began() {
            self.heard_first.store(now, Ordering::Relaxed);
        }
        self.heard_last.store(now, Ordering::Relaxed);
    }

    /// When the turn began, at the earliest, in which the ICE agent last ticked.
    fn turn_began(&self) -> u64 {
        let ticked_at = self.ticked_at.load(Ordering::Relaxed);
        ticked_at.saturating_sub(micros(SAME_TURN))
    }

    /// When the acknowledgement of a datagram may be due that the next tick would hide.
    fn acknowledgement_due(&self) -> Option<u64> {
        let began = self.turn_began();
        let heard = self.heard_last.load(Ordering::Relaxed) >= began;
        let first = self.heard_first.load(Ordering::Relaxed).max(began);
        heard.then(|| first + micros(ACK_DELAY))
    }

    /// Notes a datagram sent. After a fatal alert of its own the library neither fails nor
    /// stops, but begins the same handshake again and again.
    pub(super) fn observe_sent(&self, datagram: &[u8]) {
        let now = self.micros(Instant::now());
        self.round_trip.sent(datagram, now);
        if self.observe(datagram, now) {
            self.clock().sent(now);
        }
        if is_fatal_alert(datagram) && !self.is_open() {
            self.end("the DTLS handshake failed");
        }
    }

    /// A consent check was sent again.
    pub(super) fn check_sent_again(&self) {
        self.round_trip.sent_again();
    }

    /// The round trip of the path, if it is known.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.round_trip.of_late()
    }

    /// How long the driver shall sleep.
    pub(super) fn sleep(&self, wanted: Duration) -> Duration {
        let now = self.micros(Instant::now());
        let restarting_since = self.restarting_since.load(Ordering::Relaxed);
        let hurries = now.saturating_sub(restarting_since) < micros(HURRY);
        if self.is_open() && !(restarting_since != 0 && hurries) {
            return self.sleep_open(wanted, now);
        }
        let connecting_since = match restarting_since {
            0 => self.connecting_since.load(Ordering::Relaxed),
            since => since,
        };
        if connecting_since == 0 {
            return wanted;
        }
        let others = self.others.0.load(Ordering::Relaxed);
        let age = Duration::from_micros(now.saturating_sub(connecting_since));
        sleep_connecting(wanted, age, TICKS_APART * others)
    }

    fn sleep_open(&self, wanted: Duration, now: u64) -> Duration {
        let ticked_at = self.ticked_at.load(Ordering::Relaxed);
        let tick = ticked_at + micros(ICE_TICK);
        if tick.abs_diff(now + micros(wanted)) > micros(TICK_ACCURACY) {
            return wanted;
        }
        let quiet = now.saturating_sub(self.active_at.load(Ordering::Relaxed)) >= micros(QUIET);
        let mut until = ticked_at + micros(if quiet { QUIET_TICK } else { OPEN_TICK });
        if let Some(due) = self.acknowledgement_due() {
            until = until.min(due);
        }
        wanted.max(Duration::from_micros(until.saturating_sub(now)))
    }
}

/// How long the driver sleeps that has been connecting for so long, among so many.
fn sleep_connecting(wanted: Duration, age: Duration, turn: Duration) -> Duration {
    match age {
        _ if age < HURRY => wanted.clamp(turn, turn.max(CONNECTING_SLEEP)),
        _ if age < WEARY => wanted.max(turn).max(TIRED_SLEEP),
        _ => wanted.max(turn).max(WEARY_SLEEP),
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        if self.is_connecting() {
            self.others.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Whether a datagram is a fatal DTLS alert in the clear, as sent during a handshake: content
/// type, version, epoch, sequence number, length (RFC 6347), then the alert's level.
fn is_fatal_alert(datagram: &[u8]) -> bool {
    matches!(datagram, [21, _, _, 0, 0, _, _, _, _, _, _, 0, 2, 2, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeps_follow_how_long_it_takes_and_how_many_connect() {
        let ms = Duration::from_millis;
        let sleep = |wanted, age, turn| sleep_connecting(ms(wanted), age, ms(turn));
        assert_eq!(sleep(200, Duration::ZERO, 1), CONNECTING_SLEEP);
        assert_eq!(sleep(3, Duration::ZERO, 1), ms(3));
        assert_eq!(sleep(3, Duration::ZERO, 80), ms(80));
        assert_eq!(sleep(3, HURRY, 1), TIRED_SLEEP);
        assert_eq!(sleep(3, WEARY, 1), WEARY_SLEEP);
        assert_eq!(sleep(3, WEARY, 400), ms(400));
        assert_eq!(sleep(500, WEARY, 1), ms(500));

        let pace = Pace::new(Connecting::default());
        let day = Duration::from_secs(86_400);
        assert_eq!(pace.sleep(day), day, "not connecting yet");
        pace.connecting();
        assert!(pace.is_connecting() && pace.sleep(day) < day);
        pace.opened();
        assert!(!pace.is_connecting() && pace.is_open());
    }

    #[test]
    fn ticks_are_put_off_and_other_timers_are_not() {
        let ms = Duration::from_millis;
        let pace = Pace::new(Connecting::default());
        let open = |ticked: u64, (first, last): (u64, u64), active: u64| {
            let set = |field: &AtomicU64, ms: u64| field.store(ms * 1000, Ordering::Relaxed);
            set(&pace.ticked_at, ticked);
            set(&pace.heard_first, first);
            set(&pace.heard_last, last);
            set(&pace.active_at, active);
            |wanted: u64, at: u64| pace.sleep_open(ms(wanted), at * 1000)
        };
        let sleep = open(10_000, (8_900, 9_000), 9_000);
        assert_eq!(sleep(200, 10_000), OPEN_TICK, "for the tick");
        assert_eq!(sleep(50, 10_150), ms(850), "for the tick, later");
        assert_eq!(sleep(150, 10_000), ms(150), "for another timer");
        assert_eq!(sleep(0, 10_500), ms(0), "at once");

        let sleep = open(10_000, (10_100, 10_150), 10_150);
        assert_eq!(
            sleep(50, 10_150),
            ms(150),
            "until an acknowledgement may be due"
        );

        let sleep = open(10_000, (9_999, 9_999), 9_999);
        assert_eq!(
            sleep(199, 10_000),
            ms(199),
            "an acknowledgement due together with the tick"
        );

        let sleep = open(10_000, (9_810, 9_999), 9_999);
        assert_eq!(
            sleep(199, 10_000),
            ms(199),
            "the same where others were heard before"
        );

        let sleep = open(10_000, (1_000, 1_000), 1_000);
        assert_eq!(sleep(200, 10_000), QUIET_TICK, "long without data");
    }

    #[test]
    fn a_tick_happens_when_the_library_learns_that_it_is_due() {
        let pace = Pace::new(Connecting::default());
        let now = pace.micros(pace.now());
        let due = now + micros(ICE_TICK);
        assert_eq!(pace.ticked_at.load(Ordering::Relaxed), 0, "not due yet");
        let mut late = Arc::into_inner(Pace::new(Connecting::default())).expect("sole owner");
        late.born = (late.born)
            .checked_sub(ICE_TICK)
            .expect("uptime exceeds a second");
        let at = late.micros(late.now());
        assert_eq!(late.ticked_at.load(Ordering::Relaxed), at);
        assert!(at >= due - now);
    }

    #[test]
    fn a_link_that_does_not_open_tells_which_handshake_is_missing() {
        let pace = Pace::new(Connecting::default());
        pace.reached();
        assert_eq!(pace.missing(), "the DTLS handshake took too long");
        pace.secured();
        assert!(pace.missing().contains("no SCTP association"));
    }

    #[test]
    fn stun_keeps_nobody_awake() {
        let pace = Pace::new(Connecting::default());
        pace.observe_received(&[23, 254]);
        assert_eq!(pace.active_at.load(Ordering::Relaxed), 0, "not open yet");
        pace.active_at.store(1, Ordering::Relaxed);
        pace.observe_received(&[0, 1]);
        assert_eq!(pace.active_at.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn an_alert_of_ours_ends_the_handshake() {
        let alert = [21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 2, 42];
        let pace = Pace::new(Connecting::default());
        pace.observe_sent(&alert);
        pace.end("later");
        assert_eq!(pace.ended().await, "the DTLS handshake failed");
        let encrypted = [21, 254, 253, 0, 1, 0, 0, 0, 0, 0, 1, 0, 2, 2, 42];
        assert!(is_fatal_alert(&alert) && !is_fatal_alert(&encrypted) && !is_fatal_alert(&[21]));
    }
}
