//! Reads while others read, while Redis hangs, and while the counts are lost and made again.

use crate::support::{Catalogue, Shop, client, ranking};
use api::product::v1::Product;
use api::ranking::v1::ranking_admin_service_server::RankingAdminService;
use api::ranking::v1::ranking_service_server::RankingService;
use api::ranking::v1::{ListTopProductsRequest, ListTopProductsResponse, RebuildRankingRequest};
use async_trait::async_trait;
use chrono::TimeDelta;
use ranking::{Products, Service};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tonic::{Request, Response, Status};

async fn list(service: &Service) -> Result<ListTopProductsResponse, Status> {
    let request = Request::new(ListTopProductsRequest { limit: 5 });
    service.list_top_products(request).await.map(Response::into_inner)
}

fn max_age(answer: &ListTopProductsResponse) -> Duration {
    Duration::try_from(answer.max_age.unwrap()).unwrap()
}

/// Knows every product, answers when it may, and notes how many ask it at once.
struct Gate {
    catalogue: Catalogue,
    may: Semaphore,
    inside: AtomicUsize,
    most: AtomicUsize,
}

impl Gate {
    fn closed() -> Arc<Self> {
        let (catalogue, may) = (Catalogue::default(), Semaphore::new(0));
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { catalogue, may, inside, most })
    }

    fn asked(&self) -> usize {
        self.catalogue.0.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Products for Gate {
    async fn get(&self, ids: Vec<i64>) -> Result<Vec<Product>, Status> {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(inside, Ordering::SeqCst);
        let products = self.catalogue.get(ids).await;
        self.may.acquire().await.unwrap().forget();
        self.inside.fetch_sub(1, Ordering::SeqCst);
        products
    }
}

async fn shop_with_an_order() -> Shop {
    let shop = Shop::open().await;
    let _counter = shop.count();
    shop.order(1, &[(1, 1)]).await;
    shop.shows(&[(1, 1)]).await;
    shop
}

#[tokio::test(flavor = "multi_thread")]
async fn at_most_one_refresh_is_under_way_and_all_who_wait_share_it() {
    let shop = shop_with_an_order().await;
    let gate = Gate::closed();
    // A copy is never fresh: each reader needs one that was begun after he asked.
    let service = Service::new(shop.store.clone(), shop.rebuild(), gate.clone(), Duration::ZERO);
    let service = Arc::new(service);
    let mut readers = JoinSet::new();
    let read = |readers: &mut JoinSet<usize>| {
        let service = service.clone();
        readers.spawn(async move { list(&service).await.unwrap().products.len() });
    };
    read(&mut readers);
    while gate.asked() < 1 {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        read(&mut readers);
    }
    tokio::task::yield_now().await;
    gate.may.add_permits(1_000);
    assert_eq!(readers.join_all().await, [1; 101]);
    assert_eq!(gate.most.load(Ordering::SeqCst), 1, "refreshes at once");
    assert!(gate.asked() < 50, "{} refreshes for 101 readers", gate.asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_goes_away_ends_no_refresh() {
    let shop = shop_with_an_order().await;
    let gate = Gate::closed();
    let life = Duration::from_hours(1);
    let service = Service::new(shop.store.clone(), shop.rebuild(), gate.clone(), life);
    let service = Arc::new(service);
    let hasty = tokio::spawn({
        let service = service.clone();
        async move { list(&service).await }
    });
    while gate.asked() < 1 {
        tokio::task::yield_now().await;
    }
    hasty.abort();
    hasty.await.unwrap_err();
    gate.may.add_permits(1);
    assert_eq!(list(&service).await.unwrap().products.len(), 1);
    assert_eq!(gate.asked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_hangs_readers_get_the_last_list_and_are_told_its_age() {
    let shop = shop_with_an_order().await;
    let life = Duration::from_millis(200);
    let service = shop.service(life);
    let last = list(&service).await.unwrap();
    assert!(max_age(&last) >= life);
    shop.hand.advance(TimeDelta::seconds(1));
    let mut connection = client(&shop.redis).get_multiplexed_async_connection().await.unwrap();
    let mut pause = redis::cmd("CLIENT");
    let () = pause.arg("PAUSE").arg(120_000).query_async(&mut connection).await.unwrap();
    let (mut age, mut rounds) = (max_age(&last), 0);
    while age <= 2 * life || rounds < 5 {
        rounds += 1;
        let mut readers = JoinSet::new();
        for _ in 0..20 {
            let service = service.clone();
            readers.spawn(async move { list(&service).await.unwrap() });
        }
        for answer in readers.join_all().await {
            // Had they waited for Redis one after the other, the pause would be over, and the list a new one.
            assert_eq!(answer.as_of, last.as_of);
            assert_eq!(answer.products, last.products);
            age = age.max(max_age(&answer));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_go_on_through_flushes_and_rebuilds_and_each_is_answered_with_whole_counts() {
    let shop = Shop::open().await;
    let _counters = [shop.count(), shop.count()];
    for order in 1..=300 {
        shop.order(order, &[(1 + order % 3, 1), (9, 1)]).await;
    }
    let expected = [(9, 300), (1, 100), (3, 100), (2, 100)];
    shop.shows(&expected).await;
    let service = shop.service(Duration::ZERO);
    list(&service).await.unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let mut readers = JoinSet::new();
    for _ in 0..4 {
        let (service, is_over, answered) = (service.clone(), is_over.clone(), answered.clone());
        readers.spawn(async move {
            while !is_over.load(Ordering::SeqCst) {
                let answer = list(&service).await.unwrap();
                let counts = answer.products.iter().map(|top| top.order_count);
                assert_eq!(counts.collect::<Vec<_>>(), [300, 100, 100, 100]);
                answered.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    for round in 0..3 {
        let before = answered.load(Ordering::SeqCst);
        shop.flush().await;
        shop.shows(&expected).await;
        let request_id = uuid::Uuid::from_u128(round + 1).to_string();
        let request = Request::new(RebuildRankingRequest { request_id });
        service.rebuild_ranking(request).await.unwrap();
        assert_eq!(ranking(&shop.store).await, expected);
        while answered.load(Ordering::SeqCst) < before + 20 {
            tokio::task::yield_now().await;
        }
    }
    is_over.store(true, Ordering::SeqCst);
    while let Some(reader) = readers.join_next().await {
        reader.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_come_and_go_count_each_order_once() {
    let shop = Shop::open().await;
    let mut counters = vec![shop.count(), shop.count()];
    for order in 1..=400 {
        shop.order(order, &[(order % 2, 1)]).await;
        if order % 40 == 0 {
            drop(counters.remove(0));
            counters.push(shop.count());
        }
    }
    shop.settled().await;
    assert_eq!(ranking(&shop.store).await, [(0, 200), (1, 200)]);
}
