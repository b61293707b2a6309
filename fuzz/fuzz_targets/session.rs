//! See `src/session/mod.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| airlock_fuzz::session::run(data));
