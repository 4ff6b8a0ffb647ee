//! Families of metrics that are read when asked for: counters and gauges, with one label at most.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use serde::Serialize;

/// Where families are written to. Names are without the unit and without `_total`, which are
/// added.
pub(super) struct Families<'a>(pub(super) DescriptorEncoder<'a>);

impl Families<'_> {
    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.one(name, help, None, &ConstCounter::new(value))
    }

    pub(super) fn counter_of(
        &mut self,
        (name, unit): (&str, Unit),
        help: &str,
        value: f64,
    ) -> fmt::Result {
        self.one(name, help, Some(&unit), &ConstCounter::new(value))
    }

    /// A counter for each value of a label.
    pub(super) fn counters<V: AsRef<str>>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        rows: impl IntoIterator<Item = (V, u64)>,
    ) -> fmt::Result {
        self.several((name, None), help, label, rows, ConstCounter::new)
    }

    /// The same, in a unit.
    pub(super) fn counters_of<V: AsRef<str>>(
        &mut self,
        (name, unit): (&str, Unit),
        help: &str,
        label: &str,
        rows: impl IntoIterator<Item = (V, u64)>,
    ) -> fmt::Result {
        self.several((name, Some(&unit)), help, label, rows, ConstCounter::new)
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: usize) -> fmt::Result {
        self.one(name, help, None, &ConstGauge::new(value))
    }

    pub(super) fn gauge_of(
        &mut self,
        (name, unit): (&str, Unit),
        help: &str,
        value: f64,
    ) -> fmt::Result {
        self.one(name, help, Some(&unit), &ConstGauge::new(value))
    }

    /// A gauge for each value of a label.
    pub(super) fn gauges<V: AsRef<str>>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        rows: impl IntoIterator<Item = (V, usize)>,
    ) -> fmt::Result {
        self.several((name, None), help, label, rows, ConstGauge::new)
    }

    fn one(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        metric: &impl EncodeMetric,
    ) -> fmt::Result {
        let kind = metric.metric_type();
        metric.encode(self.0.encode_descriptor(name, help, unit, kind)?)
    }

    fn several<V: AsRef<str>, N, M: EncodeMetric>(
        &mut self,
        (name, unit): (&str, Option<&Unit>),
        help: &str,
        label: &str,
        rows: impl IntoIterator<Item = (V, N)>,
        metric: impl Fn(N) -> M,
    ) -> fmt::Result {
        let rows = rows
            .into_iter()
            .map(|(value, number)| (value, metric(number)));
        let mut rows = rows.peekable();
        let Some((_, first)) = rows.peek() else {
            return Ok(());
        };
        let kind = first.metric_type();
        let mut family = self.0.encode_descriptor(name, help, unit, kind)?;
        for (value, metric) in rows {
            metric.encode(family.encode_family(&[(label, value.as_ref())])?)?;
        }
        Ok(())
    }
}

/// A count for each kind, those that were never seen too: a counter that appears with its first
/// event hides that event from `rate()`.
pub(super) fn by_kind<'a, K: Copy + Ord + Serialize + 'a>(
    all: &'a [K],
    counts: &'a std::collections::BTreeMap<K, u64>,
) -> impl Iterator<Item = (String, u64)> + 'a {
    let unlisted = counts.keys().filter(|kind| !all.contains(kind));
    let kinds = all.iter().chain(unlisted);
    kinds.map(|kind| {
        let count = counts.get(kind).copied().unwrap_or_default();
        (name_of(kind), count)
    })
}

/// What a kind is called in JSON.
fn name_of(kind: &impl Serialize) -> String {
    let name = serde_json::to_value(kind).ok();
    let name = name.as_ref().and_then(serde_json::Value::as_str);
    name.unwrap_or("other").to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mesh_core::LossReason;

    use super::*;

    #[test]
    fn kinds_that_were_never_seen_are_told_too_and_those_not_listed_are_not_lost() {
        let counts = BTreeMap::from([(LossReason::NoRoute, 2), (LossReason::Left, 1)]);
        let listed = [LossReason::QueueFull, LossReason::NoRoute];
        let told: Vec<_> = by_kind(&listed, &counts).collect();
        let expected = [("queue-full", 0), ("no-route", 2), ("left", 1)];
        assert_eq!(told, expected.map(|(name, n)| (name.to_owned(), n)));
    }
}
