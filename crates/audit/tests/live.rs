//! An audit beside live traffic, of a shop that fell over in the middle of it, and of one that has forgotten much.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use api::Reason;
use api::checkout::v1::{CancelOrderRequest, CheckoutLine, PlaceOrderRequest};
use api::coupon::v1::IssueCouponRequest;
use api::product::v1::AdjustStockRequest;
use api::saga::v1::{RaiseWatermarkRequest, ResolveSagaRequest};
use api::wallet::v1::{ChargeWalletRequest, CreateWalletRequest};
use chrono::Utc;
use migrations::Schema;
use participant::{Housekeeper, Housekeeping};
use saga::journal::Journal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use testkit::{Coupon, Shop, reason, request_id};
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

/// Users who order at once.
const USERS: usize = 8;
/// Audits while they do.
const AUDITS: usize = 6;

/// Customers who order, with a coupon every other time, pay more than they have now and then, and cancel.
struct Traffic {
    shop: Arc<Shop>,
    open: Arc<AtomicBool>,
    placed: Arc<AtomicU32>,
    customers: JoinSet<()>,
}

impl Traffic {
    async fn begin(shop: Arc<Shop>) -> Self {
        let product = shop.product(1_000, 1_000_000).await;
        let coupon = shop.coupon(Coupon::percent(10)).await;
        let (open, placed) = (Arc::new(AtomicBool::new(true)), Arc::default());
        let mut traffic = Self { shop, open, placed, customers: JoinSet::new() };
        for _ in 0..USERS {
            let user = traffic.shop.user(30_000).await;
            traffic.shop.issued(user, coupon).await;
            traffic.customer(user, product, coupon);
        }
        traffic
    }

    fn customer(&mut self, user_id: i64, product_id: i64, coupon_id: i64) {
        let (shop, open, placed) = (self.shop.clone(), self.open.clone(), self.placed.clone());
        self.customers.spawn(async move {
            for round in 0_u32.. {
                let request = PlaceOrderRequest {
                    request_id: request_id(),
                    user_id,
                    lines: vec![CheckoutLine { product_id, quantity: 1 }],
                    coupon_id: round.is_multiple_of(2).then_some(coupon_id),
                    expected_total_won: None,
                };
                let answer = shop.checkout().place_order(request).await;
                if !open.load(Ordering::SeqCst) {
                    return;
                }
                let Some(order) = answer.ok().and_then(|answer| answer.into_inner().order) else {
                    continue;
                };
                placed.fetch_add(1, Ordering::SeqCst);
                // Otherwise the money is gone soon.
                let (request_id, order_id) = (request_id(), order.order_id);
                let cancel = CancelOrderRequest { request_id, user_id, order_id };
                if !round.is_multiple_of(8) {
                    let _ = shop.checkout().cancel_order(cancel).await;
                }
            }
        });
    }

    /// Waits until so many more orders are placed.
    async fn goes_on(&self, orders: u32) {
        let enough = self.placed.load(Ordering::SeqCst) + orders;
        while self.placed.load(Ordering::SeqCst) < enough {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn end(&self) {
        self.open.store(false, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_is_no_offence() {
    let shop = Arc::new(Shop::start().await);
    let traffic = Traffic::begin(shop.clone()).await;
    for _ in 0..AUDITS {
        traffic.goes_on(10).await;
        let report = audit::run(&shop.targets()).await.unwrap();
        assert!(report.is_clean(), "{report}");
    }
    traffic.end();
    traffic.customers.join_all().await;
    shop.stop_and_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_that_fell_over_is_clean_before_and_after_it_recovers() {
    let shop = Arc::new(Shop::start().await);
    let traffic = Traffic::begin(shop.clone()).await;
    traffic.goes_on(30).await;
    shop.crash().await;
    traffic.end();
    let report = audit::run(&shop.targets()).await.unwrap();
    assert!(report.is_clean(), "{report}");
    traffic.customers.join_all().await;
    shop.restart().await;
    shop.stop_and_audit().await;
}

/// Ids that a client makes up, in every call that takes one: all are refused, and none rings an alarm.
#[tokio::test(flavor = "multi_thread")]
async fn what_clients_make_up_is_no_offence() {
    /// The largest id that the contract allows.
    const MADE_UP: i64 = 9_007_199_254_740_991;
    let shop = Shop::start().await;
    let user_id = shop.user(10_000).await;
    let product = shop.product(10, 100).await;
    let coupon = shop.coupon(Coupon::percent(1)).await;
    shop.issued(user_id, coupon).await;
    let order = |user_id, product_id, coupon_id| PlaceOrderRequest {
        request_id: request_id(),
        user_id,
        lines: vec![CheckoutLine { product_id, quantity: 1 }],
        coupon_id,
        expected_total_won: None,
    };
    let refused = [
        order(user_id, MADE_UP, None),
        order(user_id, product, Some(MADE_UP)),
        order(MADE_UP, product, None),
        // It would take less than a won off.
        order(user_id, product, Some(coupon)),
    ];
    for request in refused {
        let answer = shop.checkout().place_order(request).await;
        assert!(answer.is_err(), "{answer:?}");
    }
    for (user_id, order_id) in [(user_id, MADE_UP), (user_id, 1), (MADE_UP, MADE_UP - 1)] {
        let cancel = CancelOrderRequest { request_id: request_id(), user_id, order_id };
        assert_eq!(
            reason(&shop.checkout().cancel_order(cancel).await.unwrap_err()),
            Reason::OrderNotFound
        );
    }
    let issue =
        |user_id, coupon_id| IssueCouponRequest { request_id: request_id(), user_id, coupon_id };
    for request in [issue(user_id, MADE_UP), issue(MADE_UP, coupon)] {
        shop.coupons().issue_coupon(request).await.unwrap_err();
    }
    let charge =
        ChargeWalletRequest { request_id: request_id(), user_id: MADE_UP, amount_won: 1_000 };
    shop.wallets().charge_wallet(charge).await.unwrap_err();
    let adjust = AdjustStockRequest {
        request_id: request_id(),
        product_id: MADE_UP,
        delta: 1,
        ..AdjustStockRequest::default()
    };
    shop.product_admin().adjust_stock(adjust).await.unwrap_err();
    // A wallet may have any id.
    let create = CreateWalletRequest { request_id: request_id(), user_id: MADE_UP };
    shop.wallets().create_wallet(create).await.unwrap();
    shop.order(user_id, &[(product, 1)]).await.unwrap();
    shop.stop_and_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_resolved_saga_left_standing_is_explained() {
    let shop = Shop::builder().set("saga.alert_after", "100ms").start().await;
    let saga = shop.stuck_saga().await;
    let asked = ResolveSagaRequest {
        request_id: request_id(),
        saga_id: saga.clone(),
        actor: "ann".to_owned(),
        reason: "counted by hand, ticket 17".to_owned(),
    };
    shop.saga_admin().resolve_saga(asked).await.unwrap();
    shop.settled().await;
    let report = audit::run(&shop.targets()).await.unwrap();
    assert!(report.is_clean(), "{report}");
    let ids: Vec<&String> = report.explained.iter().flat_map(|it| &it.ids).collect();
    let [explained] = ids.as_slice() else { panic!("{report}") };
    assert!(explained.starts_with(&saga) && explained.contains(": 3 units of product"), "{report}");
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_forgotten_is_no_offence() {
    let shop = Arc::new(Shop::start().await);
    let traffic = Traffic::begin(shop.clone()).await;
    traffic.goes_on(50).await;
    traffic.end();
    traffic.customers.join_all().await;
    shop.settled().await;
    forget_everything(&shop).await;
    let report = audit::run(&shop.targets()).await.unwrap();
    assert!(report.is_clean(), "{report}");
    // Beside what is new.
    let traffic = Traffic::begin(shop.clone()).await;
    traffic.goes_on(20).await;
    traffic.end();
    traffic.customers.join_all().await;
    shop.stop_and_audit().await;
}

/// Housekeeping in all schemas, for which everything that has ended is old.
async fn forget_everything(shop: &Shop) {
    let tasks = TaskTracker::new();
    let db = shop.db(Schema::Orchestrator).await;
    let journal = Journal::open(db, lane::Options::default(), &tasks);
    let now = Utc::now();
    let watermark = journal.raise_watermark(now).await.unwrap().0.to_vec();
    for participant in api::participants::ALL {
        let participant = participant.name.to_owned();
        let raise = RaiseWatermarkRequest { participant, watermark: watermark.clone() };
        shop.participants().raise_watermark(raise).await.unwrap();
    }
    assert!(journal.forget(now).await.unwrap() > 0);
    let options = Housekeeping { interval: Duration::from_secs(1), retention: Duration::ZERO };
    for schema in [Schema::Wallet, Schema::Product, Schema::Coupon, Schema::Order] {
        let db = shop.db(schema).await;
        let forgotten = Housekeeper::new(db, options).round().await.unwrap();
        assert!(forgotten.steps > 0, "{}", schema.name());
    }
}
