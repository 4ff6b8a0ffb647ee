//! What the core's parts cost: `cargo bench -p mesh-core --features sim`.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mesh_core::sim::{World, WorldConfig};
use mesh_core::wire::{
    Content, Data, Envelope, Frame, FrameWriter, Message, MessageHeader, Record,
};
use mesh_core::{
    Analysis, Channel, Delivery, Identity, Input, Output, Payload, Signed, Target, Topology,
    UnixTime,
};

const ROOM: &str = "bench";

/// Time of an agent that passes from one message to the next: a link takes no more at one moment
/// than 1 Gbit/s carry.
const STEP: Duration = Duration::from_micros(10);

/// By the number of links, agents times k / 2, which the cost should grow with.
fn build(c: &mut Criterion) {
    let mut group = c.benchmark_group("build a topology, by links");
    for (agents, k) in [
        (100, 20),
        (1_000, 30),
        (2_500, 30),
        (5_000, 30),
        (10_000, 30),
    ] {
        let members = Topology::sample_members(agents, 1);
        let links = (agents * k / 2) as u64;
        group.throughput(Throughput::Elements(links));
        group.bench_function(BenchmarkId::from_parameter(links), |b| {
            b.iter(|| Topology::partial_mesh(black_box(&members), k));
        });
    }
    group.finish();
}

fn analyse(c: &mut Criterion) {
    let graph = Topology::partial_mesh(&Topology::sample_members(1_000, 1), 30).graph();
    c.bench_function("analyse a mesh of 1,000", |b| {
        b.iter(|| Analysis::of(black_box(&graph)));
    });
}

/// A mesh of many, as its first agent knows it.
fn formed(agents: usize) -> World {
    let mut world = World::new(WorldConfig::new(1));
    world.start_agents(agents);
    assert!(world.run_until(Duration::from_secs(60), World::is_converged));
    world
}

fn routing(c: &mut Criterion) {
    let mut group = c.benchmark_group("routing");
    group.sample_size(20);
    for agents in [20, 100] {
        let mut world = formed(agents);
        group.bench_function(BenchmarkId::new("all paths", agents), |b| {
            b.iter(|| world.mesh_mut(0).recompute_routes());
        });
    }
    group.finish();
}

/// All that an agent does with a message of others: take it in, find the next hop, pass it on.
fn forwarding(c: &mut Criterion) {
    let mut world = formed(20);
    let [from, to] = [1, 2].map(|agent| world.agents()[agent].id());
    let link = world.agents()[0].link_to(from).expect("20 are all linked");
    let target = Target::Peer(to);
    let author = Identity::from_secret([1; 32]);
    let envelope = Envelope {
        ttl: 16,
        target,
        signed: author.sign(ROOM, &message(target, 256)),
    };
    let mut writer = FrameWriter::default();
    writer.push(&FrameWriter::encode(&Record::Envelope(envelope)));
    let (frame, mut now) = (writer.finish(), world.now());
    let mesh = world.mesh_mut(0);
    c.bench_function("forward a message of 256 bytes", |b| {
        b.iter(|| {
            let received = Input::FrameReceived {
                link,
                channel: Channel::Stream,
                frame: frame.clone(),
            };
            now = now + STEP;
            mesh.handle_input(received, now);
            let mut orders = 0;
            while let Some(output) = mesh.poll_output() {
                orders += usize::from(matches!(black_box(output), Output::Transmit { .. }));
            }
            assert_eq!(orders, 1, "it is passed on");
        });
    });
}

fn signed(payload: usize) -> (Identity, Signed) {
    let identity = Identity::from_secret([1; 32]);
    let target = Target::Peer(Identity::from_secret([2; 32]).peer());
    let message = message(target, payload);
    let signed = identity.sign(ROOM, &message);
    (identity, signed)
}

fn message(target: Target, payload: usize) -> Message {
    Message {
        header: MessageHeader {
            incarnation: 1_800_000_000_000_000,
            sequence: 1,
            target,
            sent_at: UnixTime::from_micros(1_800_000_000_500_000),
            ttl: 16,
        },
        content: Content::Data(Data::one(
            Payload::Text("x".repeat(payload)),
            Delivery::Datagram,
        )),
    }
}

fn signatures(c: &mut Criterion) {
    let (identity, signed) = signed(256);
    let message = message(Target::Room, 256);
    c.bench_function("sign 256 bytes", |b| {
        b.iter(|| identity.sign(ROOM, black_box(&message)));
    });
    c.bench_function("verify 256 bytes", |b| {
        b.iter(|| black_box(&signed).verify::<Message>(ROOM).is_ok());
    });
}

fn wire(c: &mut Criterion) {
    let (_, signed) = signed(256);
    let target = Target::Peer(Identity::from_secret([2; 32]).peer());
    let record = Record::Envelope(Envelope {
        ttl: 16,
        target,
        signed,
    });
    let mut writer = FrameWriter::default();
    writer.push(&FrameWriter::encode(&record));
    let frame = writer.finish();
    c.bench_function("encode a message of 256 bytes", |b| {
        b.iter(|| FrameWriter::encode(black_box(&record)));
    });
    c.bench_function("decode a message of 256 bytes", |b| {
        b.iter(|| Frame::decode(black_box(&frame)).is_ok());
    });
}

criterion_group!(
    benches, build, analyse, routing, forwarding, signatures, wire
);
criterion_main!(benches);
