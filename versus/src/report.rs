//! The table and the plot.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::anyhow;
use plotters::prelude::*;

use crate::Contestant;
use crate::trial::Figures;

/// The figures of all rounds.
#[derive(Default)]
pub struct Rows {
    rounds: BTreeMap<Contestant, Vec<Figures>>,
    /// Attempts that came to nothing, and were made again.
    failures: BTreeMap<Contestant, usize>,
}

/// Those in the table, with their names.
const COLUMNS: [(Contestant, &str); 4] = [
    (Contestant::Ours, "ours"),
    (Contestant::Matchbox, "matchbox_socket"),
    (Contestant::Links, "our links alone"),
    (Contestant::Webrtc, "webrtc, defaults"),
];

/// A row: its name, the figure, and its decimals.
type Row = (&'static str, fn(&Figures) -> Option<f64>, usize);

const ROWS: [Row; 8] = [
    ("190 links open after (s)", |f| Some(f.open_s), 2),
    ("memory an end of a link (KB)", |f| f.memory_kb_per_end, 0),
    ("CPU at rest an end (µs/s)", |f| f.idle_us_per_s_per_end, 0),
    ("CPU a message (µs)", |f| f.cpu_us_per_message, 0),
    ("latency, median (ms)", |f| f.p50_ms, 2),
    ("latency, 95 % (ms)", |f| f.p95_ms, 2),
    ("latency, 99 % (ms)", |f| f.p99_ms, 2),
    ("20,000 messages at once (msg/s)", |f| f.burst_msg_s, 0),
];

impl Rows {
    pub fn add(&mut self, contestant: Contestant, figures: Figures) {
        self.rounds.entry(contestant).or_default().push(figures);
    }

    pub fn add_failure(&mut self, contestant: Contestant) {
        *self.failures.entry(contestant).or_default() += 1;
    }

    /// The median over the rounds.
    fn median(&self, of: Contestant, figure: fn(&Figures) -> Option<f64>) -> Option<f64> {
        let mut values: Vec<_> = self.rounds.get(&of)?.iter().filter_map(figure).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }

    pub fn markdown(&self) -> String {
        let rounds = self.rounds.values().map(Vec::len).max().unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let mut text = format!(
            "# Ours beside others\n\n\
             Written by `cargo xtask versus`: a full mesh of 20 in one process, 190 links over \
             loopback,\non a machine of {cores} cores. 1,000 messages of 256 bytes a second \
             between random pairs for 8 s,\nthen 20,000 as fast as they are taken. The medians of \
             {rounds} rounds; ours signs and verifies\nevery message, the others do not.\n\n"
        );
        let names = COLUMNS.map(|(_, name)| name);
        let _ = writeln!(
            text,
            "| | {} | ours / matchbox | ours / links |",
            names.join(" | ")
        );
        let _ = writeln!(text, "|---|{}---:|---:|", "---:|".repeat(names.len()));
        for (name, figure, decimals) in ROWS {
            let values = COLUMNS.map(|(contestant, _)| self.median(contestant, figure));
            let shown = values
                .map(|value| value.map_or("-".to_owned(), |value| format!("{value:.decimals$}")));
            let ratio = |to: usize| {
                let ratio = values[0]
                    .zip(values[to])
                    .map(|(ours, theirs)| ours / theirs);
                ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"))
            };
            let line = shown.join(" | ");
            let _ = writeln!(text, "| {name} | {line} | {} | {} |", ratio(1), ratio(2));
        }
        text.push_str(&self.cost_of_signatures(cores).unwrap_or_default());
        text.push_str(&self.forming().unwrap_or_default());
        for (contestant, name) in COLUMNS {
            if let Some(failures) = self.failures.get(&contestant) {
                let attempts = failures + self.rounds.get(&contestant).map_or(0, Vec::len);
                let _ = writeln!(
                    text,
                    "\nOf {attempts} attempts of {name}, {failures} came to nothing (why, the \
                     command tells)\nand do not count."
                );
            }
        }
        let _ = writeln!(text, "\n![the same as bars](versus.svg)");
        text
    }

    /// What a mesh needs to form, beside pairs of connections alone.
    fn forming(&self) -> Option<String> {
        let open = |contestant| self.median(contestant, |figures| Some(figures.open_s));
        let mesh = open(Contestant::OursForming)?;
        let webrtc = open(Contestant::WebrtcForming)?;
        let links = open(Contestant::LinksForming)?;
        Some(format!(
            "\n100 agents with 20 links each, 1,000 in all, are linked after {mesh:.2} s. 1,000 \
             pairs without signaling or a mesh\nare open after {webrtc:.2} s if they are bare \
             `webrtc` with the settings of our links ({:.2} times), and after\n{links:.2} s if \
             they are our links, with our runtime under `webrtc` ({:.2} times).\n",
            mesh / webrtc,
            mesh / links
        ))
    }

    /// What signatures add to a burst of ours.
    fn cost_of_signatures(&self, cores: usize) -> Option<String> {
        let cost = |of| {
            let burst = self.median(of, |figures| figures.burst_msg_s)?;
            Some(cores as f64 * 1e6 / burst)
        };
        let signatures = self.median(Contestant::Ours, |figures| figures.signatures_us)?;
        Some(format!(
            "\nIn the last row a message of ours takes {:.0} µs of processor time, one of \
             matchbox_socket {:.0}. To sign a message and\nverify it takes {signatures:.0} µs; \
             those that an agent sends to the same target in one turn of its loop share that.\nOne \
             signature for messages to several targets would save more of the signing.\n",
            cost(Contestant::Ours)?,
            cost(Contestant::Matchbox)?
        ))
    }

    /// Bars: each figure as a share of the largest.
    pub fn plot(&self) -> anyhow::Result<String> {
        let mut svg = String::new();
        self.draw(&mut svg)
            .map_err(|error| anyhow!("the plot: {error}"))?;
        Ok(svg)
    }

    fn draw(&self, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
        const COLORS: [RGBColor; 4] = [
            RGBColor(0x33, 0x67, 0xd6),
            RGBColor(0xd6, 0x5f, 0x33),
            RGBColor(0x8a, 0xa9, 0xe8),
            RGBColor(0x99, 0x99, 0x99),
        ];
        let area = SVGBackend::with_string(svg, (760, 440)).into_drawing_area();
        area.fill(&WHITE)?;
        let text = ("sans-serif", 13).into_font();
        for (index, (_, name)) in COLUMNS.iter().enumerate() {
            let x = 230 + 130 * index as i32;
            area.draw(&Rectangle::new(
                [(x, 12), (x + 12, 24)],
                COLORS[index].filled(),
            ))?;
            area.draw(&Text::new(*name, (x + 18, 11), text.clone()))?;
        }
        for (row, (name, figure, decimals)) in ROWS.iter().enumerate() {
            let top = 40 + 49 * row as i32;
            area.draw(&Text::new(*name, (8, top + 12), text.clone()))?;
            let values = COLUMNS.map(|(contestant, _)| self.median(contestant, *figure));
            let most = values
                .iter()
                .flatten()
                .copied()
                .fold(f64::MIN_POSITIVE, f64::max);
            for (index, value) in values.iter().enumerate() {
                let Some(value) = value else { continue };
                let (y, end) = (top + 10 * index as i32, 230 + (430.0 * value / most) as i32);
                area.draw(&Rectangle::new(
                    [(230, y), (end, y + 8)],
                    COLORS[index].filled(),
                ))?;
                let label = format!("{value:.decimals$}");
                let small = ("sans-serif", 10).into_font();
                area.draw(&Text::new(label, (end + 4, y - 2), small))?;
            }
        }
        area.present()?;
        Ok(())
    }
}
