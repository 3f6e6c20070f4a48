//! What operators tell an executor, and what it tells them.

use crate::decide::Call;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

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

/// What an operator wants of a saga's executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Nothing: somebody has to drive the saga, and that is all.
    Driven,
    /// The next attempt now.
    Retry,
    /// An abort. Without effect where the saga no longer can be aborted.
    Abort,
}

/// The handle on a running executor.
#[derive(Default)]
pub(super) struct Control {
    abort: Notify,
    /// How often a retry was wanted.
    retries: watch::Sender<u64>,
    /// Something was wanted since the executor began; it may not have heard of it before it ends.
    unheard: AtomicBool,
    troubles: Mutex<BTreeMap<Call, Trouble>>,
}

impl Control {
    pub(super) fn want(&self, wanted: Wanted) {
        if wanted == Wanted::Driven {
            return;
        }
        if wanted == Wanted::Abort {
            self.abort.notify_one();
        }
        self.retries.send_modify(|count| *count += 1);
        self.unheard.store(true, Ordering::SeqCst);
    }

    /// Whether something was wanted since this was last asked.
    pub(super) fn take_unheard(&self) -> bool {
        self.unheard.swap(false, Ordering::SeqCst)
    }

    pub(super) async fn abort_wanted(&self) {
        self.abort.notified().await;
    }

    /// Changes when a retry is wanted from now on.
    pub(super) fn retries(&self) -> watch::Receiver<u64> {
        self.retries.subscribe()
    }

    pub(super) fn set_trouble(&self, call: Call, trouble: Trouble) {
        self.lock().insert(call, trouble);
    }

    /// Forgets the trouble of calls that are not out any more.
    pub(super) fn keep_troubles(&self, calls: &[Call]) {
        self.lock().retain(|call, _| calls.contains(call));
    }

    /// What the saga stands at; where it stands at several calls, the one that was made most often.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.lock().values().max_by_key(|trouble| trouble.attempts).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Call, Trouble>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
