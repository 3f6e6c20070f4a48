//! Coupons: campaigns with a quota, issued first come, first served, what they take off an order, and the coupon's
//! steps in the orchestrator's sagas.

mod desk;
pub mod domain;
mod participant;
mod service;
mod sold_out;
mod store;
mod users;
mod wire;

use ::participant::{Call, Calls, Lanes, Options, Outcome, Trace};
use api::coupon::v1::coupon_participant_service_server::CouponParticipantServiceServer;
use api::coupon::v1::coupon_service_server::CouponServiceServer;
use api::wallet::v1::wallet_service_client::WalletServiceClient;
use db::IdBlocks;
use desk::{Desk, Op};
use platform::{Transport, served};
use sold_out::SoldOut;
pub use sold_out::{Notices, TurnedAway};
use std::sync::Arc;
use tokio_util::task::TaskTracker;
use tonic::Status;
use users::Users;

/// Ids of campaigns taken from the table at a time.
const CAMPAIGN_BLOCK: i64 = 100;

/// Ids of issued coupons taken from the table at a time: one more transaction in so many of a rush.
const ISSUED_BLOCK: i64 = 10_000;

/// The coupon service. Cheap to clone.
#[derive(Clone)]
pub struct Coupon {
    db: db::Db,
    lanes: Arc<Lanes<Desk>>,
    campaign_ids: Arc<IdBlocks>,
    issued_ids: Arc<IdBlocks>,
    users: Arc<Users>,
    sold_out: Arc<SoldOut>,
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
        let lanes = Arc::new(Lanes::start("coupon", &db, Desk, options, tasks));
        let blocks = |name, size| Arc::new(IdBlocks::new(db.clone(), name, size));
        let campaign_ids = blocks("coupon", CAMPAIGN_BLOCK);
        let issued_ids = blocks("issued_coupon", ISSUED_BLOCK);
        let users = Arc::new(Users::new(wallets));
        let sold_out = Arc::new(SoldOut::new(notices));
        Self { db, lanes, campaign_ids, issued_ids, users, sold_out }
    }

    /// The calls for everybody.
    pub fn public(&self) -> CouponServiceServer<Self> {
        served!(CouponServiceServer::new(self.clone()))
    }

    /// The saga's steps, for the orchestrator.
    pub fn participant(&self) -> CouponParticipantServiceServer<Self> {
        served!(CouponParticipantServiceServer::new(self.clone()))
    }

    /// How often each of its steps was called.
    pub fn calls(&self) -> Calls {
        self.lanes.calls()
    }

    /// How many calls were told that a campaign is sold out, by who knew it.
    pub fn turned_away(&self) -> TurnedAway {
        self.sold_out.turned_away()
    }

    /// What its lanes last achieved.
    pub fn health(&self) -> Vec<::participant::Health> {
        self.lanes.health()
    }

    /// Takes no more writes; what is queued still runs.
    pub fn close(&self) {
        self.lanes.close();
    }

    /// Runs a call in the lane of an entity, which is the campaign wherever the call names one.
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
