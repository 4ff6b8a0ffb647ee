//! What the members of a test saw, in one place.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

/// The longest time that is told apart, in microseconds.
const TIME_MAX_US: u64 = 120_000_000;

/// Significant digits of times.
const DIGITS: u8 = 3;

/// Why a member did not join or stay: a word or two, so that failures can be counted by it.
pub(super) type Failure = String;

/// Collects from all tasks.
#[derive(Debug)]
pub(super) struct Recorder {
    seen: Mutex<Seen>,
    texts: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Debug)]
struct Seen {
    joins: Histogram<u64>,
    pings: Histogram<u64>,
    last_join: Option<Instant>,
    /// Members that were not admitted, or did not stay, by the cause.
    failures: BTreeMap<Failure, u64>,
}

/// How long something took, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Times {
    count: u64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

/// Texts that members have read.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Read {
    pub(super) texts: u64,
    pub(super) bytes: u64,
}

impl Recorder {
    pub(super) fn new() -> Self {
        Self {
            seen: Mutex::new(Seen {
                joins: histogram(),
                pings: histogram(),
                last_join: None,
                failures: BTreeMap::new(),
            }),
            texts: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A member was admitted, so long after it was to begin.
    pub(super) fn joined(&self, took: Duration) {
        let mut seen = self.seen();
        seen.joins.saturating_record(micros(took));
        seen.last_join = Some(Instant::now());
    }

    /// The hub answered a ping.
    pub(super) fn pinged(&self, took: Duration) {
        self.seen().pings.saturating_record(micros(took));
    }

    /// A member was not admitted, or did not stay.
    pub(super) fn failed(&self, failure: Failure) {
        *self.seen().failures.entry(failure).or_default() += 1;
    }

    /// A text was read.
    pub(super) fn read(&self, bytes: usize) {
        self.texts.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn all_read(&self) -> Read {
        Read {
            texts: self.texts.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// Members that were admitted, and those that were not or did not stay.
    pub(super) fn counts(&self) -> (u64, u64) {
        let seen = self.seen();
        (seen.joins.len(), seen.failures.values().sum())
    }

    pub(super) fn failures(&self) -> BTreeMap<Failure, u64> {
        self.seen().failures.clone()
    }

    pub(super) fn last_join(&self) -> Option<Instant> {
        self.seen().last_join
    }

    pub(super) fn joins(&self) -> Times {
        Times::of(&self.seen().joins)
    }

    /// How long answers to pings took since this was last asked.
    pub(super) fn take_pings(&self) -> Times {
        let pings = std::mem::replace(&mut self.seen().pings, histogram());
        Times::of(&pings)
    }
}

impl Times {
    fn of(histogram: &Histogram<u64>) -> Self {
        let ms = |us: u64| us as f64 / 1e3;
        Self {
            count: histogram.len(),
            p50_ms: ms(histogram.value_at_quantile(0.5)),
            p95_ms: ms(histogram.value_at_quantile(0.95)),
            p99_ms: ms(histogram.value_at_quantile(0.99)),
            max_ms: ms(histogram.max()),
        }
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            count,
            p50_ms,
            p95_ms,
            p99_ms,
            max_ms,
        } = self;
        if *count == 0 {
            return f.write_str("none");
        }
        write!(f, "{p50_ms:.1} / {p95_ms:.1} / {p99_ms:.1} / {max_ms:.1}")
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, TIME_MAX_US, DIGITS).expect("the bounds are in order")
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
