//! The lanes of one service.

use crate::desk::{Call, Desk, Kind};
use crate::guarded::Guarded;
use crate::outcome::Outcome;
use lane::{Lane, Priority};
use std::sync::Arc;
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

/// The lanes of a service, by hash of the entity.
pub struct Lanes<D: Desk> {
    desk: Arc<D>,
    lanes: Vec<Lane<Guarded<D>>>,
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
        let desk = Arc::new(desk);
        let guarded = Arc::new(Guarded::new(Arc::clone(&desk)));
        let lane = |_| Lane::start(name, db.clone(), Arc::clone(&guarded), options.lane, tasks);
        let lanes = (0..options.count.max(1)).map(lane).collect();
        Self { desk, lanes }
    }

    /// The desk.
    pub(crate) fn desk(&self) -> Arc<D> {
        Arc::clone(&self.desk)
    }

    /// Runs a call in the lane of `entity`, a number that operations of one entity share, and returns after its commit.
    ///
    /// # Errors
    /// See [`lane::Error`].
    pub async fn call(
        &self,
        entity: u64,
        call: Call<D::Op>,
        deadline: Instant,
    ) -> Result<Outcome, lane::Error> {
        let priority = match &call.kind {
            Kind::Undo { .. } | Kind::Void { .. } | Kind::Act { closing: true, .. } => {
                Priority::Reserved
            }
            Kind::Act { .. } | Kind::Request { .. } => Priority::Normal,
        };
        // Fibonacci hashing: neighbouring ids spread over the lanes.
        let spread = entity.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let index = usize::try_from(spread).unwrap_or_default() % self.lanes.len();
        match self.lanes.get(index) {
            Some(lane) => lane.submit(call, priority, deadline).await,
            None => Err(lane::Error::Closed("no lane")),
        }
    }

    /// What each lane last achieved.
    pub fn health(&self) -> Vec<lane::Health> {
        self.lanes.iter().map(Lane::health).collect()
    }

    /// Takes no more calls; what is queued still runs.
    pub fn close(&self) {
        self.lanes.iter().for_each(Lane::close);
    }
}
