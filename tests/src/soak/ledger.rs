//! The ledger of a soak: every message that was sent, by which agent to which, and all that came of
//! it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mesh_native::core::Delivery;

/// A message that takes longer than this was held up: several times what the slowest takes on a
/// busy machine without a fault, and half of the shortest time in which the mesh is to heal.
pub const LATE: Duration = Duration::from_millis(250);

/// Messages that are quoted where some were held up: the last of them.
const QUOTED: usize = 3;

/// A process in its life, by its place in the ledger: a replacement is another one.
pub type Life = usize;

/// What an author was told of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its receipt came.
    Delivered,
    /// It was lost, for this reason.
    Failed(String),
}

/// A message.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The process that sent it.
    pub author: Life,
    /// The process that it is for.
    pub target: Life,
    /// How it was sent.
    pub delivery: Delivery,
    /// When the author was told to send it.
    pub sent: Instant,
    /// Its name in the mesh, once the author has taken it.
    pub id: Option<String>,
    /// Why the author did not take it.
    pub refused: Option<String>,
    /// When it arrived first.
    pub arrived: Option<Instant>,
    /// How often it arrived.
    pub times: u32,
}

/// Processes that a fault keeps from each other.
#[derive(Clone, Debug)]
struct Parting {
    these: BTreeSet<Life>,
    /// All others where left out.
    those: Option<BTreeSet<Life>>,
    from: Instant,
    to: Option<Instant>,
}

/// A parting that is to end.
#[derive(Clone, Copy, Debug)]
pub struct Parted(usize);

/// The messages that an observation looks at.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Their authors and targets.
    pub living: BTreeSet<Life>,
    /// Two that cannot be linked.
    pub cut: Option<(Life, Life)>,
}

/// What was held up or lost of a scope.
#[derive(Clone, Copy, Debug, Default)]
pub struct Suffered {
    /// The last moment at which a message was sent in vain, or came late.
    pub until: Option<Instant>,
    /// Messages that came late.
    pub late: usize,
    /// Messages that have not come.
    pub lost: usize,
    /// When the last of them was sent.
    pub sent: Option<Instant>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Entries {
    pub(super) entries: Vec<Entry>,
    pub(super) outcomes: BTreeMap<String, Vec<Outcome>>,
    pub(super) died: BTreeMap<Life, Instant>,
    partings: Vec<Parting>,
    lives: usize,
    /// Messages that arrived at another agent than their target, or that nobody sent.
    pub(super) astray: usize,
    /// Events that agents dropped, because they were not read in time.
    pub(super) unread: u64,
    /// Messages that were not sent, because their author still had others to send.
    pub(super) held_up: usize,
}

/// The ledger, shared by all that write to it.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<Entries>>);

impl Ledger {
    /// A look at it.
    pub fn open(&self) -> MutexGuard<'_, Entries> {
        // Each entry is written at once: a writer that panicked left none unfinished.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    /// A process begins.
    pub fn born(&mut self) -> Life {
        self.lives += 1;
        self.lives - 1
    }

    /// A process is killed.
    pub fn dies(&mut self, life: Life) {
        self.died.insert(life, Instant::now());
    }

    /// Whether a process was killed.
    pub fn is_dead(&self, life: Life) -> bool {
        self.died.contains_key(&life)
    }

    /// A message is to be sent. Returns its number, which is its payload.
    pub fn sends(&mut self, author: Life, target: Life, delivery: Delivery) -> usize {
        self.entries.push(Entry {
            author,
            target,
            delivery,
            sent: Instant::now(),
            id: None,
            refused: None,
            arrived: None,
            times: 0,
        });
        self.entries.len() - 1
    }

    /// The author's process took the last one no more.
    pub fn takes_back(&mut self) {
        self.entries.pop();
        self.held_up += 1;
    }

    /// Its author has taken it.
    pub fn accepted(&mut self, number: usize, id: &str) {
        if let Some(entry) = self.entries.get_mut(number) {
            entry.id = Some(id.to_owned());
        }
    }

    /// Its author has not taken it.
    pub fn refused(&mut self, number: usize, code: &str) {
        if let Some(entry) = self.entries.get_mut(number) {
            entry.refused = Some(code.to_owned());
        }
    }

    /// It is where this process can read it.
    pub fn arrived(&mut self, number: Option<usize>, at: Life) {
        let entry = number.and_then(|number| self.entries.get_mut(number));
        match entry.filter(|entry| entry.target == at) {
            Some(entry) => {
                entry.arrived.get_or_insert_with(Instant::now);
                entry.times += 1;
            }
            None => self.astray += 1,
        }
    }

    /// An author was told what became of a message.
    pub fn told(&mut self, id: &str, outcome: Outcome) {
        self.outcomes
            .entry(id.to_owned())
            .or_default()
            .push(outcome);
    }

    /// A process dropped events.
    pub fn unread(&mut self, missed: u64) {
        self.unread += missed;
    }

    /// A fault parts these processes from those, or from all others.
    pub fn part(&mut self, these: BTreeSet<Life>, those: Option<BTreeSet<Life>>) -> Parted {
        self.partings.push(Parting {
            these,
            those,
            from: Instant::now(),
            to: None,
        });
        Parted(self.partings.len() - 1)
    }

    /// That is over.
    pub fn unite(&mut self, parted: Parted) {
        self.partings[parted.0].to = Some(Instant::now());
    }

    /// Whether a fault kept author and target apart at any time until so long after the sending.
    pub(super) fn parted(&self, entry: &Entry, within: Duration) -> bool {
        self.partings.iter().any(|parting| {
            let ended = parting.to.is_some_and(|to| to < entry.sent);
            let begun = parting.from <= entry.sent + within;
            let across = |a: Life, b: Life| {
                let there = parting.those.as_ref();
                parting.these.contains(&a)
                    && there.map_or(!parting.these.contains(&b), |those| those.contains(&b))
            };
            let parts = across(entry.author, entry.target) || across(entry.target, entry.author);
            begun && !ended && parts
        })
    }

    /// What was held up or lost of what these sent each other from then on.
    pub fn suffered(&self, from: Instant, scope: &Scope) -> Suffered {
        let mut suffered = Suffered::default();
        for entry in self.held_up_or_lost(from, scope) {
            let moment = match entry.arrived {
                Some(at) => {
                    suffered.late += 1;
                    at
                }
                None => {
                    suffered.lost += 1;
                    entry.sent
                }
            };
            suffered.until = suffered.until.max(Some(moment));
            suffered.sent = Some(entry.sent);
        }
        suffered
    }

    /// What was held up or lost of what these sent each other from then on: how much of which
    /// delivery, by author and target.
    pub fn told_apart(&self, from: Instant, scope: &Scope) -> String {
        let mut counts = BTreeMap::<_, usize>::new();
        for entry in self.held_up_or_lost(from, scope) {
            let what = match entry.arrived {
                Some(_) => "late",
                None => "lost",
            };
            let delivery = format!("{:?}", entry.delivery);
            let way = (entry.author, entry.target);
            *counts.entry((way, delivery, what)).or_default() += 1;
        }
        let told = counts
            .into_iter()
            .map(|(((author, target), delivery, what), count)| {
                format!("{count} {delivery} from {author} to {target} {what}")
            });
        told.collect::<Vec<_>>().join(", ")
    }

    /// The last of them, in words, for a search in agents' logs. Times are from `since`.
    pub fn last_held_up(&self, from: Instant, since: Instant, scope: &Scope) -> String {
        let mut held: Vec<_> = self.held_up_or_lost(from, scope).collect();
        held.sort_by_key(|entry| entry.arrived.unwrap_or(entry.sent));
        let last = held.split_off(held.len().saturating_sub(QUOTED));
        let told = last.iter().map(|entry| {
            let sent = entry.sent.saturating_duration_since(since);
            let took = entry.arrived.map(|at| at - entry.sent);
            format!(
                "{:?} {} from {} to {}, sent at {sent:.2?}, took {took:.2?}",
                entry.delivery,
                entry.id.as_deref().unwrap_or("without an id"),
                entry.author,
                entry.target,
            )
        });
        told.collect::<Vec<_>>().join("; ")
    }

    fn held_up_or_lost(&self, from: Instant, scope: &Scope) -> impl Iterator<Item = &Entry> {
        let first = self.entries.partition_point(|entry| entry.sent < from);
        let now = Instant::now();
        self.entries[first..].iter().filter(move |entry| {
            let ends = [entry.author, entry.target];
            let counts = ends.iter().all(|end| scope.living.contains(end));
            let by = entry.sent + LATE;
            counts && now >= by && entry.arrived.is_none_or(|at| at > by)
        })
    }

    /// The time since the first message.
    pub fn elapsed(&self) -> Duration {
        let first = self.entries.first();
        first.map_or(Duration::ZERO, |first| first.sent.elapsed())
    }
}
