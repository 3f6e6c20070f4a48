//! A ranking with a clock that tests move, and a shop's order events to feed it.

use api::order::v1::{OrderCancelled, OrderConfirmed, OrderLine};
use api::product::v1::Product;
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use db::{Conn, Db, Script};
use diesel_async::SimpleAsyncConnection;
use embedded::{Redis, RedisOptions};
use events::{Bell, Consumer, Event, RedisStreams, Relay};
use lock::{Locks, Token};
use migrations::Schema;
use prost::{Message, Name};
use ranking::domain::best;
use ranking::store::Clock;
use ranking::{CONSUMER, Counter, Products, Rebuild, Service, Store};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Status;

/// Of whoever changes what is served.
pub(crate) const TOKEN: Token = Token(7);
/// When the tests' clocks start: 2025-07-24 10:30:30 UTC.
pub(crate) fn start() -> DateTime<Utc> {
    "2025-07-24T10:30:30Z".parse().unwrap()
}

/// How far a wrong clock is ahead: more than the window is long.
pub(crate) const HOURS_AHEAD: i64 = 96;

/// A hand of a clock.
#[derive(Clone)]
pub(crate) struct Hand(Arc<AtomicI64>);

impl Hand {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(start().timestamp_micros())))
    }

    pub(crate) fn set(&self, at: DateTime<Utc>) {
        self.0.store(at.timestamp_micros(), Ordering::SeqCst);
    }

    pub(crate) fn advance(&self, by: TimeDelta) {
        self.0.fetch_add(by.num_microseconds().unwrap(), Ordering::SeqCst);
    }
}

pub(crate) async fn redis() -> Redis {
    // Shown when a test fails; the first test of the process wins.
    let _ = tracing_subscriber::fmt().with_test_writer().try_init();
    Redis::start(RedisOptions::temporary()).await.unwrap()
}

pub(crate) fn client(redis: &Redis) -> redis::Client {
    redis::Client::open(redis.url()).unwrap()
}

pub(crate) fn store(redis: &Redis, hand: &Hand) -> Store {
    Store::with_clock(client(redis), "test", Clock::Moved(hand.0.clone())).unwrap()
}

/// Product and count, best first.
pub(crate) async fn ranking(store: &Store) -> Vec<(i64, i64)> {
    let entries = best(store.snapshot().await.unwrap().entries, usize::MAX);
    entries.iter().map(|entry| (entry.product_id, entry.orders)).collect()
}

/// Knows every product, and counts how often it is asked.
#[derive(Default)]
pub(crate) struct Catalogue(pub(crate) AtomicUsize);

#[async_trait]
impl Products for Catalogue {
    async fn get(&self, ids: Vec<i64>) -> Result<Vec<Product>, Status> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let product = |id| Product {
            product_id: id,
            name: format!("product {id}"),
            price_won: id * 100,
            ..Product::default()
        };
        Ok(ids.into_iter().map(product).collect())
    }
}

/// Orders that reach the ranking as they do in the shop.
pub(crate) struct Shop {
    pub(crate) redis: Redis,
    pub(crate) hand: Hand,
    pub(crate) store: Store,
    pub(crate) bus: Arc<RedisStreams>,
    pub(crate) catalogue: Arc<Catalogue>,
    db: Db,
    bell: Bell,
    _relay: DropGuard,
}

pub(crate) fn locks(redis: &Redis) -> Locks {
    Locks::new(client(redis), "test").unwrap()
}

impl Shop {
    pub(crate) async fn open() -> Self {
        let (redis, db) = (redis().await, testkit::database(Schema::Order).await.0);
        let (hand, bell) = (Hand::new(), Bell::default());
        let store = store(&redis, &hand);
        let bus = RedisStreams::new(client(&redis), "test", "order", &[CONSUMER]).unwrap();
        let bus = Arc::new(bus);
        let cancel = CancellationToken::new();
        let options = events::RelayOptions::default();
        let relay = Relay::new(db.clone(), bus.clone(), bell.clone(), options);
        tokio::spawn(relay.run(cancel.clone()));
        let catalogue = Arc::new(Catalogue::default());
        Self { redis, hand, store, bus, catalogue, db, bell, _relay: cancel.drop_guard() }
    }

    pub(crate) fn rebuild(&self) -> Rebuild {
        Rebuild::new(self.store.clone(), self.bus.clone(), locks(&self.redis))
    }

    /// A replica that counts, until the guard is dropped.
    pub(crate) fn count(&self) -> DropGuard {
        let counter = Counter::new(self.store.clone(), self.rebuild());
        let consumer = Consumer::new(CONSUMER, self.bus.clone(), Arc::new(counter));
        let cancel = CancellationToken::new();
        tokio::spawn(consumer.run(cancel.clone()));
        cancel.drop_guard()
    }

    pub(crate) fn service(&self, life: Duration) -> Arc<Service> {
        let (store, catalogue) = (self.store.clone(), self.catalogue.clone());
        Arc::new(Service::new(store, self.rebuild(), catalogue, life))
    }

    /// An order that was placed now, which is then a microsecond ago.
    pub(crate) async fn order(&self, order_id: i64, lines: &[(i64, i32)]) {
        let placed_at = DateTime::from_timestamp_micros(self.hand.0.load(Ordering::SeqCst));
        self.hand.advance(TimeDelta::microseconds(1));
        let line = |(product_id, quantity): &(i64, i32)| OrderLine {
            product_id: *product_id,
            quantity: *quantity,
            ..OrderLine::default()
        };
        let payload = OrderConfirmed {
            order_id,
            lines: lines.iter().map(line).collect(),
            placed_at: placed_at.map(timestamp),
            ..OrderConfirmed::default()
        };
        self.append(OrderConfirmed::full_name(), order_id, 1, payload.encode_to_vec()).await;
    }

    pub(crate) async fn cancel(&self, order_id: i64, placed_at: DateTime<Utc>, products: &[i64]) {
        let payload = OrderCancelled {
            order_id,
            product_ids: products.to_vec(),
            placed_at: Some(timestamp(placed_at)),
            ..OrderCancelled::default()
        };
        self.append(OrderCancelled::full_name(), order_id, 2, payload.encode_to_vec()).await;
    }

    pub(crate) async fn append(
        &self,
        event_type: String,
        order_id: i64,
        version: i64,
        payload: Vec<u8>,
    ) {
        let event = Event {
            event_type,
            aggregate_kind: "order",
            aggregate_id: order_id,
            version,
            occurred_at: db::now_micros(),
            trace_id: String::new(),
            traceparent: String::new(),
            payload,
        };
        let mut writes = Script::default();
        events::outbox::append(&mut writes, &[event]).unwrap();
        self.db.tx(async move |conn: &mut Conn| writes.run(conn).await).await.unwrap();
        self.bell.ring();
    }

    /// Puts the database back to before the orders from this one on.
    pub(crate) async fn put_back(&self, first_lost: i64) {
        let delete = format!(
            "DELETE FROM outbox WHERE aggregate_kind = 'order' AND aggregate_id >= {first_lost}"
        );
        let rewind = "UPDATE outbox_shard s SET last_position = \
            (SELECT COALESCE(MAX(o.position), 0) FROM outbox o WHERE o.shard = s.shard)";
        self.db
            .tx(async move |conn: &mut Conn| -> db::Result<()> {
                conn.batch_execute(&delete).await?;
                Ok(conn.batch_execute(rewind).await?)
            })
            .await
            .unwrap();
    }

    pub(crate) async fn flush(&self) {
        let mut connection = client(&self.redis).get_multiplexed_async_connection().await.unwrap();
        let () = redis::cmd("FLUSHALL").query_async(&mut connection).await.unwrap();
    }

    /// Waits until everything that was appended is counted.
    pub(crate) async fn settled(&self) {
        let pending = async |conn: &mut Conn| events::pending(conn).await;
        while self.db.read(pending).await.unwrap() > 0
            || !ranking::caught_up(&self.store, &*self.bus).await.unwrap()
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the ranking is this, product and count, best first.
    pub(crate) async fn shows(&self, expected: &[(i64, i64)]) {
        loop {
            match self.store.snapshot().await {
                Ok(_) if ranking(&self.store).await == expected => return,
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }
}

fn timestamp(at: DateTime<Utc>) -> prost_types::Timestamp {
    let nanos = at.timestamp_subsec_nanos().try_into().unwrap();
    prost_types::Timestamp { seconds: at.timestamp(), nanos }
}
