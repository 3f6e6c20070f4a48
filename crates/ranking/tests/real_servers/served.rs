//! From the order schema's outbox to the answers of the service.

use crate::support::{Shop, client, ranking, start};
use api::Reason;
use api::order::v1::OrderConfirmed;
use api::ranking::v1::ranking_admin_service_client::RankingAdminServiceClient;
use api::ranking::v1::ranking_admin_service_server::RankingAdminService;
use api::ranking::v1::ranking_service_client::RankingServiceClient;
use api::ranking::v1::ranking_service_server::RankingService;
use api::ranking::v1::{
    ListTopProductsRequest, ListTopProductsResponse, RebuildRankingRequest, RebuildRankingResponse,
};
use chrono::TimeDelta;
use events::Bus;
use prost::Name;
use ranking::{CONSUMER, Service};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tonic::{Code, Request, Response, Status};

async fn list(service: &Service, limit: i32) -> Result<ListTopProductsResponse, Status> {
    let request = Request::new(ListTopProductsRequest { limit });
    service.list_top_products(request).await.map(Response::into_inner)
}

async fn rebuild(service: &Service, id: &str) -> Response<RebuildRankingResponse> {
    let request = RebuildRankingRequest { request_id: id.to_owned() };
    service.rebuild_ranking(Request::new(request)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_count_and_units_do_not() {
    let shop = Shop::open().await;
    let _counter = shop.count();
    shop.order(1, &[(1, i32::MAX)]).await;
    shop.order(2, &[(2, 1)]).await;
    shop.order(3, &[(2, 1), (3, 5)]).await;
    shop.settled().await;
    assert_eq!(ranking(&shop.store).await, [(2, 2), (3, 1), (1, 1)]);

    let service = shop.service(Duration::ZERO);
    let answer = list(&service, 2).await.unwrap();
    let places: Vec<_> = answer
        .products
        .iter()
        .map(|top| (top.rank, top.product_id, top.name.as_str(), top.price_won, top.order_count))
        .collect();
    assert_eq!(places, [(1, 2, "product 2", 200, 2), (2, 3, "product 3", 300, 1)]);
    let as_of = start() + TimeDelta::microseconds(3);
    assert_eq!(answer.as_of.unwrap().nanos, 3_000);
    assert_eq!(answer.as_of.unwrap().seconds, as_of.timestamp());
    assert_eq!(answer.window_start.unwrap().seconds, as_of.timestamp() - 72 * 3_600 - 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_places_unless_told_otherwise_and_never_more_than_a_hundred() {
    let shop = Shop::open().await;
    let _counter = shop.count();
    let service = shop.service(Duration::ZERO);
    assert_eq!(list(&service, 0).await.unwrap().products, [], "nothing was ordered");
    let lines: Vec<(i64, i32)> = (1..=100).map(|product| (product, 1)).collect();
    shop.order(1, &lines).await;
    shop.order(2, &[(101, 1)]).await;
    let all: Vec<(i64, i64)> = [101].into_iter().chain(1..=100).map(|id| (id, 1)).collect();
    shop.shows(&all).await;
    assert_eq!(list(&service, 0).await.unwrap().products.len(), 5);
    assert_eq!(list(&service, 100).await.unwrap().products.len(), 100);
    for limit in [-1, 101] {
        let refused = list(&service, limit).await.unwrap_err();
        assert_eq!(api::Refusal::from_status(&refused).unwrap().reason, Reason::InvalidField);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_order_is_taken_back() {
    let shop = Shop::open().await;
    let _counter = shop.count();
    let placed_at = start();
    shop.order(1, &[(1, 1), (2, 1)]).await;
    shop.order(2, &[(1, 1)]).await;
    shop.shows(&[(1, 2), (2, 1)]).await;
    shop.cancel(1, placed_at, &[1, 2]).await;
    shop.shows(&[(1, 1)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_makes_no_sense_stops_nothing() {
    let shop = Shop::open().await;
    let _counter = shop.count();
    shop.append(OrderConfirmed::full_name(), 1, 1, vec![0xff]).await;
    shop.append("commerce.order.v1.OrderPainted".to_owned(), 1, 2, vec![0xff]).await;
    shop.order(1, &[(1, 1)]).await;
    shop.shows(&[(1, 1)]).await;
    let letters = shop.bus.dead_letters(CONSUMER).await.unwrap();
    assert_eq!(letters.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_count_each_order_once() {
    let shop = Shop::open().await;
    let _counters = [shop.count(), shop.count()];
    for order in 1..=200 {
        shop.order(order, &[(order % 2, 1)]).await;
    }
    shop.shows(&[(0, 100), (1, 100)]).await;
    shop.order(201, &[(1, 1)]).await;
    shop.shows(&[(1, 101), (0, 100)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_flush_the_counts_come_back_and_no_read_fails_meanwhile() {
    let shop = Shop::open().await;
    let _counter = shop.count();
    for order in 1..=300 {
        shop.order(order, &[(1 + order % 3, 1), (9, 1)]).await;
    }
    let expected = [(9, 300), (1, 100), (3, 100), (2, 100)];
    shop.shows(&expected).await;
    let service = shop.service(Duration::ZERO);
    assert_eq!(list(&service, 1).await.unwrap().products[0].order_count, 300);
    shop.flush().await;
    let reader = {
        let service = service.clone();
        tokio::spawn(async move {
            for _ in 0..200 {
                let answer = list(&service, 1).await.unwrap();
                assert_eq!(answer.products[0].order_count, 300);
                tokio::task::yield_now().await;
            }
        })
    };
    shop.shows(&expected).await;
    reader.await.unwrap();
    // A process that has no copy yet waits for the counts.
    shop.flush().await;
    assert_eq!(list(&shop.service(Duration::ZERO), 1).await.unwrap().products[0].order_count, 300);
    shop.order(301, &[(1, 1)]).await;
    shop.shows(&[(9, 300), (1, 101), (3, 100), (2, 100)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_puts_a_moved_score_right_and_a_repeat_gets_the_same_answer() {
    let shop = Shop::open().await;
    let _counter = shop.count();
    for order in 1..=20 {
        shop.order(order, &[(order % 2, 1)]).await;
    }
    shop.cancel(20, start() + TimeDelta::microseconds(19), &[0]).await;
    shop.shows(&[(1, 10), (0, 9)]).await;
    let mut connection = client(&shop.redis).get_multiplexed_async_connection().await.unwrap();
    let totals: Vec<String> =
        redis::cmd("KEYS").arg("test:*:total").query_async(&mut connection).await.unwrap();
    let mut spoil = redis::cmd("ZINCRBY");
    let _: String = spoil.arg(&totals[0]).arg(7).arg(0).query_async(&mut connection).await.unwrap();
    shop.shows(&[(0, 16), (1, 10)]).await;

    let service = shop.service(Duration::ZERO);
    let id = "0b6c8f52-6c1e-4a52-9a0b-52c1c7f0a9d1";
    let (first, twin) = tokio::join!(rebuild(&service, id), rebuild(&service, id));
    shop.shows(&[(1, 10), (0, 9)]).await;
    assert_eq!(first.get_ref().events, 21);
    assert_eq!(first.get_ref(), twin.get_ref());
    let repeat = rebuild(&service, id).await;
    assert_eq!(repeat.get_ref(), first.get_ref());
    assert_eq!(repeat.metadata().get("idempotency-replayed").unwrap(), "true");
    let replayed =
        [&first, &twin].map(|answer| answer.metadata().contains_key("idempotency-replayed"));
    assert_eq!(replayed.iter().filter(|replayed| **replayed).count(), 1);

    shop.order(21, &[(1, 1)]).await;
    shop.shows(&[(1, 11), (0, 9)]).await;
    for (id, reason) in [("", Reason::RequestIdRequired), ("x", Reason::InvalidField)] {
        let request = Request::new(RebuildRankingRequest { request_id: id.to_owned() });
        let refused = service.rebuild_ranking(request).await.unwrap_err();
        assert_eq!(api::Refusal::from_status(&refused).unwrap().reason, reason);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_readers_share_one_copy() {
    let shop = Shop::open().await;
    let _counter = shop.count();
    shop.order(1, &[(1, 1)]).await;
    shop.shows(&[(1, 1)]).await;
    let service = shop.service(Duration::from_hours(1));
    let readers = (0..50).map(|_| {
        let service = service.clone();
        tokio::spawn(async move { list(&service, 5).await.unwrap().products.len() })
    });
    for reader in readers.collect::<Vec<_>>() {
        assert_eq!(reader.await.unwrap(), 1);
    }
    assert_eq!(shop.catalogue.0.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_offered_the_list_and_operators_alone_the_rebuild() {
    let shop = Shop::open().await;
    let _counter = shop.count();
    shop.order(1, &[(1, 1)]).await;
    shop.shows(&[(1, 1)]).await;
    let service = shop.service(Duration::ZERO);
    let top = ListTopProductsRequest { limit: 1 };
    let request = RebuildRankingRequest { request_id: testkit::request_id() };
    let mut everybody = RankingServiceClient::new(service.public());
    let answer = everybody.list_top_products(top).await.unwrap();
    assert_eq!(answer.into_inner().products.len(), 1);
    let mut operators = RankingAdminServiceClient::new(service.admin());
    let answer = operators.rebuild_ranking(request.clone()).await.unwrap();
    assert_eq!(answer.into_inner().events, 1);

    let mut everybody = RankingAdminServiceClient::new(service.public());
    let refused = everybody.rebuild_ranking(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    let mut operators = RankingServiceClient::new(service.admin());
    let refused = operators.list_top_products(top).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
}
