//! What trust costs.

use std::hint::black_box;
use std::time::Instant;

use mesh_core::wire::{Content, Data, Message, MessageHeader};
use mesh_core::{Delivery, Identity, Payload, Target, UnixTime};

/// What signing and verifying a message of 256 bytes takes, in microseconds: the medians of some
/// batches, on this machine, while the mesh is at rest.
pub(super) fn signature_times() -> (f64, f64) {
    const BATCHES: usize = 21;
    const BATCH: u32 = 20;
    let identity = Identity::from_secret([7; 32]);
    let message = Message {
        header: MessageHeader {
            incarnation: 1,
            sequence: 1,
            target: Target::Room,
            sent_at: UnixTime::from_micros(1),
            ttl: 16,
        },
        content: Content::Data(Data::one(
            Payload::Bytes(vec![0xa5; 256]),
            Delivery::Reliable,
        )),
    };
    let signed = identity.sign("room", &message);
    let median = |work: &dyn Fn()| {
        let mut times: Vec<_> = (0..BATCHES)
            .map(|_| {
                let started = Instant::now();
                (0..BATCH).for_each(|_| work());
                started.elapsed().as_secs_f64() * 1e6 / f64::from(BATCH)
            })
            .collect();
        times.sort_by(f64::total_cmp);
        times[BATCHES / 2]
    };
    let sign_us = median(&|| drop(black_box(identity.sign("room", black_box(&message)))));
    let verify_us = median(&|| drop(black_box(black_box(&signed).verify::<Message>("room"))));
    (sign_us, verify_us)
}
