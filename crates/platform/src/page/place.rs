//! Places in lists that are ordered by an instant and, within it, by id.

use super::Cursor;
use chrono::{DateTime, Utc};

/// 9999-12-31T23:59:59Z in Unix seconds: later than anything that a column can hold.
const LAST_SECOND: i64 = 253_402_300_799;

/// The instant and the id of the last row before a page.
///
/// Ids alone order nothing by time: each replica takes them from a block of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The instant, to the microsecond.
    pub at: DateTime<Utc>,
    /// The id.
    pub id: i64,
}

impl Place {
    /// Before every row of a list that has the oldest first.
    pub const OLDEST: Self = Self { at: DateTime::UNIX_EPOCH, id: 0 };

    /// Before every row of a list that has the newest first.
    pub fn newest() -> Self {
        let at = DateTime::from_timestamp(LAST_SECOND, 0).unwrap_or_default();
        Self { at, id: i64::MAX }
    }
}

impl Cursor for Place {
    fn to_bytes(&self) -> Vec<u8> {
        [self.at.timestamp_micros(), self.id].to_bytes()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let [micros, id] = Cursor::from_bytes(bytes)?;
        let at = DateTime::from_timestamp_micros(micros)?;
        (0..=LAST_SECOND).contains(&at.timestamp()).then_some(Self { at, id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_its_token_to_the_microsecond() {
        let at = "2025-07-24T01:02:03.000004Z".parse().unwrap();
        let place = Place { at, id: 7 };
        assert_eq!(Place::from_bytes(&place.to_bytes()), Some(place));
    }

    #[test]
    fn what_no_column_can_hold_is_no_place() {
        let bytes = |micros: i64| [micros, 7].to_bytes();
        let last = LAST_SECOND * 1_000_000;
        for micros in [i64::MIN, -1, last + 1_000_000, i64::MAX] {
            assert_eq!(Place::from_bytes(&bytes(micros)), None, "{micros}");
        }
        assert!(Place::from_bytes(&bytes(last)).is_some());
        assert_eq!(Place::from_bytes(&bytes(last)[1..]), None);
    }
}
