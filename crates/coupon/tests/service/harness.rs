//! A coupon service on a database of its own, spoken to through its generated client, and asked for steps.

use api::coupon::v1::coupon_admin_service_client::CouponAdminServiceClient;
use api::coupon::v1::coupon_admin_service_server::CouponAdminServiceServer;
use api::coupon::v1::coupon_service_client::CouponServiceClient;
use api::coupon::v1::coupon_service_server::CouponServiceServer;
use api::coupon::v1::create_coupon_request::Discount;
use api::coupon::v1::{
    CancelPolicy, Coupon as Campaign, CreateCouponRequest, GetCouponRequest,
    GetIssuedCouponRequest, IssueCouponRequest, IssuedCoupon, ListIssuedCouponsRequest,
    PercentDiscount, RedeemCouponPayload, RedeemCouponReply, RestoreCouponPayload,
    RestoreCouponReply,
};
use api::wallet::v1::wallet_service_client::WalletServiceClient;
use api::wallet::v1::wallet_service_server::{WalletService, WalletServiceServer};
use api::wallet::v1::{
    ChargeWalletRequest, ChargeWalletResponse, CreateWalletRequest, CreateWalletResponse,
    GetWalletRequest, GetWalletResponse, ListWalletTransactionsRequest,
    ListWalletTransactionsResponse,
};
use api::{Reason, Refusal};
use coupon::{Coupon, Notices};
use db::{Conn, Db};
use diesel::sql_types::BigInt;
use diesel_async::SimpleAsyncConnection;
use migrations::Schema;
use participant::{Found, Options};
use platform::{Chassis, Limits, transport};
use prost::Message;
use prost_types::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use testkit::{Acted, Stepper};
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use uuid::Uuid;

/// The number of `RedeemCoupon` in its plan.
pub(crate) const REDEEM: i16 = 2;

/// The number of `RestoreCoupon` in its plan.
pub(crate) const RESTORE: i16 = 4;

/// A day, in seconds.
pub(crate) const DAY: i64 = 86_400;

#[derive(Clone)]
pub(crate) struct Shop {
    pub(crate) service: Coupon,
    wallets: Wallets,
    db: Db,
    notices: Notices,
}

/// Wallets of the users up to a number.
#[derive(Clone, Default)]
struct Wallets {
    users: Arc<AtomicI64>,
}

impl Shop {
    /// A service with several lanes, so that transactions do meet, and users 1 to 1,000.
    pub(crate) async fn start() -> Self {
        Self::on_redis(&testkit::redis_url().await).await
    }

    /// The same on another Redis.
    pub(crate) async fn on_redis(redis: &str) -> Self {
        let (db, _) = testkit::database(Schema::Coupon).await;
        let wallets = Wallets { users: Arc::new(AtomicI64::new(1_000)) };
        let notices = Notices::open(redis, &request_id()).unwrap();
        Self::with(db, wallets, notices)
    }

    /// Another process of the same service.
    pub(crate) fn replica(&self) -> Self {
        Self::with(self.db.clone(), self.wallets.clone(), self.notices.clone())
    }

    fn with(db: Db, wallets: Wallets, notices: Notices) -> Self {
        let options = Options { count: 4, ..Options::default() };
        let chassis = Chassis::new(Limits::default(), TaskTracker::new());
        let routes = Routes::new(WalletServiceServer::new(wallets.clone()));
        let transport = transport::local(routes, &chassis);
        let client = WalletServiceClient::new(transport);
        let tasks = TaskTracker::new();
        let service = Coupon::start(db.clone(), options, client, notices.clone(), &tasks);
        Self { service, wallets, db, notices }
    }

    /// Runs a statement in the schema.
    pub(crate) async fn run(&self, sql: &str) {
        let sql = sql.to_owned();
        let done = self.db.read(async move |conn: &mut Conn| -> db::Result<()> {
            Ok(conn.batch_execute(&sql).await?)
        });
        done.await.unwrap();
    }

    pub(crate) fn public(&self) -> CouponServiceClient<CouponServiceServer<Coupon>> {
        CouponServiceClient::new(self.service.public())
    }

    pub(crate) fn admin(&self) -> CouponAdminServiceClient<CouponAdminServiceServer<Coupon>> {
        CouponAdminServiceClient::new(self.service.admin())
    }

    pub(crate) fn steps(&self) -> Stepper {
        Stepper::new(self.service.steps())
    }

    /// Uses the coupon for an order.
    pub(crate) async fn redeem(&self, order: &Order) -> Acted<RedeemCouponReply> {
        let Order { saga, payload } = order;
        self.steps().act("RedeemCoupon", *saga, REDEEM, payload).await.unwrap()
    }

    /// Compensates the use of a coupon: what was found, and the reply on record.
    pub(crate) async fn undo(&self, order: &Order) -> (Found, Option<RedeemCouponReply>) {
        let (found, recorded) = self.steps().compensate(order.saga, REDEEM).await;
        let reply = matches!(found, Found::Done | Found::Compensated)
            .then(|| RedeemCouponReply::decode(recorded.as_slice()).unwrap());
        (found, reply)
    }

    /// Applies the campaign's policy to the coupon of a cancelled order.
    pub(crate) async fn restore(
        &self,
        saga: Uuid,
        payload: &RestoreCouponPayload,
    ) -> Result<Acted<RestoreCouponReply>, Status> {
        self.steps().act("RestoreCoupon", saga, RESTORE, payload).await
    }

    /// Moves the last day of a campaign's coupons into the past.
    pub(crate) async fn let_expire(&self, coupon_id: i64) {
        let sql = "UPDATE issued_coupon SET valid_from = valid_from - INTERVAL 30 DAY, \
            valid_until = valid_until - INTERVAL 30 DAY WHERE coupon_id = ?";
        let moved = self.db.read(async move |conn: &mut Conn| -> db::Result<usize> {
            let moved = diesel::sql_query(sql).bind::<BigInt, _>(coupon_id);
            Ok(diesel_async::RunQueryDsl::execute(moved, conn).await?)
        });
        assert!(moved.await.unwrap() > 0);
    }

    /// From now on there are users 1 to this many.
    pub(crate) fn set_users(&self, users: i64) {
        self.wallets.users.store(users, Ordering::Relaxed);
    }

    /// A new campaign with so many coupons, 10 % off.
    pub(crate) async fn campaign(&self, quota: i32) -> i64 {
        self.create(CreateCouponRequest { quota, ..ten_percent() }).await.coupon_id
    }

    pub(crate) async fn create(&self, request: CreateCouponRequest) -> Campaign {
        self.admin().create_coupon(request).await.unwrap().into_inner().coupon.unwrap()
    }

    pub(crate) async fn get(&self, coupon_id: i64) -> Campaign {
        let request = GetCouponRequest { coupon_id };
        self.public().get_coupon(request).await.unwrap().into_inner().coupon.unwrap()
    }

    pub(crate) async fn issue(&self, user_id: i64, coupon_id: i64) -> Result<IssuedCoupon, Status> {
        self.ask(issue(user_id, coupon_id)).await
    }

    pub(crate) async fn ask(&self, request: IssueCouponRequest) -> Result<IssuedCoupon, Status> {
        let response = self.public().issue_coupon(request).await?;
        Ok(response.into_inner().issued_coupon.unwrap())
    }

    pub(crate) async fn issued(&self, issued_coupon_id: i64) -> IssuedCoupon {
        let request = GetIssuedCouponRequest { issued_coupon_id };
        self.public().get_issued_coupon(request).await.unwrap().into_inner().issued_coupon.unwrap()
    }
}

#[tonic::async_trait]
impl WalletService for Wallets {
    async fn get_wallet(
        &self,
        request: Request<GetWalletRequest>,
    ) -> Result<Response<GetWalletResponse>, Status> {
        let user_id = request.into_inner().user_id;
        if user_id > self.users.load(Ordering::Relaxed) {
            return Err(Refusal::new(Reason::WalletNotFound).with("user_id", user_id).into());
        }
        Ok(Response::new(GetWalletResponse::default()))
    }

    async fn create_wallet(
        &self,
        _: Request<CreateWalletRequest>,
    ) -> Result<Response<CreateWalletResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn charge_wallet(
        &self,
        _: Request<ChargeWalletRequest>,
    ) -> Result<Response<ChargeWalletResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_wallet_transactions(
        &self,
        _: Request<ListWalletTransactionsRequest>,
    ) -> Result<Response<ListWalletTransactionsResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

pub(crate) fn request_id() -> String {
    Uuid::new_v4().to_string()
}

/// A campaign that gives 10 % off for a week.
pub(crate) fn ten_percent() -> CreateCouponRequest {
    CreateCouponRequest {
        request_id: request_id(),
        name: "opening day".to_owned(),
        discount: Some(Discount::Percent(PercentDiscount { percent: 10, max_amount_won: None })),
        quota: 100,
        validity_days: 7,
        issuable_from: None,
        issuable_until: None,
        cancel_policy: CancelPolicy::Restore.into(),
    }
}

pub(crate) fn issue(user_id: i64, coupon_id: i64) -> IssueCouponRequest {
    IssueCouponRequest { request_id: request_id(), user_id, coupon_id }
}

/// The use of a coupon, and the saga that uses it.
#[derive(Clone)]
pub(crate) struct Order {
    pub(crate) saga: Uuid,
    pub(crate) payload: RedeemCouponPayload,
}

/// An order of 20,005 won that uses a coupon now, by a saga of its own.
pub(crate) fn order(order_id: i64, user_id: i64, coupon_id: i64) -> Order {
    let placed_at = Some(in_seconds(0));
    let payload =
        RedeemCouponPayload { order_id, user_id, coupon_id, placed_at, total_won: 20_005 };
    Order { saga: Uuid::now_v7(), payload }
}

/// What restores the coupon of a cancelled order.
pub(crate) fn restore(
    order_id: i64,
    coupon_id: i64,
    issued_coupon_id: i64,
) -> RestoreCouponPayload {
    RestoreCouponPayload { order_id, coupon_id, issued_coupon_id }
}

/// The first page of a user's coupons.
pub(crate) fn list(user_id: i64, page_size: i32) -> ListIssuedCouponsRequest {
    ListIssuedCouponsRequest { user_id, page_size, ..ListIssuedCouponsRequest::default() }
}

/// The instant so many seconds from now.
pub(crate) fn in_seconds(seconds: i64) -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    Timestamp { seconds: i64::try_from(now).unwrap() + seconds, nanos: 0 }
}

pub(crate) fn refusal(status: &Status) -> Refusal {
    Refusal::from_status(status).unwrap_or_else(|| panic!("not a refusal: {status:?}"))
}

pub(crate) fn reason(status: &Status) -> Reason {
    refusal(status).reason
}
