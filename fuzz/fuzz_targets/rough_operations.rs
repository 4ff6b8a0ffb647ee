//! Any bytes as things that happen to a small world where drivers are late and links slow.

#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mesh_core::sim::fuzz::rough_operations(bytes));
