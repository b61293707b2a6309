use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const GOOD: &str = r#"
listen = "127.0.0.1:0"
[tls]
certificate = "server.crt"
key = "server.key"
client_ca = "ca.crt"
"#;

fn error(text: &str) -> String {
    Config::parse(Path::new("/etc/airlock/frontend.toml"), text).expect_err("the text is wrong").to_string()
}

#[test]
fn a_short_file_gets_the_documented_defaults() {
    let config = Config::parse(Path::new("f.toml"), GOOD).unwrap();
    assert_eq!(config.executor_socket(), Path::new("/run/airlock/executor.sock"));
    assert_eq!(config.state_dir(), Path::new("/var/lib/airlock"));
    assert_eq!((config.limits().connections(), config.limits().connections_per_identity()), (1024, 768));
    assert_eq!(config.limits().message_bytes(), 4 << 20);
    assert!(!config.host().is_empty());
}

#[test]
fn one_identity_may_have_three_quarters_of_all_connections_or_what_the_file_says() {
    for (lines, expected) in [
        ("connections = 1", 1),
        ("connections = 2", 1),
        ("connections = 4096", 3072),
        ("connections = 4096\nconnections_per_identity = 5", 5),
    ] {
        let config = Config::parse(Path::new("f.toml"), &format!("{GOOD}[limits]\n{lines}\n")).unwrap();
        assert_eq!(config.limits().connections_per_identity(), expected, "{lines}");
    }
}

#[test]
fn a_wrong_key_is_named_with_its_line_its_table_and_the_nearest_key() {
    let text = GOOD.replace("client_ca", "client_cas");
    assert_eq!(
        error(&text),
        "/etc/airlock/frontend.toml:6: unknown key 'client_cas' in [tls]; did you mean 'client_ca'?"
    );
    let text = format!("colour = 1\n{GOOD}");
    assert_eq!(error(&text), "/etc/airlock/frontend.toml:1: unknown key 'colour'");
}

#[test]
fn a_wrong_value_and_broken_syntax_are_named_with_their_line() {
    let text = format!("{GOOD}[limits]\nmessage_bytes = \"lots\"\n");
    assert!(error(&text).starts_with("/etc/airlock/frontend.toml:8: 'lots' is not a size"), "{}", error(&text));
    assert!(error("listen = \n").starts_with("/etc/airlock/frontend.toml:1: "));
    assert!(error(&GOOD.replace("[tls]", "[tls")).starts_with("/etc/airlock/frontend.toml:3: "));
}

#[test]
fn a_missing_table_is_named() {
    assert!(error("host = \"x\"\n").contains("tls"), "{}", error("host = \"x\"\n"));
}

#[test]
fn sizes_are_powers_of_1024_and_ambiguous_units_are_refused() {
    for (text, bytes) in [("0", 0), ("512K", 512 << 10), ("1.5G", 3 << 29), ("2TiB", 2 << 40), ("7", 7)] {
        assert_eq!(text.parse::<Size>().map(Size::bytes), Ok(bytes), "{text}");
    }
    for text in ["", "lots", "-1", "1.5", "1KB", "99999999999G", "1e3M", "1..5G", "NaN"] {
        assert!(text.parse::<Size>().is_err(), "{text} was taken for a size");
    }
}

#[test]
fn a_size_is_shown_exactly_and_in_the_largest_unit_that_can_show_it_shortly() {
    for (bytes, text) in [
        (0, "0"),
        (17, "17"),
        (1 << 10, "1K"),
        (512 << 20, "512M"),
        (3 << 29, "1.5G"),
        (5 << 28, "1.25G"),
        (1025 << 20, "1025M"),
        ((1 << 30) + 4096, "1048580K"),
        ((1 << 20) - 1, "1048575"),
        (1 << 63, "8388608T"),
    ] {
        assert_eq!(Size::from_bytes(bytes).to_string(), text);
    }
}

#[test]
fn a_rough_size_keeps_one_digit_and_never_shows_1024_of_a_unit() {
    for (bytes, text) in [
        (0, "0 bytes"),
        (1, "1 byte"),
        (1023, "1023 bytes"),
        (19_293_798, "18.4 MiB"),
        ((2 << 30) - 1, "2 GiB"),
        ((1 << 20) - 1, "1 MiB"),
        (u64::MAX, "16 EiB"),
    ] {
        assert_eq!(roughly(bytes), text);
    }
}

#[test]
fn cores_are_numbers_or_percentages_and_shown_exactly() {
    for (text, milli, shown) in [
        ("2", 2000, "2"),
        ("1.5", 1500, "1.5"),
        ("150%", 1500, "1.5"),
        ("50%", 500, "0.5"),
        ("0.25", 250, "0.25"),
        ("0", 0, "0"),
    ] {
        let cores: Cores = text.parse().unwrap();
        assert_eq!((cores.milli(), cores.to_string()), (milli, shown.to_owned()), "{text}");
    }
    for text in ["", "%", "two", "-1", "1e3", "NaN", "1.5.5", "2 cores", "99999999999"] {
        assert!(text.parse::<Cores>().is_err(), "{text} was taken for a number of cores");
    }
}

#[test]
fn durations_add_up() {
    for (text, seconds) in [("30s", 30), ("5m", 300), ("1h30m", 5400), ("7d", 604_800), ("45", 45)] {
        assert_eq!(text.parse::<Span>().map(Span::duration), Ok(Duration::from_secs(seconds)), "{text}");
    }
    for text in ["", "h", "5x", "1h30", "-3s", "99999999999999999999d"] {
        assert!(text.parse::<Span>().is_err(), "{text} was taken for a duration");
    }
    assert_eq!(duration_words(86_400_000), "24h");
    assert_eq!(duration_words(604_800_000), "7d");
    assert_eq!(duration_words(5_400_000), "1h30m");
    assert_eq!(duration_words(250), "250ms");
}

proptest! {
    #[test]
    fn no_text_makes_the_unit_parsers_panic(text in "\\PC{0,24}") {
        let _ = text.parse::<Size>();
        let _ = text.parse::<Span>();
        let _ = text.parse::<Cores>();
    }

    #[test]
    fn a_size_shown_exactly_is_read_back(bytes in any::<u64>()) {
        let size = Size::from_bytes(bytes);
        prop_assert_eq!(size.to_string().parse::<Size>(), Ok(size));
    }
}
