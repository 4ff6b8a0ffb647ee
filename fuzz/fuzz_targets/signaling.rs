//! Any bytes as texts of a client to the signaling server.

#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mesh_core::sim::fuzz::signaling(bytes));
