//! Waiting for what is bound to come.

use std::panic::Location;
use std::time::Duration;
use tokio::time::Instant;

/// Longer than anything takes on a busy machine: recovery takes over the sagas of a crashed shop after 5 s.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(5);

/// Looks until it is so.
///
/// # Panics
/// When it is not so within 90 s, with the place of the call: a test must end.
#[track_caller]
pub fn until<F: AsyncFnMut() -> bool>(mut is_so: F) -> impl Future<Output = ()> {
    let (place, give_up) = (Location::caller(), Instant::now() + PATIENCE);
    async move {
        while !is_so().await {
            assert!(Instant::now() < give_up, "not in time: what is waited for at {place}");
            tokio::time::sleep(LOOK).await;
        }
    }
}
