use super::*;
use proptest::prelude::*;

#[test]
fn sizes_are_powers_of_1024_in_every_spelling() {
    for (text, bytes) in [
        ("0", 0),
        ("17", 17),
        ("512K", 512 << 10),
        ("256M", 256 << 20),
        ("1G", 1 << 30),
        ("1.5G", 3 << 29),
        ("64MiB", 64 << 20),
        ("1gib", 1 << 30),
        ("2k", 2048),
        ("0.5K", 512),
        ("16777215T", 16_777_215 << 40),
    ] {
        assert_eq!(size(text), Ok(bytes), "{text}");
    }
}

#[test]
fn decimal_units_are_refused_because_they_mean_two_things() {
    for text in ["1KB", "5MB", "1gb", "2TB"] {
        assert!(size(text).unwrap_err().fault.contains("two things"), "{text}");
    }
}

#[test]
fn what_is_no_size_is_refused() {
    for text in [
        "", "lots", "-1", "+1", "1e9", "1..5G", ".5G", "5.", "1 G", "1G ", "0x10", "1.5", "16777216T",
        "9999999999999999999", "１G", "1P",
    ] {
        assert!(size(text).is_err(), "{text}");
    }
}

#[test]
fn a_number_that_is_too_large_is_told_so_and_zeros_before_it_do_not_count() {
    for text in ["16777216T", "99999999999999999999G", "99999999999999999999"] {
        assert_eq!(size(text).unwrap_err().fault, "is too large", "{text}");
    }
    assert_eq!(duration("99999999999999999999s").unwrap_err().hint, "the most is 36500d");
    for text in ["100001", "99999999999999999999"] {
        assert_eq!(cores(text).unwrap_err().hint, "the most is 100000 cores", "{text}");
    }
    assert_eq!(size("00000000000000000000512K"), Ok(512 << 10));
    assert_eq!(cores("00000000000000000000.5"), Ok(0.5));
}

#[test]
fn a_percentage_is_of_one_core_and_a_bare_number_is_cores() {
    for (text, expected) in [("50%", 0.5), ("150%", 1.5), ("2", 2.0), ("1.5", 1.5), ("0.25", 0.25)] {
        assert_eq!(cores(text), Ok(expected), "{text}");
    }
    for text in ["", "0", "0%", "-1", "two", "1 core", "nan", "inf", "200000"] {
        assert!(cores(text).is_err(), "{text}");
    }
}

#[test]
fn durations_add_falling_units_and_bare_numbers_are_seconds() {
    for (text, seconds) in [
        ("30s", 30.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("7d", 604_800.0),
        ("90", 90.0),
        ("1.5", 1.5),
        ("250ms", 0.25),
        ("1m500ms", 60.5),
    ] {
        assert_eq!(duration(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
    }
    for text in ["", "s", "5x", "5m1h", "1h30", "30m30m", "-5s", "1 h", "36501d", "99999999999999999d"] {
        assert!(duration(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(text in "\\PC{0,24}") {
        let _ = (size(&text), cores(&text), duration(&text));
    }

    #[test]
    fn whole_sizes_come_back_exactly(number in 0u64..1 << 20, unit in 0usize..5) {
        let name = ["", "K", "M", "G", "T"][unit];
        prop_assert_eq!(size(&format!("{number}{name}")), Ok(number << (10 * unit)));
    }

    #[test]
    fn a_larger_size_never_parses_to_fewer_bytes(whole in 0u64..1000, a in 0u32..1000, b in 0u32..1000) {
        let (low, high) = (a.min(b), a.max(b));
        let (smaller, larger) = (size(&format!("{whole}.{low:03}G")).unwrap(), size(&format!("{whole}.{high:03}G")).unwrap());
        prop_assert!(smaller <= larger);
    }

    #[test]
    fn a_duration_is_the_sum_of_its_parts(d in 0u64..100, h in 0u64..24, m in 0u64..60, s in 0u64..60) {
        let total = ((d * 24 + h) * 60 + m) * 60 + s;
        prop_assert_eq!(duration(&format!("{d}d{h}h{m}m{s}s")), Ok(Duration::from_secs(total)));
    }
}
