//! Wallets: a user's money, the ledger of every change of it, and the wallet's steps in the orchestrator's sagas.

mod desk;
pub mod domain;
mod participant;
mod service;
mod store;
mod wire;

use ::participant::{ActionServer, ActionService, Calls, Health, Options, Steps};
use ::service::Writes;
use api::wallet::v1::wallet_service_server::WalletServiceServer;
use desk::Desk;
use platform::served;
use std::sync::Arc;
use tokio_util::task::TaskTracker;

/// The wallet service. Cheap to clone.
#[derive(Clone)]
pub struct Wallet {
    db: db::Db,
    writes: Writes<Desk>,
}

impl ActionService for Wallet {
    const CONTRACT: saga_api::Participant = api::participants::WALLET;
}

impl Wallet {
    /// Starts the service on its schema; its lanes run as `tasks`.
    pub fn start(db: db::Db, options: Options, tasks: &TaskTracker) -> Self {
        let writes = Writes::start(Self::CONTRACT, &db, Desk, options, tasks);
        Self { db, writes }
    }

    /// The calls for everybody.
    pub fn public(&self) -> WalletServiceServer<Self> {
        served!(WalletServiceServer::new(self.clone()))
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
