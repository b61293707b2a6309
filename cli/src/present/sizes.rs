//! Bytes, cores and counts for people.

/// Bytes as limits are written: `512M`, `1.5G`, `17`.
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
    fn one_of_a_thing_is_not_several() {
        assert_eq!([0, 1, 2].map(|count| counted(count, "job")), ["0 jobs", "1 job", "2 jobs"]);
    }

    #[test]
    fn cores_lose_their_trailing_zeros() {
        assert_eq!((cores(4.0), cores(1.5), cores(0.25)), ("4".into(), "1.5".into(), "0.25".into()));
    }
}
