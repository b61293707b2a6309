//! Sizes and deadlines for this machine.

use std::sync::OnceLock;
use std::time::Duration;

/// `AIRLOCK_TEST_SCALE`: how many times slower than an ordinary host this machine is; 1 unless said, never below.
pub fn factor() -> u32 {
    static FACTOR: OnceLock<u32> = OnceLock::new();
    *FACTOR.get_or_init(|| match std::env::var("AIRLOCK_TEST_SCALE") {
        Ok(text) => match text.parse() {
            Ok(factor @ 1..=1000) => factor,
            _ => panic!("AIRLOCK_TEST_SCALE is '{text}'; it must be a whole number from 1 to 1000"),
        },
        Err(_) => 1,
    })
}

/// So many bytes, fewer on a slow machine, but never less than a MiB or what was asked for.
pub fn bytes(ordinary: u64) -> u64 {
    (ordinary / u64::from(factor())).max(ordinary.min(1 << 20))
}

/// A deadline of so many seconds on an ordinary host.
pub fn seconds(ordinary: u64) -> Duration {
    Duration::from_secs(ordinary) * factor()
}

/// Whether times mean something here: they do not under emulation.
pub fn times_are_meaningful() -> bool {
    factor() == 1
}
