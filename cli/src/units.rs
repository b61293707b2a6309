//! Sizes, processor shares and durations as people write them.

use std::time::Duration;

/// Why a text is not a quantity; shown after "what 'text'", with what to write instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitError {
    /// Such as "is not a size".
    pub fault: &'static str,
    /// Such as "use a number with K, M or G, such as 512M".
    pub hint: &'static str,
}

const SIZE_HINT: &str = "use a number with K, M or G, such as 512M";
const CPU_HINT: &str = "use a number of cores or a percentage of one, such as 1.5 or 50%";
const DURATION_HINT: &str = "use a number with s, m, h or d, such as 90s or 1h30m";

/// Bytes: `512K`, `1.5G`, `64MiB`, or a bare number. Units are powers of 1024; `KB`, `MB`, `GB` are refused as ambiguous.
pub fn size(text: &str) -> Result<u64, UnitError> {
    let not_a_size = UnitError { fault: "is not a size", hint: SIZE_HINT };
    let too_large = UnitError { fault: "is too large", hint: "the most is 16777215T" };
    let (number, unit) = split_number(text, not_a_size, too_large)?;
    let unit = unit.to_ascii_uppercase();
    let shift = match unit.as_str() {
        "" | "B" => 0,
        "K" | "KIB" => 10,
        "M" | "MIB" => 20,
        "G" | "GIB" => 30,
        "T" | "TIB" => 40,
        "KB" | "MB" | "GB" | "TB" => {
            return Err(UnitError {
                fault: "means two things (powers of 1000 or of 1024)",
                hint: "write K, M or G for powers of 1024, such as 512M",
            });
        }
        _ => return Err(not_a_size),
    };
    if shift == 0 && number.has_fraction() {
        return Err(UnitError { fault: "is not a whole number of bytes", hint: SIZE_HINT });
    }
    number.times(1 << shift).ok_or(too_large)
}

/// Cores: `2`, `1.5`, `50%`. More than none, and at most 100000.
pub fn cores(text: &str) -> Result<f64, UnitError> {
    let not_cpu = UnitError { fault: "is not an amount of processor time", hint: CPU_HINT };
    let too_large = UnitError { fault: "is too large", hint: "the most is 100000 cores" };
    let (number, unit) = split_number(text, not_cpu, too_large)?;
    let cores = match unit {
        "" => number.as_f64(),
        "%" => number.as_f64() / 100.0,
        _ => return Err(not_cpu),
    };
    if cores <= 0.0 {
        return Err(UnitError { fault: "is no processor time at all", hint: CPU_HINT });
    }
    if cores > 100_000.0 {
        return Err(too_large);
    }
    Ok(cores)
}

/// A duration: `30s`, `5m`, `1h30m`, `7d`, `250ms`; a bare number is seconds.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    let not_a_duration = UnitError { fault: "is not a duration", hint: DURATION_HINT };
    let too_long = UnitError { fault: "is too long", hint: "the most is 36500d" };
    let mut nanoseconds: u64 = 0;
    let mut rest = text;
    let mut smallest = u64::MAX;
    loop {
        let (number, after) = split_number(rest, not_a_duration, too_long)?;
        let length = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(length);
        let factor: u64 = match unit {
            "ms" => 1_000_000,
            "" if rest.len() == text.len() && after.is_empty() => 1_000_000_000,
            "s" => 1_000_000_000,
            "m" | "min" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            _ => return Err(not_a_duration),
        };
        // Units fall from left to right; 5m1h is more likely a slip than a sum.
        if factor >= smallest {
            return Err(not_a_duration);
        }
        smallest = factor;
        let part = number.times(factor).ok_or(too_long)?;
        nanoseconds = nanoseconds.checked_add(part).ok_or(too_long)?;
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    if nanoseconds > 36_500 * 86_400 * 1_000_000_000 {
        return Err(too_long);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// A decimal number, kept exact: `digits / 10^scale`.
#[derive(Clone, Copy)]
struct Decimal {
    digits: u64,
    scale: u32,
}

impl Decimal {
    fn has_fraction(self) -> bool {
        self.scale > 0
    }

    // Rounded down; none when it does not fit.
    fn times(self, factor: u64) -> Option<u64> {
        let product = u128::from(self.digits) * u128::from(factor) / 10u128.pow(self.scale);
        u64::try_from(product).ok()
    }

    fn as_f64(self) -> f64 {
        self.digits as f64 / 10f64.powi(self.scale as i32)
    }
}

// Digits with at most one point between them, and what follows. At most 18 digits, so that nothing overflows.
fn split_number(text: &str, no_number: UnitError, too_large: UnitError) -> Result<(Decimal, &str), UnitError> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let pointed = number.contains('.');
    if whole.is_empty() || (pointed && fraction.is_empty()) || fraction.contains('.') {
        return Err(no_number);
    }
    let whole = whole.trim_start_matches('0');
    if whole.len() > 18 {
        return Err(too_large);
    }
    if whole.len() + fraction.len() > 18 {
        return Err(no_number);
    }
    let digits = format!("0{whole}{fraction}").parse().map_err(|_| no_number)?;
    Ok((Decimal { digits, scale: u32::try_from(fraction.len()).map_err(|_| no_number)? }, rest))
}

#[cfg(test)]
mod tests;
