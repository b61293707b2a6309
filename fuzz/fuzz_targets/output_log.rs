//! See `src/output_log/mod.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| airlock_fuzz::output_log::run(data));
