//! Numbers as operators write them.

use crate::config::units::{cpu_milli, duration_ms, size};

#[test]
fn sizes_are_powers_of_1024() {
    for (text, bytes) in [
        ("0", 0),
        ("1", 1),
        ("512K", 512 << 10),
        ("256M", 256 << 20),
        ("1.5G", 3 << 29),
        ("2T", 2 << 40),
        ("1KiB", 1024),
        ("1MiB", 1 << 20),
        ("1GiB", 1 << 30),
        ("1TiB", 1 << 40),
    ] {
        assert_eq!(size(text), Some(bytes), "{text}");
    }
    for text in [
        "", "K", "1KB", "1MB", "1GB", "1k", "1 G", "-1", "+1", "1e3", "1.2.3", ".", "inf", "NaN", "9000T",
        "99999999999999999999",
    ] {
        assert_eq!(size(text), None, "{text}");
    }
}

#[test]
fn processor_time_is_cores_or_percent() {
    for (text, milli) in [("2", 2000), ("1.5", 1500), ("50%", 500), ("150%", 1500), ("0.01", 10)] {
        assert_eq!(cpu_milli(text), Some(milli), "{text}");
    }
    for text in ["", "%", "2cores", "1.5G", "-1"] {
        assert_eq!(cpu_milli(text), None, "{text}");
    }
}

#[test]
fn durations_have_one_unit_or_are_seconds() {
    for (text, ms) in [
        ("30", 30_000),
        ("30s", 30_000),
        ("5m", 300_000),
        ("24h", 86_400_000),
        ("7d", 604_800_000),
        ("10ms", 10),
        ("5min", 300_000),
        ("1w", 604_800_000),
    ] {
        assert_eq!(duration_ms(text), Some(ms), "{text}");
    }
    for text in ["", "s", "-5s", "5x", "5m ,", "h1", "99999999999999999999s", "9999999999999999999"] {
        assert_eq!(duration_ms(text), None, "{text}");
    }
}

// "1h30m" is a duration everywhere else in Airlock.
#[test]
fn durations_may_have_several_parts() {
    assert_eq!(duration_ms("1h30m"), Some(5_400_000));
    assert_eq!(duration_ms("1d12h30m15s"), Some(131_415_000));
    assert_eq!(duration_ms("30m1h"), Some(5_400_000));
    assert_eq!(duration_ms("1h30"), None);
}
