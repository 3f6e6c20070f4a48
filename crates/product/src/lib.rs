//! Products: what is sold, how much of it there is, every movement of a stock, and the product's steps in the
//! orchestrator's sagas.

mod admin;
mod cache;
mod desk;
pub mod domain;
mod forgetting;
mod participant;
mod service;
mod store;
mod wire;

use ::participant::{ActionServer, ActionService, Calls, Health, Options, Steps};
use ::service::Writes;
use api::product::v1::product_admin_service_server::ProductAdminServiceServer;
use api::product::v1::product_service_server::ProductServiceServer;
pub use cache::{Cache, STALENESS};
use db::IdBlocks;
use desk::Desk;
use participant::ProductSteps;
use platform::served;
use std::sync::Arc;
use tokio_util::task::TaskTracker;

/// Ids taken from the table at a time: products are made rarely, and ids are not worth saving.
const ID_BLOCK: i64 = 100;

/// The product service. Cheap to clone.
#[derive(Clone)]
pub struct Product {
    db: db::Db,
    ids: Arc<IdBlocks>,
    writes: Writes<Desk>,
    cache: Option<Cache>,
    tasks: TaskTracker,
}

impl ActionService for Product {
    const CONTRACT: saga_api::Participant = api::participants::PRODUCT;
}

impl Product {
    /// Starts the service on its schema; its lanes run as `tasks`.
    pub fn start(db: db::Db, options: Options, tasks: &TaskTracker) -> Self {
        let ids = Arc::new(IdBlocks::new(db.clone(), "product", ID_BLOCK));
        let writes = Writes::start(Self::CONTRACT, &db, Desk, options, tasks);
        Self { db, ids, writes, cache: None, tasks: tasks.clone() }
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

    /// The calls of the back office. They share the cache of [`Product::public`], so that what they change is read there at
    /// once.
    pub fn admin(&self) -> ProductAdminServiceServer<Self> {
        served!(ProductAdminServiceServer::new(self.clone()))
    }

    /// Its steps in sagas.
    pub fn steps(&self) -> Arc<dyn Steps> {
        let (cache, tasks) = (self.cache.clone(), self.tasks.clone());
        Arc::new(ProductSteps::new(self.writes.steps(), cache, tasks))
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
