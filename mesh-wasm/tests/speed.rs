//! What signatures cost in a browser: with its numbers printed, `cargo xtask bench` runs this as
//! pages get it. On every other occasion it only has to be right, and quick enough to use.
#![cfg(target_arch = "wasm32")]

use js_sys::Date;
use mesh_core::wire::{Content, Data, Message, MessageHeader};
use mesh_core::{Delivery, Identity, Payload, Signed, Target, UnixTime};
use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

const ROOM: &str = "speed";

/// Signatures in one batch: clocks of browsers tell whole milliseconds.
const BATCH: u32 = 400;

/// Batches, of which the median counts.
const BATCHES: usize = 9;

/// Far above what any browser needs, in milliseconds each, even unoptimised.
const TOO_SLOW_MS: f64 = 50.0;

fn message() -> Message {
    Message {
        header: MessageHeader {
            incarnation: 1_800_000_000_000_000,
            sequence: 1,
            target: Target::Room,
            sent_at: UnixTime::from_micros(1_800_000_000_500_000),
            ttl: 16,
        },
        content: Content::Data(Data::one(
            Payload::Text("x".repeat(256)),
            Delivery::Datagram,
        )),
    }
}

/// The median time of one of many, in milliseconds.
fn time_of(mut work: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..BATCHES)
        .map(|_| {
            let start = Date::now();
            (0..BATCH).for_each(|_| work());
            (Date::now() - start) / f64::from(BATCH)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[BATCHES / 2]
}

#[wasm_bindgen_test]
fn messages_are_signed_and_verified_in_time() {
    let identity = Identity::from_secret([1; 32]);
    let message = message();
    let mut signed: Option<Signed> = None;
    let sign = time_of(|| signed = Some(identity.sign(ROOM, &message)));
    let signed = signed.expect("it was signed");
    let verify = time_of(|| assert!(signed.verify::<Message>(ROOM).is_ok()));
    console_log!(
        "a message of 256 bytes: {:.0} us to sign, {:.0} us to verify",
        sign * 1e3,
        verify * 1e3
    );
    assert!(
        sign < TOO_SLOW_MS && verify < TOO_SLOW_MS,
        "{sign} {verify}"
    );
}
