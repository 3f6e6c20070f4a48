//! Jobs that every replica does from time to time, and of which one round at a time is enough.

use crate::{Error, Locks};
use std::time::Duration;

/// The right to a round of a job.
///
/// Only for jobs that may be done by several at once, and merely need not: without Redis they are done all the same.
#[derive(Clone)]
pub struct Turn {
    locks: Option<Locks>,
    job: String,
}

impl Turn {
    /// The rounds of `job` over all replicas that share these locks. Without locks every replica does its own.
    pub fn new(locks: Option<Locks>, job: &str) -> Self {
        Self { locks, job: job.to_owned() }
    }

    /// Does a round, and gives what it came to; `None` when another replica is at it, or when the lock was lost meanwhile
    /// and the round was broken off.
    pub async fn run<T>(&self, round: impl Future<Output = T>) -> Option<T> {
        let Some(locks) = &self.locks else { return Some(round.await) };
        let job = self.job.as_str();
        let guard = match locks.acquire(job, Duration::ZERO).await {
            Ok(guard) => guard,
            Err(Error::Taken(_)) => {
                tracing::debug!(job, "another replica is at it");
                return None;
            }
            Err(error) => {
                tracing::warn!(%error, job, "a round is done without its lock");
                return Some(round.await);
            }
        };
        let done = tokio::select! {
            biased;
            () = guard.lost() => None,
            done = round => Some(done),
        };
        drop(guard);
        done
    }
}
