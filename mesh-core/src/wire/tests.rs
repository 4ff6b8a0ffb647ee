//! The wire format: round trips, and bytes that are no frames.

use proptest::prelude::*;

use super::golden::header;
use super::*;
use crate::error::DecodeError;
use crate::id::{PeerId, Target};
use crate::payload::{Delivery, Payload};
use crate::time::UnixTime;
use crate::trust::{Identity, Signed};

pub(super) fn frame_of(records: &[Record]) -> Vec<u8> {
    let mut writer = FrameWriter::default();
    for record in records {
        writer.push(&FrameWriter::encode(record));
    }
    writer.finish().to_vec()
}

fn signed(payload: Payload) -> Signed {
    let message = Message {
        header: header(Target::Room),
        content: Content::Data(Data {
            delivery: Delivery::Reliable,
            wants_reply: false,
            place: None,
            items: vec![Item {
                topic: "greetings".into(),
                payload,
            }],
        }),
    };
    Identity::from_secret([1; 32]).sign("demo", &message)
}

#[test]
fn limits_hold_at_the_edge() {
    let at = |bytes: usize| {
        let mut frame = vec![0; bytes]; // pings with nonce 0
        frame[0] = WIRE_VERSION;
        Frame::decode(&frame).map(|frame| frame.records.len())
    };
    assert_eq!(at(FRAME_BYTES_MAX - 1), Ok(FRAME_BYTES_MAX / 2 - 1));
    assert!(matches!(
        at(FRAME_BYTES_MAX + 1),
        Err(DecodeError::Oversized { .. })
    ));
    assert_eq!(Frame::decode(&[]), Err(DecodeError::Empty));
    assert_eq!(Frame::decode(&[WIRE_VERSION]), Err(DecodeError::Empty));
    assert_eq!(Frame::decode(&[9, 0, 0]), Err(DecodeError::Version(9)));
    assert_eq!(
        Frame::decode(&[WIRE_VERSION, 3, 99]),
        Err(DecodeError::Record { index: 1 })
    );
}

#[test]
fn the_largest_payload_fits_a_frame() {
    let payload = Payload::Bytes(vec![7; crate::PAYLOAD_BYTES_MAX]);
    let message = Message {
        header: MessageHeader {
            incarnation: u64::MAX,
            sequence: u64::MAX,
            target: Target::Peer(PeerId::from_bytes([255; 32])),
            sent_at: UnixTime::from_micros(u64::MAX),
            ttl: 255,
        },
        content: Content::Data(Data {
            delivery: Delivery::Acknowledged,
            wants_reply: true,
            place: Some(Place {
                stream: u64::MAX,
                number: u64::MAX,
                awaited: u64::MAX,
                ordered: true,
                asks: true,
            }),
            items: vec![Item {
                topic: "t".repeat(crate::TOPIC_BYTES_MAX),
                payload,
            }],
        }),
    };
    let envelope = Envelope {
        ttl: 255,
        target: message.header.target,
        signed: Identity::from_secret([1; 32]).sign("demo", &message),
    };
    let bytes = FrameWriter::encode(&Record::Envelope(envelope)).len();
    assert!(bytes <= FrameWriter::RECORD_BYTES_MAX, "{bytes} bytes");
}

fn any_record() -> impl Strategy<Value = Record> {
    let entry = (any::<u64>(), any::<u64>()).prop_map(|(author_prefix, version)| DigestEntry {
        author_prefix,
        version,
    });
    let payload = prop_oneof![
        any::<String>().prop_map(Payload::Text),
        prop::collection::vec(any::<u8>(), 0..500).prop_map(Payload::Bytes),
    ];
    prop_oneof![
        any::<u32>().prop_map(|nonce| Record::Ping { nonce }),
        any::<u32>().prop_map(|nonce| Record::Pong { nonce }),
        any::<u64>().prop_map(|received| Record::Ack { received }),
        Just(Record::Drain),
        any::<u64>().prop_map(|fingerprint| Record::Summary { fingerprint }),
        (
            any::<u64>(),
            prop::collection::vec(entry, 0..20),
            any::<bool>()
        )
            .prop_map(|(low, entries, reply)| Record::Digest {
                low,
                high: u64::MAX,
                entries,
                reply,
            }),
        (payload, any::<u8>()).prop_map(|(payload, ttl)| Record::Envelope(Envelope {
            ttl,
            target: Target::Room,
            signed: signed(payload),
        })),
    ]
}

proptest! {
    #[test]
    fn frames_decode_to_what_was_encoded(records in prop::collection::vec(any_record(), 1..8)) {
        let bytes = frame_of(&records);
        prop_assert_eq!(Frame::decode(&bytes).expect("decodes").records, records);
    }

    #[test]
    fn perturbed_frames_never_panic(
        records in prop::collection::vec(any_record(), 1..4),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = frame_of(&records);
        for (index, mask) in flips {
            let at = index.index(bytes.len());
            bytes[at] ^= mask;
        }
        let kept = cut.index(bytes.len());
        let _ = Frame::decode(&bytes);
        let _ = Frame::decode(&bytes[..kept]);
    }
}
