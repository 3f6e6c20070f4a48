//! The lanes of one service.

use crate::desk::{Call, Desk, Kind};
use crate::guarded::Guarded;
use crate::outcome::Outcome;
use lane::{Lane, Priority};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// How many lanes a service has, and how each is.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Lanes, 1 or more; each is a connection. Operations of one entity share a lane.
    pub count: usize,
    /// Each lane's size and temper.
    pub lane: lane::Options,
}

impl Default for Options {
    /// One lane: batches are largest, and nothing in the service ever waits for a row lock.
    fn default() -> Self {
        Self { count: 1, lane: lane::Options::default() }
    }
}

/// How often each step was called, by its name in the contract.
pub type Calls = BTreeMap<&'static str, u64>;

/// The lanes of a service, by hash of the entity.
pub struct Lanes<D: Desk> {
    lanes: Vec<Lane<Guarded<D>>>,
    calls: Mutex<Calls>,
}

impl<D: Desk> Lanes<D> {
    /// Starts the lanes.
    pub fn start(
        name: &'static str,
        db: &db::Db,
        desk: D,
        options: Options,
        tasks: &TaskTracker,
    ) -> Self {
        let guarded = Arc::new(Guarded::new(Arc::new(desk)));
        let lane = |_| Lane::start(name, db.clone(), Arc::clone(&guarded), options.lane, tasks);
        let lanes = (0..options.count.max(1)).map(lane).collect();
        Self { lanes, calls: Mutex::default() }
    }

    /// Runs a call in the lane of `entity` and returns after its commit.
    ///
    /// # Errors
    /// See [`lane::Error`].
    pub async fn call(
        &self,
        entity: i64,
        call: Call<D::Op>,
        deadline: Instant,
    ) -> Result<Outcome, lane::Error> {
        if let Some(name) = call.step {
            *self.counts().entry(name).or_default() += 1;
        }
        let priority = match &call.kind {
            Kind::Undo { .. } | Kind::Void { .. } | Kind::Act { closing: true, .. } => {
                Priority::Reserved
            }
            Kind::Act { .. } | Kind::Request { .. } => Priority::Normal,
        };
        // Fibonacci hashing: neighbouring ids spread over the lanes.
        let spread = entity.cast_unsigned().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let index = usize::try_from(spread).unwrap_or_default() % self.lanes.len();
        match self.lanes.get(index) {
            Some(lane) => lane.submit(call, priority, deadline).await,
            None => Err(lane::Error::Closed("no lane")),
        }
    }

    /// How often each step was called, repeats included.
    pub fn calls(&self) -> Calls {
        self.counts().clone()
    }

    /// What each lane last achieved.
    pub fn health(&self) -> Vec<lane::Health> {
        self.lanes.iter().map(Lane::health).collect()
    }

    fn counts(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes no more calls; what is queued still runs.
    pub fn close(&self) {
        self.lanes.iter().for_each(Lane::close);
    }
}
