//! Any bytes as things that happen to a small world.

#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mesh_core::sim::fuzz::operations(bytes));
