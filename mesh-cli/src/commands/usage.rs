//! What processes take of the machine, as Linux tells it in /proc.

use std::iter::Sum;
use std::time::{Duration, Instant};

use serde::Serialize;

/// Ticks of /proc/self/stat in a second: Linux has always told user space 100 (`man 7 time`).
const TICKS: f64 = 100.0;

/// The state at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    at: Instant,
    cpu_s: Option<f64>,
    pub(super) memory: Option<Memory>,
}

/// Physical memory, in MB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Memory {
    pub(super) resident: f64,
    /// The part of it that is of no file: heap and stacks.
    pub(super) heap: f64,
    /// The part that is: the program and its libraries.
    pub(super) program: f64,
    /// The most that was ever resident.
    pub(super) peak: f64,
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
    /// Of this process.
    pub(super) fn now() -> Self {
        Self::of(&["self".to_owned()])
    }

    /// Of these processes together, by their ids; nothing of none.
    pub(super) fn of(processes: &[String]) -> Self {
        let all = || processes.iter();
        Self {
            at: Instant::now(),
            cpu_s: all().map(|process| cpu_seconds(process)).sum(),
            memory: all().map(|process| Memory::of(process)).sum(),
        }
    }

    pub(super) fn since(&self, before: &Self) -> Spent {
        let gained = |now: Option<f64>, then: Option<f64>| Some(now? - then?);
        Spent {
            seconds: Duration::as_secs_f64(&(self.at - before.at)),
            cpu_s: gained(self.cpu_s, before.cpu_s),
            memory_mb: gained(
                self.memory.map(|memory| memory.resident),
                before.memory.map(|memory| memory.resident),
            ),
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
fn cpu_seconds(process: &str) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is the program's name in parentheses, which may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS)
}

impl Memory {
    fn of(process: &str) -> Option<Self> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let mb = |field: &str| {
            let mut lines = status.lines();
            let line = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
            let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
            Some(kib * 1024.0 / 1e6)
        };
        Some(Self {
            resident: mb("VmRSS")?,
            heap: mb("RssAnon")?,
            program: mb("RssFile")?,
            peak: mb("VmHWM")?,
        })
    }
}

impl Sum for Memory {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |a, b| Self {
            resident: a.resident + b.resident,
            heap: a.heap + b.heap,
            program: a.program + b.program,
            peak: a.peak + b.peak,
        })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn work_and_memory_are_seen() {
        let before = Usage::now();
        let mut hash = 1u64;
        while cpu_seconds("self") <= before.cpu_s {
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
