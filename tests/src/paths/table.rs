//! The tables of docs/paths.md.

use super::{Figures, Path, System};

/// One line of the table: a path, and what each system made of it, or why nothing.
pub type Row = (Path, Vec<(System, Result<Figures, String>)>);

/// The value below which this share of the sorted values lies.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = (sorted.len() as f64 * share) as usize;
    sorted
        .get(place.min(sorted.len() - 1))
        .copied()
        .unwrap_or_default()
}

/// Throughput, then round trips.
pub fn tables(rows: &[Row]) -> String {
    let throughput = |figures: &Figures| match figures.throughput {
        slow if slow < 0.1 => format!("{slow:.3}"),
        fast => format!("{fast:.2}"),
    };
    let quantiles = |sorted: &[f64]| {
        let at = |share| quantile(sorted, share);
        format!("{:.0} / {:.0}", at(0.5), at(0.95))
    };
    let round_trip = |figures: &Figures| quantiles(&figures.round_trips);
    let beside = |figures: &Figures| match figures.beside.is_empty() {
        true => "–".to_owned(),
        false => quantiles(&figures.beside),
    };
    let opened = |figures: &Figures| match figures.opened_ms {
        Some(ms) => format!("{:.1}", ms as f64 / 1e3),
        None => "–".to_owned(),
    };
    [
        table("Throughput, MB/s", rows, throughput),
        table(
            "Round trip of 100 bytes, ms: median / 95 %",
            rows,
            round_trip,
        ),
        table(
            "The same beside a message of 16 MiB, ms: median / 95 %",
            rows,
            beside,
        ),
        table("Until messages can be sent, s", rows, opened),
    ]
    .join("\n")
}

fn table(title: &str, rows: &[Row], cell: impl Fn(&Figures) -> String) -> String {
    let names: String = System::ALL
        .map(|system| format!(" {} |", system.name()))
        .concat();
    let bars = " ---: |".repeat(System::ALL.len());
    let mut text = format!("**{title}**\n\n| one way | loss |{names}\n| ---: | ---: |{bars}\n");
    for (path, measured) in rows {
        let jitter = match path.jitter.as_millis() {
            0 => String::new(),
            jitter => format!(" + 0 to {jitter}"),
        };
        let (delay, loss) = (path.delay.as_millis(), path.loss * 100.0);
        text += &format!("| {delay}{jitter} ms | {loss:.0} % |");
        for system in System::ALL {
            let found = measured.iter().find(|(measured, _)| *measured == system);
            text += &match found {
                Some((_, Ok(figures))) => format!(" {} |", cell(figures)),
                Some((_, Err(_))) => " failed |".to_owned(),
                None => " |".to_owned(),
            };
        }
        text += "\n";
    }
    text
}
