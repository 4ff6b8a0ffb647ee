//! How durations are distributed: histograms, filled as things happen.

use mesh_core::{Event, Sample};
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Bounds for links that open, in seconds: a machine's own take 50 ms, one that is never reached 15
/// s and more, which is worth an alert.
const SETUP: &[f64] = &[
    0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0,
];

/// Bounds for round trips of links, in seconds: from one machine to the other side of the earth.
const ROUND_TRIP: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 2.0,
];

/// Bounds for messages, in seconds: 0.2 is worth an alert, 5 a usual deadline.
const MESSAGE: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0,
];

/// Bounds for signatures, in seconds: from a fast core to a browser's share of a slow one.
const SIGNATURE: &[f64] = &[
    0.00001, 0.00002, 0.00004, 0.00008, 0.00016, 0.00032, 0.00064, 0.00128, 0.005, 0.02,
];

/// Histograms with one label.
type Labelled = Family<[(&'static str, &'static str); 1], Histogram, Bounds>;

#[derive(Clone, Debug)]
struct Bounds(&'static [f64]);

impl MetricConstructor<Histogram> for Bounds {
    fn new_metric(&self) -> Histogram {
        histogram(self.0)
    }
}

fn histogram(bounds: &'static [f64]) -> Histogram {
    Histogram::new(bounds.iter().copied())
}

#[derive(Debug)]
pub(super) struct Durations {
    setup: Histogram,
    phases: Labelled,
    link_round_trip: Histogram,
    latency: Histogram,
    message_round_trip: Labelled,
    signatures: Labelled,
}

impl Default for Durations {
    fn default() -> Self {
        Self {
            setup: histogram(SETUP),
            phases: labelled(SETUP, "phase", &["describe", "answer", "ice", "channels"]),
            link_round_trip: histogram(ROUND_TRIP),
            latency: histogram(MESSAGE),
            message_round_trip: labelled(MESSAGE, "kind", &["acknowledged", "request"]),
            signatures: labelled(SIGNATURE, "operation", &["sign", "verify"]),
        }
    }
}

/// Histograms that are there from the start, for each value of a label.
fn labelled(bounds: &'static [f64], label: &'static str, values: &[&'static str]) -> Labelled {
    let family = Labelled::new_with_constructor(Bounds(bounds));
    for value in values {
        drop(family.get_or_create(&[(label, value)]));
    }
    family
}

impl Durations {
    /// Takes note of what an agent tells.
    pub(super) fn note(&self, event: &Event) {
        match event {
            Event::LinkOpened {
                setup_ms,
                described_ms,
                answered_ms,
                reached_ms,
                ..
            } => {
                self.setup.observe(seconds(*setup_ms));
                self.phase("describe", *described_ms);
                let signaled_ms = answered_ms.unwrap_or(*described_ms);
                if let Some(answered_ms) = answered_ms {
                    self.phase("answer", answered_ms - described_ms);
                }
                if let Some(reached_ms) = reached_ms {
                    self.phase("ice", reached_ms - signaled_ms);
                    self.phase("channels", setup_ms - reached_ms);
                }
            }
            Event::Message(message) => self.latency.observe(seconds(message.latency_ms)),
            Event::Delivered { round_trip_ms, .. } => {
                self.message_round_trip("acknowledged", *round_trip_ms);
            }
            Event::Replied { round_trip_ms, .. } => {
                self.message_round_trip("request", *round_trip_ms);
            }
            _ => {}
        }
    }

    pub(super) fn observe(&self, sample: Sample) {
        let (operation, took) = match sample {
            Sample::RoundTrip(took) => return self.link_round_trip.observe(took.as_secs_f64()),
            Sample::Signed(took) => ("sign", took),
            Sample::Verified(took) => ("verify", took),
        };
        let of_operation = self.signatures.get_or_create(&[("operation", operation)]);
        of_operation.observe(took.as_secs_f64());
    }

    fn phase(&self, phase: &'static str, ms: f64) {
        let of_phase = self.phases.get_or_create(&[("phase", phase)]);
        of_phase.observe(seconds(ms));
    }

    fn message_round_trip(&self, kind: &'static str, ms: f64) {
        let of_kind = self.message_round_trip.get_or_create(&[("kind", kind)]);
        of_kind.observe(seconds(ms));
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let mut add = |name: &str, help: &str, histogram: &Histogram| {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        };
        add(
            "mesh_link_setup",
            "From the decision to link until a link was open",
            &self.setup,
        );
        add(
            "mesh_link_round_trip",
            "From a ping over a link to its answer",
            &self.link_round_trip,
        );
        add(
            "mesh_message_latency",
            "From an author's clock at sending to that of the target at delivery, over all hops",
            &self.latency,
        );
        let mut add = |name: &str, help: &str, family: &Labelled| {
            registry.register_with_unit(name, help, Unit::Seconds, family.clone());
        };
        add(
            "mesh_link_setup_phase",
            "Parts of the setup of links that opened: until the own description was ready, until \
             the answer to an offer was there, until ICE had found a path, until DTLS and the \
             channels were open",
            &self.phases,
        );
        add(
            "mesh_message_round_trip",
            "From sending to the receipt of an acknowledged message or the reply to a request",
            &self.message_round_trip,
        );
        add(
            "mesh_signature",
            "To sign a statement or to check a signature",
            &self.signatures,
        );
    }
}

/// What two clocks tell may be negative by a little.
fn seconds(ms: f64) -> f64 {
    (ms / 1e3).max(0.0)
}
