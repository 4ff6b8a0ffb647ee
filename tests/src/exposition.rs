//! Metrics as a process tells them, in Prometheus' text format.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};

use crate::hub::get;

/// What a family of metrics is called, and what it means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Family {
    /// Its name, the unit and `_total` in it.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// What it means.
    pub help: String,
    /// The labels of its series, less the bounds of buckets.
    pub labels: BTreeSet<String>,
}

/// What `/metrics` said at one time.
#[derive(Clone, Debug)]
pub struct Exposition {
    /// All of it.
    pub text: String,
    /// The families, in order.
    pub families: Vec<Family>,
    /// Each series, and its value.
    pub series: BTreeMap<String, f64>,
}

impl Exposition {
    /// Asks a process.
    ///
    /// # Errors
    /// If it does not answer, or with something else.
    pub async fn of(port: u16) -> Result<Self> {
        let (status, text) = get(port, "/metrics").await?;
        ensure!(status == 200, "/metrics answers {status}: {text}");
        Self::parse(text)
    }

    fn parse(text: String) -> Result<Self> {
        let mut families: Vec<Family> = Vec::new();
        let mut series = BTreeMap::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').context("no help")?;
                families.push(Family {
                    name: name.to_owned(),
                    help: help.to_owned(),
                    ..Family::default()
                });
                continue;
            }
            let family = families.last_mut().context("a series without help")?;
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (_, kind) = rest.split_once(' ').context("no type")?;
                kind.clone_into(&mut family.kind);
                continue;
            }
            let (name, value) = line.rsplit_once(' ').context("no value")?;
            ensure!(name.starts_with(&family.name), "{name} in {}", family.name);
            family.labels.extend(labels_of(name));
            let value = value.parse().with_context(|| line.to_owned())?;
            let again = series.insert(name.to_owned(), value);
            ensure!(again.is_none(), "{name} stands twice");
        }
        Ok(Self {
            text,
            families,
            series,
        })
    }

    /// The value of a series.
    ///
    /// # Errors
    /// If there is none.
    pub fn value(&self, series: &str) -> Result<f64> {
        let value = self.series.get(series).copied();
        value.with_context(|| format!("no {series} in {}", self.text))
    }
}

fn labels_of(series: &str) -> Vec<String> {
    let Some((_, labels)) = series.split_once('{') else {
        return Vec::new();
    };
    let names = labels.split(',').filter_map(|label| label.split_once('='));
    let names = names.map(|(name, _)| name.to_owned());
    names.filter(|name| name != "le").collect()
}
