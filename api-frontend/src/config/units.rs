//! Sizes, cores and durations as people write them in configuration files: `512M`, `1.5G`, `16`, `150%`, `30d`, `1h30m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// A number of bytes. `K`, `M`, `G` and `T` (also `KiB` …) are powers of 1024; `KB` and the like mean two things and are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

impl Size {
    /// So many bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// In bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Size {
    /// Exact, in the largest unit that needs at most two digits after the point: `16G`, `1.5G`, `1025M`. The command line
    /// shows limits in the same way.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (power, unit) in [(4, "T"), (3, "G"), (2, "M"), (1, "K")] {
            let size = 1024u64.pow(power);
            let (whole, rest) = (self.0 / size, self.0 % size);
            if whole > 0 && rest == 0 {
                return write!(f, "{whole}{unit}");
            }
            // Below the bound a number with a point is read back exactly.
            let hundredths = u128::from(rest) * 100;
            if (1..1_000_000).contains(&whole) && hundredths.is_multiple_of(u128::from(size)) {
                let digits = format!("{:02}", hundredths / u128::from(size));
                return write!(f, "{whole}.{}{unit}", digits.trim_end_matches('0'));
            }
        }
        write!(f, "{}", self.0)
    }
}

/// Says a number of bytes roughly, in at most six characters and a unit, such as `3.2 GiB`. The command line says it so too.
pub fn roughly(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, "");
    for larger in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        // 1023.95 and more would be shown as 1024.0 of the smaller unit.
        if value < 1023.95 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    match (bytes, unit) {
        (1, _) => "1 byte".into(),
        (_, "") => format!("{bytes} bytes"),
        _ => {
            let number = format!("{value:.1}");
            format!("{} {unit}", number.strip_suffix(".0").unwrap_or(&number))
        }
    }
}

/// The text is no size or no duration; the sentence says what one looks like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnitError(String);

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || UnitError(format!("'{text}' is not a size; use a number with K, M, G or T, such as 512M"));
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let power = match unit.trim() {
            "" | "B" => 0,
            "K" | "KiB" => 1,
            "M" | "MiB" => 2,
            "G" | "GiB" => 3,
            "T" | "TiB" => 4,
            "KB" | "MB" | "GB" | "TB" => {
                return Err(UnitError(format!(
                    "'{text}' could mean powers of 1000 or 1024; write {} (1024)",
                    &unit[..1]
                )));
            }
            _ => return Err(wrong()),
        };
        let factor = 1024u64.pow(power);
        if let Ok(whole) = number.parse::<u64>() {
            return whole
                .checked_mul(factor)
                .map(Self)
                .ok_or_else(|| UnitError(format!("'{text}' is too large a size")));
        }
        let value: f64 = number.parse().map_err(|_| wrong())?;
        let bytes = value * factor as f64;
        // 2^63 bounds the product where a float still converts exactly enough; nothing that large exists.
        if power == 0 || !bytes.is_finite() || bytes >= 9.2e18 { Err(wrong()) } else { Ok(Self(bytes as u64)) }
    }
}

/// An amount of processor time: `2` is two cores, `1.5` or `150%` one and a half. Kept in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cores(u64);

impl Cores {
    /// So many thousandths of a core.
    pub const fn from_milli(milli: u64) -> Self {
        Self(milli)
    }

    /// In thousandths of a core.
    pub const fn milli(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Cores {
    /// Exact: `16`, `1.5`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1000, self.0 % 1000);
        match rest {
            0 => write!(f, "{whole}"),
            _ => write!(f, "{whole}.{}", format!("{rest:03}").trim_end_matches('0')),
        }
    }
}

impl FromStr for Cores {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || UnitError(format!("'{text}' is not a number of cores; use one such as 2, 1.5 or 150%"));
        let (number, per_unit) = text.strip_suffix('%').map_or((text, 1000.0), |percent| (percent, 10.0));
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return Err(wrong());
        }
        let milli = number.parse::<f64>().map_err(|_| wrong())? * per_unit;
        // The bound is beyond every machine, and far below where a float stops being exact.
        if milli <= CORES_MOST * 1000.0 { Ok(Self(milli.round() as u64)) } else { Err(wrong()) }
    }
}

const CORES_MOST: f64 = 1e6;

/// A span of time: `30s`, `5m`, `1h30m`, `7d`; a bare number is seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

impl Span {
    /// Takes a duration.
    pub const fn new(duration: Duration) -> Self {
        Self(duration)
    }

    /// As the standard library has it.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || UnitError(format!("'{text}' is not a duration; use numbers with s, m, h or d, such as 1h30m"));
        if let Ok(seconds) = text.parse::<u32>() {
            return Ok(Self(Duration::from_secs(u64::from(seconds))));
        }
        let (mut total, mut rest) = (0u64, text);
        while !rest.is_empty() {
            let split = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let number: u64 = rest[..split].parse().map_err(|_| wrong())?;
            let unit = rest[split..].chars().next().ok_or_else(wrong)?;
            let seconds = match unit {
                's' => 1,
                'm' => 60,
                'h' => 3600,
                'd' => 86_400,
                _ => return Err(wrong()),
            };
            total = number.checked_mul(seconds).and_then(|n| total.checked_add(n)).ok_or_else(wrong)?;
            rest = &rest[split + 1..];
        }
        if text.is_empty() { Err(wrong()) } else { Ok(Self(Duration::from_secs(total))) }
    }
}

/// Says milliseconds as people write durations: `24h`, `1h30m`, `250ms`.
pub fn duration_words(ms: u64) -> String {
    if !ms.is_multiple_of(1000) {
        return if ms < 1000 { format!("{ms}ms") } else { format!("{:.3}s", ms as f64 / 1000.0) };
    }
    let mut seconds = ms / 1000;
    if seconds == 0 {
        return "0s".into();
    }
    let mut words = String::new();
    // Days are only used when they are whole: 24h is read more often than 1d in limits, 7d more often than 168h.
    for (unit, length) in [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)] {
        let fits = if unit == "d" { seconds.is_multiple_of(length) && seconds > length } else { seconds >= length };
        if fits {
            words.push_str(&format!("{}{unit}", seconds / length));
            seconds %= length;
        }
    }
    words
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match TextOrNumber::deserialize(deserializer)? {
            TextOrNumber::Number(n) => Ok(Self(n)),
            TextOrNumber::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

impl<'de> Deserialize<'de> for Cores {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match TextOrDecimal::deserialize(deserializer)? {
            TextOrDecimal::Whole(n) => n.to_string(),
            TextOrDecimal::Decimal(n) => n.to_string(),
            TextOrDecimal::Text(text) => text,
        };
        text.parse().map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match TextOrNumber::deserialize(deserializer)? {
            TextOrNumber::Number(n) => Ok(Self(Duration::from_secs(n))),
            TextOrNumber::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a number, or text such as \"512M\" or \"30d\"")]
enum TextOrNumber {
    Number(u64),
    Text(String),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a number of cores, or text such as \"150%\"")]
enum TextOrDecimal {
    Whole(u64),
    Decimal(f64),
    Text(String),
}
