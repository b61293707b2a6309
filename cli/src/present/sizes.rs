//! Bytes, cores and counts for people.

/// A limit, as limits are written: exact, in the largest unit that needs at most two digits after the point, such as `16G`,
/// `1.5G`, `1025M`. The server's sentences show limits in the same way.
pub fn exact(bytes: u64) -> String {
    for (power, unit) in [(4, "T"), (3, "G"), (2, "M"), (1, "K")] {
        let size = 1024u64.pow(power);
        let (whole, rest) = (bytes / size, bytes % size);
        if whole > 0 && rest == 0 {
            return format!("{whole}{unit}");
        }
        let hundredths = u128::from(rest) * 100;
        if (1..1_000_000).contains(&whole) && hundredths.is_multiple_of(u128::from(size)) {
            let digits = format!("{:02}", hundredths / u128::from(size));
            return format!("{whole}.{}{unit}", digits.trim_end_matches('0'));
        }
    }
    bytes.to_string()
}

/// Bytes that were counted, with one digit after the point: `512M`, `1.5G`, `17`.
pub fn short(bytes: u64) -> String {
    scaled(bytes, ["", "K", "M", "G", "T", "P", "E"], "")
}

/// Bytes with the unit spelled out: `18.4 MiB`, `17 bytes`.
pub fn long(bytes: u64) -> String {
    if bytes == 1 {
        return "1 byte".to_owned();
    }
    scaled(bytes, [" bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"], " ")
}

/// "1 job", "3 jobs": a count with its word.
pub fn counted(count: u64, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

/// Cores without needless digits: `4`, `1.5`, `0.2`.
pub fn cores(cores: f64) -> String {
    let text = format!("{cores:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn scaled(bytes: u64, units: [&str; 7], space: &str) -> String {
    let mut value = bytes as f64;
    let mut index = 0;
    // 1023.95 and more would be shown as 1024.0 of the smaller unit.
    while value >= 1023.95 && index + 1 < units.len() {
        value /= 1024.0;
        index += 1;
    }
    if index == 0 {
        return format!("{bytes}{}", units[0]);
    }
    let number = format!("{value:.1}");
    format!("{}{space}{}", number.strip_suffix(".0").unwrap_or(&number), units[index])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short_and_keep_one_digit() {
        for (bytes, text) in [
            (0, "0"),
            (17, "17"),
            (1 << 10, "1K"),
            (512 << 20, "512M"),
            (3 << 29, "1.5G"),
            ((1 << 20) - 1, "1M"),
            (u64::MAX, "16E"),
        ] {
            assert_eq!(short(bytes), text);
        }
        assert_eq!(long(19_293_798), "18.4 MiB");
        assert_eq!((long(0), long(1), long(5)), ("0 bytes".into(), "1 byte".into(), "5 bytes".into()));
    }

    #[test]
    fn a_limit_is_shown_exactly_and_as_one_may_write_it() {
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
        ] {
            assert_eq!(exact(bytes), text);
            assert_eq!(crate::units::size(text), Ok(bytes));
        }
    }

    #[test]
    fn one_of_a_thing_is_not_several() {
        assert_eq!([0, 1, 2].map(|count| counted(count, "job")), ["0 jobs", "1 job", "2 jobs"]);
    }

    #[test]
    fn cores_lose_their_trailing_zeros() {
        assert_eq!((cores(4.0), cores(1.5), cores(0.25)), ("4".into(), "1.5".into(), "0.25".into()));
    }
}
