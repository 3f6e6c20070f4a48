//! Orders: placed orders to be read, and the pivots that decide whether a checkout or a cancel succeeds.

mod desk;
pub mod domain;
mod participant;
mod service;
mod store;
mod wire;

use ::participant::{ActionServer, ActionService, Calls, Health, Options, Steps};
use ::service::Writes;
use api::order::v1::order_service_server::OrderServiceServer;
use desk::Desk;
use platform::served;
use std::sync::Arc;
use tokio_util::task::TaskTracker;

/// The order service. Cheap to clone.
#[derive(Clone)]
pub struct Order {
    db: db::Db,
    writes: Writes<Desk>,
}

impl ActionService for Order {
    const CONTRACT: saga_api::Participant = api::participants::ORDER;
}

impl Order {
    /// Starts the service on its schema; its lanes run as `tasks`.
    pub fn start(db: db::Db, options: Options, tasks: &TaskTracker) -> Self {
        let writes = Writes::start(Self::CONTRACT, &db, Desk, options, tasks);
        Self { db, writes }
    }

    /// The calls for everybody.
    pub fn public(&self) -> OrderServiceServer<Self> {
        served!(OrderServiceServer::new(self.clone()))
    }

    /// Its steps in sagas.
    pub fn steps(&self) -> Arc<dyn Steps> {
        self.writes.steps()
    }

    /// The steps as calls of their own.
    pub fn actions(&self) -> ActionServer<Self> {
        ActionServer::new(self.steps())
    }

    /// How often each of its steps was called.
    pub fn calls(&self) -> Calls {
        self.writes.steps().calls()
    }

    /// What its lanes last achieved.
    pub fn health(&self) -> Vec<Health> {
        self.writes.health()
    }

    /// Takes no more writes; what is queued still runs.
    pub fn close(&self) {
        self.writes.close();
    }
}
