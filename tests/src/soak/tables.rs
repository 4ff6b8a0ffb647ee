//! What a soak tells: its tables, as Markdown.

use std::fmt::Write as _;

use super::faults::{Fault, Measure};
use super::observe::Healing;

/// How soon every agent is to have its links again, in seconds.
const LINKS_S: f64 = 10.0;

/// What was seen of each measure.
#[derive(Debug, Default)]
pub struct Readings(Vec<(Measure, Vec<Healing>)>);

impl Readings {
    /// Another one.
    pub fn enter(&mut self, measure: Measure, healing: Healing) {
        match self.0.iter_mut().find(|(known, _)| *known == measure) {
            Some((_, seen)) => seen.push(healing),
            None => self.0.push((measure, vec![healing])),
        }
    }

    /// A row for each measure, in the order of the faults, and whether each meets its goal.
    pub fn table(&self) -> (String, bool) {
        let mut text = String::from(
            "| | n | all messages arrive again: median | 90 % | worst | goal | all links again: \
             median | 90 % | worst | healed | |\n\
             |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|\n",
        );
        let mut all_meet = true;
        let order = Fault::ALL.iter();
        let order = order.flat_map(|fault| [fault.meanwhile(), fault.afterwards()]);
        for measure in order.flatten() {
            let Some((_, seen)) = self.0.iter().find(|(known, _)| *known == measure) else {
                continue;
            };
            let messages = spread(seen, |it| it.messages.as_secs_f64());
            let links = spread(seen, |it| it.links.as_secs_f64());
            let healed = seen.iter().filter(|it| it.healed).count();
            let meets = messages[0] < measure.median_s
                && messages[2] < measure.worst_s
                && links[2] < LINKS_S
                && healed == seen.len();
            all_meet &= meets;
            let _ = writeln!(
                text,
                "| {} | {} | {:.2} s | {:.2} | {:.2} | < {}, {} s | {:.2} s | {:.2} | {:.2} | \
                 {:.1} % | {} |",
                measure.name,
                seen.len(),
                messages[0],
                messages[1],
                messages[2],
                measure.median_s,
                measure.worst_s,
                links[0],
                links[1],
                links[2],
                100.0 * healed as f64 / seen.len() as f64,
                if meets { "met" } else { "**missed**" },
            );
        }
        (text, all_meet)
    }

    /// The longest time of each measure, for a bound: its name, messages and links in seconds.
    pub fn worst(&self) -> Vec<(&'static str, f64, f64)> {
        let worst = self.0.iter().map(|(measure, seen)| {
            let messages = spread(seen, |it| it.messages.as_secs_f64())[2];
            let links = spread(seen, |it| it.links.as_secs_f64())[2];
            (measure.name, messages, links)
        });
        worst.collect()
    }
}

/// Median, 90 % and worst.
fn spread(seen: &[Healing], read: impl Fn(&Healing) -> f64) -> [f64; 3] {
    let mut values: Vec<f64> = seen.iter().map(read).collect();
    values.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let last = values.len().saturating_sub(1) as f64;
        let index = (last * share).ceil() as usize;
        values.get(index).copied().unwrap_or(f64::NAN)
    };
    [at(0.5), at(0.9), at(1.0)]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_row_tells_the_middle_and_the_worst_and_whether_they_meet_the_goal() {
        let killed = Fault::Killed.meanwhile().expect("it is measured");
        let mut readings = Readings::default();
        let mut seen = |millis: u64| {
            readings.enter(
                killed,
                Healing {
                    messages: Duration::from_millis(millis),
                    sent: Duration::ZERO,
                    links: Duration::from_secs(1),
                    late: 0,
                    lost: 0,
                    healed: true,
                },
            );
        };
        for millis in [100, 300, 200] {
            seen(millis);
        }
        let (text, meets) = readings.table();
        assert!(meets && text.contains("| 0.20 s | 0.30 | 0.30 |"), "{text}");
        readings.enter(
            killed,
            Healing {
                messages: Duration::from_secs(9),
                sent: Duration::ZERO,
                links: Duration::from_secs(1),
                late: 1,
                lost: 0,
                healed: true,
            },
        );
        let (text, meets) = readings.table();
        assert!(!meets && text.contains("**missed**"), "{text}");
    }
}
