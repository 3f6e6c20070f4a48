//! A lock that is held, and what tells that it no longer is.

use crate::claim::{Claim, Hold, Place};
use crate::{Error, RECONNECT};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Part of the lease after which it is renewed.
const RENEWALS: u32 = 3;

/// A number that is larger for every holder of a lock than for those before, also after Redis lost its data, as long as
/// its clock does not go back. A resource that is written under a lock refuses tokens that are smaller than the largest it
/// has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub i64);

/// A lock, held and renewed until this is dropped or [lost](Self::lost).
pub struct Guard {
    token: Token,
    claim: Claim,
    lease: Arc<Lease>,
    renewal: DropGuard,
}

/// What the holder itself knows of its lease.
struct Lease {
    until: Mutex<Instant>,
    lost: CancellationToken,
}

impl Guard {
    pub(crate) fn new(claim: Claim, hold: Hold) -> Self {
        let lost = CancellationToken::new();
        let lease = Arc::new(Lease { until: Mutex::new(hold.until), lost });
        let released = CancellationToken::new();
        let (place, kept, end) = (claim.place().clone(), Arc::clone(&lease), released.clone());
        tokio::spawn(async move { end.run_until_cancelled(keep(place, &kept)).await });
        Self { token: hold.token, claim, lease, renewal: released.drop_guard() }
    }

    /// What goes along with every write that the lock guards.
    pub fn token(&self) -> Token {
        self.token
    }

    /// Waits until the lock is lost: somebody else has it, or the lease ended by our own monotonic clock, which is before
    /// Redis can give it to anybody.
    pub async fn lost(&self) {
        self.lease.lost.cancelled().await;
    }

    /// Whether the lock is lost. Asks nobody: a moment later it may be.
    pub fn is_lost(&self) -> bool {
        self.lease.is_over()
    }

    /// Gives the lock back now. Dropping the guard does so in the background.
    ///
    /// # Errors
    /// [`Error::Lost`] when it was no longer ours; [`Error::Unavailable`], after which the lease ends by itself.
    pub async fn release(self) -> Result<(), Error> {
        let Self { claim, renewal, .. } = self;
        drop(renewal);
        let name = claim.place().name().to_owned();
        if claim.release().await? { Ok(()) } else { Err(Error::Lost(name)) }
    }
}

impl Lease {
    fn until(&self) -> Instant {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.lost.is_cancelled() || Instant::now() >= self.until()
    }

    /// False when that comes too late: what was once told lost stays so.
    fn extend(&self, to: Instant) -> bool {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let in_time = Instant::now() < *until;
        if in_time {
            *until = to;
        }
        in_time
    }
}

/// Renews the lease until it is lost.
async fn keep(place: Place, lease: &Lease) {
    let mut due = Instant::now() + place.lease() / RENEWALS;
    while !lease.is_over() {
        let until = lease.until();
        sleep_until(due.min(until)).await;
        match timeout_at(until, place.renew()).await {
            Ok(Ok(Some(to))) if lease.extend(to) => due = Instant::now() + place.lease() / RENEWALS,
            Ok(Ok(_)) | Err(_) => break,
            Ok(Err(error)) => {
                let name = place.name();
                tracing::debug!(%error, name, "a lock was not renewed; asking again");
                due = Instant::now() + RECONNECT;
            }
        }
    }
    lease.lost.cancel();
    tracing::warn!(name = place.name(), "a lock was lost");
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.claim.place().name();
        f.debug_struct("Guard")
            .field("name", &name)
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
