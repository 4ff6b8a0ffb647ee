//! What the core's parts cost: `cargo bench -p mesh-core --features sim`.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mesh_core::sim::{World, WorldConfig};
use mesh_core::wire::{
    Content, Data, Envelope, Frame, FrameWriter, Message, MessageHeader, Record,
};
use mesh_core::{Analysis, Delivery, Identity, Payload, Signed, Target, Topology, UnixTime};

const ROOM: &str = "bench";

fn topology(c: &mut Criterion) {
    let mut group = c.benchmark_group("topology");
    for (agents, k) in [(100, 20), (1_000, 30), (10_000, 30)] {
        let members = Topology::sample_members(agents, 1);
        // Cost should grow as the number of links does.
        group.throughput(Throughput::Elements((agents * k / 2) as u64));
        group.bench_function(BenchmarkId::new("build", agents), |b| {
            b.iter(|| Topology::partial_mesh(black_box(&members), k));
        });
        let graph = Topology::partial_mesh(&members, k).graph();
        if agents <= 1_000 {
            group.bench_function(BenchmarkId::new("analyse", agents), |b| {
                b.iter(|| Analysis::of(black_box(&graph)));
            });
        }
    }
    group.finish();
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
        content: Content::Data(Data {
            topic: String::new(),
            payload: Payload::Text("x".repeat(payload)),
            delivery: Delivery::Datagram,
            wants_reply: false,
        }),
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

criterion_group!(benches, topology, routing, signatures, wire);
criterion_main!(benches);
