//! Products: what is sold, how much of it there is, every movement of a stock, and the product's steps in the
//! orchestrator's sagas.

mod cache;
mod desk;
pub mod domain;
mod participant;
mod service;
mod store;
mod wire;

use ::participant::{Call, Calls, Lanes, Options, Outcome, Trace};
use api::product::v1::product_participant_service_server::ProductParticipantServiceServer;
use api::product::v1::product_service_server::ProductServiceServer;
pub use cache::{Cache, STALENESS};
use db::IdBlocks;
use desk::{Desk, Op};
use platform::served;
use std::sync::Arc;
use tokio_util::task::TaskTracker;
use tonic::Status;

/// Ids taken from the table at a time: products are made rarely, and ids are not worth saving.
const ID_BLOCK: i64 = 100;

/// The product service. Cheap to clone.
#[derive(Clone)]
pub struct Product {
    db: db::Db,
    ids: Arc<IdBlocks>,
    lanes: Arc<Lanes<Desk>>,
    cache: Option<Cache>,
}

impl Product {
    /// Starts the service on its schema; its lanes run as `tasks`.
    pub fn start(db: db::Db, options: Options, tasks: &TaskTracker) -> Self {
        let ids = Arc::new(IdBlocks::new(db.clone(), "product", ID_BLOCK));
        let lanes = Arc::new(Lanes::start("product", &db, Desk, options, tasks));
        Self { db, ids, lanes, cache: None }
    }

    /// The same with a cache in front of the calls that read single products: they may then be as old as it allows.
    #[must_use]
    pub fn with_cache(mut self, cache: Cache) -> Self {
        self.cache = Some(cache);
        self
    }

    /// The calls for everybody.
    pub fn public(&self) -> ProductServiceServer<Self> {
        served!(ProductServiceServer::new(self.clone()))
    }

    /// The saga's steps, for the orchestrator.
    pub fn participant(&self) -> ProductParticipantServiceServer<Self> {
        served!(ProductParticipantServiceServer::new(self.clone()))
    }

    /// How often each of its steps was called.
    pub fn calls(&self) -> Calls {
        self.lanes.calls()
    }

    /// What its lanes last achieved.
    pub fn health(&self) -> Vec<::participant::Health> {
        self.lanes.health()
    }

    /// Takes no more writes; what is queued still runs.
    pub fn close(&self) {
        self.lanes.close();
    }

    /// Runs a call in the lane of an entity: the order of a saga's step, else the product.
    async fn run(&self, entity: i64, call: Call<Op>) -> Result<Outcome, Status> {
        let deadline = platform::context::current().deadline;
        let outcome = self.lanes.call(entity, call, deadline).await;
        outcome.map_err(|error| ::participant::refuse_lane(&error))
    }
}

/// The trace of the call that this runs in.
fn trace() -> Trace {
    let context = platform::context::current();
    Trace { traceparent: context.traceparent(), trace_id: context.trace_id }
}
