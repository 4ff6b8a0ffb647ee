//! What hours do to agents: the slopes of their memory, descriptors and threads.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::ledger::Life;
use super::process::Taken;
use super::world::World;

/// Time between two samples.
const SAMPLE: Duration = Duration::from_secs(5);

/// The part of a run, at its start, in which caches and pools fill: one sixth.
const WARM: usize = 6;

/// A figure: its name, how it is read, and how much it may grow in a run by its slope. Memory: 2 MB
/// of about 35; descriptors and threads: less than a link has, and one worker. In minutes only the
/// steepest leaks exceed this: an hour is the measure.
type Figure = (&'static str, fn(&Taken) -> f64, f64);

const FIGURES: [Figure; 3] = [
    ("memory, KB", |taken| taken.memory, 2_048.0),
    ("descriptors", |taken| taken.descriptors, 2.0),
    ("threads", |taken| taken.threads, 1.0),
];

/// What processes took, by the hours since the start.
#[derive(Debug, Default)]
pub struct Samples(BTreeMap<Life, Vec<(f64, Taken)>>);

/// Takes samples of all agents, into `samples`. Does not end.
pub async fn sample(world: &World, samples: &std::sync::Mutex<Samples>) {
    let started = Instant::now();
    let mut ticks = interval(SAMPLE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let hours = started.elapsed().as_secs_f64() / 3_600.0;
        let all = world.all();
        let mut samples = samples
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        for agent in &all {
            if let Ok(taken) = Taken::by(agent.process) {
                samples
                    .0
                    .entry(agent.life)
                    .or_default()
                    .push((hours, taken));
            }
        }
    }
}

impl Samples {
    /// A table of those that lived through the run, as Markdown, and whether all is flat.
    pub fn table(&self) -> (String, bool) {
        let most = self.0.values().map(Vec::len).max().unwrap_or(0);
        let through: Vec<_> = self
            .0
            .values()
            .filter(|taken| taken.len() + 1 >= most)
            .collect();
        let mut text = format!(
            "| of {} agents that lived through | at first, median | at last | slope in an hour, \
             median | steepest | may grow in the run | |\n|---|---:|---:|---:|---:|---:|---|\n",
            through.len()
        );
        let mut all_flat = !through.is_empty();
        let ends = through.iter().filter_map(|taken| taken.last());
        let hours = ends.map(|(at, _)| *at).fold(0.0, f64::max);
        for (name, read, grows_max) in FIGURES {
            let warm = |taken: &[(f64, Taken)]| taken.len() / WARM;
            let mut first: Vec<_> = through.iter().map(|it| read(&it[warm(it)].1)).collect();
            let mut last: Vec<_> = through.iter().map(|it| read(&it[it.len() - 1].1)).collect();
            let slopes = through.iter().map(|it| {
                let points: Vec<_> = it[warm(it)..].iter().map(|(x, y)| (*x, read(y))).collect();
                slope(&points)
            });
            let mut slopes: Vec<_> = slopes.collect();
            let steepest = slopes.iter().copied().fold(f64::MIN, f64::max);
            let middle = median(&mut slopes);
            // One agent may have opened links late: that the middle one grows tells of a leak.
            let flat = middle * hours <= grows_max;
            all_flat &= flat;
            let _ = writeln!(
                text,
                "| {name} | {:.0} | {:.0} | {middle:+.1} | {steepest:+.1} | {grows_max} | {} |",
                median(&mut first),
                median(&mut last),
                if flat { "flat" } else { "**grows**" },
            );
        }
        (text, all_flat)
    }
}

/// The middle one; sorts.
pub(super) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The slope of the line through points that has the least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |axis: fn(&(f64, f64)) -> f64| points.iter().map(axis).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let over: f64 = points.iter().map(|it| (it.0 - x) * (it.1 - y)).sum();
    let under: f64 = points.iter().map(|it| (it.0 - x).powi(2)).sum();
    if under == 0.0 { 0.0 } else { over / under }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_is_told_from_what_only_wavers() {
        let samples = |growth: f64| {
            let taken = |at: usize| Taken {
                memory: 30_000.0
                    + growth * at as f64
                    + f64::from(u8::from(at.is_multiple_of(2))) * 300.0,
                descriptors: 30.0,
                threads: 4.0,
            };
            let hours = (0..100).map(|at| (at as f64 / 100.0, taken(at)));
            Samples(BTreeMap::from([(0, hours.collect())]))
        };
        let (text, flat) = samples(0.0).table();
        assert!(flat, "{text}");
        let (text, flat) = samples(100.0).table();
        assert!(!flat && text.contains("**grows**"), "{text}");
        assert!(!Samples::default().table().1, "of nobody nothing is known");
    }
}
