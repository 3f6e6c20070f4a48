//! Orders while Redis is away, frozen, emptied, or robbed of what it had not flushed: answered as ever, and every event of
//! theirs arrives once Redis is back, once.
//!
//! An order needs no Redis. So each is asked for once, and must have succeeded within the deadline of a call that names
//! none.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use api::checkout::v1::{CancelOrderRequest, CheckoutLine, CheckoutState, PlaceOrderRequest};
use api::coupon::v1::IssueCouponRequest;
use api::events::v1::{EventSource, StreamEventsRequest};
use api::ranking::v1::ListTopProductsRequest;
use db::Conn;
use diesel::sql_types::BigInt;
use diesel::{QueryableByName, sql_query};
use events::message::type_of;
use migrations::Schema;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use testkit::{Coupon, Shop, checkout_on, request_id};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Users who order without pause.
const CUSTOMERS: u64 = 8;
/// Products; the list of best sellers is long enough for all.
const PRODUCTS: usize = 20;
/// Every so many orders one is cancelled.
const CANCEL_EVERY: usize = 4;
/// Orders that come while Redis is not there.
const ORDERS: u64 = 400;
/// Rows of the orders that the bus must have been known to have before it loses its tail.
const FORGOTTEN: i64 = 200;
const PATIENCE: Duration = Duration::from_mins(2);
const LOOK: Duration = Duration::from_millis(10);

/// A shop whose customers order all the time.
struct Scene {
    shop: Arc<Shop>,
    is_over: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    customers: JoinSet<Orders>,
    newcomers: Orders,
}

/// What customers were told: their orders, and whether each was cancelled.
type Orders = BTreeMap<i64, bool>;

#[derive(QueryableByName)]
struct Pair {
    #[diesel(sql_type = BigInt)]
    a: i64,
    #[diesel(sql_type = BigInt)]
    b: i64,
}

impl Scene {
    async fn begin() -> Self {
        // With everything that uses Redis, as shops are.
        let shop = Shop::builder().set("product_cache.capacity", "10000").start().await;
        let shop = Arc::new(shop);
        let mut products = Vec::new();
        for _ in 0..PRODUCTS {
            products.push(shop.product(1_000, 1_000_000).await);
        }
        let (is_over, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut scene =
            Self { shop, is_over, answered, customers: JoinSet::new(), newcomers: Orders::new() };
        for _ in 0..CUSTOMERS {
            let user = scene.shop.user(900_000_000).await;
            scene.customer(user, products.clone()).await;
        }
        scene.answered(100).await;
        scene
    }

    async fn customer(&mut self, user_id: i64, products: Vec<i64>) {
        let (is_over, answered) = (self.is_over.clone(), self.answered.clone());
        let channel = self.shop.channel().await;
        self.customers.spawn(async move {
            let mut orders = Orders::new();
            while !is_over.load(Ordering::SeqCst) {
                let first = orders.len();
                // Some products are in more orders than others.
                let some = products.iter().cycle().skip(first).step_by(7).take(1 + first % 3);
                let line = |id: &i64| CheckoutLine { product_id: *id, quantity: 1 };
                let request = PlaceOrderRequest {
                    request_id: request_id(),
                    user_id,
                    lines: some.map(line).collect(),
                    ..PlaceOrderRequest::default()
                };
                let told = checkout_on(channel.clone()).place_order(request).await.unwrap();
                let told = told.into_inner();
                assert_eq!(told.state(), CheckoutState::Succeeded);
                let order_id = told.order.unwrap().order_id;
                let is_cancelled = first.is_multiple_of(CANCEL_EVERY);
                if is_cancelled {
                    let cancel = CancelOrderRequest { request_id: request_id(), user_id, order_id };
                    let told = checkout_on(channel.clone()).cancel_order(cancel).await.unwrap();
                    assert_eq!(told.into_inner().state(), CheckoutState::Succeeded);
                }
                orders.insert(order_id, is_cancelled);
                answered.fetch_add(1, Ordering::SeqCst);
            }
            orders
        });
    }

    /// Waits until so many more orders are answered.
    async fn answered(&self, more: u64) {
        let target = self.answered.load(Ordering::SeqCst) + more;
        let give_up = Instant::now() + PATIENCE;
        while self.answered.load(Ordering::SeqCst) < target {
            assert!(Instant::now() < give_up, "orders are not answered");
            sleep(LOOK).await;
        }
    }

    /// Someone who comes now gets an account, money and a coupon, and an order for it.
    async fn newcomer(&mut self) {
        let shop = self.shop.clone();
        let product_id = shop.product(10_000, 1).await;
        let (user_id, coupon_id) =
            (shop.user(10_000).await, shop.coupon(Coupon::percent(10)).await);
        let issue = IssueCouponRequest { request_id: request_id(), user_id, coupon_id };
        shop.coupons().issue_coupon(issue).await.unwrap();
        let request = PlaceOrderRequest {
            request_id: request_id(),
            user_id,
            lines: vec![CheckoutLine { product_id, quantity: 1 }],
            coupon_id: Some(coupon_id),
            expected_total_won: None,
        };
        let told = shop.checkout().place_order(request).await.unwrap().into_inner();
        let order = told.order.unwrap();
        assert_eq!((order.paid_won, shop.stock(product_id).await), (9_000, 0));
        self.newcomers.insert(order.order_id, false);
    }

    /// Orders go on, and what they tell of themselves waits: to be called when Redis is not there.
    async fn orders_go_on(&mut self) {
        // What was under way has come to its end.
        self.answered(2 * CUSTOMERS).await;
        let (before, newest) = (self.events().await, self.newest_row().await);
        self.answered(ORDERS).await;
        let came = self.events().await - before;
        assert!(came >= ORDERS - CUSTOMERS, "{came} events of {ORDERS} orders");
        assert_eq!(self.published_after(newest).await, 0, "nobody carries them");
        self.newcomer().await;
    }

    /// Events of the orders in their outbox.
    async fn events(&self) -> u64 {
        let db = self.shop.db(Schema::Order).await;
        u64::try_from(testkit::told(&db).await.len()).unwrap()
    }

    /// Rows of the orders' outbox that the bus is known to have.
    async fn published(&self) -> i64 {
        self.published_after(0).await
    }

    /// The newest row of the orders' outbox.
    async fn newest_row(&self) -> i64 {
        let sql = "SELECT MAX(id) AS a, 0 AS b FROM outbox";
        first(&self.shop, sql).await
    }

    /// Rows of the orders' outbox that came after this one and that the bus is known to have.
    async fn published_after(&self, newest: i64) -> i64 {
        let sql = format!(
            "SELECT COUNT(*) AS a, 0 AS b FROM outbox o JOIN outbox_shard s ON s.shard = o.shard \
            WHERE o.id > {newest} AND o.position <= s.published_position"
        );
        first(&self.shop, &sql).await
    }

    async fn back(&self) {
        self.shop.redis().restart().await.unwrap();
        self.answered(ORDERS).await;
    }

    /// No more orders. Every event of every order has its effect, once, and nothing else has any.
    async fn end(self) {
        self.is_over.store(true, Ordering::SeqCst);
        let mut orders = self.newcomers;
        orders.extend(self.customers.join_all().await.into_iter().flatten());
        self.shop.settled().await;
        let sql = "SELECT id AS a, IF(state = 3, 1, 0) AS b FROM orders ORDER BY id";
        let stored = pairs(&self.shop, sql).await;
        assert_eq!(
            stored,
            orders.iter().map(|(id, gone)| (*id, i64::from(*gone))).collect::<Vec<_>>()
        );
        assert_told_once(&self.shop, &orders).await;
        let sql = "SELECT l.product_id AS a, COUNT(*) AS b FROM orders o \
            JOIN order_line l ON l.order_id = o.id WHERE o.state < 3 GROUP BY l.product_id \
            ORDER BY l.product_id";
        let recount = pairs(&self.shop, sql).await;
        assert_eq!(best_sellers(&self.shop).await, recount);
        self.shop.stop_and_audit().await;
    }
}

/// The outbox tells of each order once, and of its end.
async fn assert_told_once(shop: &Shop, orders: &Orders) {
    let told = testkit::told(&shop.db(Schema::Order).await).await;
    let of = |wanted: &str| {
        let mut ids: Vec<i64> = told
            .iter()
            .filter(|event| type_of(event) == format!("commerce.order.v1.{wanted}"))
            .map(|event| event.aggregate_id)
            .collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(of("OrderConfirmed"), orders.keys().copied().collect::<Vec<_>>());
    let cancelled = orders.iter().filter(|(_, is_cancelled)| **is_cancelled);
    assert_eq!(of("OrderCancelled"), cancelled.map(|(id, _)| *id).collect::<Vec<_>>());
}

/// Orders by product, as they are served, ascending by product.
async fn best_sellers(shop: &Shop) -> Vec<(i64, i64)> {
    let request = ListTopProductsRequest { limit: 100 };
    let list = shop.ranking().list_top_products(request).await.unwrap().into_inner();
    let mut counts: Vec<_> =
        list.products.iter().map(|product| (product.product_id, product.order_count)).collect();
    counts.sort_unstable();
    counts
}

/// The first number that a query of two finds.
async fn first(shop: &Shop, sql: &str) -> i64 {
    pairs(shop, sql).await.first().unwrap().0
}

async fn pairs(shop: &Shop, sql: &str) -> Vec<(i64, i64)> {
    let read = async move |conn: &mut Conn| -> db::Result<Vec<Pair>> {
        Ok(diesel_async::RunQueryDsl::load(sql_query(sql), conn).await?)
    };
    let rows = shop.db(Schema::Order).await.read(read).await.unwrap();
    rows.into_iter().map(|Pair { a, b }| (a, b)).collect()
}

fn signal(shop: &Shop, signal: Signal) {
    let pid = shop.redis().pid().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    kill_process(pid.unwrap(), signal).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_go_on_without_redis_and_their_events_follow() {
    let mut scene = Scene::begin().await;
    scene.shop.redis().kill().await.unwrap();
    scene.orders_go_on().await;
    scene.back().await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_opens_without_redis_and_uses_it_when_it_comes() {
    let shop = Shop::start().await;
    let (product_id, user_id) = (shop.product(1_000, 100).await, shop.user(1_000_000).await);
    shop.order(user_id, &[(product_id, 1)]).await.unwrap();
    shop.settled().await;
    shop.stop().await;
    shop.redis().kill().await.unwrap();
    shop.restart().await;
    let second = shop.order(user_id, &[(product_id, 1)]).await.unwrap().order_id;
    // Who follows the events needs no Redis.
    let request = StreamEventsRequest {
        sources: vec![EventSource::Order.into()],
        types: vec!["commerce.order.v1.OrderConfirmed".to_owned()],
        ..StreamEventsRequest::default()
    };
    let mut stream = shop.events().stream_events(request).await.unwrap().into_inner();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let told = tokio::time::timeout(PATIENCE, stream.message()).await.unwrap();
        seen.extend(told.unwrap().unwrap().event.map(|event| event.aggregate_id));
    }
    assert_eq!(seen.last(), Some(&second));
    shop.redis().restart().await.unwrap();
    shop.stop_and_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: Redis is away for one of them"]
async fn a_minute_without_redis_is_made_up_for() {
    let mut scene = Scene::begin().await;
    scene.shop.redis().kill().await.unwrap();
    let back = Instant::now() + Duration::from_mins(1);
    scene.orders_go_on().await;
    while Instant::now() < back {
        scene.answered(ORDERS).await;
    }
    scene.newcomer().await;
    scene.back().await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_frozen_and_goes_on_doubles_and_loses_nothing() {
    let mut scene = Scene::begin().await;
    for _ in 0..2 {
        signal(&scene.shop, Signal::STOP);
        scene.orders_go_on().await;
        // What was asked of it and given up takes effect now.
        signal(&scene.shop, Signal::CONT);
        scene.answered(ORDERS).await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_lost_what_it_had_not_flushed_counts_again_what_it_forgot() {
    let mut scene = Scene::begin().await;
    for _ in 0..2 {
        let (kept, before) = (testkit::written(scene.shop.redis()), scene.published().await);
        // More than the bytes that are left can hold, and known to be there.
        while scene.published().await < before + FORGOTTEN {
            scene.answered(10).await;
        }
        testkit::power_cut(scene.shop.redis(), kept + 4_321).await;
        scene.orders_go_on().await;
        scene.back().await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_comes_back_empty_is_filled_again_from_the_outboxes() {
    let mut scene = Scene::begin().await;
    testkit::power_cut(scene.shop.redis(), 0).await;
    scene.orders_go_on().await;
    scene.back().await;
    scene.shop.flush_redis().await;
    scene.answered(ORDERS).await;
    scene.end().await;
}
