//! A bus that is away, slow, or forgets, while changes go on.

use crate::load::{Load, on_the_bus};
use crate::rows::Rows;
use crate::support::{bus, client, published, relay, schema, until};
use db::{Conn, Db};
use embedded::Redis;
use events::{Bell, Bus};
use std::time::Duration;
use tokio_util::sync::DropGuard;

/// Changes, two relays, a consumer, and their bus.
struct Scene {
    db: Db,
    redis: Redis,
    rows: Rows,
    load: Load,
    _running: Vec<DropGuard>,
}

impl Scene {
    async fn begin() -> Self {
        let (db, (redis, bus)) = (schema().await, bus(&[Rows::NAME]).await);
        let rows = Rows::open(db.clone()).await;
        let relays = [(); 2].map(|()| relay(&db, bus.clone(), &Bell::default()));
        let mut running = Vec::from(relays);
        running.push(rows.consume(bus.clone()));
        let load = Load::begin(&db);
        load.committed(500).await;
        Self { db, redis, rows, load, _running: running }
    }

    async fn pending(&self) -> i64 {
        self.db.read(async |conn: &mut Conn| events::pending(conn).await).await.unwrap()
    }

    /// Rows that the bus is known to have.
    async fn has_published(&self) -> u64 {
        self.db.read(async |conn: &mut Conn| events::published(conn).await).await.unwrap()
    }

    /// Everything that was committed has its effect once, in the order of its aggregate, and nothing else has any.
    async fn end(self) {
        let expected = self.load.end().await;
        published(&self.db).await;
        let count: usize = expected.values().map(Vec::len).sum();
        let counted = async || self.rows.effects().await.values().map(Vec::len).sum::<usize>();
        until(async || counted().await >= count).await;
        assert_eq!(self.rows.effects().await, expected);
    }
}

async fn away_for(span: Duration, changes: i64) {
    let scene = Scene::begin().await;
    scene.redis.kill().await.unwrap();
    scene.load.committed(changes).await;
    tokio::time::sleep(span).await;
    let waiting = scene.pending().await;
    assert!(waiting >= changes, "{waiting} of {changes} events wait in the outbox");
    scene.redis.restart().await.unwrap();
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_bus_is_away_changes_go_on_and_their_events_follow_in_order() {
    away_for(Duration::ZERO, 3_000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: the bus is away for one of them"]
async fn a_minute_without_the_bus_under_load_is_made_up_for_in_order() {
    away_for(Duration::from_mins(1), 3_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_that_stands_still_again_and_again_loses_and_doubles_nothing() {
    let scene = Scene::begin().await;
    let mut connection = client(&scene.redis).get_multiplexed_async_connection().await.unwrap();
    // The last is longer than anybody waits for an answer, so that what was asked takes effect after it was given up.
    for pause_ms in [50, 400, 150, 700, 5_500] {
        let mut pause = redis::cmd("CLIENT");
        let () = pause.arg("PAUSE").arg(pause_ms).query_async(&mut connection).await.unwrap();
        scene.load.committed(400).await;
        // Answered when the pause is over.
        let ping = async || redis::cmd("PING").query_async::<()>(&mut connection.clone()).await;
        until(async || ping().await.is_ok()).await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_that_dies_between_two_flushes_gets_again_what_it_lost() {
    let scene = Scene::begin().await;
    for changes in [300, 800] {
        let (kept, before) = (testkit::written(&scene.redis), scene.has_published().await);
        scene.load.committed(changes).await;
        // More than the bytes that are left can hold, and known to be there.
        until(async || scene.has_published().await > before + 200).await;
        testkit::power_cut(&scene.redis, kept + 4_321).await;
        scene.redis.restart().await.unwrap();
        scene.load.committed(changes).await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_that_is_emptied_under_load_is_refilled_whole() {
    let scene = Scene::begin().await;
    let mut connection = client(&scene.redis).get_multiplexed_async_connection().await.unwrap();
    for _ in 0..3 {
        scene.load.committed(300).await;
        let () = redis::cmd("FLUSHALL").query_async(&mut connection).await.unwrap();
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_relays_of_one_schema_come_and_go_and_keep_the_order() {
    let (db, (_redis, bus)) = (schema().await, bus(&["nobody"]).await);
    let load = Load::begin(&db);
    let mut relays: Vec<_> = (0..3).map(|_| relay(&db, bus.clone(), &Bell::default())).collect();
    for _ in 0..10 {
        load.committed(150).await;
        drop(relays.remove(0));
        relays.push(relay(&db, bus.clone(), &Bell::default()));
    }
    let expected = load.end().await;
    let bus: &dyn Bus = &*bus;
    until(async || {
        let count = |all: &crate::load::Versions| all.values().map(Vec::len).sum::<usize>();
        count(&on_the_bus(bus).await) >= count(&expected)
    })
    .await;
    assert_eq!(on_the_bus(bus).await, expected);
}
