//! Times as the database keeps them: UTC in `DATETIME(6)`, so microseconds and nothing finer.

use chrono::{DateTime, NaiveDateTime, SubsecRound, Utc};

/// The wall clock, cut to the microseconds that a row keeps, so that what is stored equals what was decided.
pub fn now_micros() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}

/// As a `DATETIME(6)` value.
pub fn to_db(at: DateTime<Utc>) -> NaiveDateTime {
    at.naive_utc()
}

/// From a `DATETIME(6)` value.
pub fn from_db(at: NaiveDateTime) -> DateTime<Utc> {
    at.and_utc()
}
