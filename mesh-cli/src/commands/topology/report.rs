//! The figures of a topology as a text for people.

use std::fmt::Write as _;

use mesh_core::{Analysis, TopologyKind};

use super::{Drawn, name};

/// The width of the longest bar.
const BAR: usize = 40;

/// Agents named at most, where any may be named.
const NAMED: usize = 10;

pub(super) fn text(
    drawn: &Drawn,
    analysis: &Analysis,
    compared: &[(TopologyKind, Analysis)],
) -> String {
    let mut text = format!(
        "{} of {} agents, k = {}, seed {}\n\n",
        drawn.kind,
        drawn.agents(),
        drawn.k,
        drawn.seed
    );
    properties(&mut text, analysis);
    let degrees = analysis.degree_distribution.iter();
    let degrees = degrees.map(|(degree, agents)| (format!("{degree} links"), *agents as u64));
    bars(&mut text, "agents by links", &degrees.collect::<Vec<_>>());
    let hops = analysis.hop_distribution.iter();
    let hops = hops.map(|(hops, pairs)| (format!("{hops} hops"), *pairs));
    bars(&mut text, "pairs by hops", &hops.collect::<Vec<_>>());
    if !compared.is_empty() {
        comparison(&mut text, compared);
    }
    text
}

fn properties(text: &mut String, analysis: &Analysis) {
    let mut row = |what: &str, value: String| {
        let _ = writeln!(text, "{what:<24} {value}"); // Writing to a string does not fail.
    };
    row("links", analysis.edges.to_string());
    row("average degree", format!("{:.2}", analysis.average_degree));
    row("diameter", format!("{} hops", analysis.diameter));
    let path = analysis.average_path_length;
    row("average path length", format!("{path:.3} hops"));
    let clustering = analysis.clustering_coefficient;
    row("clustering coefficient", format!("{clustering:.4}"));
    row("connected components", analysis.components.to_string());
    let reduction = 100.0 * analysis.reduction;
    row("saved on a full mesh", format!("{reduction:.1} %"));
    row("survives", survives(analysis));
}

/// What may fail without cutting anybody off.
fn survives(analysis: &Analysis) -> String {
    let links = analysis.edge_connectivity.saturating_sub(1);
    let points = &analysis.articulation_points;
    if points.is_empty() {
        return format!("the loss of any agent, and of any {links} links");
    }
    let mut names: Vec<_> = points.iter().take(NAMED).map(|&at| name(at)).collect();
    if points.len() > NAMED {
        names.push(format!("{} more", points.len() - NAMED));
    }
    format!(
        "the loss of any {links} links; not that of {}",
        names.join(", ")
    )
}

/// Rows with a bar each, and their share of all.
fn bars(text: &mut String, title: &str, rows: &[(String, u64)]) {
    let all: u64 = rows.iter().map(|(_, count)| count).sum();
    let most = rows.iter().map(|(_, count)| *count).max().unwrap_or(0);
    if most == 0 {
        return;
    }
    let _ = writeln!(text, "\n{title}");
    for (label, count) in rows {
        let share = 100.0 * *count as f64 / all as f64;
        let width = (*count as f64 / most as f64 * BAR as f64).ceil() as usize;
        let bar = "█".repeat(width);
        let _ = writeln!(text, "{label:>10} {count:>9} {share:>5.1} % {bar}");
    }
}

fn comparison(text: &mut String, compared: &[(TopologyKind, Analysis)]) {
    let _ = write!(text, "\n{:<24}", "compared");
    for (kind, _) in compared {
        let _ = write!(text, " {kind:>13}");
    }
    text.push('\n');
    let mut row = |what: &str, cell: &dyn Fn(&Analysis) -> String| {
        let _ = write!(text, "{what:<24}");
        for (_, analysis) in compared {
            let _ = write!(text, " {:>13}", cell(analysis));
        }
        text.push('\n');
    };
    row("links", &|a| a.edges.to_string());
    row("links of the busiest", &|a| {
        let most = a.degree_distribution.keys().next_back();
        most.copied().unwrap_or_default().to_string()
    });
    row("diameter", &|a| a.diameter.to_string());
    row("average path length", &|a| {
        format!("{:.2}", a.average_path_length)
    });
    row("clustering coefficient", &|a| {
        format!("{:.3}", a.clustering_coefficient)
    });
    row("links that may fail", &|a| {
        a.edge_connectivity.saturating_sub(1).to_string()
    });
    row("single point of failure", &|a| {
        if a.articulation_points.is_empty() {
            "no".to_owned()
        } else {
            "yes".to_owned()
        }
    });
}
