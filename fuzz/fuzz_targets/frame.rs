//! Any bytes as one frame.

#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mesh_core::sim::fuzz::frame(bytes));
