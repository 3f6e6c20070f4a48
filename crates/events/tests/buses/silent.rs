//! A Redis that answers nothing more on the connections there are, or has no room.

use crate::rows::Rows;
use crate::support::{append, client_at, event, published, relay, schema, until};
use embedded::{Redis, RedisOptions};
use events::{Bell, Bus, RedisStreams};
use std::sync::Arc;
use std::time::Duration;
use testkit::Proxy;
use tokio::time::timeout;

/// From the fault to the first effect of an event that came after it.
const HEALED: Duration = Duration::from_secs(10);

async fn counted(rows: &Rows, count: usize) {
    until(async || rows.effects().await.get(&1).is_some_and(|all| all.len() >= count)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_and_consumer_go_on_within_10_s_when_redis_is_silent_on_their_connections() {
    let redis = Redis::start(RedisOptions::temporary()).await.unwrap();
    let proxy = Proxy::before(&redis.url()).await;
    let bus = RedisStreams::new(client_at(&proxy.url()), "test", "order", &[Rows::NAME]).unwrap();
    let (db, bus): (_, Arc<dyn Bus>) = (schema().await, Arc::new(bus));
    let rows = Rows::open(db.clone()).await;
    let (_relay, _rows) = (relay(&db, bus.clone(), &Bell::default()), rows.consume(bus.clone()));
    append(&db, vec![event(1, 1)]).await;
    counted(&rows, 1).await;
    proxy.swallow_existing();
    append(&db, vec![event(1, 2)]).await;
    timeout(HEALED, counted(&rows, 2)).await.expect("nobody waits on a silent connection");
    assert_eq!(rows.effects().await, [(1, vec![1, 2])].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_had_no_room_is_filled_when_it_has_some() {
    let redis = Redis::start(RedisOptions::temporary()).await.unwrap();
    let bus = RedisStreams::new(client_at(&redis.url()), "test", "order", &[Rows::NAME]).unwrap();
    let (db, bus): (_, Arc<dyn Bus>) = (schema().await, Arc::new(bus));
    let rows = Rows::open(db.clone()).await;
    let (_relay, _rows) = (relay(&db, bus.clone(), &Bell::default()), rows.consume(bus.clone()));
    append(&db, vec![event(1, 1)]).await;
    counted(&rows, 1).await;
    let mut connection = client_at(&redis.url()).get_multiplexed_async_connection().await.unwrap();
    let mut set = async |bytes: &str| {
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("maxmemory").arg(bytes);
        let () = set.query_async(&mut connection).await.unwrap();
    };
    set("1").await;
    append(&db, (2..=300).map(|version| event(1, version)).collect()).await;
    // Numbered all the same, and not on the bus.
    let pending = async || db.read(async |conn| events::pending(conn).await).await.unwrap();
    until(async || pending().await == 299).await;
    set("0").await;
    published(&db).await;
    counted(&rows, 300).await;
    assert_eq!(rows.effects().await, [(1, (1..=300).collect())].into());
}
