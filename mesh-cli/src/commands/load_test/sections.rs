//! The sections of the report.

use mesh_core::Analysis;

use super::plots::Plot;
use super::report::{Latency, Member, Report};
use super::targets::FORMULA;
use super::text::{Text, known, ms, share};
use super::usage::Memory;

pub(super) fn verdict(text: &mut Text, report: &Report) {
    text.section("Summary");
    let rows = report.targets.iter().map(|target| {
        let verdict = if target.pass { "PASS" } else { "FAIL" };
        [
            target.name.to_owned(),
            format!("{} {}", target.target, target.unit),
            format!("{} {}", known(target.actual, 2), target.unit),
            verdict.to_owned(),
        ]
    });
    text.table(["Metric", "Target", "Actual", ""], rows);
    let grades = report.grades.iter();
    let grades = grades.map(|g| {
        [
            g.name.to_owned(),
            format!("{:.0}", g.score),
            g.letter.into(),
        ]
    });
    text.table(["Grade", "of 100", ""], grades);
    text.line(format_args!(
        "The formula: {FORMULA}. Links saved: against the full mesh."
    ));
}

pub(super) fn configuration(text: &mut Text, report: &Report) {
    text.section("Configuration");
    let machine = &report.machine;
    let rows = [
        ("agents", report.agents.to_string()),
        ("k", report.k.to_string()),
        (
            "messages",
            format!("{} bytes, {:?}", report.payload_bytes, report.delivery),
        ),
        (
            "rate",
            format!("{} a second and agent", report.rate_per_agent),
        ),
        (
            "counted for",
            format!("{:.1} s, after a warm-up", report.duration_s),
        ),
        ("metric", report.metric.to_string()),
        ("seed", report.seed.to_string()),
        (
            "machine",
            format!(
                "{} cores, {} {}",
                machine.cores, machine.os, machine.architecture
            ),
        ),
        ("agents run", whereabouts(report)),
    ];
    text.table(["", ""], rows.map(|(what, value)| [what.to_owned(), value]));
}

fn whereabouts(report: &Report) -> String {
    let natives = match report.isolated {
        true => "each in a process of its own, driven by lines of JSON whose time counts",
        false => "in one process",
    };
    let tabs = match report.browsers {
        0 => String::new(),
        tabs => format!(", {tabs} of them in browsers"),
    };
    format!("{natives}{tabs}; over real WebRTC")
}

pub(super) fn graph(text: &mut Text, report: &Report) {
    text.section("Topology");
    let analysis = &report.analysis;
    let rows = [
        ("nodes", analysis.nodes.to_string()),
        ("edges", analysis.edges.to_string()),
        ("average degree", format!("{:.2}", analysis.average_degree)),
        ("diameter", format!("{} hops", analysis.diameter)),
        (
            "average path length",
            format!("{:.3} hops", analysis.average_path_length),
        ),
        (
            "clustering coefficient",
            format!("{:.4}", analysis.clustering_coefficient),
        ),
        ("connected components", analysis.components.to_string()),
        (
            "links saved on a full mesh",
            format!("{:.1} %", 100.0 * analysis.reduction),
        ),
    ];
    text.table(["", ""], rows.map(|(what, value)| [what.to_owned(), value]));
    let degrees = analysis.degree_distribution.iter();
    let nodes = analysis.nodes as u64;
    text.table(
        ["Links", "Agents", "Share"],
        degrees.map(|(links, count)| {
            [
                links.to_string(),
                count.to_string(),
                share(*count as u64, nodes),
            ]
        }),
    );
    if report.comparison.is_empty() {
        return;
    }
    text.line("Other topologies of as many agents, computed:\n");
    let row = |(kind, analysis): (&String, &Analysis)| {
        [
            kind.clone(),
            analysis.edges.to_string(),
            analysis.diameter.to_string(),
            format!("{:.3}", analysis.average_path_length),
            format!("{:.4}", analysis.clustering_coefficient),
            if analysis.articulation_points.is_empty() {
                "no"
            } else {
                "yes"
            }
            .to_owned(),
            analysis.edge_connectivity.saturating_sub(1).to_string(),
        ]
    };
    text.table(
        [
            "Topology",
            "Links",
            "Diameter",
            "Path",
            "Clustering",
            "Single point of failure",
            "Survives lost links",
        ],
        report.comparison.iter().map(row),
    );
}

pub(super) fn connecting(text: &mut Text, report: &Report) {
    text.section("Connection establishment");
    let links = &report.links;
    let each = 1e3 * links.setup_s / links.open.max(1) as f64;
    let rows = [
        ("all agents admitted", format!("{:.2} s", links.admitted_s)),
        ("all links open", format!("{:.2} s", links.setup_s)),
        (
            "all routing tables complete",
            format!("{:.2} s", links.tables_s),
        ),
        ("a link, on average", format!("{each:.2} ms")),
        ("links opened in all", links.opened.to_string()),
        ("attempts that failed", links.failed.to_string()),
    ];
    text.table(
        ["From the first start", ""],
        rows.map(|(a, b)| [a.to_owned(), b]),
    );
    text.line("Of each link, at the end that offers, in milliseconds:\n");
    let phases = [
        (
            "until the offer is ready (gathering included)",
            &links.offer_ms,
        ),
        (
            "from then until the answer is there (signaling)",
            &links.answer_ms,
        ),
        ("from then until a path is found (ICE)", &links.ice_ms),
        (
            "from then until all channels are open (DTLS, SCTP)",
            &links.dtls_ms,
        ),
    ];
    latencies(
        text,
        "Phase",
        phases.map(|(name, latency)| (name.to_owned(), latency)),
    );
    text.section("Connection reliability");
    let mut rows = vec![
        ["links opened again".to_owned(), links.reopened.to_string()],
        [
            "links not opened again by the end".to_owned(),
            links.still_closed.to_string(),
        ],
    ];
    if links.reopened > 0 {
        rows.push([
            "until they were, p50".to_owned(),
            format!("{} ms", ms(links.reopen_ms.p50)),
        ]);
    }
    let failures = links
        .failures
        .iter()
        .map(|(why, n)| (format!("failed: {why}"), n));
    let closed = links
        .closed
        .iter()
        .map(|(why, n)| (format!("end closed: {why}"), n));
    rows.extend(
        failures
            .chain(closed)
            .map(|(why, count)| [why, count.to_string()]),
    );
    text.table(["While messages were sent", ""], rows);
}

pub(super) fn latencies<'a>(
    text: &mut Text,
    what: &str,
    rows: impl IntoIterator<Item = (String, &'a Latency)>,
) {
    let row = |(name, l): (String, &Latency)| {
        let figures = [l.p50, l.p90, l.p95, l.p99, l.mean, l.min, l.max].map(ms);
        let [p50, p90, p95, p99, mean, min, max] = figures;
        [
            name,
            l.count.to_string(),
            p50,
            p90,
            p95,
            p99,
            mean,
            min,
            max,
        ]
    };
    let heads = [
        what, "count", "p50", "p90", "p95", "p99", "mean", "min", "max",
    ];
    text.table(heads, rows.into_iter().map(row));
}

pub(super) fn latency(text: &mut Text, report: &Report) {
    text.section("Message latency");
    text.line(
        "From the moment at which a message was to be sent until its target had it, verified, in \
         milliseconds:\n",
    );
    latencies(text, "", [("all".to_owned(), &report.latency_ms)]);
    text.plot(Plot::Latency);
    let mut low = 0.0;
    let rows: Vec<_> = report
        .latency_histogram
        .iter()
        .map(|&(high, count)| {
            let range = format!("{low} to {high} ms");
            low = high;
            [range, count.to_string(), share(count, report.delivered)]
        })
        .collect();
    text.table(["Latency", "Messages", "Share"], rows);
    text.section("Latency by hops");
    let hops = report.latency_by_hops.iter();
    latencies(
        text,
        "Hops",
        hops.map(|(hops, latency)| (hops.to_string(), latency)),
    );
}

pub(super) fn throughput(text: &mut Text, report: &Report) {
    text.section("Throughput");
    let throughput = &report.throughput_msg_s;
    let rows = [
        (
            "offered",
            format!("{} ({:.0} a second)", report.offered, throughput.offered),
        ),
        ("taken by the mesh", report.sent.to_string()),
        (
            "delivered",
            format!("{} ({:.0} a second)", report.delivered, throughput.mean),
        ),
        (
            "delivered of those offered",
            format!("{:.3} %", report.delivered_percent),
        ),
        ("the best second", throughput.peak.to_string()),
    ];
    text.table(["Messages", ""], rows.map(|(a, b)| [a.to_owned(), b]));
    text.plot(Plot::Throughput);
    text.section("Loss");
    if report.lost.is_empty() {
        text.line("None.");
    } else {
        let rows = report.lost.iter();
        let rows = rows.map(|(why, n)| [why.clone(), n.to_string(), share(*n, report.offered)]);
        text.table(["Reason", "Messages", "Share"], rows);
    }
}

pub(super) fn resources(text: &mut Text, report: &Report) {
    text.section("Resources");
    let cpu = &report.cpu_percent;
    let of_each = |all: Option<f64>| known(all.map(|all| all / report.natives().max(1.0)), 3);
    let rows = [
        (
            "memory gained by forming",
            known(report.memory_mb_per_agent, 2),
            "MB",
        ),
        ("CPU while forming", of_each(cpu.forming), "% of a core"),
        ("CPU at rest", of_each(cpu.idle), "% of a core"),
        ("CPU under load", of_each(cpu.loaded), "% of a core"),
        (
            "sent at rest",
            format!("{:.3}", report.bandwidth_kb_s_per_agent.idle),
            "KB/s",
        ),
        (
            "sent under load",
            format!("{:.2}", report.bandwidth_kb_s_per_agent.loaded),
            "KB/s",
        ),
    ];
    text.table(
        ["An agent's part", "", ""],
        rows.map(|(what, value, unit)| [what.to_owned(), value, unit.to_owned()]),
    );
    let whole = match report.isolated {
        true => "that of all agents' processes",
        false => "the process's, the signaling server included,",
    };
    text.line(format_args!(
        "An agent's part is {whole} divided by the agents outside browsers. Sent are the frames of \
         the mesh, without what DTLS, SCTP and UDP add. How CPU divides into connections, buffers \
         and signatures is not measured.\n"
    ));
    memory(text, report);
}

/// Where memory goes, as far as the system tells.
fn memory(text: &mut Text, report: &Report) {
    let phases = &report.memory_mb;
    let each = |pick: fn(&Memory) -> f64| {
        [phases.before, phases.formed, phases.end].map(|m| known(m.as_ref().map(pick), 1))
    };
    let rows = [
        ("heap and stacks", each(|memory| memory.heap)),
        ("program and libraries", each(|memory| memory.program)),
        ("resident in all", each(|memory| memory.resident)),
        ("the most so far", each(|memory| memory.peak)),
    ];
    text.table(
        [
            "Memory in MB",
            "Before any agent",
            "Mesh formed",
            "At the end",
        ],
        rows.map(|(what, [before, formed, end])| [what.to_owned(), before, formed, end]),
    );
    let ends = 2.0 * report.links.open.max(1) as f64;
    let gained = report.memory_mb_per_agent;
    let gained = gained.map(|mb| 1e3 * mb * report.natives() / ends);
    text.line(format_args!(
        "A link's end, with its share of all else that an agent holds: {} KB.",
        known(gained, 0)
    ));
}

pub(super) fn scaling(text: &mut Text, report: &Report) {
    text.section("Scaling");
    text.line("Links that a mesh of each size wants, computed:\n");
    let rows = report.scaling.iter().map(|row| {
        let saved = 100.0 * (1.0 - row.links as f64 / row.full_mesh as f64);
        [
            row.agents.to_string(),
            row.full_mesh.to_string(),
            row.k.to_string(),
            row.links.to_string(),
            format!("{saved:.1} %"),
        ]
    });
    text.table(["Agents", "Full mesh", "k", "Links", "Saved"], rows);
}

pub(super) fn agents(text: &mut Text, report: &Report) {
    text.section("Agents");
    let row = |member: &Member| {
        [
            member.name.clone(),
            member.links.to_string(),
            member.sent.to_string(),
            member.received.to_string(),
            format!("{:.2} %", member.success_percent),
            ms(member.latency_ms),
        ]
    };
    let heads = [
        "Agent",
        "Links",
        "Sent",
        "Received",
        "Of its own arrived",
        "Mean latency (ms)",
    ];
    text.line("The first ten, by what arrived of theirs and then by latency:\n");
    text.table(heads, report.members.iter().take(10).map(row));
    text.line("The last five:\n");
    text.table(heads, report.members.iter().rev().take(5).rev().map(row));
}

pub(super) fn trust(text: &mut Text, report: &Report) {
    text.section("Signatures");
    let mut rows = vec![
        [
            "signing 256 bytes".to_owned(),
            format!("{:.1} µs", report.sign_us),
        ],
        [
            "verifying".to_owned(),
            format!("{:.1} µs", report.verify_us),
        ],
    ];
    let rejected = report.rejected.iter();
    rows.extend(rejected.map(|(reason, count)| [format!("rejected: {reason}"), count.to_string()]));
    if report.rejected.is_empty() {
        rows.push(["rejected".to_owned(), "nothing".to_owned()]);
    }
    text.table(["", ""], rows);
}

pub(super) fn routing(text: &mut Text, report: &Report) {
    text.section("Routing");
    let routing = &report.routing;
    let all = routing.optimal + routing.one_hop_more + routing.longer;
    let rows = [
        ("on a shortest path", routing.optimal),
        ("one hop more", routing.one_hop_more),
        ("two or more", routing.longer),
    ];
    text.table(
        ["Routes, against the true graph", "", ""],
        rows.map(|(what, count)| [what.to_owned(), count.to_string(), share(count, all)]),
    );
    let messages = report.latency_by_hops.iter();
    let messages = messages.map(|(hops, l)| {
        [
            hops.to_string(),
            l.count.to_string(),
            share(l.count, report.delivered),
        ]
    });
    text.table(["Hops", "Messages", "Share"], messages);
    text.plot(Plot::Hops);
    text.line("Of agent-000's routing table:\n");
    let rows = routing.example.iter().map(|route| {
        let path: Vec<_> = route.path.iter().map(String::as_str).collect();
        [
            route.destination.clone(),
            route.next_hop.clone(),
            route.hops.to_string(),
            path.join(" → "),
        ]
    });
    text.table(["Destination", "Next hop", "Hops", "Path"], rows);
}
