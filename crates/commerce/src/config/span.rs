//! Spans of time as people write them: `250ms`, `30s`, `5min`, `72h`, `4d`.

use serde::{Deserialize, Deserializer, de};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Milliseconds of each unit, largest first.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1)];

/// A span of whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(u64);

/// The text is no span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a span of time, such as 250ms, 30s, 5min, 72h or 4d")]
pub struct NotASpan;

impl Span {
    /// A span of this many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        Self::from_millis(span.0)
    }
}

impl FromStr for Span {
    type Err = NotASpan;

    fn from_str(text: &str) -> Result<Self, NotASpan> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| NotASpan)?;
        let (_, millis) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or(NotASpan)?;
        number.checked_mul(millis).map(Self).ok_or(NotASpan)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |(_, millis): &(&str, u64)| self.0 != 0 && self.0.is_multiple_of(*millis);
        let (name, millis) = UNITS.into_iter().find(whole).unwrap_or(("ms", 1));
        write!(f, "{}{name}", self.0 / millis)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written_in_their_largest_whole_unit() {
        for (text, millis, written) in [
            ("0ms", 0, "0ms"),
            ("250ms", 250, "250ms"),
            ("1000ms", 1_000, "1s"),
            ("90s", 90_000, "90s"),
            ("5min", 300_000, "5min"),
            ("72h", 259_200_000, "3d"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(Duration::from(span), Duration::from_millis(millis));
            assert_eq!(span.to_string(), written);
        }
    }

    #[test]
    fn what_is_no_span_is_refused() {
        for text in ["", "5", "s", "-1s", "1.5s", "5 s", "5m", "99999999999999999d"] {
            assert_eq!(text.parse::<Span>(), Err(NotASpan), "{text:?}");
        }
    }
}
