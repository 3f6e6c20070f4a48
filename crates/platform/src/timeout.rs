//! The header `grpc-timeout`: how long a caller waits.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The most digits that the protocol allows.
const MOST_DIGITS: usize = 8;

/// Microseconds up to this fit the digits that the protocol allows.
const MOST_MICROS: u128 = 99_999_999;

/// The time that the caller gives; `None` if it names none, or none that can be read.
pub(crate) fn read(headers: &HeaderMap) -> Option<Duration> {
    parse(headers.get(GRPC_TIMEOUT)?.to_str().ok()?)
}

/// Gives the callee this long.
pub(crate) fn write(headers: &mut HeaderMap, budget: Duration) {
    if let Ok(value) = HeaderValue::from_str(&format(budget)) {
        headers.insert(GRPC_TIMEOUT, value);
    }
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let well_formed = digits.len() <= MOST_DIGITS && digits.bytes().all(|it| it.is_ascii_digit());
    let count: u64 = well_formed.then(|| digits.parse().ok()).flatten()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3_600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

fn format(budget: Duration) -> String {
    match budget.as_micros() {
        micros @ ..=MOST_MICROS => format!("{micros}u"),
        _ => format!("{}S", budget.as_secs().min(99_999_999)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_of_the_protocol_is_read() {
        let read = ["2H", "2M", "2S", "2m", "2u", "2n"].map(|text| parse(text).unwrap());
        let nanos = [7_200_000_000_000, 120_000_000_000, 2_000_000_000, 2_000_000, 2_000, 2];
        assert_eq!(read, nanos.map(Duration::from_nanos));
        assert_eq!(parse("99999999H"), Some(Duration::from_hours(99_999_999)));
    }

    #[test]
    fn anything_else_is_no_timeout() {
        for text in ["", "S", "1", "1s", "-1S", "+1S", "1.5S", "123456789S", "1é"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back_within_the_eight_digits() {
        for budget in [Duration::ZERO, Duration::from_micros(1), Duration::from_micros(99_999_999)]
        {
            assert_eq!(parse(&format(budget)), Some(budget));
        }
        assert_eq!(parse(&format(Duration::from_millis(100_900))), Some(Duration::from_secs(100)));
        assert_eq!(parse(&format(Duration::MAX)), Some(Duration::from_secs(99_999_999)));
    }
}
