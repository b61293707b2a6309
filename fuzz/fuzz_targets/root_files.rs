//! See `src/root_files.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| airlock_fuzz::root_files::run(data));
