//! Every list, over two replicas that take calls in turn: newest first, nothing skipped, nothing twice.
//!
//! Ids come in blocks per replica, so that they do not follow one another in time.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use api::checkout::v1::{
    CancelOrderRequest, CheckoutLine, ListCheckoutsRequest, PlaceOrderRequest,
};
use api::order::v1::ListOrdersRequest;
use api::product::v1::ListStockMovementsRequest;
use api::saga::v1::saga_admin_service_client::SagaAdminServiceClient;
use api::saga::v1::{ListSagasRequest, SagaState};
use api::wallet::v1::ListWalletTransactionsRequest;
use commerce::config::Config;
use commerce::process::Process;
use commerce::roles::Roles;
use migrations::Schema;
use prost_types::Timestamp;
use std::net::SocketAddr;
use testkit::{Shop, checkout_on, orders_on, place, product_admin_on, request_id, wallets_on};
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

/// Orders at first; as many follow while the pages are read.
const ORDERS: usize = 8;
/// Items a page.
const PAGE: i32 = 3;

/// Another process on the databases of a shop.
async fn replica(shop: &Shop) -> Process {
    let mut settings = vec![("redis.url".to_owned(), shop.redis_url())];
    for schema in Schema::ALL {
        settings.push((format!("database.{}.url", schema.name()), shop.url(schema)));
    }
    for listener in ["public", "participant", "admin"] {
        settings.push((format!("listen.{listener}"), "127.0.0.1:0".to_owned()));
    }
    let settings = settings.iter().map(|(key, value)| (key.as_str(), value.clone()));
    Process::start(&Config::with(settings).unwrap(), &Roles::all()).await.unwrap()
}

fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

/// A page: when each item began, its key, and the token of the next page.
type Page = (Vec<(Timestamp, String)>, String);

/// All items, read from the replicas in turn, while `meanwhile` makes new ones.
async fn all(
    mut page: impl AsyncFnMut(usize, String) -> Page,
    mut meanwhile: impl AsyncFnMut(),
) -> Vec<(Timestamp, String)> {
    let (mut items, mut token) = (Vec::new(), String::new());
    for round in 0.. {
        let (found, next) = page(round % 2, token).await;
        items.extend(found);
        if next.is_empty() {
            break;
        }
        token = next;
        meanwhile().await;
    }
    items
}

/// The first items by time must be the last of the list, in the same order and each once.
fn assert_newest_first(what: &str, listed: &[(Timestamp, String)], placed: &[String]) {
    let old: Vec<&String> =
        listed.iter().map(|it| &it.1).filter(|it| placed.contains(it)).collect();
    let newest_first: Vec<&String> = placed.iter().rev().collect();
    assert_eq!(old, newest_first, "{what}");
    let micros = |at: &Timestamp| (at.seconds, at.nanos);
    assert!(listed.windows(2).all(|it| micros(&it[0].0) >= micros(&it[1].0)), "{what}: {listed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_replicas_made_in_turn_is_listed_newest_first_and_nothing_is_skipped() {
    let shop = Shop::start().await;
    let other = replica(&shop).await;
    let (public, admin) = (other.listening().public, other.listening().admin);
    let channels = [shop.channel().await, channel(public)];
    let admins = [shop.admin_channel().await, channel(admin)];
    let (user_id, product_id) = (shop.user(1_000_000).await, shop.product(10, 1_000).await);
    let order = async |on: usize| {
        let lines = vec![CheckoutLine { product_id, quantity: 1 }];
        let (request_id, coupon_id) = (request_id(), None);
        let request =
            PlaceOrderRequest { request_id, user_id, lines, coupon_id, expected_total_won: None };
        place(channels[on].clone(), request).await.unwrap().order_id.to_string()
    };
    let mut placed = Vec::new();
    for round in 0..ORDERS {
        placed.push(order(round % 2).await);
    }
    let ids: Vec<i64> = placed.iter().map(|id| id.parse().unwrap()).collect();
    assert!(!ids.is_sorted(), "each replica has a block of its own: {ids:?}");
    let meanwhile = async || {
        order(0).await;
        order(1).await;
    };

    let listed = all(
        async |on, page_token| {
            let request =
                ListOrdersRequest { user_id, page_size: PAGE, page_token, ..Default::default() };
            let page = orders_on(channels[on].clone()).list_orders(request).await.unwrap();
            let page = page.into_inner();
            let items = page.orders.into_iter();
            let items = items.map(|it| (it.created_at.unwrap(), it.order_id.to_string()));
            (items.collect(), page.next_page_token)
        },
        &meanwhile,
    )
    .await;
    assert_newest_first("ListOrders", &listed, &placed);

    shop.sagas_ended().await;
    let listed = all(
        async |on, page_token| {
            let request =
                ListCheckoutsRequest { user_id, page_size: PAGE, page_token, ..Default::default() };
            let page = checkout_on(channels[on].clone()).list_checkouts(request).await.unwrap();
            let page = page.into_inner();
            let items = page.checkouts.into_iter().map(|it| {
                let (at, order) = (it.created_at.unwrap(), it.order.unwrap());
                (milliseconds(at), order.order_id.to_string())
            });
            (items.collect(), page.next_page_token)
        },
        &meanwhile,
    )
    .await;
    assert_newest_first("ListCheckouts", &listed, &placed);

    let listed = all(
        async |on, page_token| {
            let request =
                ListSagasRequest { page_size: PAGE, page_token, ..ListSagasRequest::default() };
            let mut client = SagaAdminServiceClient::new(admins[on].clone());
            let page = client.list_sagas(request).await.unwrap().into_inner();
            let items = page.sagas.into_iter();
            let items =
                items.map(|it| (milliseconds(it.created_at.unwrap()), it.order_id.to_string()));
            (items.collect(), page.next_page_token)
        },
        &meanwhile,
    )
    .await;
    assert_newest_first("ListSagas", &listed, &placed);

    // A ledger and the movements of a stock are numbered without gaps, whoever wrote them.
    let listed = all(
        async |on, page_token| {
            let request = ListWalletTransactionsRequest {
                user_id,
                page_size: PAGE,
                page_token,
                ..Default::default()
            };
            let page = wallets_on(channels[on].clone()).list_wallet_transactions(request).await;
            let page = page.unwrap().into_inner();
            let items = page.transactions.into_iter();
            let items = items.map(|it| (Timestamp::default(), it.seq.to_string()));
            (items.collect(), page.next_page_token)
        },
        async || {},
    )
    .await;
    let numbers: Vec<String> = (1..=listed.len()).map(|it| it.to_string()).collect();
    assert_newest_first("ListWalletTransactions", &listed, &numbers);
    let listed = all(
        async |on, page_token| {
            let request = ListStockMovementsRequest { product_id, page_size: PAGE, page_token };
            let page = product_admin_on(admins[on].clone()).list_stock_movements(request).await;
            let page = page.unwrap().into_inner();
            let items = page.movements.into_iter();
            let items = items.map(|it| (Timestamp::default(), it.seq.to_string()));
            (items.collect(), page.next_page_token)
        },
        async || {},
    )
    .await;
    let numbers: Vec<String> = (1..=listed.len()).map(|it| it.to_string()).collect();
    assert_newest_first("ListStockMovements", &listed, &numbers);
    other.stop().await;
    shop.stop_and_audit().await;
}

/// The ids of all sagas that fit, page by page.
async fn sagas(shop: &Shop, filter: &ListSagasRequest) -> Vec<String> {
    let mut client = SagaAdminServiceClient::new(shop.admin_channel().await);
    let mut request = ListSagasRequest { page_size: 1, ..filter.clone() };
    let mut found = Vec::new();
    loop {
        let page = client.list_sagas(request.clone()).await.unwrap().into_inner();
        found.extend(page.sagas.into_iter().map(|it| it.saga_id));
        if page.next_page_token.is_empty() {
            return found;
        }
        request.page_token = page.next_page_token;
    }
}

/// An order in a trace of its own, cancelled again. Returns the user, the order and its two sagas, the newest first.
async fn cancelled_order(shop: &Shop, trace_id: &str) -> (i64, i64, Vec<String>) {
    let (user_id, product_id) = (shop.user(10_000).await, shop.product(10, 100).await);
    let (request_id, coupon_id) = (request_id(), None);
    let lines = vec![CheckoutLine { product_id, quantity: 1 }];
    let request =
        PlaceOrderRequest { request_id, user_id, lines, coupon_id, expected_total_won: None };
    let mut traced = Request::new(request);
    traced.metadata_mut().insert("x-trace-id", trace_id.parse().unwrap());
    let placed = shop.checkout().place_order(traced).await.unwrap().into_inner();
    let order_id = placed.order.unwrap().order_id;
    let request = CancelOrderRequest { request_id: testkit::request_id(), user_id, order_id };
    let mut traced = Request::new(request);
    traced.metadata_mut().insert("x-trace-id", trace_id.parse().unwrap());
    let cancelled = shop.checkout().cancel_order(traced).await.unwrap().into_inner();
    (user_id, order_id, vec![cancelled.checkout_id, placed.checkout_id])
}

#[tokio::test(flavor = "multi_thread")]
async fn sagas_are_found_by_user_order_trace_kind_state_and_time() {
    let shop = Shop::start().await;
    cancelled_order(&shop, "before").await;
    let (user, order, both) = cancelled_order(&shop, "wanted").await;
    cancelled_order(&shop, "after").await;
    shop.settled().await;
    let any = ListSagasRequest::default();
    let fits = async |filter: ListSagasRequest| sagas(&shop, &filter).await;
    assert_eq!(fits(any.clone()).await.len(), 6);
    assert_eq!(fits(ListSagasRequest { user_id: Some(user), ..any.clone() }).await, both);
    assert_eq!(fits(ListSagasRequest { order_id: Some(order), ..any.clone() }).await, both);
    let traced = ListSagasRequest { trace_id: "wanted".to_owned(), ..any.clone() };
    assert_eq!(fits(traced.clone()).await, both);
    assert_eq!(
        fits(ListSagasRequest { kind: "cancel".to_owned(), ..traced.clone() }).await,
        both[..1]
    );
    let failed = ListSagasRequest { state: SagaState::Failed.into(), ..traced.clone() };
    assert_eq!(fits(failed).await, [""; 0]);
    let nobody = ListSagasRequest { user_id: Some(shop.unused_user()), ..any.clone() };
    assert_eq!(fits(nobody).await, [""; 0]);

    // The instants of the two, each a bound: the first inclusive, the last exclusive, to the millisecond.
    let mut client = SagaAdminServiceClient::new(shop.admin_channel().await);
    let page = client.list_sagas(traced).await.unwrap().into_inner();
    let began = |at: usize| milliseconds(page.sagas[at].created_at.unwrap());
    let of_user = ListSagasRequest { user_id: Some(user), ..any };
    let since = ListSagasRequest { created_from: Some(began(1)), ..of_user.clone() };
    assert_eq!(fits(since).await, both);
    let until = ListSagasRequest { created_to: Some(began(1)), ..of_user };
    assert_eq!(fits(until).await, [""; 0]);
    shop.stop_and_audit().await;
}

/// Ids of sagas begin with their milliseconds, and are listed by them.
fn milliseconds(at: Timestamp) -> Timestamp {
    Timestamp { seconds: at.seconds, nanos: at.nanos / 1_000_000 * 1_000_000 }
}
