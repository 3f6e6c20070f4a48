//! How many calls of sagas that were taken over one participant gets at once.
//!
//! Thousands of sagas may be taken over in one moment, just when what they call has come back. What clients ask for now
//! goes first, so these wait for each other; and those of one participant that is slow hold up no other's.

use std::collections::HashMap;
use tokio::sync::{Semaphore, SemaphorePermit};

/// A gate for each participant.
pub(super) struct Gates(HashMap<String, Semaphore>);

impl Gates {
    pub(super) fn new(participants: impl Iterator<Item = String>, calls: usize) -> Self {
        Self(participants.map(|participant| (participant, Semaphore::new(calls.max(1)))).collect())
    }

    /// Waits until a participant may be called; none for one that is not known.
    pub(super) async fn enter(&self, participant: &str) -> Option<SemaphorePermit<'_>> {
        self.0.get(participant)?.acquire().await.ok()
    }
}
