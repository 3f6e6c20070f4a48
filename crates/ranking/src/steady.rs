//! A wall clock that does not follow its own leaps at once.

use chrono::{DateTime, TimeDelta, Utc};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A step forward that is no leap.
const STEP: TimeDelta = TimeDelta::hours(1);
/// A leap that has lasted so long is followed: the clock was wrong before, or the machine slept.
const CONFIRMED: Duration = Duration::from_mins(10);

/// This process's clock. It goes back with the wall clock, and goes on with it; where the wall clock leaps forward by more
/// than an hour beyond what has passed by the monotonic clock, it goes on by that one until the leap has lasted 10
/// minutes.
#[derive(Debug, Default)]
pub struct Steady(Mutex<Option<State>>);

#[derive(Debug, Clone, Copy)]
struct State {
    /// When both clocks were last in line, by each.
    at: Instant,
    wall: DateTime<Utc>,
    /// Since when the wall clock is ahead.
    leapt: Option<Instant>,
}

impl Steady {
    /// The time.
    pub fn now(&self) -> DateTime<Utc> {
        self.follow(Instant::now(), Utc::now())
    }

    fn follow(&self, at: Instant, wall: DateTime<Utc>) -> DateTime<Utc> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(State { at: then, wall: was, leapt }) = *state {
            let passed = TimeDelta::from_std(at.saturating_duration_since(then));
            let expected = was + passed.unwrap_or(TimeDelta::MAX);
            let since = leapt.unwrap_or(at);
            let is_confirmed = at.saturating_duration_since(since) >= CONFIRMED;
            if wall > expected + STEP && !is_confirmed {
                *state = Some(State { at: then, wall: was, leapt: Some(since) });
                return expected;
            }
        }
        *state = Some(State { at, wall, leapt: None });
        wall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leap_is_followed_when_it_lasts_and_forgotten_when_it_does_not() {
        let (clock, begin) = (Steady::default(), Instant::now());
        let wall: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
        let after = |minutes: u64| begin + Duration::from_mins(minutes);
        let (minutes, days) = (TimeDelta::minutes, TimeDelta::days);
        assert_eq!(clock.follow(after(0), wall), wall);
        assert_eq!(clock.follow(after(1), wall + minutes(2)), wall + minutes(2));
        // Four days ahead, then right again.
        assert_eq!(clock.follow(after(2), wall + days(4)), wall + minutes(3));
        assert_eq!(clock.follow(after(9), wall + days(4)), wall + minutes(10));
        assert_eq!(clock.follow(after(10), wall + minutes(10)), wall + minutes(10));
        // Back at once; forward when it lasts.
        assert_eq!(clock.follow(after(11), wall - days(1)), wall - days(1));
        assert_eq!(clock.follow(after(12), wall), wall - days(1) + minutes(1));
        assert_eq!(clock.follow(after(22), wall + minutes(10)), wall + minutes(10));
    }
}
