//! What operators tell an executor, and what it tells them.

use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What an executor stands at: a call that was made and not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The call, as operators know it: a step's name, or what undoes it.
    pub call: String,
    /// How often it was made, 1 or more.
    pub attempts: u32,
    /// Why its last answer says nothing about its outcome.
    pub error: String,
}

/// The handle on a running executor.
#[derive(Default)]
pub(super) struct Control {
    abort: Notify,
    retry: Notify,
    trouble: Mutex<Option<Trouble>>,
}

impl Control {
    /// Wants the saga aborted. Without effect where it no longer can be.
    pub(super) fn abort(&self) {
        self.abort.notify_one();
        self.retry();
    }

    /// Ends the pause before the next attempt.
    pub(super) fn retry(&self) {
        self.retry.notify_one();
    }

    pub(super) async fn abort_wanted(&self) {
        self.abort.notified().await;
    }

    pub(super) async fn retry_wanted(&self) {
        self.retry.notified().await;
    }

    pub(super) fn set_trouble(&self, trouble: Option<Trouble>) {
        *self.lock() = trouble;
    }

    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
