//! Any bytes as frames of a neighbour.

#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mesh_core::sim::fuzz::neighbour(bytes));
