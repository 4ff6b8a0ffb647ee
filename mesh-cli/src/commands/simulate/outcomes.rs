//! What many small worlds came to, as distributions.

use std::collections::BTreeMap;

use mesh_core::sim::Outcome;
use serde_json::{Value, json};

/// A figure of each world, in order.
struct Distribution(Vec<f64>);

impl Distribution {
    fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut figures: Vec<_> = figures.collect();
        figures.sort_by(f64::total_cmp);
        Self(figures)
    }

    /// The figure that this share of the worlds does not exceed; 0 if there are none.
    fn percentile(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let place = (last as f64 * share).round() as usize;
        self.0.get(place).copied().unwrap_or_default()
    }

    fn json(&self) -> Value {
        json!({
            "p50": self.percentile(0.5),
            "p95": self.percentile(0.95),
            "max": self.percentile(1.0),
        })
    }

    fn text(&self, digits: usize, unit: &str) -> String {
        let [median, p95, most] = [0.5, 0.95, 1.0].map(|share| self.percentile(share));
        format!(
            "{median:.digits$} {unit} in half of them, {p95:.digits$} in 95 %, \
             at most {most:.digits$}"
        )
    }
}

struct Outcomes {
    healed_s: Distribution,
    redundancy: Distribution,
    bytes_per_second: Distribution,
    degrees: BTreeMap<usize, u64>,
    hops: BTreeMap<usize, u64>,
}

impl Outcomes {
    fn of(outcomes: &[Outcome]) -> Self {
        let all = outcomes.iter();
        let (mut degrees, mut hops) = (BTreeMap::new(), BTreeMap::new());
        for outcome in outcomes {
            for (degree, agents) in &outcome.analysis.degree_distribution {
                *degrees.entry(*degree).or_default() += *agents as u64;
            }
            for (distance, pairs) in &outcome.analysis.hop_distribution {
                *hops.entry(*distance).or_default() += pairs;
            }
        }
        Self {
            healed_s: Distribution::of(all.clone().map(|outcome| outcome.healed_s)),
            redundancy: Distribution::of(all.clone().filter_map(|outcome| outcome.redundancy)),
            bytes_per_second: Distribution::of(all.map(|outcome| outcome.bytes_per_second)),
            degrees,
            hops,
        }
    }
}

/// Worlds that passed, by their kind.
#[derive(Default)]
pub(super) struct Worlds {
    pub(super) plain: Vec<Outcome>,
    /// Drivers are late, links are slow, and signals get lost.
    pub(super) rough: Vec<Outcome>,
    /// Direct paths get lost, and the TURN server is away at times.
    pub(super) relayed: Vec<Outcome>,
}

impl Worlds {
    pub(super) fn json(&self, seeds: u64, failed: &[u64], took: f64) -> String {
        let mut report = figures(&self.plain);
        report["seeds"] = seeds.into();
        report["failed"] = failed.into();
        report["seconds"] = took.into();
        report["rough"] = figures(&self.rough);
        report["relayed"] = figures(&self.relayed);
        format!("{report}\n")
    }

    pub(super) fn text(&self, seeds: u64, took: f64) -> String {
        let passed = |outcomes: &[Outcome]| format!("{} of {seeds}", outcomes.len());
        format!(
            "{} worlds, {} rough worlds and {} worlds with relays passed every check, in \
             {took:.0} s\n{}rough worlds:\n{}worlds with relays:\n{}",
            passed(&self.plain),
            passed(&self.rough),
            passed(&self.relayed),
            rows(&self.plain),
            rows(&self.rough),
            rows(&self.relayed),
        )
    }
}

fn figures(outcomes: &[Outcome]) -> Value {
    let all = Outcomes::of(outcomes);
    json!({
        "healedS": all.healed_s.json(),
        "transmissionsPerDelivery": all.redundancy.json(),
        "bytesPerSecond": all.bytes_per_second.json(),
        "degreeDistribution": all.degrees,
        "hopDistribution": all.hops,
    })
}

fn rows(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    if outcomes.is_empty() {
        return text;
    }
    let all = Outcomes::of(outcomes);
    let rows = [
        ("healed after", all.healed_s.text(2, "s")),
        (
            "broadcasts cost",
            all.redundancy.text(2, "transmissions a delivery"),
        ),
        ("an agent sends", all.bytes_per_second.text(0, "B/s")),
        ("agents by links", shares(&all.degrees)),
        ("pairs by hops", shares(&all.hops)),
    ];
    for (what, value) in rows {
        text.push_str(&format!("{what:<24} {value}\n"));
    }
    text
}

fn shares(counts: &BTreeMap<usize, u64>) -> String {
    let all: u64 = counts.values().sum();
    let share = |(of, count): (&usize, &u64)| {
        format!("{of}: {:.1} %", 100.0 * *count as f64 / all.max(1) as f64)
    };
    counts.iter().map(share).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_figures_that_occurred() {
        let figures = Distribution::of([3.0, 1.0, 2.0].into_iter());
        let of = |share| figures.percentile(share);
        assert_eq!([of(0.5), of(0.95), of(1.0)], [2.0, 3.0, 3.0]);
        assert_eq!(Distribution::of(std::iter::empty()).percentile(0.5), 0.0);
    }
}
