//! Coupons: campaigns with a quota, issued first come, first served, what they take off an order, and the coupon's
//! steps in the orchestrator's sagas.

mod admin;
mod desk;
pub mod domain;
mod participant;
mod service;
mod sold_out;
mod store;
mod users;
mod wire;

use ::participant::{ActionServer, ActionService, Calls, Health, Options, Steps};
use ::service::Writes;
use api::coupon::v1::coupon_admin_service_server::CouponAdminServiceServer;
use api::coupon::v1::coupon_service_server::CouponServiceServer;
use api::wallet::v1::wallet_service_client::WalletServiceClient;
use db::IdBlocks;
use desk::Desk;
use platform::{Transport, served};
use sold_out::SoldOut;
pub use sold_out::{Notices, TurnedAway};
use std::sync::Arc;
use tokio_util::task::TaskTracker;
use users::Users;

/// Ids of campaigns taken from the table at a time.
const CAMPAIGN_BLOCK: i64 = 100;

/// Ids of issued coupons taken from the table at a time: one more transaction in so many of a rush.
const ISSUED_BLOCK: i64 = 10_000;

/// The encoding of requests that idempotency rows digest.
const ENCODING: u8 = 1;

/// The coupon service. Cheap to clone.
#[derive(Clone)]
pub struct Coupon {
    db: db::Db,
    writes: Writes<Desk>,
    campaign_ids: Arc<IdBlocks>,
    issued_ids: Arc<IdBlocks>,
    users: Arc<Users>,
    sold_out: Arc<SoldOut>,
}

impl ActionService for Coupon {
    const CONTRACT: saga_api::Participant = api::participants::COUPON;
}

impl Coupon {
    /// Starts the service on its schema; its lanes run as `tasks`. Whoever has a wallet is a user. Its replicas tell each
    /// other by `notices` what is sold out.
    pub fn start(
        db: db::Db,
        options: Options,
        wallets: WalletServiceClient<Transport>,
        notices: Notices,
        tasks: &TaskTracker,
    ) -> Self {
        let writes = Writes::start(Self::CONTRACT, &db, Desk, options, tasks);
        let blocks = |name, size| Arc::new(IdBlocks::new(db.clone(), name, size));
        let campaign_ids = blocks("coupon", CAMPAIGN_BLOCK);
        let issued_ids = blocks("issued_coupon", ISSUED_BLOCK);
        let users = Arc::new(Users::new(wallets));
        let sold_out = Arc::new(SoldOut::new(notices));
        Self { db, writes, campaign_ids, issued_ids, users, sold_out }
    }

    /// The calls for everybody.
    pub fn public(&self) -> CouponServiceServer<Self> {
        served!(CouponServiceServer::new(self.clone()))
    }

    /// The calls for the back office.
    pub fn admin(&self) -> CouponAdminServiceServer<Self> {
        served!(CouponAdminServiceServer::new(self.clone()))
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

    /// How many calls were told that a campaign is sold out, by who knew it.
    pub fn turned_away(&self) -> TurnedAway {
        self.sold_out.turned_away()
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
