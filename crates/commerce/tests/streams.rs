//! `StreamEvents` of a whole shop: nothing lost, nothing doubled, over restarts and ends of any kind.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use api::events::v1::{EventEnvelope, EventSource, StreamEventsRequest, StreamEventsResponse};
use api::order::v1::OrderConfirmed;
use api::wallet::v1::WalletDebited;
use api::{Reason, Refusal};
use commerce::config::Config;
use commerce::process::Process;
use commerce::roles::Roles;
use db::Conn;
use diesel::QueryableByName;
use diesel::sql_types::BigInt;
use diesel_async::SimpleAsyncConnection;
use events::message::{self, type_of};
use migrations::Schema;
use prost::Name;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use testkit::{Shop, events_on, reason};
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

fn from(source: EventSource, cursor: &str) -> StreamEventsRequest {
    from_all(&[source], cursor)
}

fn from_all(sources: &[EventSource], cursor: &str) -> StreamEventsRequest {
    let sources = sources.iter().map(|source| i32::from(*source)).collect();
    StreamEventsRequest { sources, cursor: cursor.to_owned(), types: Vec::new() }
}

fn of(event_type: &str, request: StreamEventsRequest) -> StreamEventsRequest {
    StreamEventsRequest { types: vec![event_type.to_owned()], ..request }
}

async fn open(
    shop: &Shop,
    request: StreamEventsRequest,
) -> Result<Streaming<StreamEventsResponse>, Status> {
    Ok(shop.events().stream_events(request).await?.into_inner())
}

/// The next `count` events, and where to go on.
async fn next(
    stream: &mut Streaming<StreamEventsResponse>,
    count: usize,
) -> (Vec<EventEnvelope>, String) {
    let (mut events, mut at) = (Vec::new(), String::new());
    while events.len() < count {
        let StreamEventsResponse { event, cursor } = stream.message().await.unwrap().unwrap();
        events.extend(event);
        at = cursor;
    }
    (events, at)
}

fn names(events: &[EventEnvelope]) -> Vec<(&str, i64, i64)> {
    events.iter().map(|event| (type_of(event), event.aggregate_id, event.version)).collect()
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// Users with money, who charge their wallets at once.
async fn customers(shop: &Shop, count: usize) -> Vec<i64> {
    futures_util::future::join_all((0..count).map(|_| shop.user(1_000_000))).await
}

/// Follows the orders over every end of the stream, until there is nothing more and the shop is closed: which it saw, and
/// how often the stream ended.
async fn follow(shop: Arc<Shop>, is_open: Arc<AtomicBool>) -> (Vec<i64>, usize) {
    let (mut seen, mut cursor, mut ends) = (Vec::new(), String::new(), 0);
    loop {
        let Ok(mut stream) = open(&shop, from(EventSource::Order, &cursor)).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        loop {
            // Cut off by the client at any place, too.
            let answer = tokio::time::timeout(Duration::from_secs(1), stream.message()).await;
            match answer {
                Ok(Ok(Some(response))) => {
                    let confirmed = response.event.map(|event| {
                        message::read::<OrderConfirmed>(&event).unwrap().unwrap().order_id
                    });
                    seen.extend(confirmed);
                    cursor = response.cursor;
                }
                Err(_) if !is_open.load(Ordering::SeqCst) => return (seen, ends),
                Ok(Ok(None)) => panic!("a stream has no end"),
                Ok(Err(_)) | Err(_) => break,
            }
        }
        ends += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_on_by_its_cursor_misses_and_doubles_nothing_over_restarts() {
    let shop = Arc::new(Shop::start().await);
    let (product, users) = (shop.product(1_000, 1_000_000).await, customers(&shop, 8).await);
    let is_open = Arc::new(AtomicBool::new(true));
    let follower = tokio::spawn(follow(shop.clone(), is_open.clone()));
    let mut placed = BTreeSet::new();
    for round in 0..3 {
        for _ in 0..10 {
            let lines = [(product, 1)];
            let orders = users.iter().map(|user| shop.order(*user, &lines));
            for order in futures_util::future::join_all(orders).await {
                placed.insert(order.unwrap().order_id);
            }
        }
        if round < 2 {
            shop.restart().await;
        }
    }
    shop.settled().await;
    is_open.store(false, Ordering::SeqCst);
    let (seen, ends) = follower.await.unwrap();
    assert!(ends >= 2, "the stream ended {ends} times");
    assert_eq!(seen.len(), placed.len());
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), placed);
    shop.stop_and_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_an_aggregate_come_in_their_order_and_only_of_the_wanted_types() {
    let shop = Shop::start().await;
    let product = shop.product(1_000, 1_000).await;
    let users = customers(&shop, 3).await;
    for _ in 0..5 {
        for user in &users {
            shop.order(*user, &[(product, 1)]).await.unwrap();
        }
    }
    shop.settled().await;
    let told = testkit::told(&shop.db(Schema::Wallet).await).await;
    let mut expected: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for event in &told {
        expected.entry(event.aggregate_id).or_default().push(event.version);
    }
    let mut stream = open(&shop, from(EventSource::Wallet, "")).await.unwrap();
    let (events, end) = next(&mut stream, told.len()).await;
    let mut versions: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for event in &events {
        assert_ne!(type_of(event), message::BATCH);
        versions.entry(event.aggregate_id).or_default().push(event.version);
    }
    assert_eq!(versions, expected);

    let debited = WalletDebited::full_name();
    let debits = told.iter().filter(|event| type_of(event) == debited).count();
    let request = of(&debited, from(EventSource::Wallet, ""));
    let (events, _) = next(&mut open(&shop, request).await.unwrap(), debits).await;
    assert!(events.iter().all(|event| type_of(event) == debited));
    // Nothing of a rare type: told all the same how far it came.
    let request = of("commerce.wallet.v1.WalletAdmired", from(EventSource::Wallet, ""));
    let mut rare = open(&shop, request).await.unwrap();
    let passed = rare.message().await.unwrap().unwrap();
    assert_eq!((passed.event, passed.cursor), (None, end.clone()));
    // What comes later comes to a stream that waits.
    shop.order(users[0], &[(product, 1)]).await.unwrap();
    let (later, _) = next(&mut stream, 1).await;
    let version = expected[&users[0]].last().unwrap() + 1;
    assert_eq!(names(&later), [(debited.as_str(), users[0], version)]);
    let (again, _) =
        next(&mut open(&shop, from(EventSource::Wallet, &end)).await.unwrap(), 1).await;
    assert_eq!(again, later);
    shop.stop_and_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cursor_leads_to_what_is_left_also_within_a_message_of_several_events() {
    let shop = Shop::start().await;
    let db = shop.db(Schema::Wallet).await;
    let sql = "SELECT CAST(COUNT(*) AS SIGNED) AS count FROM outbox \
        WHERE event_type = 'commerce.events.v1.EventBatch'";
    let shared = async |conn: &mut Conn| -> db::Result<Count> {
        Ok(diesel_async::RunQueryDsl::get_result(diesel::sql_query(sql), conn).await?)
    };
    while db.read(shared).await.unwrap().count == 0 {
        customers(&shop, 40).await;
    }
    shop.settled().await;
    let mut stream = open(&shop, from(EventSource::Wallet, "")).await.unwrap();
    let all = testkit::told(&db).await.len();
    let (mut events, mut cursors) = (Vec::new(), vec![String::new()]);
    for _ in 0..all {
        let (event, cursor) = next(&mut stream, 1).await;
        events.extend(event);
        cursors.push(cursor);
    }
    // Shards may come in another order than before.
    let ids = |events: &[EventEnvelope]| -> BTreeSet<String> {
        events.iter().map(|event| event.event_id.clone()).collect()
    };
    for (cursor, rest) in cursors.iter().zip((0..all).map(|first| &events[first..])) {
        let mut stream = open(&shop, from(EventSource::Wallet, cursor)).await.unwrap();
        let (again, end) = next(&mut stream, rest.len()).await;
        assert_eq!((ids(&again), &end), (ids(rest), &cursors[all]));
    }
    shop.stop_and_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_of_which_the_outbox_retains_nothing_is_told_and_a_new_beginning_works() {
    let shop = Shop::start().await;
    let (product, users) = (shop.product(1_000, 1_000).await, customers(&shop, 2).await);
    for user in &users {
        shop.order(*user, &[(product, 1)]).await.unwrap();
    }
    shop.settled().await;
    let mut stream = open(&shop, from(EventSource::Order, "")).await.unwrap();
    let (first, cursor) = next(&mut stream, 1).await;
    let sql = "DELETE FROM outbox WHERE position > 0";
    let db = shop.db(Schema::Order).await;
    db.read(async |conn: &mut Conn| conn.batch_execute(sql).await.map_err(db::Error::from))
        .await
        .unwrap();
    let status = open(&shop, from(EventSource::Order, &cursor)).await.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::OutOfRange, Reason::EventsPurged));
    let mut stream = open(&shop, from(EventSource::Order, "")).await.unwrap();
    let order = shop.order(users[0], &[(product, 1)]).await.unwrap().order_id;
    let (events, _) = next(&mut stream, 1).await;
    assert_eq!(names(&events), [("commerce.order.v1.OrderConfirmed", order, 1)]);
    assert_ne!(first, events);
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_another_source_and_one_from_the_future_are_refused() {
    let (shop, other) = (Shop::start().await, Shop::start().await);
    let user = shop.user(5_000).await;
    other.users(3).await;
    other.settled().await;
    shop.settled().await;
    let mut stream = open(&other, from(EventSource::Wallet, "")).await.unwrap();
    let all = testkit::told(&other.db(Schema::Wallet).await).await.len();
    let (_, cursor) = next(&mut stream, all).await;
    for source in [EventSource::Order, EventSource::Wallet] {
        let status = open(&shop, from(source, &cursor)).await.unwrap_err();
        assert_eq!((status.code(), reason(&status)), (Code::InvalidArgument, Reason::InvalidField));
    }
    assert!(user > 0);
    shop.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_bounded_and_their_places_come_back() {
    let shop = Shop::builder().set("limits.event_streams", "2").start().await;
    let streams = [
        open(&shop, from(EventSource::Order, "")).await,
        open(&shop, from(EventSource::Wallet, "")).await,
    ];
    let status = open(&shop, from(EventSource::Order, "")).await.unwrap_err();
    assert_eq!(reason(&status), Reason::Overloaded);
    drop(streams);
    while open(&shop, from(EventSource::Order, "")).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    shop.stop().await;
}

/// A client goes on at once after such an end, and does not take it for an outage.
fn assert_planned(status: &Status, cause: &str) {
    assert_eq!(status.code(), Code::Unavailable);
    let refusal = Refusal::from_status(status).unwrap();
    assert_eq!(
        (refusal.reason, refusal.metadata.get("cause").unwrap().as_str()),
        (Reason::StreamEnded, cause)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_says_that_it_ended_because_the_shop_stops_or_because_it_is_old() {
    let shop = Shop::start().await;
    let mut stream = open(&shop, from(EventSource::Order, "")).await.unwrap();
    let ended = tokio::spawn(async move { stream.message().await.unwrap_err() });
    shop.stop().await;
    assert_planned(&ended.await.unwrap(), "SHUTDOWN");

    let shop = Shop::builder().set("limits.connection_age", "1s").start().await;
    let mut stream = open(&shop, from(EventSource::Order, "")).await.unwrap();
    assert_planned(&stream.message().await.unwrap_err(), "MAX_AGE");
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_serves_the_events_of_its_own_roles() {
    let shop = Shop::start().await;
    let mut settings =
        vec![("database.order.url", shop.url(Schema::Order)), ("redis.url", shop.redis_url())];
    settings.extend(
        ["listen.public", "listen.admin", "listen.participant"]
            .map(|key| (key, "127.0.0.1:0".to_owned())),
    );
    let config = Config::with(settings).unwrap();
    let roles: Roles = "order".parse().unwrap();
    let process = Process::start(&config, &roles).await.unwrap();
    let channel = Channel::from_shared(format!("http://{}", process.listening().admin));
    let mut events = events_on(channel.unwrap().connect().await.unwrap());
    events.stream_events(from(EventSource::Order, "")).await.unwrap();
    let sources = [EventSource::Order, EventSource::Coupon];
    let status = events.stream_events(from_all(&sources, "")).await.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::FailedPrecondition, Reason::EventsNotHere));
    assert_eq!(Refusal::from_status(&status).unwrap().metadata["source"], "coupon");
    process.stop().await;
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stream_follows_all_services_and_its_cursor_leads_on_in_all_of_them() {
    const ALL: [EventSource; 4] =
        [EventSource::Wallet, EventSource::Product, EventSource::Coupon, EventSource::Order];
    let shop = Shop::start().await;
    let (product, users) = (shop.product(1_000, 1_000).await, customers(&shop, 3).await);
    for user in &users {
        shop.order(*user, &[(product, 1)]).await.unwrap();
    }
    shop.settled().await;
    let mut stream = open(&shop, from_all(&ALL, "")).await.unwrap();
    let mut all = 0;
    for schema in [Schema::Wallet, Schema::Product, Schema::Coupon, Schema::Order] {
        all += testkit::told(&shop.db(schema).await).await.len();
    }
    let (events, cursor) = next(&mut stream, all).await;
    assert!(cursor.len() <= 1_024, "{cursor}");
    let mut versions: BTreeMap<(&str, i64), Vec<i64>> = BTreeMap::new();
    for event in &events {
        let aggregate = (event.aggregate_kind.as_str(), event.aggregate_id);
        versions.entry(aggregate).or_default().push(event.version);
    }
    assert!(versions.values().all(|versions| versions.is_sorted()), "{versions:?}");
    let kinds: BTreeSet<&str> = versions.keys().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, BTreeSet::from(["order", "product", "reservation", "wallet"]));

    let order = shop.order(users[0], &[(product, 1)]).await.unwrap().order_id;
    shop.settled().await;
    let reversed: Vec<EventSource> = ALL.into_iter().rev().collect();
    let mut again = open(&shop, from_all(&reversed, &cursor)).await.unwrap();
    let (later, _) = next(&mut again, 3).await;
    let kinds: BTreeSet<&str> = later.iter().map(|event| event.aggregate_kind.as_str()).collect();
    assert_eq!(kinds, BTreeSet::from(["order", "reservation", "wallet"]));
    assert!(later.iter().any(|event| event.aggregate_id == order));
    shop.stop_and_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_not_offered_to_the_public() {
    let shop = Shop::start().await;
    let mut public = events_on(shop.channel().await);
    let status = public.stream_events(from(EventSource::Order, "")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    shop.stop().await;
}
