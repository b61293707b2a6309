//! Times and spans for people (local) and for programs (UTC).

use jiff::{Timestamp, Zoned, tz::TimeZone};
use std::time::{Duration, SystemTime};

/// A time of the interface; `None` when it is absent or out of range.
pub fn from_proto(time: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    let time = time?;
    Timestamp::new(time.seconds, time.nanos).ok()
}

/// A time for the interface.
pub fn to_proto(time: Timestamp) -> prost_types::Timestamp {
    // Its fraction counts forward, before 1970 too.
    const SECOND: i128 = 1_000_000_000;
    let (seconds, nanos) = (time.as_nanosecond().div_euclid(SECOND), time.as_nanosecond().rem_euclid(SECOND));
    prost_types::Timestamp {
        seconds: i64::try_from(seconds).unwrap_or_default(),
        nanos: i32::try_from(nanos).unwrap_or_default(),
    }
}

/// RFC 3339 in UTC with nanoseconds, as JSON has it.
pub fn rfc3339(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string()
}

/// RFC 3339 in UTC with microseconds, as `logs --timestamps` has it.
pub fn microseconds(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Date, time and zone, local: `2026-11-20 09:13:44 CET`.
pub fn full(time: Timestamp) -> String {
    local(time).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// Time of day, local, with the date when it is not the same day as `reference`.
pub fn clock(time: Timestamp, reference: Option<Timestamp>) -> String {
    let zoned = local(time);
    match reference {
        Some(reference) if local(reference).date() != zoned.date() => zoned.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        _ => zoned.strftime("%H:%M:%S").to_string(),
    }
}

/// For tables: `today 09:14:02`, `yesterday 17:40`, `2026-11-12 08:00`.
pub fn relative_day(time: Timestamp, now: Timestamp) -> String {
    let (zoned, today) = (local(time), local(now).date());
    if zoned.date() == today {
        zoned.strftime("today %H:%M:%S").to_string()
    } else if today.yesterday().is_ok_and(|yesterday| yesterday == zoned.date()) {
        zoned.strftime("yesterday %H:%M").to_string()
    } else {
        zoned.strftime("%Y-%m-%d %H:%M").to_string()
    }
}

/// A calendar day, local.
pub fn day(time: SystemTime) -> String {
    Timestamp::try_from(time)
        .map_or_else(|_| "an unknown day".to_owned(), |time| local(time).strftime("%Y-%m-%d").to_string())
}

/// Two units of a span: `12s`, `4m12s`, `24h`, `3d2h`; below ten seconds with a decimal: `1.3s`, `40ms`, `<1ms`.
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let pair = |large: u64, a: &str, small: u64, b: &str| {
        if small == 0 { format!("{large}{a}") } else { format!("{large}{a}{small:02}{b}") }
    };
    match seconds {
        0 if span.is_zero() => "0s".to_owned(),
        0 if span.as_millis() == 0 => "<1ms".to_owned(),
        0 => format!("{}ms", span.as_millis()),
        1..=9 if span.subsec_millis() >= 100 => format!("{:.1}s", (span.as_millis() / 100) as f64 / 10.0),
        1..=59 => format!("{seconds}s"),
        60..=3599 => pair(seconds / 60, "m", seconds % 60, "s"),
        3600..=172_799 => pair(seconds / 3600, "h", seconds % 3600 / 60, "m"),
        _ => format!(
            "{}d{}",
            seconds / 86_400,
            match seconds % 86_400 / 3600 {
                0 => String::new(),
                hours => format!("{hours}h"),
            }
        ),
    }
}

/// A span of seconds as the interface has it.
pub fn span_of_seconds(seconds: f64) -> String {
    span(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// How long ago: `2 min ago`.
pub fn ago(time: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(time.as_second()).max(0);
    match seconds {
        0..=59 => format!("{seconds} s ago"),
        60..=3599 => format!("{} min ago", seconds / 60),
        3600..=86_399 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// From one time to another, never negative.
pub fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

fn local(time: Timestamp) -> Zoned {
    time.to_zoned(TimeZone::system())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_show_two_units() {
        for (milliseconds, text) in [
            (0, "0s"),
            (40, "40ms"),
            (1_000, "1s"),
            (1_350, "1.3s"),
            (12_000, "12s"),
            (252_000, "4m12s"),
            (300_000, "5m"),
            (5_400_000, "1h30m"),
            (86_400_000, "24h"),
            (604_800_000, "7d"),
            (266_400_000, "3d2h"),
        ] {
            assert_eq!(span(Duration::from_millis(milliseconds)), text);
        }
    }

    #[test]
    fn tables_call_the_last_two_days_by_name() {
        // Noon here, whatever the zone, so that a day before is yesterday.
        let today = local(Timestamp::from_second(1_763_600_000).unwrap()).date();
        let at = |days: i32, hour: i8| {
            let date = today.checked_add(jiff::Span::new().days(days)).unwrap();
            date.at(hour, 4, 2, 0).to_zoned(TimeZone::system()).unwrap().timestamp()
        };
        let shown = |days, hour| relative_day(at(days, hour), at(0, 12));
        assert_eq!(shown(0, 9), "today 09:04:02");
        assert_eq!(shown(-1, 17), "yesterday 17:04");
        assert_eq!(shown(-2, 17), at(-2, 17).to_zoned(TimeZone::system()).strftime("%Y-%m-%d 17:04").to_string());
    }

    #[test]
    fn a_time_before_1970_goes_over_the_interface_with_a_fraction_that_counts_forward() {
        let time = Timestamp::new(-1_357_596_333, -664_819_922).unwrap();
        let sent = to_proto(time);
        assert_eq!((sent.seconds, sent.nanos), (-1_357_596_334, 335_180_078));
        assert_eq!(from_proto(Some(&sent)), Some(time));
    }

    #[test]
    fn times_for_programs_are_utc_with_nanoseconds() {
        let time = Timestamp::new(1_763_626_172, 104_512_345).unwrap();
        assert_eq!(rfc3339(time), "2025-11-20T08:09:32.104512345Z");
        assert_eq!(microseconds(time), "2025-11-20T08:09:32.104512Z");
        assert_eq!(from_proto(Some(&to_proto(time))), Some(time));
    }
}
