//! Numbers as operators write them.

/// A size in bytes: `512K`, `256M`, `1.5G`, `2T`, or a bare number of bytes; powers of 1024.
pub fn size(text: &str) -> Option<u64> {
    let (digits, unit) = split(text);
    let factor = match unit {
        "" => 1.0,
        "K" | "KiB" => 1024.0,
        "M" | "MiB" => 1024.0 * 1024.0,
        "G" | "GiB" => 1024.0 * 1024.0 * 1024.0,
        "T" | "TiB" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    scaled(digits, factor)
}

/// Processor time in thousandths of a core: `2`, `1.5`, `50%`.
pub fn cpu_milli(text: &str) -> Option<u64> {
    match split(text) {
        (digits, "") => scaled(digits, 1000.0),
        (digits, "%") => scaled(digits, 10.0),
        _ => None,
    }
}

/// A duration in milliseconds: `30s`, `5m`, `1h30m`, `7d`, or a bare number of seconds.
pub fn duration_ms(text: &str) -> Option<u64> {
    if let (digits, "") = split(text) {
        return scaled(digits, 1e3);
    }
    let (mut rest, mut sum) = (text, 0u64);
    while !rest.is_empty() {
        let (digits, after) = split(rest);
        let (unit, next) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let factor = match unit {
            "ms" => 1.0,
            "s" => 1e3,
            "m" => 60e3,
            "h" => 3600e3,
            "d" => 86_400e3,
            _ => return None,
        };
        sum = sum.checked_add(scaled(digits, factor)?)?;
        rest = next;
    }
    Some(sum)
}

fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()))
}

// f64 is exact up to 2^53, far above any limit here; what is above is refused, not rounded.
fn scaled(digits: &str, factor: f64) -> Option<u64> {
    let value = digits.parse::<f64>().ok()? * factor;
    (value.is_finite() && (0.0..9e15).contains(&value)).then_some(value as u64)
}
