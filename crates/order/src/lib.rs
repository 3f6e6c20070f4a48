//! Orders: placed orders to be read, and the registers that decide whether a checkout or a cancel succeeds.

mod desk;
pub mod domain;
mod participant;
mod service;
mod store;
mod wire;

use ::participant::{Call, Calls, Lanes, Options, Outcome, Trace, refuse_lane};
use api::order::v1::order_participant_service_server::OrderParticipantServiceServer;
use api::order::v1::order_service_server::OrderServiceServer;
use desk::{Desk, Op};
use platform::context::current;
use platform::served;
use std::sync::Arc;
use tokio_util::task::TaskTracker;
use tonic::Status;

/// The order service. Cheap to clone.
#[derive(Clone)]
pub struct Order {
    db: db::Db,
    lanes: Arc<Lanes<Desk>>,
}

impl Order {
    /// Starts the service on its schema; its lanes run as `tasks`.
    pub fn start(db: db::Db, options: Options, tasks: &TaskTracker) -> Self {
        let lanes = Arc::new(Lanes::start("order", &db, Desk, options, tasks));
        Self { db, lanes }
    }

    /// The calls for everybody.
    pub fn public(&self) -> OrderServiceServer<Self> {
        served!(OrderServiceServer::new(self.clone()))
    }

    /// The saga's steps, for the orchestrator.
    pub fn participant(&self) -> OrderParticipantServiceServer<Self> {
        served!(OrderParticipantServiceServer::new(self.clone()))
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

    /// Runs a call in the order's lane.
    async fn run(&self, order_id: i64, call: Call<Op>) -> Result<Outcome, Status> {
        let deadline = current().deadline;
        let outcome = self.lanes.call(order_id, call, deadline).await;
        outcome.map_err(|error| refuse_lane(&error))
    }
}

/// The trace of the call that this runs in.
fn trace() -> Trace {
    let context = current();
    Trace { traceparent: context.traceparent(), trace_id: context.trace_id }
}
