//! What a lane last achieved.

use std::time::Duration;
use tokio::time::Instant;

/// What a lane last achieved: what its service's readiness is read from.
///
/// An idle lane that fails keeps trying to reach the database, so that it heals without a caller.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Health {
    /// When it last committed, or last heard from the server while idle; none before the first time.
    pub succeeded_at: Option<Instant>,
    /// Since when every attempt has failed; none while the last one did not. A conflict, such as a row that somebody
    /// else has locked, is no failure.
    pub failing_since: Option<Instant>,
    /// How long the oldest operation waits that is queued or being run. Those that are put off do not count.
    pub oldest: Option<Duration>,
    /// Operations in the queue.
    pub queued: usize,
    /// Operations that are tried again later, because somebody else has locked a row of theirs.
    pub put_off: usize,
    /// How often running a batch has panicked.
    pub panics: u64,
}

/// What the queue keeps of it.
#[derive(Debug, Default)]
pub(crate) struct Achieved {
    succeeded_at: Option<Instant>,
    failing_since: Option<Instant>,
    panics: u64,
}

impl Achieved {
    pub(crate) fn success(&mut self) {
        self.succeeded_at = Some(Instant::now());
        self.failing_since = None;
    }

    /// The server answered, though the batch was not committed.
    pub(crate) fn conflict(&mut self) {
        self.failing_since = None;
    }

    pub(crate) fn failure(&mut self) {
        self.failing_since.get_or_insert_with(Instant::now);
    }

    pub(crate) fn panic(&mut self) {
        self.panics += 1;
        self.failure();
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.failing_since.is_some()
    }

    pub(crate) fn health(&self) -> Health {
        let Self { succeeded_at, failing_since, panics } = *self;
        Health { succeeded_at, failing_since, panics, ..Health::default() }
    }
}
