//! Telling of something that is away: once when it goes, now and then while it is gone, and once when it is back.

use std::fmt::Display;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{debug, info, warn};

/// Between two lines about the same outage.
const AGAIN: Duration = Duration::from_mins(1);

/// What was told of an outage.
#[derive(Debug)]
pub(crate) struct Outage {
    /// What does not go on.
    what: &'static str,
    began: Option<Instant>,
    told: Option<Instant>,
}

impl Outage {
    pub(crate) fn of(what: &'static str) -> Self {
        Self { what, began: None, told: None }
    }

    /// It failed, and will be tried again.
    pub(crate) fn failed(&mut self, error: &dyn Display) {
        let what = self.what;
        self.began.get_or_insert_with(Instant::now);
        if self.told.is_some_and(|told| told.elapsed() < AGAIN) {
            debug!(%error, "{what} failed again");
            return;
        }
        self.told = Some(Instant::now());
        warn!(%error, "{what} failed; it is tried again until it works");
    }

    /// It works.
    pub(crate) fn over(&mut self) {
        if let Some(began) = self.began.take() {
            self.told = None;
            let what = self.what;
            info!(after_ms = began.elapsed().as_millis(), "{what} works again");
        }
    }
}
