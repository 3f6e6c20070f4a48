//! Servers and a schema for the tests of this crate.

use db::{Conn, Db, Script};
use embedded::{Redis, RedisOptions};
use events::{Bell, Bus, Event, Positions, RedisStreams, Relay, Shard, bus::Message};
use migrations::Schema;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
pub(crate) use testkit::until;
use tokio_util::sync::CancellationToken;

/// A fresh schema with an outbox.
pub(crate) async fn schema() -> Db {
    // Shown when a test fails; the first test of the process wins.
    let _ = tracing_subscriber::fmt().with_test_writer().try_init();
    schema_at().await.0
}

/// A fresh schema with an outbox, and its URL.
pub(crate) async fn schema_at() -> (Db, String) {
    testkit::database(Schema::Order).await
}

/// A Redis of its own, which ends with the handle, and the bus on it.
pub(crate) async fn bus(consumers: &[&str]) -> (Redis, Arc<RedisStreams>) {
    let redis = Redis::start(RedisOptions::temporary()).await.unwrap();
    let bus = RedisStreams::new(client(&redis), "test", "order", consumers).unwrap();
    (redis, Arc::new(bus))
}

pub(crate) fn client(redis: &Redis) -> redis::Client {
    client_at(&redis.url())
}

pub(crate) fn client_at(url: &str) -> redis::Client {
    redis::Client::open(url).unwrap()
}

/// Runs a relay until the token is cancelled or dropped.
pub(crate) fn relay(db: &Db, bus: Arc<dyn Bus>, bell: &Bell) -> tokio_util::sync::DropGuard {
    let cancel = CancellationToken::new();
    let relay = Relay::new(db.clone(), bus, bell.clone(), events::RelayOptions::default());
    tokio::spawn(relay.run(cancel.clone()));
    cancel.drop_guard()
}

/// An event of an order, its version as its payload.
pub(crate) fn event(aggregate_id: i64, version: i64) -> Event {
    Event {
        event_type: "commerce.order.v1.OrderConfirmed".to_owned(),
        aggregate_kind: "order",
        aggregate_id,
        version,
        occurred_at: db::now_micros(),
        trace_id: "trace".to_owned(),
        traceparent: String::new(),
        payload: version.to_string().into_bytes(),
    }
}

/// Commits events, each in a row of its own.
pub(crate) async fn append(db: &Db, events: Vec<Event>) {
    let mut writes = Script::default();
    for event in events {
        events::outbox::append(&mut writes, &[event]).unwrap();
    }
    db.tx(async move |conn: &mut Conn| writes.run(conn).await).await.unwrap();
}

/// Commits events as one transaction of a service does: those of one shard share rows.
pub(crate) async fn append_together(db: &Db, events: Vec<Event>) {
    let mut writes = Script::default();
    events::outbox::append(&mut writes, &events).unwrap();
    db.tx(async move |conn: &mut Conn| writes.run(conn).await).await.unwrap();
}

/// Waits until the bus has everything.
pub(crate) async fn published(db: &Db) {
    until(async || db.read(async |conn| events::pending(conn).await).await.unwrap() == 0).await;
}

/// All that the streams hold, by shard.
pub(crate) async fn everything(bus: &dyn Bus) -> Vec<(Shard, Vec<Message>)> {
    let (mut reader, mut after) = (bus.reader(), Positions::default());
    let mut all: BTreeMap<Shard, Vec<Message>> = BTreeMap::new();
    loop {
        // It yields no more than up to a hole.
        let batches = reader.read(&after, 1_000_000, Duration::from_millis(1)).await.unwrap();
        if batches.is_empty() {
            return all.into_iter().collect();
        }
        for (shard, messages) in batches {
            after[shard] = messages.last().unwrap().position;
            all.entry(shard).or_default().extend(messages);
        }
    }
}

/// Lets a consumer read a shard and acknowledge it up to a position.
pub(crate) async fn acknowledge(bus: &dyn Bus, consumer: &str, shard: Shard, position: i64) {
    let mut subscription = bus.subscribe(consumer);
    let (mut read, mut done) = (Positions::default(), Positions::default());
    while read[shard] < position {
        let batches = subscription.read(&read, 1_000, Duration::from_millis(100)).await.unwrap();
        for (shard, messages) in batches {
            read[shard] = messages.last().unwrap().position;
        }
    }
    done[shard] = position;
    let acknowledged = async || bus.acknowledged(consumer).await.unwrap()[shard];
    while acknowledged().await != position {
        subscription.acknowledge(&done).await.unwrap();
        // A bus may tell only when it is read whether it heard of the last.
        subscription.read(&read, 1, Duration::from_millis(1)).await.unwrap();
    }
}
