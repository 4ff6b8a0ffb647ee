//! The report: everything that was measured, and nothing that was not.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use mesh_core::{
    Analysis, Delivery, Graph, Metric, PingCounts, RejectReason, Topology, TopologyKind, default_k,
};
use serde::Serialize;

use super::LoadTest;
use super::fleet::{Fleet, Formed};
use super::keys::Rotations;
use super::network::{Network, Routing};
use super::recorder::{LinksSeen, Recorder, Seen};
use super::signatures::signature_times;
use super::targets::{Grade, Target};
use super::usage::{Memory, Spent};
use super::ways::{self, Way};

/// The largest mesh for which other topologies are built to be compared.
const COMPARED_MAX: usize = 500;

/// What each part of the test took.
#[derive(Clone, Debug)]
pub(super) struct Phases {
    pub(super) memory: MemoryByPhase,
    pub(super) forming: Spent,
    pub(super) idle: Spent,
    pub(super) loaded: Spent,
    pub(super) rotations: Option<Rotations>,
    pub(super) interrupted: bool,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) agents: usize,
    /// How many of them were tabs, and whether each of the others had a process of its own.
    pub(super) browsers: usize,
    pub(super) isolated: bool,
    pub(super) k: usize,
    pub(super) duration_s: f64,
    pub(super) rate_per_agent: f64,
    pub(super) payload_bytes: u16,
    pub(super) delivery: Delivery,
    pub(super) metric: Metric,
    pub(super) seed: u64,
    pub(super) interrupted: bool,
    pub(super) machine: Machine,
    pub(super) links: Links,
    pub(super) ways: Vec<Way>,
    /// Pings that are not sent again if they get lost: what the paths of the links lose.
    pub(super) pings: PingCounts,
    pub(super) rotations: Option<Rotations>,
    pub(super) offered: u64,
    pub(super) sent: u64,
    pub(super) delivered: u64,
    pub(super) delivered_percent: f64,
    pub(super) lost: BTreeMap<String, u64>,
    pub(super) latency_ms: Latency,
    pub(super) latency_histogram: Vec<(f64, u64)>,
    pub(super) latency_by_hops: BTreeMap<u8, Latency>,
    pub(super) throughput_msg_s: Throughput,
    pub(super) memory_mb_per_agent: Option<f64>,
    pub(super) memory_mb: MemoryByPhase,
    pub(super) cpu_percent_per_agent: Option<f64>,
    pub(super) cpu_percent: Cpu,
    pub(super) bandwidth_kb_s_per_agent: Bandwidth,
    pub(super) sign_us: f64,
    pub(super) verify_us: f64,
    pub(super) rejected: BTreeMap<RejectReason, u64>,
    pub(super) missed_events: u64,
    pub(super) topology: Shape,
    pub(super) analysis: Analysis,
    pub(super) comparison: BTreeMap<String, Analysis>,
    pub(super) scaling: Vec<Scaling>,
    pub(super) routing: Routing,
    pub(super) members: Vec<Member>,
    pub(super) targets: Vec<Target>,
    pub(super) grades: Vec<Grade>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    pub(super) os: &'static str,
    pub(super) architecture: &'static str,
    pub(super) cores: usize,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Links {
    pub(super) planned: usize,
    pub(super) open: usize,
    /// Opened since the beginning, those that were given up again included.
    pub(super) opened: u64,
    pub(super) failed: u64,
    /// Until the last link was open.
    pub(super) setup_s: f64,
    /// Until the last agent was admitted.
    pub(super) admitted_s: f64,
    /// Until every routing table was complete.
    pub(super) tables_s: f64,
    /// At the end that offers, of each link.
    pub(super) offer_ms: Latency,
    pub(super) answer_ms: Latency,
    pub(super) ice_ms: Latency,
    /// And until the channels were open.
    pub(super) dtls_ms: Latency,
    pub(super) failures: BTreeMap<String, u64>,
    /// Ends of links that closed while messages were counted.
    pub(super) closed: BTreeMap<String, u64>,
    pub(super) reopened: u64,
    pub(super) still_closed: usize,
    pub(super) reopen_ms: Latency,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Latency {
    pub(super) count: u64,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
    pub(super) mean: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Throughput {
    pub(super) offered: f64,
    pub(super) mean: f64,
    pub(super) peak: u64,
    pub(super) each_second: Vec<u64>,
}

/// Of all processes that were measured, before any agent, when the mesh had formed, and at the end;
/// null where the system does not tell.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct MemoryByPhase {
    pub(super) before: Option<Memory>,
    pub(super) formed: Option<Memory>,
    pub(super) end: Option<Memory>,
}

/// Per cent of one core, of this whole process.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Cpu {
    pub(super) forming: Option<f64>,
    pub(super) idle: Option<f64>,
    pub(super) loaded: Option<f64>,
}

/// Frames that an agent sends; what others send it is as much.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Bandwidth {
    pub(super) idle: f64,
    pub(super) loaded: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Shape {
    pub(super) edges: usize,
    pub(super) diameter: usize,
    pub(super) average_path_length: f64,
    pub(super) clustering: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Scaling {
    pub(super) agents: usize,
    pub(super) full_mesh: usize,
    pub(super) k: usize,
    pub(super) links: usize,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) links: usize,
    pub(super) sent: u64,
    pub(super) arrived: u64,
    pub(super) received: u64,
    pub(super) success_percent: f64,
    pub(super) latency_ms: f64,
}

impl Latency {
    /// From a histogram of microseconds.
    pub(super) fn of(us: &Histogram<u64>) -> Self {
        let ms = |us: u64| us as f64 / 1e3;
        let at = |quantile| ms(us.value_at_quantile(quantile));
        let any = !us.is_empty();
        Self {
            count: us.len(),
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            mean: us.mean() / 1e3,
            min: if any { ms(us.min()) } else { 0.0 },
            max: if any { ms(us.max()) } else { 0.0 },
        }
    }
}

impl Report {
    pub(super) async fn new(
        test: &LoadTest,
        fleet: &Fleet,
        recorder: &Recorder,
        formed: Formed,
        phases: Phases,
    ) -> Self {
        let network = Network::of(fleet).await;
        let (stats, ways) = (fleet.total().await, ways::of(fleet).await);
        let seen = recorder.seen();
        let (agents, k) = (fleet.agents.len(), test.links_each());
        let loaded = phases.loaded;
        // What tabs take is their browsers' to know.
        let browsers = usize::from(test.browsers);
        let measured = (agents - browsers) as f64;
        let per_agent = |value: Option<f64>| (measured > 0.0).then_some(value? / measured);
        let kb_s = |spent: Spent| spent.bytes_sent as f64 / 1e3 / spent.seconds / agents as f64;
        let (sign_us, verify_us) = signature_times();
        let analysis = Analysis::of(&network.graph);
        let open = stats.links.open / 2;
        let mut report = Self {
            agents,
            browsers,
            isolated: test.isolate,
            k,
            duration_s: loaded.seconds,
            rate_per_agent: test.rate,
            payload_bytes: test.payload,
            delivery: test.delivery,
            metric: test.metric,
            seed: test.seed,
            interrupted: phases.interrupted,
            machine: Machine::this(),
            links: Links::of(&seen.links, formed, planned_links(agents, k), open),
            ways,
            pings: stats.pings,
            rotations: phases.rotations,
            offered: seen.offered,
            sent: seen.sent,
            delivered: seen.delivered,
            delivered_percent: percent(seen.delivered, seen.offered),
            lost: losses(&seen),
            latency_ms: Latency::of(&seen.latency),
            latency_histogram: buckets(&seen.latency),
            latency_by_hops: by_hops(&seen),
            throughput_msg_s: Throughput::of(&seen, loaded.seconds),
            memory_mb_per_agent: per_agent(phases.forming.memory_mb),
            memory_mb: phases.memory,
            cpu_percent_per_agent: per_agent(loaded.cpu_percent()),
            cpu_percent: Cpu::of(&phases),
            bandwidth_kb_s_per_agent: Bandwidth {
                idle: kb_s(phases.idle),
                loaded: kb_s(loaded),
            },
            sign_us,
            verify_us,
            rejected: stats.rejected,
            missed_events: seen.missed_events,
            topology: Shape::of(&analysis),
            comparison: comparison(agents, k),
            scaling: [10, 50, 100, 500, 1_000].map(Scaling::of).to_vec(),
            members: members(fleet, &seen, &network.graph),
            routing: network.routing,
            analysis,
            targets: Vec::new(),
            grades: Vec::new(),
        };
        report.judge();
        report
    }

    /// Agents outside browsers: those whose memory and CPU were measured.
    pub(super) fn natives(&self) -> f64 {
        (self.agents - self.browsers) as f64
    }

    /// The targets of what this mesh replaces: its 10 s were for a thousand links.
    fn judge(&mut self) {
        let setup_s = 10.0 * (self.links.planned as f64 / 1e3).max(1.0);
        let p95 = (self.delivered > 0).then_some(self.latency_ms.p95);
        let share = (self.offered > 0).then_some(self.delivered_percent);
        self.targets = vec![
            Target::below("link setup", "s", setup_s, Some(self.links.setup_s)),
            Target::below("latency p95", "ms", 150.0, p95),
            Target::below("memory per agent", "MB", 100.0, self.memory_mb_per_agent),
            Target::below("CPU per agent", "%", 10.0, self.cpu_percent_per_agent),
            Target::above("delivered", 99.0, share),
        ];
        self.grades = self.targets.iter().filter_map(Grade::of).collect();
        // How far the mesh is from linking everybody with everybody.
        let links = 100.0 * self.analysis.reduction;
        self.grades.push(Grade::new("links saved", links));
        self.grades.push(Grade::overall(&self.grades));
    }
}

impl Cpu {
    fn of(phases: &Phases) -> Self {
        Self {
            forming: phases.forming.cpu_percent(),
            idle: phases.idle.cpu_percent(),
            loaded: phases.loaded.cpu_percent(),
        }
    }
}

impl Shape {
    fn of(analysis: &Analysis) -> Self {
        Self {
            edges: analysis.edges,
            diameter: analysis.diameter,
            average_path_length: analysis.average_path_length,
            clustering: analysis.clustering_coefficient,
        }
    }
}

impl Machine {
    fn this() -> Self {
        Self {
            os: std::env::consts::OS,
            architecture: std::env::consts::ARCH,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

impl Links {
    fn of(seen: &LinksSeen, formed: Formed, planned: usize, open: usize) -> Self {
        let [offer, answer, ice, dtls] = &seen.phases;
        Self {
            planned,
            open,
            opened: seen.opened / 2,
            failed: seen.failed.values().sum(),
            setup_s: formed.links_s,
            admitted_s: formed.admitted_s,
            tables_s: formed.tables_s,
            offer_ms: Latency::of(offer),
            answer_ms: Latency::of(answer),
            ice_ms: Latency::of(ice),
            dtls_ms: Latency::of(dtls),
            failures: seen.failed.clone(),
            closed: seen.closed.clone(),
            reopened: seen.reopened.len(),
            still_closed: seen.broken.len(),
            reopen_ms: Latency::of(&seen.reopened),
        }
    }
}

impl Throughput {
    fn of(seen: &Seen, seconds: f64) -> Self {
        let mut each_second = seen.each_second.clone();
        // What arrives after the last message was sent is the drain's.
        each_second.truncate(seconds.round() as usize);
        Self {
            offered: seen.offered as f64 / seconds.max(1e-3),
            mean: seen.delivered as f64 / seconds.max(1e-3),
            peak: each_second.iter().copied().max().unwrap_or_default(),
            each_second,
        }
    }
}

impl Scaling {
    fn of(agents: usize) -> Self {
        let k = default_k(agents).min(agents - 1);
        Self {
            agents,
            full_mesh: agents * (agents - 1) / 2,
            k,
            links: planned_links(agents, k),
        }
    }
}

/// The links of a mesh in which every agent has `k`. The mesh may keep a few more: an agent that
/// lacks a link where no other agent lacks one links with an agent that has all of its own.
fn planned_links(agents: usize, k: usize) -> usize {
    agents * k.min(agents.saturating_sub(1)) / 2
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

/// Messages that did not arrive, by the reason given; the rest has none.
fn losses(seen: &Seen) -> BTreeMap<String, u64> {
    let refused = seen.refused.iter();
    let refused = refused.map(|(code, count)| (format!("not taken: {code}"), *count));
    let mut lost: BTreeMap<_, _> = seen.lost.clone().into_iter().chain(refused).collect();
    let told: u64 = seen.lost.values().sum();
    let silent = seen.sent.saturating_sub(seen.delivered + told);
    if silent > 0 {
        lost.insert("not there when the test ended".to_owned(), silent);
    }
    let taken: u64 = seen.sent + seen.refused.values().sum::<u64>();
    let unsent = seen.offered.saturating_sub(taken);
    if unsent > 0 {
        lost.insert("not sent in time: the mesh was too slow".to_owned(), unsent);
    }
    lost
}

fn by_hops(seen: &Seen) -> BTreeMap<u8, Latency> {
    let each = seen.by_hops.iter();
    each.map(|(hops, us)| (*hops, Latency::of(us))).collect()
}

/// Counts up to each bound, in milliseconds; each bound is twice the one before.
fn buckets(us: &Histogram<u64>) -> Vec<(f64, u64)> {
    let mut buckets = Vec::new();
    let (mut low, mut high) = (0, 250);
    while low <= us.max() && !us.is_empty() {
        buckets.push((high as f64 / 1e3, us.count_between(low + 1, high)));
        (low, high) = (high, 2 * high);
    }
    buckets
}

fn comparison(agents: usize, k: usize) -> BTreeMap<String, Analysis> {
    if agents > COMPARED_MAX {
        return BTreeMap::new();
    }
    let members = Topology::sample_members(agents, 1);
    let kinds = TopologyKind::ALL.into_iter();
    let kinds = kinds.filter(|kind| *kind != TopologyKind::Sharded);
    let analysis = |kind| Analysis::of(&Topology::build(kind, &members, k, 1).graph());
    kinds
        .map(|kind| (kind.to_string(), analysis(kind)))
        .collect()
}

fn members(fleet: &Fleet, seen: &Seen, graph: &Graph) -> Vec<Member> {
    let all = fleet.agents.iter().enumerate();
    let mut members: Vec<_> = all
        .map(|(index, agent)| {
            let agent_seen = seen.agents.get(&agent.id()).cloned().unwrap_or_default();
            Member {
                name: agent.name().to_owned(),
                links: graph.degree(index),
                sent: agent_seen.sent,
                arrived: agent_seen.arrived,
                received: agent_seen.received,
                success_percent: percent(agent_seen.arrived, agent_seen.sent),
                latency_ms: agent_seen.latency_ms(),
            }
        })
        .collect();
    members.sort_by(|a, b| {
        let success = b.success_percent.total_cmp(&a.success_percent);
        success.then(a.latency_ms.total_cmp(&b.latency_ms))
    });
    members
}
