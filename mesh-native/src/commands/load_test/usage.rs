//! What this process takes of the machine, as Linux tells it in /proc.

use std::time::{Duration, Instant};

/// Ticks of /proc/self/stat in a second: Linux has always told user space 100 (`man 7 time`).
const TICKS: f64 = 100.0;

/// Bytes of a page: on every machine that WebRTC agents run on, but for some of 16 KiB.
const PAGE: f64 = 4_096.0;

/// The state at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    at: Instant,
    cpu_s: Option<f64>,
    pub(super) resident_mb: Option<f64>,
}

/// What was spent in some time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    pub(super) seconds: f64,
    pub(super) cpu_s: Option<f64>,
    /// Resident memory gained, in MB.
    pub(super) memory_mb: Option<f64>,
    /// Bytes that all agents sent in frames.
    pub(super) bytes_sent: u64,
}

impl Usage {
    pub(super) fn now() -> Self {
        Self {
            at: Instant::now(),
            cpu_s: cpu_seconds(),
            resident_mb: resident_mb(),
        }
    }

    pub(super) fn since(&self, before: &Self) -> Spent {
        let gained = |now: Option<f64>, then: Option<f64>| Some(now? - then?);
        Spent {
            seconds: Duration::as_secs_f64(&(self.at - before.at)),
            cpu_s: gained(self.cpu_s, before.cpu_s),
            memory_mb: gained(self.resident_mb, before.resident_mb),
            bytes_sent: 0,
        }
    }
}

impl Spent {
    pub(super) fn carrying(self, bytes_sent: u64) -> Self {
        Self { bytes_sent, ..self }
    }

    /// Per cent of one core.
    pub(super) fn cpu_percent(&self) -> Option<f64> {
        Some(100.0 * self.cpu_s? / self.seconds.max(1e-3))
    }
}

/// User and system time of all threads.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses, which may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS)
}

fn resident_mb() -> Option<f64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: f64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * PAGE / 1e6)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn work_and_memory_are_seen() {
        let before = Usage::now();
        let mut hash = 1u64;
        while cpu_seconds() <= before.cpu_s {
            hash = (1..100_000).fold(hash, |hash, n| hash.wrapping_mul(31) ^ n);
        }
        let ballast = vec![hash | 1; 4 << 20];
        let spent = Usage::now().since(&before);
        assert!(spent.cpu_s > Some(0.0) && spent.cpu_percent() > Some(0.0));
        assert!(
            spent.memory_mb > Some(16.0),
            "{spent:?} of {}",
            ballast.len()
        );
    }
}
