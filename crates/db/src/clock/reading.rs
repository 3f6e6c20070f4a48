//! One look at the database's clock.

use chrono::{DateTime, TimeDelta, Utc};
use std::time::{Duration, Instant};

/// The database's clock as it was read once, and when by the process's monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub(super) database: DateTime<Utc>,
    /// The request had not left before.
    pub(super) sent: Instant,
    /// The answer was here.
    pub(super) got: Instant,
}

impl Reading {
    /// What the database's clock shows now, by the monotonic clock since; too late by no more than the round trip.
    pub(super) fn now(&self, at: Instant) -> DateTime<Utc> {
        plus(self.database, at.saturating_duration_since(self.sent))
    }

    /// How far a clock that shows `own` is ahead of the database's at least (negative: behind). The round trip's
    /// uncertainty counts in the clock's favour, so that a slow database never makes a right clock look wrong.
    pub(super) fn offset(&self, own: DateTime<Utc>, at: Instant) -> TimeDelta {
        let late = own - plus(self.database, at.saturating_duration_since(self.got));
        let early = own - self.now(at);
        if early > TimeDelta::zero() {
            return early;
        }
        late.min(TimeDelta::zero())
    }

    pub(super) fn age(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.sent)
    }
}

/// An instant some time later; never beyond what the calendar has.
pub(super) fn plus(at: DateTime<Utc>, span: Duration) -> DateTime<Utc> {
    let span = TimeDelta::from_std(span).unwrap_or(TimeDelta::MAX);
    at.checked_add_signed(span).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_counts_in_the_clocks_favour() {
        let database: DateTime<Utc> = "2026-11-28T12:00:00Z".parse().unwrap();
        let sent = Instant::now();
        let got = sent + Duration::from_secs(8);
        let reading = Reading { database, sent, got };
        let seconds = TimeDelta::seconds;
        let offset = |ahead| reading.offset(database + seconds(ahead), got);
        assert_eq!(offset(0), seconds(0), "the answer may have been 8 s under way");
        assert_eq!(offset(8), seconds(0), "or the request");
        assert_eq!(offset(18), seconds(10));
        assert_eq!(offset(-10), seconds(-10));
        let later = got + Duration::from_mins(1);
        assert_eq!(reading.offset(database + seconds(78), later), seconds(10));
    }
}
