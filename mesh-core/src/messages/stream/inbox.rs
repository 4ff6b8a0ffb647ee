//! The target's end of a stream: what has come, what is missing, and the order.

use std::collections::BTreeMap;
use std::time::Duration;

use super::SPAN_MAX;
use super::window::{SLOT_BYTES, SLOTS_MAX};
use crate::time::Instant;
use crate::wire::{ITEMS_MAX, MISSING_MAX, Progress};

/// Wait until the author is told of missing messages: others may have overtaken them on another
/// path.
const GAP_PATIENCE: Duration = Duration::from_millis(100);

/// The longest time between two reports of the same gap: the first report may have been lost.
const GAP_PATIENCE_MAX: Duration = Duration::from_secs(1);

/// Time that messages are held back for a missing one: twice the usual deadline of their author,
/// which reports what it has given up. If the author has died nothing comes.
const HELD_FOR: Duration = Duration::from_secs(10);

/// Bytes that one stream holds back at most: twice what its author may have under way.
pub(in crate::messages) const STREAM_BYTES_MAX: usize = 2 * SLOTS_MAX as usize * SLOT_BYTES;

const _: () = assert!(
    GAP_PATIENCE.as_millis() < GAP_PATIENCE_MAX.as_millis()
        && GAP_PATIENCE_MAX.as_millis() < HELD_FOR.as_millis(),
    "a gap is reported several times before it is given up"
);

/// The lives of an author in which it began the stream: its incarnation, and the stream's name.
type Life = (u64, u64);

/// What has come of one author's stream.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    life: Life,
    /// The number awaited next: all before have come, or were given up.
    next: u64,
    /// What has come of those after it. Nothing stands for what was handed over at once.
    held: BTreeMap<u64, Option<(T, usize)>>,
    bytes: usize,
    /// Since when `next` has been missing, and when its author is asked for it.
    gap: Option<Gap>,
    /// Something came that had come before, and its author was not told yet.
    repeated: bool,
}

#[derive(Clone, Copy, Debug)]
struct Gap {
    since: Instant,
    ask_at: Instant,
    patience: Duration,
}

/// What a message is, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It comes for the first time.
    New,
    /// It came before and is held back.
    Held,
    /// It came before, or was not waited for any more.
    Passed,
    /// There is no room to hold it: it is to come again.
    NoRoom,
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Self {
            life: (0, 0),
            next: 0,
            held: BTreeMap::new(),
            bytes: 0,
            gap: None,
            repeated: false,
        }
    }
}

impl<T> Inbox<T> {
    /// A message of this stream has come, which may wait for those from `base` on, and no others.
    /// Whatever need not wait any more is `ready`. Returns how many were given up; nothing if the
    /// stream is older than the one that is known.
    pub(crate) fn begin(
        &mut self,
        life: Life,
        base: u64,
        now: Instant,
        ready: &mut Vec<T>,
    ) -> Option<u64> {
        if life.0 == self.life.0 && life.1 < self.life.1 {
            return None;
        }
        if life != self.life {
            let held = std::mem::take(&mut self.held).into_values().flatten();
            ready.extend(held.map(|(held, _)| held));
            *self = Self {
                life,
                next: base,
                ..Self::default()
            };
        }
        let skipped = self.skip_to(base, ready);
        self.note_gap(now);
        Some(skipped)
    }

    /// A message of the stream that has begun. What is `Some` is to be handed over in order, now
    /// or later; of `None` only the number counts.
    pub(crate) fn accept(
        &mut self,
        number: u64,
        item: Option<(T, usize)>,
        now: Instant,
        ready: &mut Vec<T>,
    ) -> Arrival {
        let is_held = self.held.contains_key(&number);
        self.repeated |= is_held || number < self.next;
        if number < self.next {
            return Arrival::Passed;
        }
        if is_held {
            return Arrival::Held;
        }
        if number == self.next {
            self.next += 1;
            ready.extend(item.map(|(item, _)| item));
            self.release(ready);
            // What is missing now has not been missing for long.
            self.gap = None;
            self.note_gap(now);
            return Arrival::New;
        }
        let bytes = item.as_ref().map_or(0, |(_, bytes)| *bytes);
        let is_far = number - self.next >= SPAN_MAX + ITEMS_MAX as u64;
        if is_far || self.bytes + bytes > STREAM_BYTES_MAX {
            return Arrival::NoRoom;
        }
        self.bytes += bytes;
        self.held.insert(number, item);
        self.note_gap(now);
        Arrival::New
    }

    /// Whether a message can only be held back.
    pub(crate) fn would_hold(&self, number: u64) -> bool {
        number > self.next
    }

    fn note_gap(&mut self, now: Instant) {
        if !self.held.is_empty() {
            self.gap.get_or_insert(Gap {
                since: now,
                ask_at: now + GAP_PATIENCE,
                patience: GAP_PATIENCE,
            });
        }
    }

    /// Hands over what follows without a gap.
    fn release(&mut self, ready: &mut Vec<T>) {
        while let Some(item) = self.held.remove(&self.next) {
            self.next += 1;
            if let Some((item, bytes)) = item {
                self.bytes -= bytes;
                ready.push(item);
            }
        }
        if self.held.is_empty() {
            self.gap = None;
        }
    }

    /// The author of the stream of this life has given up all before `base`. Returns how many that
    /// are.
    pub(crate) fn skip(&mut self, life: Life, base: u64, now: Instant, ready: &mut Vec<T>) -> u64 {
        if life != self.life {
            return 0;
        }
        let skipped = self.skip_to(base, ready);
        self.note_gap(now);
        skipped
    }

    /// Waits for nothing before `base` any more. Returns how many were given up.
    fn skip_to(&mut self, base: u64, ready: &mut Vec<T>) -> u64 {
        if base <= self.next {
            return 0;
        }
        let later = self.held.split_off(&base);
        let passed = std::mem::replace(&mut self.held, later);
        let skipped = base - self.next - passed.len() as u64;
        for (item, bytes) in passed.into_values().flatten() {
            self.bytes -= bytes;
            ready.push(item);
        }
        self.next = base;
        self.gap = None;
        self.release(ready);
        skipped
    }

    /// Gives up what has been missing for too long. Returns how many that are.
    pub(crate) fn give_up(&mut self, now: Instant, ready: &mut Vec<T>) -> u64 {
        let is_late = self.gap.is_some_and(|gap| now.since(gap.since) >= HELD_FOR);
        let first = self.held.first_key_value().map(|(number, _)| *number);
        match first.filter(|_| is_late) {
            Some(first) => {
                let skipped = self.skip_to(first, ready);
                self.note_gap(now);
                skipped
            }
            None => 0,
        }
    }

    /// Whether the author is to be asked for what is missing, now.
    pub(crate) fn asks(&mut self, now: Instant) -> bool {
        match &mut self.gap {
            Some(gap) if gap.ask_at <= now => {
                gap.patience = (gap.patience * 2).min(GAP_PATIENCE_MAX);
                gap.ask_at = now + gap.patience;
                true
            }
            _ => false,
        }
    }

    /// When to look again.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let gap = self.gap?;
        Some(gap.ask_at.min(gap.since + HELD_FOR))
    }

    /// The number awaited next.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// When the author is to be asked for what is missing.
    pub(crate) fn ask_at(&self) -> Option<Instant> {
        Some(self.gap?.ask_at)
    }

    /// Bytes that are held back.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether anything is held back.
    pub(crate) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// What the author is told.
    pub(crate) fn progress(&mut self) -> Progress {
        let mut missing = Vec::new();
        let mut seen = self.next;
        for &number in self.held.keys() {
            if number > seen {
                if missing.len() == MISSING_MAX {
                    break;
                }
                missing.push((seen, number - seen));
            }
            seen = number + 1;
        }
        Progress {
            incarnation: self.life.0,
            stream: self.life.1,
            next: self.next,
            seen,
            missing,
            repeated: std::mem::take(&mut self.repeated),
        }
    }
}
