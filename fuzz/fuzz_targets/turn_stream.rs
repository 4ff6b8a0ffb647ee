//! Any bytes as what a TURN server sends on a stream: datagrams or an error, and what is a datagram
//! can be put on a stream again.

#![no_main]

#[path = "../../mesh-native/src/link/turn/framing.rs"]
mod framing;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut deframer = framing::Deframer::default();
    deframer.buffer().extend_from_slice(bytes);
    while let Ok(Some(datagram)) = deframer.next() {
        let mut again = bytes::BytesMut::new();
        assert!(framing::frame(&datagram, &mut again));
    }
});
