//! A topology as a graph for Graphviz, and as a picture.

use std::f64::consts::TAU;
use std::fmt::Write as _;

use super::{Drawn, name};

/// The side of the picture, in pixels.
const SIDE: f64 = 800.0;

/// The circle that the agents stand on.
const RADIUS: f64 = 340.0;

/// Agents that are named in the picture at most: beyond, the names would overlap.
const NAMED_MAX: usize = 60;

/// The graph in the DOT language.
pub(super) fn dot(drawn: &Drawn) -> String {
    let mut dot = format!(
        "// {} of {} agents, k = {}, seed {}\ngraph mesh {{\n  \
         node [shape=circle, style=filled, fillcolor=\"#dbe9ff\", color=\"#3367d6\", \
         fontname=\"sans-serif\", fontsize=10];\n  \
         edge [color=\"#3367d6a0\"];\n  overlap=false;\n  splines=true;\n",
        drawn.kind,
        drawn.agents(),
        drawn.k,
        drawn.seed
    );
    for agent in 0..drawn.agents() {
        let name = name(agent);
        let _ = writeln!(dot, "  \"{name}\" [label=\"{agent:03}\"];");
    }
    for (a, b) in drawn.links() {
        let _ = writeln!(dot, "  \"{}\" -- \"{}\";", name(a), name(b));
    }
    dot.push_str("}\n");
    dot
}

/// A picture: the agents on a circle, their links as chords.
pub(super) fn svg(drawn: &Drawn) -> String {
    let agents = drawn.agents();
    let place = |agent: usize, radius: f64| {
        let angle = TAU * agent as f64 / agents as f64 - TAU / 4.0;
        let (sine, cosine) = angle.sin_cos();
        (SIDE / 2.0 + radius * cosine, SIDE / 2.0 + radius * sine)
    };
    let links = drawn.links();
    // Many links together are as dark as few.
    let opacity = (60.0 / links.len().max(1) as f64).sqrt().clamp(0.05, 0.8);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {SIDE} {SIDE}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <title>{} of {agents} agents, k = {}, seed {}</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <g stroke=\"#3367d6\" stroke-opacity=\"{opacity:.3}\">\n",
        drawn.kind, drawn.k, drawn.seed
    );
    for (a, b) in links {
        let ((x1, y1), (x2, y2)) = (place(a, RADIUS), place(b, RADIUS));
        let _ = writeln!(
            svg,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        );
    }
    svg.push_str("</g>\n<g fill=\"#3367d6\">\n");
    let size = (TAU * RADIUS / agents.max(1) as f64 / 3.0).clamp(1.5, 9.0);
    for agent in 0..agents {
        let (x, y) = place(agent, RADIUS);
        let _ = writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{size:.1}\"><title>{}</title></circle>",
            name(agent)
        );
    }
    svg.push_str("</g>\n<g text-anchor=\"middle\" dominant-baseline=\"middle\">\n");
    for agent in (0..agents).take_while(|_| agents <= NAMED_MAX) {
        let (x, y) = place(agent, RADIUS + 26.0);
        let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\">{agent:03}</text>");
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}
