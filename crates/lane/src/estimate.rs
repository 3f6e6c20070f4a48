//! How long a newcomer would wait.

use std::time::Duration;

/// Weight of the newest batch in the moving average.
const WEIGHT: f64 = 0.3;

/// A moving average of what a batch takes. Batches are full exactly when a backlog makes the estimate matter.
#[derive(Debug, Default)]
pub(crate) struct BatchTime {
    seconds: f64,
}

impl BatchTime {
    pub(crate) fn record(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        self.seconds =
            if self.seconds == 0.0 { took } else { self.seconds + WEIGHT * (took - self.seconds) };
    }

    /// The wait behind `queued` operations in batches of `max_batch`, the running batch included.
    pub(crate) fn wait(&self, queued: usize, max_batch: usize) -> Duration {
        let batches = u32::try_from(queued / max_batch + 1).unwrap_or(u32::MAX);
        Duration::from_secs_f64(self.seconds).saturating_mul(batches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_untried_lane_admits_and_a_backlog_is_counted_in_batches() {
        let mut time = BatchTime::default();
        assert_eq!(time.wait(1_000, 10), Duration::ZERO);
        time.record(Duration::from_millis(20));
        assert_eq!(time.wait(0, 10), Duration::from_millis(20));
        assert_eq!(time.wait(99, 10), Duration::from_millis(200));
    }
}
