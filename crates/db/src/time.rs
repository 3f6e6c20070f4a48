//! Times as the database keeps them: UTC in `DATETIME(6)`, so microseconds and nothing finer.

use chrono::{DateTime, NaiveDateTime, Utc};

/// As a `DATETIME(6)` value.
pub fn to_db(at: DateTime<Utc>) -> NaiveDateTime {
    at.naive_utc()
}

/// From a `DATETIME(6)` value.
pub fn from_db(at: NaiveDateTime) -> DateTime<Utc> {
    at.and_utc()
}
