//! The cache in front of the calls that only look: by a loader that tests hold back, and by the service.

use crate::harness::{Shop, cancelled, create, order, request_id};
use api::Reason;
use api::product::v1::{
    AdjustStockRequest, BatchGetProductsRequest, GetProductRequest, Product as Item,
    UpdateProductRequest,
};
use embedded::{Redis, RedisOptions};
use futures_util::future::join_all;
use product::Cache;
use product::domain::ProductId;
use prost_types::FieldMask;
use redis::AsyncCommands;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;
use testkit::until;
use tokio::sync::Semaphore;
use tonic::{Code, Status};
use uuid::Uuid;

const EVER: Duration = Duration::from_hours(1);

/// Rows whose stock is how often they were read: each read as old as the moment it began.
#[derive(Clone)]
struct Rows {
    reads: Arc<AtomicI32>,
    /// A read ends when it gets a permit.
    gate: Arc<Semaphore>,
}

impl Rows {
    fn open() -> Self {
        Self::with(Semaphore::MAX_PERMITS)
    }

    fn held_back() -> Self {
        Self::with(0)
    }

    fn with(permits: usize) -> Self {
        Self { reads: Arc::default(), gate: Arc::new(Semaphore::new(permits)) }
    }

    fn reads(&self) -> i32 {
        self.reads.load(Ordering::SeqCst)
    }

    async fn load(self, ids: BTreeSet<ProductId>) -> Result<Vec<Item>, Status> {
        let stock = self.reads.fetch_add(1, Ordering::SeqCst) + 1;
        self.gate.acquire().await.unwrap().forget();
        let exists = |id: &ProductId| id.0 < 1_000;
        let item = |id: ProductId| Item { product_id: id.0, stock, ..Item::default() };
        Ok(ids.into_iter().filter(exists).map(item).collect())
    }

    /// A product's stock as the cache tells it.
    async fn stock(&self, cache: &Cache, id: i64) -> Option<i32> {
        let (rows, id) = (self.clone(), ProductId(id));
        let load = move |ids| rows.clone().load(ids);
        let found = cache.get(BTreeSet::from([id]), load).await.unwrap();
        found.get(&id).map(|item| item.stock)
    }
}

async fn redis() -> Redis {
    Redis::start(RedisOptions::temporary()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_come_together_share_one_read_and_those_after_them_need_none() {
    let (cache, rows) = (Cache::new(10).lasting(EVER), Rows::held_back());
    let crowd = join_all((0..50).map(|_| rows.stock(&cache, 1)));
    let stocks = tokio::select! {
        biased;
        stocks = crowd => stocks,
        // The whole crowd has come by then: it was polled first.
        () = async { rows.gate.add_permits(1); std::future::pending().await } => Vec::new(),
    };
    assert_eq!(stocks, vec![Some(1); 50]);
    assert_eq!(rows.stock(&cache, 1).await, Some(1));
    assert_eq!(rows.reads(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_shows_when_the_bound_is_reached() {
    let (cache, rows) = (Cache::new(10).lasting(Duration::from_millis(300)), Rows::open());
    rows.stock(&cache, 1).await;
    until(async || rows.stock(&cache, 1).await == Some(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_took_too_long_serves_who_began_it_and_nobody_who_came_late() {
    let (cache, rows) = (Cache::new(10).lasting(Duration::from_millis(50)), Rows::held_back());
    let early = {
        let (cache, rows) = (cache.clone(), rows.clone());
        tokio::spawn(async move { rows.stock(&cache, 1).await })
    };
    until(async || rows.reads() == 1).await;
    // So long that what the first read saw may no longer be told.
    tokio::time::sleep(Duration::from_millis(60)).await;
    let late = rows.stock(&cache, 1);
    let open = async {
        rows.gate.add_permits(2);
        std::future::pending::<()>().await;
    };
    let late = tokio::select! { biased; late = late => late, () = open => None };
    assert_eq!((early.await.unwrap(), late), (Some(1), Some(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_keeps_no_more_products_than_it_may_and_none_that_do_not_exist() {
    let (cache, rows) = (Cache::new(3).lasting(EVER), Rows::open());
    for id in 1..=20 {
        assert!(rows.stock(&cache, id).await.is_some());
        assert!(cache.len() <= 3);
    }
    assert_eq!(cache.len(), 3);
    let cache = Cache::new(3).lasting(EVER);
    for id in 1_000..1_020 {
        assert_eq!(rows.stock(&cache, id).await, None);
    }
    assert!(cache.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn products_that_are_written_and_never_read_are_not_kept_for_ever() {
    let cache = Cache::new(3).lasting(Duration::from_millis(1));
    for id in 1..=1_000 {
        cache.forget(ProductId(id));
    }
    until(async || {
        cache.forget(ProductId(1));
        cache.len() <= 3
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_cache_has_room_again_when_what_it_keeps_is_over() {
    let (cache, rows) = (Cache::new(1).lasting(Duration::from_millis(300)), Rows::open());
    rows.stock(&cache, 1).await;
    until(async || rows.stock(&cache, 2).await == rows.stock(&cache, 2).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_began_before_a_write_is_not_kept_and_not_shared_after_it() {
    let (cache, rows) = (Cache::new(10).lasting(EVER), Rows::held_back());
    let before = rows.stock(&cache, 1);
    let write = async {
        until(async || rows.reads() == 1).await;
        cache.forget(ProductId(1));
        rows.gate.add_permits(2);
        rows.stock(&cache, 1).await
    };
    let (before, after) = tokio::join!(before, write);
    assert_eq!((before, after), (Some(1), Some(2)));
    assert_eq!(rows.stock(&cache, 1).await, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_in_redis_is_served_by_other_processes_and_lasts_no_longer_there() {
    let redis = redis().await;
    let replica = || Cache::new(10).with_redis(&redis.url(), "test").unwrap().lasting(EVER);
    let rows = Rows::open();
    assert_eq!(rows.stock(&replica(), 1).await, Some(1));
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let key = "test:{product}:copy:1";
    until(async || connection.exists(key).await.unwrap()).await;
    let other = replica();
    assert_eq!(rows.stock(&other, 1).await, Some(1));
    assert_eq!(rows.reads(), 1);
    // An hour is left of it, which is made a moment: what is left is what the next one takes over.
    let third = replica();
    let () = connection.pexpire(key, 500).await.unwrap();
    assert_eq!(rows.stock(&third, 1).await, Some(1));
    until(async || rows.stock(&third, 1).await == Some(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_wrote_does_not_read_an_older_copy_of_redis() {
    let redis = redis().await;
    let replica = || Cache::new(10).with_redis(&redis.url(), "test").unwrap().lasting(EVER);
    let (cache, rows) = (replica(), Rows::open());
    rows.stock(&cache, 1).await;
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    until(async || {
        // A busy Redis is left alone for a while, and then the copy stays as long as it lasts.
        cache.forget(ProductId(1));
        !connection.exists::<_, bool>("test:{product}:copy:1").await.unwrap()
    })
    .await;
    // Somebody who read before the write puts its copy there after it.
    let old = prost::Message::encode_to_vec(&Item { product_id: 1, stock: -1, ..Item::default() });
    let () = connection.set("test:{product}:copy:1", &old).await.unwrap();
    let () = connection.expire("test:{product}:copy:1", 3_600).await.unwrap();
    assert_eq!(rows.stock(&replica(), 1).await, Some(-1), "others may");
    assert_eq!(rows.stock(&cache, 1).await, Some(2));
}

/// Somebody counted one more.
async fn add_one(shop: &Shop, product_id: i64) {
    let (request_id, reason) = (request_id(), String::new());
    let request = AdjustStockRequest { request_id, product_id, delta: 1, reason };
    shop.admin().adjust_stock(request).await.unwrap();
}

fn batch(product_ids: Vec<i64>) -> BatchGetProductsRequest {
    BatchGetProductsRequest { product_ids }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_changes_a_product_reads_the_change_there_and_elsewhere_at_last() {
    let redis = redis().await;
    let shop = Shop::start().await;
    let cached = || shop.replica(Cache::new(10).with_redis(&redis.url(), "test").unwrap());
    let (here, elsewhere) = (cached(), cached());
    let tea = here.product(5).await;
    assert_eq!((here.stock(tea).await, elsewhere.stock(tea).await), (5, 5));
    for stock in 6..20 {
        add_one(&here, tea).await;
        assert_eq!(here.stock(tea).await, stock);
        let answer = here.public().batch_get_products(batch(vec![tea])).await.unwrap();
        assert_eq!(answer.into_inner().products[0].stock, stock);
    }
    until(async || elsewhere.stock(tea).await == 19).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_back_office_changes_is_read_at_once_by_shoppers_of_the_same_process() {
    let (here, elsewhere) = remembering().await;
    let tea = here.product(5).await;
    let (mut admin, shoppers) = (here.admin(), [here.public(), here.public()]);
    for change in 1..10 {
        let update = UpdateProductRequest {
            request_id: request_id(),
            product_id: tea,
            name: format!("tea {change}"),
            price_won: change,
            update_mask: Some(FieldMask { paths: vec!["name".to_owned(), "price_won".to_owned()] }),
            ..UpdateProductRequest::default()
        };
        let updated = admin.update_product(update).await.unwrap().into_inner().product;
        for mut shopper in shoppers.clone() {
            let request = GetProductRequest { product_id: tea };
            let read = shopper.get_product(request).await.unwrap().into_inner().product;
            assert_eq!(read, updated);
        }
    }
    let cake = admin.create_product(create("cake", 7, 1)).await.unwrap().into_inner().product;
    let cake = cake.unwrap();
    assert_eq!(here.get(cake.product_id).await, cake);
    // It is the cache that answers: what others change does not show.
    add_one(&elsewhere, cake.product_id).await;
    assert_eq!(here.get(cake.product_id).await, cake);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_caller_went_away_is_made_and_its_product_is_forgotten_after_it() {
    let (here, elsewhere) = remembering().await;
    let tea = elsewhere.product(0).await;
    for stock in 1..=20 {
        assert_eq!(here.stock(tea).await, stock - 1);
        tokio::select! {
            biased;
            // It is polled once, and goes on in a task of its own.
            () = add_one(&here, tea) => {}
            () = std::future::ready(()) => {}
        }
        until(async || here.stock(tea).await == stock).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_orders_a_product_reads_its_stock_there_at_once_and_elsewhere_at_last() {
    let redis = redis().await;
    let shop = Shop::start().await;
    let cached = || shop.replica(Cache::new(10).with_redis(&redis.url(), "test").unwrap());
    let (here, elsewhere) = (cached(), cached());
    let tea = here.product(50).await;
    assert_eq!((here.stock(tea).await, elsewhere.stock(tea).await), (50, 50));
    for id in 1..20 {
        let order = order(id, &[(tea, 2)]);
        here.reserve(&order).await.done();
        assert_eq!(here.stock(tea).await, 48, "order {id}");
        if id % 2 == 0 {
            here.release(&order).await;
        } else {
            here.restock(Uuid::now_v7(), &cancelled(id, &[(tea, 2)])).await.unwrap().done();
        }
        assert_eq!(here.stock(tea).await, 50, "order {id}");
    }
    here.reserve(&order(20, &[(tea, 1)])).await.done();
    until(async || elsewhere.stock(tea).await == 49).await;
}

/// A process that remembers what it read as long as nothing makes it forget, and one that changes it behind its back.
async fn remembering() -> (Shop, Shop) {
    let shop = Shop::start().await;
    (shop.replica(Cache::new(10).lasting(EVER)), shop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_step_is_forgotten_like_the_first_for_it_may_be_answered_in_its_place() {
    let (here, elsewhere) = remembering().await;
    let tea = elsewhere.product(10).await;
    let (order, cancel) = (order(1, &[(tea, 2)]), Uuid::now_v7());
    assert_eq!(here.stock(tea).await, 10);
    elsewhere.reserve(&order).await.done();
    assert_eq!(here.stock(tea).await, 10);
    here.reserve(&order).await.done();
    assert_eq!(here.stock(tea).await, 8);
    elsewhere.release(&order).await;
    assert_eq!(here.stock(tea).await, 8);
    here.release(&order).await;
    assert_eq!(here.stock(tea).await, 10);
    let cancelled = cancelled(1, &[(tea, 2)]);
    elsewhere.restock(cancel, &cancelled).await.unwrap().done();
    assert_eq!(here.stock(tea).await, 10);
    here.restock(cancel, &cancelled).await.unwrap().done();
    assert_eq!(here.stock(tea).await, 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_order_changed_nothing_and_nothing_is_forgotten() {
    let (here, elsewhere) = remembering().await;
    let tea = elsewhere.product(10).await;
    assert_eq!(here.stock(tea).await, 10);
    add_one(&elsewhere, tea).await;
    let order = order(1, &[(tea, 12)]);
    let rejection = here.reserve(&order).await.rejection();
    assert_eq!(rejection.reason, Reason::InsufficientStock);
    here.release(&order).await;
    assert_eq!(here.stock(tea).await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_products_of_a_step_that_failed_are_forgotten_for_nobody_knows_its_outcome() {
    let (here, elsewhere) = remembering().await;
    let tea = elsewhere.product(10).await;
    assert_eq!(here.stock(tea).await, 10);
    add_one(&elsewhere, tea).await;
    let lost = cancelled(1, &[(tea, 1), (9_999, 1)]);
    let failed = here.restock(Uuid::now_v7(), &lost).await.unwrap_err();
    assert_eq!(failed.code(), Code::Internal);
    assert_eq!(here.stock(tea).await, 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_caller_went_away_is_done_and_its_products_are_forgotten_after_it() {
    let (here, elsewhere) = remembering().await;
    let tea = elsewhere.product(100).await;
    for id in 1..=20 {
        let before = here.stock(tea).await;
        let order = order(id, &[(tea, 2)]);
        tokio::select! {
            biased;
            // It is polled once, and queued by that.
            _ = here.reserve(&order) => {}
            () = std::future::ready(()) => {}
        }
        // What is read before the commit is remembered, until the commit makes it forgotten.
        until(async || here.stock(tea).await == before - 2).await;
        tokio::select! {
            biased;
            _ = here.release(&order) => {}
            () = std::future::ready(()) => {}
        }
        until(async || here.stock(tea).await == before).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_or_is_gone_costs_no_answer() {
    let redis = redis().await;
    let shop = Shop::start().await;
    let cached = || shop.replica(Cache::new(10).with_redis(&redis.url(), "test").unwrap());
    let tea = shop.product(5).await;
    let before = cached();
    assert_eq!(before.stock(tea).await, 5);
    let pid = i32::try_from(redis.pid().unwrap()).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let hung = cached();
    assert_eq!((before.stock(tea).await, hung.stock(tea).await), (5, 5));
    redis.kill().await.unwrap();
    let gone = cached();
    let answer = gone.public().batch_get_products(batch(vec![tea, 999])).await.unwrap();
    let answer = answer.into_inner();
    assert_eq!((answer.products[0].stock, answer.missing_product_ids), (5, vec![999]));
    let cake = gone.admin().create_product(create("cake", 1, 3)).await.unwrap().into_inner();
    assert_eq!(gone.stock(cake.product.unwrap().product_id).await, 3);
    redis.restart().await.unwrap();
    assert_eq!((before.stock(tea).await, hung.stock(tea).await), (5, 5));
}

/// Not a test of what is right but a measurement: `cargo test --release -p product --test service -- --ignored --nocapture
/// reads_with_and_without`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures"]
#[expect(clippy::print_stdout, reason = "what it is for")]
async fn reads_with_and_without_caches() {
    const CALLERS: usize = 32;
    const CALLS: usize = 2_000;
    let redis = redis().await;
    let shop = Shop::start().await;
    let mut products = Vec::new();
    for _ in 0..100 {
        products.push(shop.product(5).await);
    }
    let products = Arc::new(products);
    let with_redis = |capacity| Cache::new(capacity).with_redis(&redis.url(), "test").unwrap();
    let kinds = [
        ("no cache", shop.replica(None)),
        ("redis", shop.replica(with_redis(0))),
        ("in process", shop.replica(Cache::new(10_000))),
        ("in process and redis", shop.replica(with_redis(10_000))),
    ];
    for (kind, shop) in kinds {
        let began = std::time::Instant::now();
        let callers = (0..CALLERS).map(|caller| {
            let (mut public, products) = (shop.public(), Arc::clone(&products));
            tokio::spawn(async move {
                let mut times = Vec::with_capacity(CALLS);
                for call in 0..CALLS {
                    let product_id = products[(call * 7 + caller) % products.len()];
                    let asked = std::time::Instant::now();
                    public.get_product(GetProductRequest { product_id }).await.unwrap();
                    times.push(asked.elapsed());
                }
                times
            })
        });
        let mut times = Vec::new();
        for caller in callers.collect::<Vec<_>>() {
            times.extend(caller.await.unwrap());
        }
        let calls = u128::try_from(times.len()).unwrap();
        let rate = calls * 1_000_000 / began.elapsed().as_micros();
        times.sort_unstable();
        let p95 = times[times.len() * 95 / 100];
        println!("{kind}: {rate} calls/s, p95 {p95:?}, {CALLERS} callers, 100 products");
    }
}
