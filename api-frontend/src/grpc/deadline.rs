//! A call's own deadline, as gRPC clients send it.

use std::time::Duration;

use hyper::header::HeaderMap;

/// The header by which a client says how long it will wait.
const HEADER: &str = "grpc-timeout";
/// gRPC allows so many digits.
const DIGITS_MAX: usize = 8;

/// How long the caller waits for the beginning of the answer; `None` when they do not say, or not as gRPC does.
pub(super) fn of(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(HEADER)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, text.parse().unwrap());
        of(&headers)
    }

    #[test]
    fn a_deadline_is_read_in_every_unit_and_nothing_else_is_one() {
        assert_eq!(read("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(read("99999999M"), Some(Duration::from_secs(99_999_999 * 60)));
        assert_eq!(read("3S"), Some(Duration::from_secs(3)));
        assert_eq!(read("100m"), Some(Duration::from_millis(100)));
        assert_eq!(read("7u"), Some(Duration::from_micros(7)));
        assert_eq!(read("7n"), Some(Duration::from_nanos(7)));
        for text in ["", "S", "1", "-1S", "+1S", "1.5S", "123456789S", "1s", "1 S"] {
            assert_eq!(read(text), None, "{text:?}");
        }
        assert_eq!(of(&HeaderMap::new()), None);
    }
}
