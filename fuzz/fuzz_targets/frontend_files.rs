//! See `src/frontend_files.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| airlock_fuzz::frontend_files::run(data));
