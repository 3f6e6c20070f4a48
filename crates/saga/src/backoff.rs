//! How long to wait before asking again.
//!
//! Capped, so that a participant that comes back is noticed within the cap; jittered over the whole interval, so that
//! the sagas which an outage stopped together do not come back together.

use std::time::Duration;

/// An exponential back-off between two bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    least: Duration,
    most: Duration,
}

impl Backoff {
    /// For actions and voids: 10 ms to 1 s.
    pub const FORWARD: Self = Self::new(Duration::from_millis(10), Duration::from_secs(1));

    /// For compensations, which may be retried for long and hold up no caller: 10 ms to 30 s.
    pub const COMPENSATION: Self = Self::new(Duration::from_millis(10), Duration::from_secs(30));

    /// A back-off that waits at least `least` and at most `most`.
    pub const fn new(least: Duration, most: Duration) -> Self {
        Self { least, most }
    }

    /// The pause after failed attempt number `attempt`, counted from 0: evenly spread between the least pause and
    /// `least × 2^(attempt + 1)`, never above the most. `random` is a uniformly random number.
    pub fn pause(&self, attempt: u32, random: u64) -> Duration {
        let doubled = 2_u32.saturating_pow(attempt.saturating_add(1));
        let ceiling = self.least.saturating_mul(doubled).min(self.most);
        let spread = ceiling.saturating_sub(self.least).as_nanos();
        // Below 2^64 ns (584 years) the product fits, and its upper half is the wanted fraction.
        let part = spread.saturating_mul(u128::from(random)) >> u64::BITS;
        let jitter = Duration::from_nanos(u64::try_from(part).unwrap_or(u64::MAX));
        self.least.saturating_add(jitter).min(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn pauses_grow_to_the_cap_and_stay_there() {
        let longest = |attempt| Backoff::FORWARD.pause(attempt, u64::MAX);
        assert!(longest(0) > 19 * MS && longest(0) <= 20 * MS);
        assert!(longest(3) > 159 * MS && longest(3) <= 160 * MS);
        for attempt in [6, 7, 31, 32, 1_000, u32::MAX] {
            assert!(longest(attempt) > 999 * MS && longest(attempt) <= 1_000 * MS);
        }
        let undo = Backoff::COMPENSATION.pause(u32::MAX, u64::MAX);
        assert!(undo > 29_999 * MS && undo <= 30_000 * MS);
    }

    #[test]
    fn a_pause_is_never_below_the_least() {
        for attempt in [0, 1, 10, u32::MAX] {
            assert_eq!(Backoff::FORWARD.pause(attempt, 0), 10 * MS);
        }
    }

    #[test]
    fn the_random_number_spreads_pauses_over_the_interval() {
        let half = Backoff::FORWARD.pause(10, u64::MAX / 2);
        assert!(half > 504 * MS && half < 506 * MS, "{half:?}");
    }

    #[test]
    fn bounds_that_cross_yield_the_cap() {
        assert_eq!(Backoff::new(5 * MS, 2 * MS).pause(3, u64::MAX), 2 * MS);
    }
}
