//! Values as operators write them.

use std::{path::PathBuf, time::Duration};

use ipc_protocol::Limit;
use serde::{Deserialize, Deserializer, de::Error};

/// A number, or a number with a unit.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "neither a number nor a text in quotes")]
pub enum Amount {
    /// As it stands.
    Number(u64),
    /// To be read.
    Text(String),
}

impl Amount {
    /// What it means for a limit, in the limit's unit; `None` when it means nothing.
    pub fn of(&self, limit: Limit) -> Option<u64> {
        let text = self.text();
        match limit {
            Limit::Cpu => cpu_milli(&text),
            Limit::Timeout => duration_ms(&text),
            Limit::CpuWeight | Limit::Pids | Limit::IoReadOps | Limit::IoWriteOps => text.parse().ok(),
            Limit::Memory | Limit::Swap | Limit::IoRead | Limit::IoWrite | Limit::Input => size(&text),
        }
    }

    /// As it is written.
    pub fn text(&self) -> String {
        match self {
            Self::Number(n) => n.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// A size in bytes: `512K`, `256M`, `1.5G`, `2T`, or a bare number of bytes; powers of 1024.
pub fn size(text: &str) -> Option<u64> {
    let (digits, unit) = text.split_at(text.find(char::is_alphabetic).unwrap_or(text.len()));
    let unit = unit.strip_suffix("iB").filter(|unit| !unit.is_empty()).unwrap_or(unit);
    let power = ["", "K", "M", "G", "T"].iter().position(|known| *known == unit)?;
    scaled(digits, 1024f64.powi(power.try_into().ok()?))
}

/// Processor time in thousandths of a core: `2`, `1.5`, `50%`.
pub fn cpu_milli(text: &str) -> Option<u64> {
    text.strip_suffix('%').map_or_else(|| scaled(text, 1000.0), |percent| scaled(percent, 10.0))
}

/// A duration in milliseconds: `30s`, `5m`, `1h30m`, `7d`, or a bare number of seconds.
pub fn duration_ms(text: &str) -> Option<u64> {
    // Months are written with a capital letter there, and read as minutes here.
    let words = || humantime::parse_duration(text).ok().filter(|_| !text.contains('M'));
    let length = text.parse().map(Duration::from_secs).ok().or_else(words)?;
    u64::try_from(length.as_millis()).ok()
}

/// So many hundredths of this host's memory, in bytes.
pub fn of_host(percent: u64) -> u64 {
    (rustix::system::sysinfo().totalram / 100).saturating_mul(percent)
}

// f64 is exact up to 2^53, far above any limit here; what is above is refused, not rounded.
fn scaled(digits: &str, factor: f64) -> Option<u64> {
    let value = digits.parse::<f64>().ok().filter(|_| digits.starts_with(|c: char| c.is_ascii_digit()))? * factor;
    (0.0..9e15).contains(&value).then_some(value as u64)
}

/// For serde: a size, or `80%` of this host's memory.
pub fn size_or_share<'de, D: Deserializer<'de>>(value: D) -> Result<u64, D::Error> {
    let text = String::deserialize(value)?;
    let percent = text.strip_suffix('%').and_then(|p| p.parse::<u64>().ok()).filter(|p| (1..=100).contains(p));
    percent.map(of_host).or_else(|| size(&text)).ok_or_else(|| D::Error::custom(format!("'{text}' is not a size")))
}

/// For serde: a number of cores.
pub fn cores<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u64>, D::Error> {
    let amount = Amount::deserialize(value)?;
    amount.of(Limit::Cpu).map(Some).ok_or_else(|| D::Error::custom("not a number of cores"))
}

/// For serde: an octal number.
pub fn octal<'de, D: Deserializer<'de>>(value: D) -> Result<u32, D::Error> {
    let text = String::deserialize(value)?;
    let mask = u32::from_str_radix(&text, 8).ok().filter(|mask| *mask <= 0o777);
    mask.ok_or_else(|| D::Error::custom("umask is not an octal number such as \"0022\""))
}

/// For serde: an absolute path.
pub fn path<'de, D: Deserializer<'de>>(value: D) -> Result<PathBuf, D::Error> {
    let text = String::deserialize(value)?;
    let path = Some(&text).filter(|text| is_plain_absolute(text)).map(PathBuf::from);
    path.ok_or_else(|| D::Error::custom(format!("'{text}' is not an absolute path")))
}

/// An absolute path without `.` and `..` and without an empty part.
pub fn is_plain_absolute(path: &str) -> bool {
    path.strip_prefix('/')
        .is_some_and(|rest| rest.split('/').all(|part| !matches!(part, "" | "." | "..")) && !path.contains('\0'))
}
